import torch
from small_transformers import DEVIATIONS, EQUAL, GIVEN, N, build, tokens

from moso.transformer.motion import around, nearest_known


def _guidance(model, clips):
    return model.guidance(clips.scene, clips.object, clips.scene, clips.object, clips.motion[:, :GIVEN])


def test_logits_at_some_positions_are_those_of_all_positions(model):
    clips = tokens(model.grids, 3)
    guidance = _guidance(model, clips)
    where = torch.rand(clips.motion.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    motion = clips.motion.masked_fill(where, model.mask)
    everywhere = model.motion_logits(motion, guidance, torch.ones_like(where)).view(*where.shape, N)
    torch.testing.assert_close(model.motion_logits(motion, guidance, where), everywhere[where], atol=1e-5, rtol=1e-4)
    assert torch.equal(model.motion_logits(motion, guidance), model.motion_logits(motion, guidance, where))


def test_masked_tokens_depend_on_known_ones_of_any_frame_and_on_the_content_where_there_is_any(model):
    clips = tokens(model.grids, 1)
    guidance = _guidance(model, clips)
    motion = clips.motion.clone()
    motion[:, -1] = model.mask
    before = model.motion_logits(motion, guidance)
    for frame in range(model.grids.frames - 1):
        changed = motion.clone()
        changed[:, frame] = (changed[:, frame] + 1) % N
        assert not torch.allclose(model.motion_logits(changed, guidance), before)
    other = _guidance(model, tokens(model.grids, 1, seed=5))
    same = torch.allclose(model.motion_logits(motion, other), before)
    assert same == (model.grids.components == ("motion",))


def test_clips_of_a_batch_do_not_see_each_other(model):
    clips = tokens(model.grids, 3)
    motion = clips.motion.clone()
    motion[:, GIVEN:] = model.mask
    together = model.motion_logits(motion, _guidance(model, clips)).view(3, -1, N)
    for i in range(3):
        alone = model.motion_logits(motion[i : i + 1], _guidance(model, clips[i : i + 1]))
        torch.testing.assert_close(together[i], alone, atol=1e-5, rtol=1e-4)


def test_nearest_known_by_hand():
    mask = 9
    motion = torch.tensor([[[1, mask], [mask, mask], [2, 3], [mask, mask], [mask, 4]]])
    near, age = nearest_known(motion, mask)
    assert near.tolist() == [[[mask, mask], [1, mask], [1, mask], [2, 3], [2, 3]]]
    assert age.tolist() == [[[0, 0], [1, 0], [2, 0], [1, 1], [2, 2]]]


def test_a_token_does_not_answer_for_itself():
    model = build(motion_copy_bias=True, show_nearest=True)
    clips = tokens(EQUAL, 1)
    near, _ = nearest_known(clips.motion.flatten(2), model.mask)
    assert torch.equal(near[:, 1:], clips.motion.flatten(2)[:, :-1])


def test_around_puts_the_finer_places_of_a_place_side_by_side():
    codes = torch.arange(16.0).view(1, 4, 4, 1)
    assert around(codes, (2, 2)).tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]]


def test_each_way_of_showing_more_to_m_changes_its_logits():
    clips = tokens(EQUAL, 1)
    motion = clips.motion.clone()
    motion[:, GIVEN:] = N
    for flag in ("show_given_motion", "show_codes", "show_guidance_map"):
        model = build(**{flag: True})
        guidance = _guidance(model, clips)
        assert guidance.places is not None
        without = type(guidance)(guidance.frames)
        assert not torch.allclose(model.motion_logits(motion, guidance), model.motion_logits(motion, without))
    assert _guidance(build(), clips).places is None
    assert set(DEVIATIONS) > {"show_given_motion", "show_codes", "show_guidance_map"}
