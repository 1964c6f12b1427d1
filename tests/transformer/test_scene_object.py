import pytest
import torch
from small_transformers import DEVIATIONS, EQUAL, FORMS, GIVEN, N, build, tokens

from moso.transformer.scene_object import enlarge


def test_logits_have_the_grids_shapes(model):
    clips = tokens(model.grids, 3)
    scene, object = model.scene_object_logits(clips.scene, clips.object, clips.motion[:, :GIVEN])
    assert scene.shape == (3, *model.grids.scene, N)
    assert object.shape == (3, *model.grids.object, N)


def test_guidance_is_one_embedding_a_frame(two):
    clips = tokens(two.grids, 3)
    guidance = two.guidance(clips.scene, clips.object, clips.scene, clips.object, clips.motion[:, :GIVEN])
    assert guidance.frames.shape == (3, two.grids.frames, 16)
    assert not torch.equal(guidance.frames[:, 0], guidance.frames[:, 1])


def test_transformer_g_is_transformer_so_with_queries():
    # Every block and embedding parameter that SO's output depends on is one that the guidance depends on too.
    model = build()
    clips = tokens(model.grids, 2)
    model.train()

    def used(output):
        model.zero_grad()
        output.sum().backward()
        return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}

    by_so = used(torch.cat([part.square().flatten() for part in model.scene_object_logits(clips.scene, clips.object)]))
    by_g = used(model.guidance(clips.scene, clips.object).frames.square())
    assert by_g - by_so == {"scene_object.queries.weight"}
    assert by_so - by_g == {"vocabulary.output.weight", "vocabulary.output.bias"}
    assert any(name.startswith("scene_object.blocks.1.") for name in by_so & by_g)


@pytest.mark.parametrize("form", [form for form in FORMS if "no object" not in form and "alone" not in form])
def test_scene_and_object_see_each_other(form):
    model = FORMS[form]()
    clips, other = tokens(model.grids, 1), tokens(model.grids, 1, seed=5)
    given = clips.motion[:, :GIVEN]
    before = model.scene_object_logits(clips.scene, clips.object, given)
    scene = model.scene_object_logits(clips.scene, other.object, given)[0]
    object = model.scene_object_logits(other.scene, clips.object, given)[1]
    assert not torch.allclose(scene, before[0])
    assert not torch.allclose(object, before[1])


def test_merged_positions_tell_scene_from_object():
    model = build(merged_scene_object=True)
    clips = tokens(model.grids, 1)
    one, two = (
        model.scene_object_logits(clips.scene, clips.object),
        model.scene_object_logits(clips.object, clips.scene),
    )
    assert not torch.allclose(one[0], two[0])
    assert not torch.allclose(one[0], one[1])


def test_given_motion_is_read_only_where_it_is_to_be_shown():
    clips, other = tokens(EQUAL, 1), tokens(EQUAL, 1, seed=5)
    for model, differs in ((build(), False), (build(**DEVIATIONS), True)):
        outputs = [model.scene_object_logits(clips.scene, clips.object, m.motion[:, :GIVEN])[0] for m in (clips, other)]
        assert torch.equal(*outputs) != differs


def test_enlarge_repeats_each_place_over_its_block():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None]
    assert enlarge(x, (4, 2)).flatten().tolist() == [1, 2, 1, 2, 3, 4, 3, 4]
    assert enlarge(x, (2, 4)).flatten().tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
