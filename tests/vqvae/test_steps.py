"""train_vqvae and extract_tokens as DVC and Kubeflow call them: `run` on real folders."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

import components.extract_tokens.step as extract
import components.train_vqvae.step as train
from moso.errors import ConfigError, DataError, StopRequested
from moso.frames.cache import FrameCache
from moso.frames.clips import Clip, Clips, to_float
from moso.provenance import digest_folder, read_provenance
from moso.step import Context, StopSignal
from moso.tokens.store import TokenStore
from moso.training.config import TrainingConfig
from moso.vqvae.decompose import pseudo_clip
from moso.vqvae.losses import LossConfig
from moso.vqvae.model import load_vqvae
from moso.vqvae.objective_config import ObjectiveConfig, PreprocessingConfig, SoftStartConfig


class StopAfter(StopSignal):
    """A stop signal that is raised once it was asked `count` times."""

    def __init__(self, count):
        super().__init__()
        self.left = count

    def __bool__(self):
        self.left -= 1
        return self.left < 0


@pytest.fixture(scope="module")
def config(small):
    return train.Config(
        model=small,
        training=TrainingConfig(
            steps=4, batch=2, log_every=2, validate_every=2, checkpoint_every=1, channels_last=True
        ),
        loss=LossConfig("l1", ssim=0.3),
        objective=ObjectiveConfig(
            decode_pools=2,
            preprocessing=PreprocessingConfig(until_step=1),
            soft_start=SoftStartConfig(most=0.5, motion_gain=99.0, vectors_per_code=4, iterations=2),
        ),
        seed=3,
    )


@pytest.fixture(scope="module")
def trained(config, frames_folder, tmp_path_factory):
    """Output folder of train_vqvae; to be read only."""
    folder = tmp_path_factory.mktemp("trained")
    train.run(config, {"frames": frames_folder}, {"vqvae": folder / "vqvae"}, Context(folder / "work", device="cpu"))
    return folder / "vqvae"


def test_the_output_holds_a_model_its_curve_and_its_provenance(trained, frames_folder):
    record = read_provenance(trained, format="moso.vqvae", version=1)
    assert record["inputs"] == {"frames": FrameCache.open(frames_folder).digest}
    assert (record["seed"], record["config"]["model"]["pools"]) == (3, 3)
    lines = (trained / "history.csv").read_text().splitlines()
    assert lines[0].startswith("step,")
    assert [line.split(",")[0] for line in lines[1:]] == ["2", "4"]
    assert {"loss", "l1", "dissimilarity", "commitment", "validation_psnr", "validation_psnr_frozen"} < set(
        lines[0].split(",")
    )
    assert load_vqvae(trained).grids.tokens == 8 * 16 + 8 * 16 + 6 * 4 * 8


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_stopped_training_goes_on_to_the_same_folder(config, trained, frames_folder, tmp_path, stop_at):
    """Before, at and after the end of the soft start (step 2)."""
    paths, output = {"frames": frames_folder}, {"vqvae": tmp_path / "again"}
    context = Context(tmp_path / "other", device="cpu", stop=StopAfter(stop_at - 1))
    with pytest.raises(StopRequested):
        train.run(config, paths, output, context)
    assert not (tmp_path / "again").exists()
    train.run(config, paths, output, Context(tmp_path / "other", device="cpu"))
    assert digest_folder(tmp_path / "again") == digest_folder(trained)


def test_another_seed_gives_another_model(config, trained, frames_folder, tmp_path):
    other = dataclasses.replace(config, seed=4)
    train.run(other, {"frames": frames_folder}, {"vqvae": tmp_path / "b"}, Context(tmp_path / "work", device="cpu"))
    assert not torch.equal(load_vqvae(tmp_path / "b").codebook, load_vqvae(trained).codebook)


def test_start_values_depend_on_the_seed_alone(config):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = train.build_model(config).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    for name, value in train.build_model(config).state_dict().items():
        assert torch.equal(value, first[name])


def test_frames_of_another_size_are_refused(config, frames_folder, tmp_path):
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, height=32))
    with pytest.raises(ConfigError, match=r"model.height = 32: the frames' height is 16"):
        train.run(other, {"frames": frames_folder}, {"vqvae": tmp_path / "v"}, Context(tmp_path / "w", device="cpu"))


def test_episodes_shorter_than_a_clip_are_refused(config, write_cache, tmp_path):
    frames = write_cache(tmp_path / "short", {"train": 2}, 5)
    with pytest.raises(DataError, match=r"no training episode has 6 frames \(the longest of all has 5\)"):
        train.run(config, {"frames": frames}, {"vqvae": tmp_path / "v"}, Context(tmp_path / "w", device="cpu"))


def test_a_data_set_without_validation_episodes_trains(config, write_cache, tmp_path):
    frames = write_cache(tmp_path / "plain", {"train": 2}, 6)
    train.run(config, {"frames": frames}, {"vqvae": tmp_path / "v"}, Context(tmp_path / "w", device="cpu"))
    assert "validation" not in (tmp_path / "v" / "history.csv").read_text()


def _extract(config, frames, vqvae, tmp_path, name, stop=None):
    context = Context(tmp_path / "work", device="cpu")
    if stop is not None:
        context = dataclasses.replace(context, stop=stop)
    extract.run(config, {"frames": frames, "vqvae": vqvae}, {"tokens": tmp_path / name}, context)
    return tmp_path / name


def test_the_store_holds_what_the_model_makes_of_target_and_pseudo_clip(trained, frames_folder, tmp_path):
    folder = _extract(extract.Config(2, starts_per_episode=2, batch=4), frames_folder, trained, tmp_path, "tokens")
    store, model, cache = TokenStore.open(folder), load_vqvae(trained), FrameCache.open(frames_folder)
    assert (store.given_frames, store.given_motion_frames, store.grids) == (2, 2, model.grids)
    assert torch.equal(store.codebook, model.codebook)
    expected = [f"episode_{e}@{s:05d}" for e in range(6) for s in (0, 2)]
    assert store.table["clip_id"].tolist() == expected
    assert store.table["split"].tolist() == ["train"] * 8 + ["validation"] * 4
    frames = to_float(Clips(cache, [Clip.parse(i) for i in expected[4:8]], 6).batch(np.arange(4)))
    target, pseudo = model.encode(frames), model.encode(pseudo_clip(frames, 2))
    batch = store.batch(np.arange(4, 8))
    assert torch.equal(batch.target.scene, target.scene)
    assert torch.equal(batch.target.object, target.object)
    assert torch.equal(batch.target.motion, target.motion)
    assert torch.equal(batch.pseudo_scene, pseudo.scene)
    assert torch.equal(batch.pseudo_object, pseudo.object)
    assert read_provenance(folder, format="moso.tokens", version=1)["inputs"] == {
        "frames": cache.digest,
        "vqvae": read_provenance(trained)["digest"],
    }


@pytest.mark.parametrize("stop_after", [0, 1, 3])
def test_a_stopped_extraction_goes_on_to_the_same_bytes(trained, frames_folder, tmp_path, monkeypatch, stop_after):
    """Shards of 4 clips, batches of 2, splits that end inside a batch (12 training clips; 18 in all)."""
    monkeypatch.setattr(extract, "SHARD_CLIPS", 4)
    config = extract.Config(2, starts_per_episode=3, batch=2, splits=("train", "validation"))
    whole = _extract(config, frames_folder, trained, tmp_path, "whole")
    encoded = []
    original = extract.encode
    monkeypatch.setattr(extract, "encode", lambda *args: encoded.append(1) or original(*args))
    with pytest.raises(StopRequested):
        _extract(config, frames_folder, trained, tmp_path, "parts", StopAfter(stop_after))
    assert not (tmp_path / "parts").exists()
    parts = _extract(config, frames_folder, trained, tmp_path, "parts")
    assert digest_folder(parts) == digest_folder(whole)
    # 9 batches, and what had not filled its shard (one of two batches) is done again
    assert len(encoded) == 9 + (stop_after + 1) % 2


def test_tokens_do_not_depend_on_the_batch_they_are_encoded_in(trained, frames_folder, tmp_path):
    stores = [
        TokenStore.open(_extract(extract.Config(2, batch=n), frames_folder, trained, tmp_path, f"by_{n}"))
        for n in (1, 5)
    ]
    rows = np.arange(len(stores[0]))
    assert len(rows) == 18
    one, five = (store.batch(rows) for store in stores)
    assert torch.equal(one.target.motion, five.target.motion)
    assert torch.equal(one.pseudo_scene, five.pseudo_scene)


def _starts(**settings):
    config = extract.Config(2, **settings)
    return extract._starts(config, "episode_0", 19)


def test_starts_are_even_from_the_first_window_to_the_last():
    assert _starts(starts_per_episode=4) == [0, 6, 12, 18]
    assert _starts(starts_per_episode=1) == [0]
    assert _starts() == _starts(starts_per_episode=50) == list(range(19))


def test_random_starts_are_a_function_of_seed_and_episode():
    first = _starts(starts_per_episode=5, starts="random")
    assert first == sorted(set(first)) == _starts(starts_per_episode=5, starts="random")
    assert first != _starts(starts_per_episode=5, starts="random", start_seed=1)
    assert first != extract._starts(extract.Config(2, starts_per_episode=5, starts="random"), "episode_1", 19)


def test_without_given_frames_there_is_no_pseudo_clip(trained, frames_folder, tmp_path):
    store = TokenStore.open(_extract(extract.Config(0, 1), frames_folder, trained, tmp_path, "unconditional"))
    batch = store.batch(np.arange(6))
    assert (store.given_frames, store.given_motion_frames) == (0, 0)
    assert int(batch.pseudo_scene.max()) == int(batch.pseudo_object.max()) == 0
    assert int(batch.target.scene.max()) > 0


@pytest.mark.parametrize("given", [0, 2])
def test_a_structure_without_some_components_is_trained_and_extracted(
    config, frames_folder, tmp_path, decomposition, given
):
    """Both steps as DVC calls them; with separate codebooks, so that tokens say whose part they lie in."""
    model = dataclasses.replace(config.model, decomposition=decomposition, codebooks="separate")
    training = dataclasses.replace(config.training, steps=2)
    changed = dataclasses.replace(config, model=model, training=training)
    train.run(changed, {"frames": frames_folder}, {"vqvae": tmp_path / "v"}, Context(tmp_path / "w", device="cpu"))
    store = TokenStore.open(_extract(extract.Config(given, 2), frames_folder, tmp_path / "v", tmp_path, "tokens"))
    assert store.grids == model.grids
    batch, part = store.batch(np.arange(12)), 24 // len(model.components)
    for number, name in enumerate(model.components):
        tokens = getattr(batch.target, name)
        assert tokens.numel() == 12 * np.prod(model.grids.shape(name))
        assert set((tokens // part).unique().tolist()) == {number}
    for name in {"scene", "object"} - set(model.components):
        assert getattr(batch.target, name).shape == getattr(batch, f"pseudo_{name}").shape == (12, 0, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (extract.Config(6), r"given_frames = 6: .*0 to 5 would fit"),
        (extract.Config(2, splits=("trian",)), r"splits = 'trian': .*it has: train, validation"),
    ],
)
def test_an_extraction_that_cannot_be_is_refused(trained, frames_folder, tmp_path, wrong, message):
    with pytest.raises(ConfigError, match=message):
        _extract(wrong, frames_folder, trained, tmp_path, "tokens")


def test_an_input_that_is_no_output_of_its_step_is_refused(trained, frames_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(frames_folder, copy)
    with pytest.raises(Exception, match=r"format 'moso\.frames', expected 'moso\.vqvae'"):
        _extract(extract.Config(2), frames_folder, copy, tmp_path, "tokens")
