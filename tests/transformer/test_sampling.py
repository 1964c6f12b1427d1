import pytest
import torch
from small_transformers import EQUAL, GIVEN, N, build, tokens

from moso.transformer.config import SamplingConfig
from moso.transformer.masking import masked_after
from moso.transformer.sampling import fill_motion, sample

SAMPLED = SamplingConfig(steps=5, confidence_noise=1.0)


def _sample(model, clips, config=SAMPLED, seeds=None, on_step=None):
    seeds = range(len(clips)) if seeds is None else seeds
    return sample(model, clips.scene, clips.object, clips.motion[:, :GIVEN], config, seeds, on_step)


def test_given_and_kept_tokens_never_change_and_masked_ones_fall_as_the_schedule_says(model):
    clips, steps = tokens(model.grids, 3), []
    drawn = _sample(model, clips, on_step=lambda step, motion: steps.append(motion.clone()))
    places = model.grids.motion[0] * model.grids.motion[1]
    assert len(steps) == 5
    before = torch.full_like(drawn.motion, model.mask)
    before[:, :GIVEN] = clips.motion[:, :GIVEN]
    for step, motion in enumerate(steps):
        known = before != model.mask
        assert torch.equal(motion[known], before[known])
        masked = (motion == model.mask).sum(dim=(2, 3))
        assert masked[:, :GIVEN].sum() == 0
        assert (masked[:, GIVEN:] == masked_after(step, 5, places)).all()
        before = motion
    assert torch.equal(steps[-1], drawn.motion)
    assert drawn.motion.max() < N


def test_a_clip_and_a_seed_give_the_same_tokens_whatever_the_batch(model):
    clips = tokens(model.grids, 4)
    together = _sample(model, clips, seeds=[3, 1, 4, 1])
    for i, seed in enumerate([3, 1, 4, 1]):
        alone = _sample(model, clips[i : i + 1], seeds=[seed])
        assert torch.equal(alone.scene[0], together.scene[i])
        assert torch.equal(alone.object[0], together.object[i])
        assert torch.equal(alone.motion[0], together.motion[i])


def test_another_seed_gives_other_tokens():
    model, clips = build(), tokens(EQUAL, 1)
    one, two = (_sample(model, clips, seeds=[seed]) for seed in (0, 1))
    assert not torch.equal(one.scene, two.scene)
    assert not torch.equal(one.motion, two.motion)


def test_without_noise_and_temperature_the_seed_is_of_no_account():
    model, clips = build(), tokens(EQUAL, 1)
    greedy = SamplingConfig(steps=3, motion_temperature=0, confidence_noise=0, scene_object="argmax")
    one, two = (_sample(model, clips, greedy, seeds=[seed]) for seed in (0, 1))
    assert torch.equal(one.motion, two.motion)
    scene, object = model.scene_object_logits(clips.scene, clips.object)
    assert torch.equal(one.scene, scene.argmax(-1))
    assert torch.equal(one.object, object.argmax(-1))


def test_one_greedy_step_takes_the_likeliest_tokens():
    model, clips = build(), tokens(EQUAL, 2)
    drawn = _sample(model, clips, SamplingConfig(steps=1, motion_temperature=0, scene_object="argmax"))
    motion = clips.motion.clone()
    motion[:, GIVEN:] = model.mask
    logits = model.motion_logits(motion, model.guidance(drawn.scene, drawn.object))
    assert torch.equal(drawn.motion[:, GIVEN:].flatten(), logits.argmax(-1))


def test_dropout_is_off_while_sampling_and_the_mode_is_restored():
    model, clips = build(dropout=0.5), tokens(EQUAL, 1)
    expected = _sample(model, clips).motion
    model.train()
    assert torch.equal(_sample(model, clips).motion, expected)
    assert model.training


def test_sampling_leaves_the_global_random_state_alone():
    before = torch.random.get_rng_state()
    _sample(build(), tokens(EQUAL, 1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_unconditional_sampling_starts_from_masks_alone():
    from moso.tokens.store import codebook_digest
    from moso.transformer.model import MosoTransformer

    codes = torch.zeros(N, 2)
    model = MosoTransformer(build().config, EQUAL, N, codes, 0, 0, codebook_digest(codes))
    nothing = torch.full((2, 4, 4), model.mask)
    drawn = sample(model, nothing, nothing, torch.zeros(2, 0, 2, 2, dtype=torch.int64), SAMPLED, [0, 1])
    assert max(part.max() for part in (drawn.scene, drawn.object, drawn.motion)) < N
    assert not torch.equal(drawn.motion[0], drawn.motion[1])


def test_any_set_of_known_motion_tokens_can_be_filled_up():
    # Interpolation: every second frame is known, and one token of the others.
    model, clips = build(), tokens(EQUAL, 2)
    motion = clips.motion.clone()
    motion[:, 1::2] = model.mask
    motion[:, 1::2, 0, 0] = 7
    known = motion != model.mask
    guidance = model.guidance(clips.scene, clips.object)
    filled = fill_motion(model, motion, guidance, SamplingConfig(steps=3), [0, 1])
    assert torch.equal(filled[known], motion[known])
    assert filled.max() < N


def test_motion_tokens_of_too_few_given_frames_or_too_few_seeds_are_refused():
    model, clips = build(), tokens(EQUAL, 2)
    with pytest.raises(ValueError, match="1 frames given, this model takes 2"):
        sample(model, clips.scene, clips.object, clips.motion[:, :1], SAMPLED, [0, 1])
    with pytest.raises(ValueError, match="1 seeds for 2 clips"):
        _sample(model, clips, seeds=[0])
