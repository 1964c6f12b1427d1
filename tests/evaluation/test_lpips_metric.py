"""LPIPS as a metric: the formula for each backbone, by frame, in any batches; no figure without the published file.

The backbones here are random networks under their own sha256: they prove the plumbing and mean nothing as a metric.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from moso import pretrained
from moso.errors import ConfigError, DataError
from moso.evaluation import lpips_metric
from moso.evaluation.lpips_metric import MINIMUM_SIDE, NAMES, LpipsMetric
from moso.pretrained import WeightsError
from moso.provenance import digest_file
from moso.torchvision_import import import_with_torchvision
from moso.vqvae.perceptual import HEADS

TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29), "squeeze": (1, 4, 7, 9, 10, 11, 12)}
"""Layers of torchvision's `features` that LPIPS compares (Zhang et al. 2018, App. B; package lpips for SqueezeNet)."""
BUILDERS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
SHIFT = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
SCALE = torch.tensor([0.458, 0.448, 0.450])[:, None, None]


def _features(backbone):
    """torchvision's `features` with random weights, the same at every call."""
    vision = import_with_torchvision("torchvision")
    with torch.device("meta"):
        layers = getattr(vision.models, BUILDERS[backbone])(weights=None).features
    random = torch.Generator().manual_seed(3)
    state = {
        name: torch.randn(tensor.shape, generator=random) * (2 / tensor[0].numel()) ** 0.5
        if tensor.ndim > 1
        else 0.1 * torch.randn(tensor.shape, generator=random)
        for name, tensor in layers.state_dict().items()
    }
    layers.load_state_dict(state, assign=True)
    for layer in layers.modules():
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False
    return layers.eval()


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """(folder, table): random networks in the published places; to be read only."""
    folder, table = tmp_path_factory.mktemp("weights"), dict(pretrained.FILES)
    for backbone, name in (("alex", "alexnet"), ("vgg", "vgg16"), ("squeeze", "squeezenet")):
        entry = pretrained.FILES[name]
        state = {f"features.{key}": tensor for key, tensor in _features(backbone).state_dict().items()}
        torch.save(state, folder / entry.file)
        table[name] = dataclasses.replace(entry, sha256=digest_file(folder / entry.file))
    return folder, table


@pytest.fixture
def registered(stand_ins, monkeypatch):
    """The stand-ins count as the published files, in a copy of the table."""
    monkeypatch.setenv("MOSO_WEIGHTS", str(stand_ins[0]))
    monkeypatch.setattr(pretrained, "FILES", stand_ins[1])


def _frames(seed, batch=2, frames=3, side=33):
    return torch.rand(batch, frames, 3, side, side + 2, generator=torch.Generator().manual_seed(seed))


def _by_hand(backbone, a, b):
    """Unit length over channels, squared difference, a weight a channel, mean over places, sum over layers."""
    lpips = import_with_torchvision("lpips")
    path = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{backbone}.pth"
    heads = torch.load(path, map_location="cpu", weights_only=True)
    layers, x, total = _features(backbone), (2 * torch.cat([a, b]) - 1 - SHIFT) / SCALE, 0.0
    for number, layer in enumerate(layers):
        x = layer(x)
        if number in TAPS[backbone]:
            one, other = torch.nn.functional.normalize(x, dim=1).chunk(2)
            weight = heads[f"lin{TAPS[backbone].index(number)}.model.1.weight"][0, :, 0, 0]
            total = total + torch.einsum("nchw,c->nhw", (one - other).square(), weight).mean((1, 2))
        if number == TAPS[backbone][-1]:
            break
    return total


@pytest.mark.parametrize("name", NAMES)
def test_each_frame_has_the_distance_of_the_formula(registered, name):
    frames, truth = _frames(0, frames=2), _frames(1, frames=2)
    found = LpipsMetric(name)(frames, truth)
    assert found.shape == (2, 2)
    assert found.dtype == torch.float64
    with torch.no_grad():
        expected = _by_hand(NAMES[name], frames.flatten(0, 1), truth.flatten(0, 1)).view(2, 2)
    torch.testing.assert_close(found, expected.double(), rtol=1e-4, atol=1e-6)
    assert float(found.min()) > 1e-3


def test_frames_in_one_pass_change_nothing(registered, monkeypatch):
    metric, frames, truth = LpipsMetric("lpips_alex"), _frames(2), _frames(3)
    whole = metric(frames, truth)
    monkeypatch.setattr(lpips_metric, "FRAMES", 1)
    torch.testing.assert_close(metric(frames, truth), whole, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(metric(frames[1:], truth[1:]), whole[1:], rtol=1e-5, atol=1e-7)


def test_identical_frames_have_distance_0_and_the_order_of_the_pair_does_not_matter(registered):
    metric, frames, truth = LpipsMetric("lpips_squeeze"), _frames(4), _frames(5)
    assert metric(frames, frames).eq(0).all()
    torch.testing.assert_close(metric(frames, truth), metric(truth, frames), rtol=1e-5, atol=1e-7)


def test_the_figure_names_its_networks_by_sha256(registered, stand_ins):
    found = lpips_metric.networks("lpips_alex")
    assert found["alexnet-owt-7be5be79.pth"] == stand_ins[1]["alexnet"].sha256
    assert found["lpips v0.1 alex.pth"].startswith("df73285e")
    assert "alex" in lpips_metric.convention("lpips_alex")


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_frames_are_taken_and_smaller_ones_refused(registered, name):
    metric, least = LpipsMetric(name), MINIMUM_SIDE[NAMES[name]]
    small = torch.rand(1, 1, 3, least, least)
    assert metric(small, 1 - small).isfinite().all()
    with pytest.raises(DataError, match=rf"{name} needs 3 channels and at least {least} x {least} pixels"):
        metric(small[..., 1:], small[..., 1:])
    with pytest.raises(RuntimeError):  # the backbone itself has nothing left
        metric.network(small[0, :, :, 1:, 1:], small[0, :, :, 1:, 1:])


def test_other_heads_than_the_published_ones_are_refused(registered, monkeypatch):
    monkeypatch.setitem(HEADS, "alex", "0" * 64)
    with pytest.raises(DataError, match=r"alex.pth: sha256 is df73285e.*heads of LPIPS v0.1 is 0000"):
        LpipsMetric("lpips_alex")


def test_without_the_published_file_there_is_no_figure(tmp_path, stand_ins, monkeypatch):
    monkeypatch.setenv("MOSO_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="moso weights fetch squeezenet"):
        LpipsMetric("lpips_squeeze")
    monkeypatch.setenv("MOSO_WEIGHTS", str(stand_ins[0]))
    with pytest.raises(WeightsError, match="sha256 is"):
        LpipsMetric("lpips_alex")


def test_an_unknown_backbone_is_told_the_known_ones():
    with pytest.raises(ConfigError, match="known: lpips_vgg, lpips_alex, lpips_squeeze"):
        LpipsMetric("lpips")


def test_8_bit_videos_have_the_distance_of_their_fractions(registered):
    metric = LpipsMetric("lpips_alex")
    videos = np.random.default_rng(0).integers(0, 256, (2, 1, 2, 32, 32, 3), np.uint8)
    found = metric.of_pictures(*videos)
    frames, truth = (torch.from_numpy(video).permute(0, 1, 4, 2, 3) / 255 for video in videos)
    assert found.shape == (1, 2)
    np.testing.assert_allclose(found, metric(frames, truth), rtol=1e-5)
