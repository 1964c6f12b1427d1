"""The two sides of the adversarial loss: neither moves the other's weights, and each gets better at its own."""

import pytest
import torch

from moso.errors import ConfigError
from moso.frames.cache import FrameCache
from moso.frames.clips import Clips, to_float, windows
from moso.training.config import OptimizerConfig, TrainingConfig
from moso.training.sampler import samples
from moso.training.world import Solo
from moso.vqvae.adversarial import discriminators
from moso.vqvae.discriminators import AdversarialConfig
from moso.vqvae.losses import LossConfig
from moso.vqvae.objective import VQVAEObjective
from moso.vqvae.objective_config import ObjectiveConfig, PreprocessingConfig

SOLO = Solo()


@pytest.fixture
def make(build, frames_folder):
    """An objective with discriminators, on the small model and the drawn episodes."""

    def make(decode_pools=0, batch=2, reconstruction_weight=1.0, **adversarial):
        cache = FrameCache.open(frames_folder)
        settings = {"video": 0.1, "from_step": 0, "channels": 8, "layers": 1, **adversarial}
        return VQVAEObjective(
            build().train(),
            ObjectiveConfig(decode_pools=decode_pools, preprocessing=PreprocessingConfig(until_step=0)),
            LossConfig("l1", reconstruction_weight=reconstruction_weight, adversarial=AdversarialConfig(**settings)),
            TrainingConfig(steps=20, batch=batch),
            training_clips=Clips(cache, windows(cache, "train", 6), 6),
            validation_clips=None,
            seed=0,
        )

    return make


def _loss(objective, step=0, world=SOLO):
    objective.before_step(step, world)
    dealt = samples(0, objective.size, step * objective.training.batch, objective.training.batch, world)
    return objective.loss(objective.prepare(dealt), dealt, step)


def _weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def _assert_same(left, right):
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


def test_off_by_default(small):
    assert discriminators(LossConfig().adversarial, small, 0, torch.device("cpu")) == []


@pytest.mark.parametrize("weight", ["fixed", "adaptive"])
def test_the_generators_step_gives_the_discriminators_no_gradient_and_no_change(make, weight):
    objective = make(image=0.1, weight=weight)
    before = [_weights(d.module) for d in objective.discriminators]
    loss, figures = _loss(objective)
    loss.backward()
    torch.optim.SGD(objective.module.parameters(), 0.1).step()
    assert {"video_adversarial", "image_adversarial"} < set(figures)
    assert [d.name for d in objective.rivals] == ["video_discriminator", "image_discriminator"]
    for discriminator, old in zip(objective.discriminators, before, strict=True):
        assert [p for p in discriminator.module.parameters() if p.grad is not None] == []
        assert all(p.requires_grad for p in discriminator.module.parameters())
        _assert_same(old, discriminator.module.state_dict())


def test_the_discriminators_step_gives_the_generator_no_gradient_and_no_change(make):
    objective = make(image=0.1)
    _loss(objective)  # no backward: all gradients below are the discriminators' own
    before = _weights(objective.module)
    for discriminator in objective.discriminators:
        loss, figures = discriminator.loss(0)
        loss.backward()
        assert set(figures) == {"real", "drawn"}
        for name, p in discriminator.module.named_parameters():
            assert p.grad is not None, name
            # within the hinge true and drawn patches push the last bias up and down alike
            assert bool(p.grad.any()) == (name != "layers.5.bias"), name
        torch.optim.SGD(discriminator.module.parameters(), 0.1).step()
    assert [name for name, p in objective.module.named_parameters() if p.grad is not None] == []
    _assert_same(before, objective.module.state_dict())


def test_the_generators_term_reaches_every_part_of_the_vqvae(make):
    """Against its reconstruction alone: the adversarial term adds -weight * mean logit, and its gradient."""
    objective = make()
    with_term, figures = _loss(objective)
    objective.discriminators[0].weight = 0.0
    without, _ = _loss(objective)
    assert float((with_term - without).detach()) == pytest.approx(0.1 * float(figures["video_adversarial"]), abs=1e-6)
    difference = with_term - without
    difference.backward()
    still = [name for name, p in objective.module.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize("kind", ["video", "image"])
def test_a_discriminators_loss_falls_while_it_tells_true_from_drawn(make, kind):
    """The VQVAE stands still; unknowing the hinge loss is 1."""
    objective = make(**{"video": 0.0, "image": 0.0, kind: 0.1})
    (discriminator,) = objective.discriminators
    optimizer = torch.optim.AdamW(discriminator.module.parameters(), 2e-3)
    losses = []
    for step in range(40):
        with torch.no_grad():
            _loss(objective, step)
        loss, figures = discriminator.loss(step)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[0] == pytest.approx(1, abs=0.3)
    assert max(losses[-5:]) < 0.4
    assert float(figures["real"]) > 0.5 > -0.5 > float(figures["drawn"])


def test_the_generator_learns_to_fool_a_discriminator_that_stands_still(make):
    """With no other term than the adversarial one (the reconstruction's weight is tiny) the logits rise."""
    objective = make(reconstruction_weight=1e-6, video=1.0)
    optimizer = torch.optim.AdamW(objective.module.parameters(), 1e-2)
    logits = []
    for step in range(10):
        loss, figures = _loss(objective, step)
        logits.append(-float(figures["video_adversarial"]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert logits[-1] > logits[0] + 0.05


def test_the_video_discriminator_sees_the_order_of_frames_and_the_image_discriminator_does_not(make, video):
    objective = make(image=0.1)
    clips = video(3)
    shuffled = clips[:, [1, 0, 2, 3, 4, 5]]
    sees, blind = (d.fool(clips, clips) - d.fool(shuffled, clips) for d in objective.discriminators)
    assert abs(float(sees)) > 1e-5
    assert abs(float(blind)) < 1e-6


def test_before_its_step_there_is_no_term_and_from_it_on_whole_clips_are_drawn(make):
    """decode_pools = 1 of 3 pools, 2 frames each: 2 frames a clip before step 5, all 6 from then on."""
    objective = make(decode_pools=1, from_step=5)
    drawn = []
    objective.model.decoder.register_forward_hook(lambda module, inputs, output: drawn.append(output.shape[1]))
    assert "video_adversarial" not in _loss(objective, 4)[1]
    objective.after_step(4, SOLO)
    assert "video_adversarial" in _loss(objective, 5)[1]
    objective.after_step(5, SOLO)
    assert drawn == [2, 6]
    assert objective.rivals[0].from_step == 5


def test_the_image_discriminator_alone_leaves_the_drawn_pools_alone(make):
    objective = make(decode_pools=1, video=0.0, image=0.1)
    seen = []
    objective.discriminators[0].module.register_forward_hook(lambda module, inputs, _: seen.append(inputs[0].shape))
    _loss(objective)
    assert seen == [(2 * 2, 3, 16, 32)]


def _last_layer_gradients(objective):
    """Reconstruction's and the adversarial term's gradient at the decoder's last layer, by two plain backwards."""
    frames = to_float(objective.prepare(samples(0, objective.size, 0, 2, SOLO)))
    model, discriminator = objective.model, objective.discriminators[0].module
    videos = model.videos(frames)
    quantised = model.quantize(model.features(videos.scene, videos.object, videos.motion))
    drawn = model.decoder(*quantised.codes)
    weight = model.decoder.ups[-1].grow.weight
    reconstruction = torch.autograd.grad((drawn - frames).abs().mean(), weight, retain_graph=True)[0]
    adversarial = torch.autograd.grad(-discriminator(drawn.flatten(1, 2)).mean(), weight)[0]
    return reconstruction, adversarial


def test_the_adaptive_weight_is_the_ratio_of_gradient_norms_at_the_last_layer(make):
    objective = make(weight="adaptive")
    ours, theirs = _last_layer_gradients(objective)
    ratio = float(ours.norm() / (theirs.norm() + 1e-4))
    loss, figures = _loss(objective)
    expected = figures["l1"] + 0.25 * figures["commitment"] + 0.1 * ratio * figures["video_adversarial"]
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-4)


def test_the_adaptive_weight_is_bounded(make):
    """A discriminator that says nothing has no gradient; VQGAN's bound is 1e4, here before the weight of 0.1."""
    objective = make(weight="adaptive", reconstruction_weight=1e9)
    loss, figures = _loss(objective)
    rest = 1e9 * figures["l1"].double() + 0.25 * figures["commitment"].double()
    bounded = rest + 0.1 * 1e4 * figures["video_adversarial"].double()
    assert float(loss.detach()) == pytest.approx(float(bounded), rel=1e-6)


def test_the_adaptive_weight_does_not_depend_on_the_number_of_workers(make, workers):
    """Two workers with half of the batch each: their losses' mean is the loss of one worker with all of it."""
    alone = float(_loss(make(batch=4, weight="adaptive"))[0].detach())
    objectives = [make(batch=4, weight="adaptive") for _ in range(2)]
    parts = workers(2).run(lambda world: float(_loss(objectives[world.rank], world=world)[0].detach()))
    assert sum(parts) / 2 == pytest.approx(alone, rel=1e-5)


def test_start_values_are_a_function_of_the_seed_and_leave_the_global_state_alone(make, small):
    state = torch.random.get_rng_state()
    config = AdversarialConfig(video=0.1, image=0.1, channels=8, layers=1)
    first, again, other = (discriminators(config, small, seed, torch.device("cpu")) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    for one, two, three in zip(first, again, other, strict=True):
        _assert_same(_weights(one.module), two.module.state_dict())
        assert not torch.equal(one.module.layers[0].weight, three.module.layers[0].weight)


def test_the_optimizer_of_a_discriminator_is_its_own(make):
    objective = make(optimizer=OptimizerConfig("adam", learning_rate=1e-3))
    assert objective.rivals[0].optimizer == OptimizerConfig("adam", learning_rate=1e-3)


def test_frames_too_small_for_the_discriminator_are_refused_at_construction(make):
    with pytest.raises(ConfigError, match=r"loss.adversarial.layers = 3: frames of 16 x 32"):
        make(layers=3)
