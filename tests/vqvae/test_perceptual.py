"""LPIPS: its arithmetic against an independent formula, its weights real or refused, its place in the loss.

The backbones here are random networks, saved as the published files are and registered with their own sha256: they
prove the plumbing and mean nothing as a metric.
"""

import dataclasses
import importlib
import os
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from components.config import resolve
from moso import pretrained
from moso.errors import DataError
from moso.frames.cache import FrameCache
from moso.frames.clips import Clips, windows
from moso.pretrained import WeightsError
from moso.provenance import digest_file
from moso.torchvision_import import import_with_torchvision
from moso.training.config import TrainingConfig
from moso.training.sampler import samples
from moso.training.world import Solo
from moso.vqvae.losses import LossConfig, reconstruction_terms
from moso.vqvae.objective import VQVAEObjective
from moso.vqvae.objective_config import ObjectiveConfig
from moso.vqvae.perceptual import load_lpips

# torchvision's `features`: number of a convolution -> (inputs, outputs, kernel)
VGG = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)}
VGG |= {17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)}
ALEX = {0: (3, 64, 11), 3: (64, 192, 5), 6: (192, 384, 3), 8: (384, 256, 3), 10: (256, 256, 3)}
SHIFT = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
SCALE = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
"""Of the LPIPS package, on images in [-1, 1]."""


def _random(layout, seed):
    """A random network as the published files hold one, with a classifier that LPIPS does not take."""
    random = torch.Generator().manual_seed(seed)
    state = {"classifier.0.weight": torch.zeros(2, 2)}
    for number, (inputs, outputs, *kernel) in layout.items():
        size = kernel[0] if kernel else 3
        spread = (2 / (inputs * size * size)) ** 0.5
        weight = torch.randn(outputs, inputs, size, size, generator=random)
        state[f"features.{number}.weight"] = weight * spread
        state[f"features.{number}.bias"] = 0.1 * torch.randn(outputs, generator=random)
    return state


def _register(name, folder, monkeypatch):
    """The published entry with the sha256 of what lies in the folder."""
    entry = pretrained.FILES[name]
    changed = dataclasses.replace(entry, sha256=digest_file(folder / entry.file))
    monkeypatch.setitem(pretrained.FILES, name, changed)


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """A folder with random networks in the places of VGG and AlexNet; to be read only."""
    folder = tmp_path_factory.mktemp("weights")
    for name, layout in (("vgg16", VGG), ("alexnet", ALEX)):
        torch.save(_random(layout, 1), folder / pretrained.FILES[name].file)
    return folder


@pytest.fixture
def registered(stand_ins, monkeypatch):
    """The stand-ins count as the published files; nothing may be downloaded."""
    monkeypatch.setenv("MOSO_WEIGHTS", str(stand_ins))
    for name in ("vgg16", "alexnet"):
        _register(name, stand_ins, monkeypatch)

    def refuse(*arguments, **settings):
        raise AssertionError("torch.hub was asked to download")

    import_with_torchvision("torchvision")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return stand_ins


def _images(seed, count=2, height=32, width=48):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def _vgg_taps(state, images):
    """The five ReLU outputs before each pooling, by plain functions."""
    x, taps = images, []
    for number in VGG:
        if number in (5, 10, 17, 24):
            taps.append(x)
            x = F.max_pool2d(x, 2)
        x = F.relu(F.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1))
    return [*taps, x]


def _lpips_by_hand(a, b):
    """Zhang et al. 2018: unit length over channels, squared difference, a weight a channel, mean over places, sum."""
    state = _random(VGG, 1)
    lpips = import_with_torchvision("lpips")
    path = Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth"
    heads = torch.load(path, map_location="cpu", weights_only=True)
    total = torch.zeros(len(a))
    taps = [_vgg_taps(state, (2 * x - 1 - SHIFT) / SCALE) for x in (a, b)]
    for layer, (one, two) in enumerate(zip(*taps, strict=True)):
        one, two = (x / x.square().sum(1, keepdim=True).sqrt() for x in (one, two))
        weight = heads[f"lin{layer}.model.1.weight"][0, :, 0, 0]
        total += torch.einsum("nchw,c->nhw", (one - two).square(), weight).mean((1, 2))
    return total


def test_the_distance_is_the_formula_on_images_in_0_to_1(registered):
    a, b = _images(0), _images(1)
    found = load_lpips("vgg")(a, b)
    assert found.shape == (2,)
    torch.testing.assert_close(found, _lpips_by_hand(a, b), rtol=1e-4, atol=1e-6)
    assert float(found.min()) > 1e-3


def test_an_image_is_like_itself_and_less_like_a_noisier_one(registered):
    network, a = load_lpips("alex"), _images(2, 1, 64, 64)
    noise = _images(3, 1, 64, 64) - 0.5
    distances = [float(network(a, a + share * noise)) for share in (0.0, 0.1, 0.5)]
    assert distances[0] == 0
    assert distances == sorted(set(distances))


def test_gradients_reach_the_images_alone_and_dropout_never_wakes(registered):
    network = load_lpips("vgg").train()
    a, b = _images(4).requires_grad_(), _images(5)
    first, again = network(a, b), network(a, b)
    assert torch.equal(first, again)
    first.sum().backward()
    assert bool(a.grad.any())
    assert [p for p in network.parameters() if p.requires_grad or p.grad is not None] == []
    assert not any(module.training for module in network.modules())


def test_loading_draws_nothing_from_the_global_generator(registered):
    state = torch.random.get_rng_state()
    load_lpips("vgg")
    assert torch.equal(state, torch.random.get_rng_state())


def test_without_the_published_file_there_is_no_loss(tmp_path, monkeypatch):
    monkeypatch.setenv("MOSO_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"vgg16-397923af.pth .* is not in .*moso weights fetch vgg16"):
        load_lpips("vgg")


def test_a_random_network_in_the_place_of_the_published_one_is_refused(stand_ins, monkeypatch):
    monkeypatch.setenv("MOSO_WEIGHTS", str(stand_ins))
    with pytest.raises(WeightsError, match="sha256 is"):
        load_lpips("vgg")


class Code:
    """Unpickling it would run a command."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_a_file_that_runs_code_is_refused_and_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("MOSO_WEIGHTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / pretrained.FILES["vgg16"].file
    torch.save({"features.0.weight": Code()}, path)
    _register("vgg16", tmp_path, monkeypatch)
    with pytest.raises(DataError, match="cannot be read as weights"):
        load_lpips("vgg")
    assert not (tmp_path / "unpickled").exists()
    with pytest.raises(pickle.UnpicklingError):  # the trap itself works: only weights_only stopped it
        torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.28.bias"), r"holds no features.28.bias"),
        (lambda state: state.update({"features.0.weight": torch.zeros(64, 1, 3, 3)}), r"does not fit"),
    ],
)
def test_another_networks_weights_are_refused(tmp_path, monkeypatch, change, message):
    state = _random(VGG, 2)
    change(state)
    torch.save(state, tmp_path / pretrained.FILES["vgg16"].file)
    monkeypatch.setenv("MOSO_WEIGHTS", str(tmp_path))
    _register("vgg16", tmp_path, monkeypatch)
    with pytest.raises(DataError, match=message):
        load_lpips("vgg")


def test_the_term_is_the_mean_over_frames_with_its_weight():
    frames, drawn = _images(6, 6).view(2, 3, 3, 32, 48), _images(7, 6).view(2, 3, 3, 32, 48)

    def distance(a, b):
        assert a.shape == (6, 3, 32, 48)
        return (a - b).abs().mean((1, 2, 3))

    terms = reconstruction_terms(LossConfig("l2", perceptual=0.5), drawn, frames, distance)
    weight, term = terms["perceptual"]
    assert weight == 0.5
    assert float(term) == pytest.approx(float((drawn - frames).abs().mean()), rel=1e-5)
    assert "perceptual" not in reconstruction_terms(LossConfig("l2"), drawn, frames)


def _objective(build, frames_folder, loss):
    cache = FrameCache.open(frames_folder)
    return VQVAEObjective(
        build().train(),
        ObjectiveConfig(),
        loss,
        TrainingConfig(steps=4, batch=1),
        training_clips=Clips(cache, windows(cache, "train", 6), 6),
        validation_clips=None,
        seed=0,
    )


def test_a_training_step_has_the_perceptual_gradient_and_the_model_none_of_the_network(
    registered, build, frames_folder
):
    totals = {}
    for weight in (0.0, 1.0):
        objective = _objective(build, frames_folder, LossConfig("l2", perceptual=weight))
        dealt = samples(0, objective.size, 0, 1, Solo())
        total, figures = objective.loss(objective.prepare(dealt), dealt, 0)
        totals[weight] = total
    total.backward()
    assert float(totals[1.0].detach() - totals[0.0].detach()) == pytest.approx(float(figures["perceptual"]), rel=1e-4)
    assert objective.model.decoder.last_layer.grad.any()
    assert objective.module.state_dict().keys() == build().state_dict().keys()
    assert not any("perceptual" in name for name, _ in objective.module.named_parameters())


@pytest.mark.parametrize("preset", ["bair/default", "kth/128", "ucf101/unconditional"])
def test_a_paper_preset_is_refused_before_training_without_the_weights(
    preset, build, frames_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("MOSO_WEIGHTS", str(tmp_path))
    schema = importlib.import_module("components.train_vqvae.step").Config
    specs = Path(__file__).parents[2] / "data" / "specs"
    dataset, _, name = preset.partition("/")
    section = resolve("train_vqvae", schema, {"dataset": dataset, "preset": name, "seed": 0}, specs)
    assert section.loss.perceptual == 1
    # no discriminator on KTH 128 (C.5), negative SSIM there alone
    adversarial = section.loss.adversarial
    expected = (0.0, 1.0) if preset == "kth/128" else (0.1, 0.0)
    assert (adversarial.video, section.loss.ssim) == expected
    assert (adversarial.image, adversarial.from_step, adversarial.weight) == (0.0, 50_000, "fixed")
    with pytest.raises(WeightsError, match=r"vgg16-397923af.pth .* sha256 397923af"):
        _objective(build, frames_folder, section.loss)


@pytest.mark.parametrize("preset", ["default", "tiny"])
def test_the_embedded_presets_need_no_weights(preset):
    schema = importlib.import_module("components.train_vqvae.step").Config
    specs = Path(__file__).parents[2] / "data" / "specs"
    loss = resolve("train_vqvae", schema, {"dataset": "sim_push", "preset": preset, "seed": 0}, specs).loss
    assert (loss.perceptual, loss.adversarial.video, loss.adversarial.image) == (0, 0, 0)
