"""Feature networks: verified before they are opened, their plumbing with stand-ins of the same interface.

The networks here are random: they prove shapes, ranges and order, and mean nothing as a metric.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from moso import pretrained
from moso.errors import ConfigError, DataError
from moso.evaluation import inception
from moso.evaluation.features import I3D, InceptionV3, load_features, not_computed
from moso.evaluation.inception import Inception, inception_of, mean_pool, resize
from moso.pretrained import WeightsError
from moso.provenance import digest_file
from moso.torchvision_import import import_with_torchvision


class StandIn(torch.nn.Module):
    """The I3D's interface; its features say what it was called with."""

    def __init__(self, dimension: int = 400) -> None:
        super().__init__()
        self.dimension = dimension

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        """Column 0: the sum of channel 2 of the second frame; 1: the largest value; 2 to 4: the flags; 5: frames."""
        features = torch.zeros(x.shape[0], self.dimension)
        features[:, 0] = x[:, 2, 1].sum(dim=(1, 2))
        features[:, 1] = x.amax(dim=(1, 2, 3, 4))
        features[:, 2] = float(rescale)
        features[:, 3] = float(resize)
        features[:, 4] = float(return_features)
        features[:, 5] = float(x.shape[2])
        return features


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MOSO_WEIGHTS", str(tmp_path))
    return tmp_path


def _table(name, folder):
    """A copy of the table in which the sha256 of `name` is that of what lies in the folder."""
    entry = pretrained.FILES[name]
    changed = dataclasses.replace(entry, sha256=digest_file(folder / entry.file))
    return {**pretrained.FILES, name: changed}


def _put_i3d(folder, dimension=400):
    torch.jit.script(StandIn(dimension)).save(str(folder / pretrained.FILES["i3d"].file))
    return _table("i3d", folder)


def _videos(seed, count=5, frames=10, size=8):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, frames, size, size, 3), np.uint8))


def test_i3d_gets_channels_first_in_8_bit_range_with_its_own_resize(folder):
    network, videos = load_features("fvd", files=_put_i3d(folder)), _videos(0)
    features = network(videos)
    assert features.shape == (5, 400)
    assert features.dtype == torch.float32
    assert torch.equal(features[:, 0], videos[:, 1, :, :, 2].sum(dim=(1, 2)).float())
    assert torch.equal(features[:, 1], videos.amax(dim=(1, 2, 3, 4)).float())
    assert features[:, 2:6].unique(dim=0).tolist() == [[1, 1, 1, 10]]
    assert network.sha256 == digest_file(folder / "i3d_torchscript.pt")


def test_videos_in_one_pass_change_nothing(folder):
    table, videos = _put_i3d(folder), _videos(1)
    assert torch.equal(I3D(videos=1, files=table)(videos), I3D(videos=99, files=table)(videos))


def test_a_stand_in_is_refused_as_the_published_network_before_it_is_opened(folder, monkeypatch):
    _put_i3d(folder)
    opened = []
    monkeypatch.setattr(torch.jit, "load", lambda *arguments, **settings: opened.append(arguments))
    with pytest.raises(WeightsError, match=r"i3d_torchscript.pt: sha256 is .* bec6519f.*moso weights fetch i3d"):
        load_features("fvd")
    assert opened == []


def test_a_verified_file_that_is_no_torchscript_is_named(folder):
    (folder / "i3d_torchscript.pt").write_bytes(b"no script")
    with pytest.raises(DataError, match=r"i3d_torchscript.pt cannot be read as TorchScript"):
        load_features("fvd", files=_table("i3d", folder))


def test_another_networks_features_are_refused(folder):
    network = load_features("fvd", files=_put_i3d(folder, dimension=512))
    with pytest.raises(DataError, match=r"shape \(5, 512\), expected \(5, 400\)"):
        network(_videos(2))


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        (_videos(3, frames=9), "needs at least 10 frames, got 9"),
        (_videos(3, count=0), r"takes uint8 videos \(B, T, H, W, 3\), got torch.uint8 \(0, 10"),
    ],
)
def test_videos_that_i3d_cannot_take_are_refused(folder, videos, message):
    network = load_features("fvd", files=_put_i3d(folder))
    with pytest.raises(DataError, match=message):
        network(videos)


def test_what_is_missing_is_said_with_the_command(folder):
    for metric, name, file in (
        ("fvd", "i3d", "i3d_torchscript.pt"),
        ("fid", "inception", "weights-inception-2015-12-05-6726825d.pth"),
        ("lpips_alex", "alexnet", "alexnet-owt-7be5be79.pth"),
        ("lpips_vgg", "vgg16", "vgg16-397923af.pth"),
        ("lpips_squeeze", "squeezenet", "squeezenet1_1-b8a52dc0.pth"),
    ):
        reason = not_computed(metric)
        assert reason.metric == metric
        assert f"file {file} missing" in reason.reason
        assert reason.command == f"moso weights fetch {name}"
    for metric in ("fvd", "fid"):
        with pytest.raises(WeightsError, match="moso weights fetch"):
            load_features(metric)
    assert not_computed("psnr") is None


def test_a_stand_in_counts_as_missing(folder):
    _put_i3d(folder)
    assert "another one than the published" in not_computed("fvd").reason


def test_videos_too_short_for_i3d_are_said(folder, monkeypatch):
    monkeypatch.setattr(pretrained, "FILES", _put_i3d(folder))
    assert not_computed("fvd") is None
    assert not_computed("fvd", 10) is None
    assert "at least 10 frames, a video counts with 4" in not_computed("fvd", 4).reason


def test_an_unknown_frechet_metric_is_told_the_known_ones():
    with pytest.raises(ConfigError, match="no Fréchet distance; known: fvd, fid"):
        load_features("kvd")


# Inception


@pytest.fixture(scope="module")
def state():
    """Random weights under the published names, a classifier too; to be read only."""
    vision = import_with_torchvision("torchvision")
    with torch.device("meta"):
        network = vision.models.Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    random, state = torch.Generator().manual_seed(0), {}
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        drawn = torch.randn(tensor.shape, generator=random)
        if name.endswith(("bn.weight", "running_var")):
            state[name] = 1 + 0.1 * drawn.abs()
        elif tensor.ndim == 4:
            state[name] = drawn * (2 / tensor[0].numel()) ** 0.5
        else:
            state[name] = 0.1 * drawn
    return state


def test_the_published_names_are_torchvisions(state):
    """pytorch-fid and torch-fidelity load this file into torchvision's layout with 1008 classes."""
    with torch.device("meta"):
        ours = {name: tensor.shape for name, tensor in Inception().state_dict().items()}
    theirs = {name: tensor.shape for name, tensor in state.items() if not name.startswith("fc.")}
    assert {name: shape for name, shape in ours.items() if not name.endswith("num_batches_tracked")} == theirs


def test_the_network_is_torchvisions_but_for_the_pools(state, monkeypatch):
    vision = import_with_torchvision("torchvision")
    theirs = vision.models.Inception3(num_classes=1008, aux_logits=False, init_weights=False).eval()
    theirs.load_state_dict(state, strict=False)
    theirs.fc = torch.nn.Identity()
    ours = inception_of(state)
    ours.Mixed_7c.maximum = False

    def padded(x):
        return torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1)

    picture = 255 * torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        published = ours(picture)
        monkeypatch.setattr(inception, "mean_pool", padded)
        found, expected = ours(picture), theirs((picture - 128) / 128)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert float((published - expected).abs().max()) > 1e-2


def test_the_mean_pool_counts_what_lies_inside():
    """A corner has 4 neighbours, an edge 6."""
    found = mean_pool(torch.arange(9.0).reshape(1, 1, 3, 3))[0, 0]
    assert found[0].tolist() == [(0 + 1 + 3 + 4) / 4, (0 + 1 + 2 + 3 + 4 + 5) / 6, (1 + 2 + 4 + 5) / 4]


def test_the_resize_is_tensorflow_1s():
    """Output i at i * 2 / 4: 0, 0.5, 1, and 1.5, where there is no further pixel."""
    found = resize(torch.tensor([[[[0.0, 8], [4, 12]]]]), side=4)[0, 0]
    assert found[0].tolist() == [0, 4, 8, 8]
    assert found[:, 0].tolist() == [0, 2, 4, 4]
    picture = torch.rand(1, 3, 5, 5)
    assert torch.equal(resize(picture, 5), picture)


def test_every_frame_is_a_row_in_the_videos_order(folder, state):
    torch.save(state, folder / pretrained.FILES["inception"].file)
    network = InceptionV3(frames=3, files=_table("inception", folder))
    videos = _videos(4, count=2, frames=2)
    features = network(videos)
    assert features.shape == (4, 2048)
    alone = network(videos[1:, 1:])
    torch.testing.assert_close(features[3:], alone, rtol=1e-4, atol=1e-4)
    assert float((features[2] - features[3]).abs().max()) > 1e-3


def test_another_networks_weights_are_refused(folder, state):
    path = folder / pretrained.FILES["inception"].file
    torch.save({name: tensor for name, tensor in state.items() if name != "Mixed_7c.branch_pool.conv.weight"}, path)
    with pytest.raises(DataError, match=r"does not fit FID's Inception-v3: 'Mixed_7c.branch_pool.conv.weight'"):
        load_features("fid", files=_table("inception", folder))
