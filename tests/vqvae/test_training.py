"""Stage I's training as a whole: discriminators and resuming, the average of the weights, and losses that are not
finite."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

import components.train_vqvae.step as train
from moso.errors import StopRequested
from moso.frames.cache import FrameCache
from moso.provenance import digest_folder
from moso.step import Context
from moso.training import checkpoint
from moso.training.config import OptimizerConfig, TrainingConfig
from moso.training.loop import NotFiniteError
from moso.vqvae.discriminators import AdversarialConfig
from moso.vqvae.losses import LossConfig
from moso.vqvae.objective_config import ObjectiveConfig, PreprocessingConfig

ADVERSARIAL = AdversarialConfig(
    video=0.1,
    image=0.05,
    from_step=2,
    weight="adaptive",
    optimizer=OptimizerConfig(learning_rate=1e-3),
    channels=8,
    layers=1,
)


class Killed(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def config(small):
    """Four steps, discriminators from the third on, one of three pools drawn before."""
    return train.Config(
        model=small,
        training=TrainingConfig(steps=4, batch=2, log_every=1, checkpoint_every=1, channels_last=True),
        loss=LossConfig("l1", adversarial=ADVERSARIAL),
        objective=ObjectiveConfig(decode_pools=1, preprocessing=PreprocessingConfig(until_step=1)),
        seed=3,
    )


@pytest.fixture(scope="module")
def trained(config, frames_folder, tmp_path_factory):
    """Output folder of train_vqvae, and every checkpoint that it wrote; to be read only."""
    folder = tmp_path_factory.mktemp("trained")
    return folder / "vqvae", _run(config, frames_folder, folder)


def _run(config, frames, folder, name="vqvae", kill_at=None, **settings):
    """Train; returns step -> checkpoint. `kill_at`: die as soon as that many steps are done."""
    found = {}

    def sink(path, step, figures):
        found[step] = checkpoint.load(path)
        if step == kill_at:
            raise Killed

    context = Context(folder / "work", device="cpu", on_checkpoint=sink, **settings)
    train.run(config, {"frames": frames}, {"vqvae": folder / name}, context)
    return found


@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_a_killed_training_goes_on_to_the_same_model_and_discriminators(
    config, trained, frames_folder, tmp_path, kill_at
):
    """Killed with the last step before the discriminators' first one done, with 2, just before it, and with 3."""
    folder, checkpoints = trained
    with pytest.raises(Killed):
        _run(config, frames_folder, tmp_path, kill_at=kill_at)
    resumed = _run(config, frames_folder, tmp_path)
    assert sorted(resumed) == list(range(kill_at + 1, 5))
    assert digest_folder(tmp_path / "vqvae") == digest_folder(folder)
    for group, tensors in checkpoints[4].tensors.items():
        for name, value in tensors.items():
            assert torch.equal(resumed[4].tensors[group][name], value), (group, name)


def test_a_stop_between_the_discriminators_steps_is_no_different(config, trained, frames_folder, tmp_path):
    class StopAfter:
        left = 3

        def __bool__(self):
            self.left -= 1
            return self.left < 0

    with pytest.raises(StopRequested):
        _run(config, frames_folder, tmp_path, stop=StopAfter())
    _run(config, frames_folder, tmp_path)
    assert digest_folder(tmp_path / "vqvae") == digest_folder(trained[0])


def test_discriminators_move_from_their_step_on_only(trained):
    _, checkpoints = trained
    groups = {"video_discriminator", "video_discriminator_optimizer"}
    groups |= {"image_discriminator", "image_discriminator_optimizer"}
    assert groups < checkpoints[1].tensors.keys()
    for name in ("video_discriminator", "image_discriminator"):
        weights = [checkpoints[step].tensors[name]["layers.0.weight"] for step in (1, 2, 3, 4)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[1], weights[2])
        assert not torch.equal(weights[2], weights[3])
        assert checkpoints[2].tensors[f"{name}_optimizer"] == {}


def test_the_saved_model_holds_no_discriminator_and_the_curve_does(trained, build):
    folder, _ = trained
    assert load_file(folder / "model.safetensors").keys() == build().state_dict().keys()
    header, *rows = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
    for name in ("video_adversarial", "image_adversarial", "video_discriminator_loss", "image_discriminator_real"):
        assert [bool(row[header.index(name)]) for row in rows] == [False, False, True, True], name


def test_without_adversarial_terms_nothing_changes(config, frames_folder, tmp_path):
    """A discriminator that is never reached changes no bit."""
    plain = dataclasses.replace(config, loss=LossConfig("l1"))
    later = dataclasses.replace(
        config, loss=LossConfig("l1", adversarial=dataclasses.replace(ADVERSARIAL, from_step=50))
    )
    _run(plain, frames_folder, tmp_path, "plain")
    _run(later, frames_folder, tmp_path, "later")
    assert digest_folder(tmp_path / "plain") == digest_folder(tmp_path / "later")


def test_the_saved_model_is_the_average_with_the_codebook_of_the_last_step(config, frames_folder, tmp_path):
    """Parameters are averaged; the codebook is an average of its own, of which restarted entries would spoil another:
    it is saved as the last step left it."""
    settings = dataclasses.replace(config.training, ema_decay=0.5)
    averaging = dataclasses.replace(config, training=settings, loss=LossConfig("l1"))
    checkpoints = _run(averaging, frames_folder, tmp_path)
    saved = load_file(tmp_path / "vqvae" / "model.safetensors")
    last, average = checkpoints[4].tensors["weights"], checkpoints[4].tensors["average"]
    assert average.keys() == {name for name in saved if not name.startswith("quantizer.")}
    for name, value in saved.items():
        assert torch.equal(value, average.get(name, last[name])), name
    assert not torch.equal(average["decoder.ups.0.grow.weight"], last["decoder.ups.0.grow.weight"])
    # by hand: from the start values, decays min(0.5, (1 + n) / (10 + n)) = 1/10, 2/11, 3/12, 4/13
    name = "motion_encoder.stem.0.reduce.weight"
    expected = train.build_model(averaging).state_dict()[name]
    for step, decay in enumerate((1 / 10, 2 / 11, 3 / 12, 4 / 13), start=1):
        expected = decay * expected + (1 - decay) * checkpoints[step].tensors["weights"][name]
    torch.testing.assert_close(average[name], expected)


def _poisoned(monkeypatch, at_step, poison):
    """Change the objective just before a step."""
    original = train.VQVAEObjective.before_step

    def before_step(self, step, world):
        original(self, step, world)
        if step == at_step:
            poison(self)

    monkeypatch.setattr(train.VQVAEObjective, "before_step", before_step)


def test_poisoned_weights_stop_the_run_with_step_clips_and_last_good_checkpoint(
    config, trained, frames_folder, tmp_path, monkeypatch
):
    """One weight becomes infinite before the third step; the rerun, unpoisoned, goes on from the second one's end."""
    with monkeypatch.context() as patch:
        _poisoned(patch, 2, lambda objective: objective.model.decoder.last_layer.data[0, 0].fill_(torch.inf))
        with pytest.raises(NotFiniteError) as caught:
            _run(config, frames_folder, tmp_path)
    message = str(caught.value)
    assert message.startswith("train_vqvae: step 2: loss ")
    named = message.split("on the clips ")[1].split(";")[0].split(", ")
    objective = train.build_objective(config, train.build_model(config), FrameCache.open(frames_folder))
    known = [clip.id for clip in objective.training_clips.clips]
    assert len(named) == 2
    assert set(named) <= set(known)
    assert known[0] == "episode_0@00000"
    assert "step_00000002; look at those clips" in message
    assert not (tmp_path / "vqvae").exists()
    _run(config, frames_folder, tmp_path)
    assert digest_folder(tmp_path / "vqvae") == digest_folder(trained[0])


def test_a_poisoned_clip_is_named(config, frames_folder, tmp_path, monkeypatch):
    """Its frames become undefined on their way into the network: the step that first draws it stops, and names it."""
    objective = train.build_objective(config, train.build_model(config), FrameCache.open(frames_folder))
    clips = objective.training_clips
    bad = clips.batch([7])[0]
    original = train.VQVAEObjective.loss

    def loss(self, batch, dealt, step):
        if any(torch.equal(clip, bad) for clip in batch):
            self.model.decoder.last_layer.data.fill_(torch.nan)
        return original(self, batch, dealt, step)

    monkeypatch.setattr(train.VQVAEObjective, "loss", loss)
    longer = dataclasses.replace(config, loss=LossConfig("l1"), training=dataclasses.replace(config.training, steps=8))
    with pytest.raises(NotFiniteError, match=rf"on the clips .*{clips.clips[7].id}") as caught:
        _run(longer, frames_folder, tmp_path)
    assert "loss nan" in str(caught.value)


def test_a_discriminator_that_is_poisoned_is_named(config, frames_folder, tmp_path, monkeypatch):
    def poison(objective):
        objective.rivals[0].loss = lambda step: (objective.rivals[0].module.layers[0].weight.sum() / 0, {})

    _poisoned(monkeypatch, 3, poison)
    with pytest.raises(NotFiniteError, match=r"step 3: loss of video_discriminator -?inf, .*episode_.*step_00000003"):
        _run(config, frames_folder, tmp_path)
