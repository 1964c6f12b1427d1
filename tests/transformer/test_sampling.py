from dataclasses import fields
from itertools import pairwise

import pytest
import torch
from small_transformers import DEVIATIONS, EQUAL, FORMS, FRAMES, GIVEN, SINGLE, N, build, tokens
from torch.utils._python_dispatch import TorchDispatchMode

from moso.training.random import generator
from moso.transformer.config import SamplingConfig
from moso.transformer.filling import draw, gumbel
from moso.transformer.masking import masked_after
from moso.transformer.sampling import fill_motion, sample

SAMPLED = SamplingConfig(steps=5, confidence_noise=1.0)


def _sample(model, clips, config=SAMPLED, seeds=None, on_step=None, **more):
    seeds = range(len(clips)) if seeds is None else seeds
    return sample(model, clips.scene, clips.object, clips.motion[:, :GIVEN], config, seeds, on_step, **more)


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


@pytest.mark.parametrize("form", [{}, SINGLE])
def test_unconditional_sampling_starts_from_masks_alone(form):
    model = build(given=0, **form)
    nothing = torch.full((2, 4, 4), model.mask)
    drawn = sample(model, nothing, nothing, torch.zeros(2, 0, 2, 2, dtype=torch.int64), SAMPLED, [0, 1])
    assert max(part.max() for part in (drawn.scene, drawn.object, drawn.motion)) < N
    assert not torch.equal(drawn.motion[0], drawn.motion[1])


@pytest.mark.parametrize("form", [{}, {"merged_scene_object": True, **DEVIATIONS}, SINGLE])
def test_one_transformer_generates_and_predicts(form):
    model, clips = build(unconditional=True, **form), tokens(EQUAL, 1)
    nothing = torch.full((1, 4, 4), model.mask)
    generated = sample(model, nothing, nothing, clips.motion[:, :0], SAMPLED, [3])
    assert max(part.max() for part in (generated.scene, generated.object, generated.motion)) < N
    assert _sample(model, clips).motion.max() < N
    # Masks in the place of the given tokens say the same as none, so that both kinds of clips may share a batch.
    hidden = torch.full_like(clips.motion[:, :GIVEN], model.mask)
    again = sample(model, nothing, nothing, hidden, SAMPLED, [3])
    assert torch.equal(generated.motion, again.motion)
    mixed = sample(
        model,
        torch.cat([clips.scene, nothing]),
        torch.cat([clips.object, nothing]),
        torch.cat([clips.motion[:, :GIVEN], hidden]),
        SAMPLED,
        [0, 3],
    )
    assert torch.equal(mixed.motion[1:], generated.motion)
    assert torch.equal(mixed.motion[:1], _sample(model, clips).motion)


def test_a_transformer_that_is_not_trained_for_it_refuses_to_start_from_nothing():
    model, clips = build(), tokens(EQUAL, 1)
    assert not model.unconditional
    with pytest.raises(ValueError, match="0 frames given, this model takes 2"):
        sample(model, clips.scene, clips.object, clips.motion[:, :0], SAMPLED, [0])


def _known_sets():
    """Which motion tokens are known, for clips of five frames of 2 x 2."""
    every_second, first_and_last, random = (torch.zeros(3, 5, 2, 2, dtype=torch.bool) for _ in range(3))
    every_second[:, ::2] = True
    every_second[:, 1::2, 0, 0] = True
    first_and_last[:, [0, -1]] = True
    random = torch.rand(3, 5, 2, 2, generator=torch.Generator().manual_seed(4)) < 0.5
    return {"every second": every_second, "first and last": first_and_last, "another set in each clip": random}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("known", _known_sets())
def test_any_set_of_known_motion_tokens_can_be_filled_up(form, known):
    model = FORMS[form]()
    clips, known = tokens(model.grids, 3), _known_sets()[known][..., : model.grids.motion[0], : model.grids.motion[1]]
    motion = clips.motion.masked_fill(~known, model.mask)
    guidance = model.guidance(clips.scene, clips.object, clips.scene, clips.object, clips.motion[:, :GIVEN])
    steps = []
    config = SamplingConfig(steps=3, confidence_noise=1.0)
    filled = fill_motion(model, motion, guidance, config, [0, 1, 2], lambda _, now: steps.append(now.clone()))
    assert filled.max() < N
    before = motion
    for after in steps:
        kept = before != model.mask
        assert torch.equal(after[kept], before[kept])
        before = after
    alone = fill_motion(model, motion[1:2], _only(guidance, 1), config, [1])
    assert torch.equal(alone[0], filled[1])


def _only(guidance, row):
    return type(guidance)(
        **{f.name: None if getattr(guidance, f.name) is None else getattr(guidance, f.name)[row : row + 1]
           for f in fields(guidance)}
    )  # fmt: skip


def test_where_every_token_is_known_no_network_runs(model):
    clips = tokens(model.grids, 1)
    guidance = model.guidance(clips.scene, clips.object, clips.scene, clips.object, clips.motion[:, :GIVEN])
    calls = _calls(model)
    steps = []
    filled = fill_motion(model, clips.motion, guidance, SAMPLED, [0], lambda step, _: steps.append(step))
    assert torch.equal(filled, clips.motion)
    assert calls["motion"] == []
    assert steps == [0, 1, 2, 3, 4]


def _calls(model):
    """Shapes of what reaches the norm before the output layer, and the first block of each network."""
    calls = {"motion": [], "content": [], "answers": []}

    def watch(module, name):
        module.register_forward_hook(lambda _, inputs, output: calls[name].append(tuple(inputs[0].shape)))

    if model.config.wiring == "single":
        watch(model.single.blocks[0], "motion")
        watch(model.single.norm, "answers")
    else:
        watch(model.motion.blocks[0], "motion")
        watch(model.motion.norm, "answers")
        watch(model.scene_object.blocks[0], "content")
    return calls


def test_logits_are_computed_where_a_token_is_still_masked_and_nowhere_else(model):
    clips, places = tokens(model.grids, 3), model.grids.motion[0] * model.grids.motion[1]
    calls = _calls(model)
    _sample(model, clips)
    sizes = [places] * (FRAMES - GIVEN)
    if model.config.wiring == "single":
        sizes += [h * w for h, w in (model.grids.scene, model.grids.object) if h]
    masked = [[size, *(masked_after(step, 5, size) for step in range(5))] for size in sizes]
    expected = [
        3 * sum(counts[step] for counts in masked)
        for step in range(5)
        if any(counts[step] != counts[step + 1] for counts in masked)
    ]
    assert [rows for rows, _ in calls["answers"]] == expected


def test_a_step_in_which_no_token_would_be_revealed_costs_nothing():
    # Four tokens a frame: floor(4 cos(pi i / 32)) falls from 4 to 3, 2, 1 and 0 only.
    model, clips = build(), tokens(EQUAL, 2)
    calls, masked = _calls(model), []
    _sample(model, clips, SamplingConfig(steps=16), on_step=lambda _, now: masked.append(int((now == N).sum())))
    revealing = sum(after != before for before, after in pairwise([2 * 4 * (FRAMES - GIVEN), *masked]))
    assert revealing == 4
    assert len(calls["motion"]) == revealing
    assert len(masked) == 16


def _plainly(model, clips, config, seed):
    """The same clip sampled by a plain loop: every step computed, every frame looked at, numbers drawn as they come."""
    random = generator(seed, "sampling")
    given = clips.motion[:, :GIVEN]
    content = []
    for logits in model.scene_object_logits(clips.scene, clips.object, given):
        uniform = torch.rand(logits.shape[1:3], generator=random)
        content.append(draw(logits[0].flatten(0, 1), uniform.flatten(), config.scene_object_temperature, config.top_k))
    scene, object = (part.view(1, *grid) for part, grid in zip(content, (EQUAL.scene, EQUAL.object), strict=True))
    guidance = model.guidance(scene, object, clips.scene, clips.object, given)
    motion = clips.motion.clone()
    motion[:, GIVEN:] = model.mask
    for step in range(config.steps):
        uniform = torch.rand((2, *EQUAL.shape("motion")), generator=random)
        masked = motion == model.mask
        if masked.any():
            logits = model.motion_logits(motion, guidance)
            drawn = draw(logits, uniform[0][masked[0]], config.motion_temperature, config.top_k)
            sure = logits.log_softmax(-1)[torch.arange(len(drawn)), drawn]
            sure = sure + config.confidence_noise * gumbel(uniform[1][masked[0]])
            motion[masked] = drawn
            confidence = torch.full(motion.shape, torch.inf)
            confidence[masked] = sure
            for t in range(GIVEN, FRAMES):
                again = confidence[0, t].flatten().argsort()[: masked_after(step, config.steps, 4, config.schedule)]
                motion[0, t].view(-1)[again] = model.mask
    return scene, object, motion


@pytest.mark.parametrize(
    "config", [SAMPLED, SamplingConfig(steps=16, top_k=3, schedule="linear"), SamplingConfig(steps=1)]
)
@pytest.mark.parametrize("settings", [{}, {"merged_scene_object": True, **DEVIATIONS}])
def test_sampling_is_the_plain_loop_over_all_steps(config, settings):
    model, clips = build(**settings), tokens(EQUAL, 3)
    drawn = _sample(model, clips, config, seeds=[5, 6, 7])
    with torch.no_grad():
        for i, seed in enumerate((5, 6, 7)):
            scene, object, motion = _plainly(model, clips[i : i + 1], config, seed)
            assert torch.equal(drawn.scene[i], scene[0])
            assert torch.equal(drawn.object[i], object[0])
            assert torch.equal(drawn.motion[i], motion[0])


@pytest.mark.parametrize("scene_object", ["sample", "argmax"])
def test_many_samples_of_a_clip_are_those_of_its_seeds_one_by_one(model, scene_object):
    clips = tokens(model.grids, 2)
    config = SamplingConfig(steps=3, scene_object=scene_object)
    many = _sample(model, clips, config, seeds=[4, 5, 6, 7], repeats=2)
    for row, seed in enumerate(range(4, 8)):
        clip = slice(row // 2, row // 2 + 1)
        one = _sample(model, clips[clip], config, seeds=[seed])
        for name in ("scene", "object", "motion"):
            assert torch.equal(getattr(many, name)[row], getattr(one, name)[0])


def test_the_samples_of_a_clip_differ():
    for scene_object in ("sample", "argmax"):
        config = SamplingConfig(steps=3, scene_object=scene_object)
        many = _sample(build(), tokens(EQUAL, 1), config, seeds=range(4), repeats=4)
        assert len(set(map(str, many.motion.tolist()))) == 4


@pytest.mark.parametrize(("scene_object", "guided"), [("sample", 6), ("argmax", 2)])
def test_guidance_is_computed_once_a_draw_and_transformer_so_once_a_clip(scene_object, guided):
    model, clips = build(), tokens(EQUAL, 2)
    calls = _calls(model)
    _sample(model, clips, SamplingConfig(steps=5, scene_object=scene_object), seeds=range(6), repeats=3)
    content = 16 + 16
    # TransformerSO for two clips, TransformerG (with a query a frame) for their draws, neither again in the steps.
    assert calls["content"] == [(2, content, 16), (guided, content + FRAMES, 16)]
    assert [shape[0] for shape in calls["motion"]] == [6] * len(calls["motion"])


class _Waiting(TorchDispatchMode):
    """Counts the operations whose result the host has to wait for."""

    WAITING = ("aten._local_scalar_dense", "aten.nonzero.", "aten.masked_select", "aten.equal")

    def __init__(self):
        super().__init__()
        self.count, self.steps = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += str(func).startswith(self.WAITING)
        return func(*args, **(kwargs or {}))


def test_the_steps_of_sampling_never_wait_for_the_device(model):
    clips, counts = tokens(model.grids, 2), []
    with _Waiting() as waiting:
        _sample(model, clips, on_step=lambda step, motion: counts.append(waiting.count))
    assert len(set(counts)) == 1


def test_an_absent_component_has_no_tokens():
    for form, empty in (("no object", ["object"]), ("single, motion alone", ["scene", "object"])):
        model = FORMS[form]()
        drawn = _sample(model, tokens(model.grids, 3))
        assert [name for name in ("scene", "object", "motion") if getattr(drawn, name).numel() == 0] == empty
        assert drawn.grids == model.grids


def test_motion_tokens_of_too_few_given_frames_or_too_few_seeds_are_refused():
    model, clips = build(), tokens(EQUAL, 2)
    with pytest.raises(ValueError, match="1 frames given, this model takes 2"):
        sample(model, clips.scene, clips.object, clips.motion[:, :1], SAMPLED, [0, 1])
    with pytest.raises(ValueError, match="1 seeds for 2 clips"):
        _sample(model, clips, seeds=[0])
