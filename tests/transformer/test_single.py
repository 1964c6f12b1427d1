import pytest
import torch
from small_transformers import EQUAL, GIVEN, MOTION_ALONE, ONE, SINGLE, UNEQUAL, N, build, tokens

from moso.errors import ConfigError
from moso.tokens.clip_tokens import TokenGrids
from moso.transformer.config import TransformerConfig
from moso.transformer.layers import initialise
from moso.transformer.model import MosoTransformer
from moso.transformer.single import Content, single_blocks


def _content(model, target, pseudo):
    return Content(target.scene, target.object, pseudo.scene, pseudo.object)


def _asked(clips, *components):
    return {name: torch.arange(getattr(clips, name).numel()) for name in components}


def _count(grids, **settings):
    with torch.device("meta"):
        model = MosoTransformer(TransformerConfig(**settings), grids, 16384, None, 10, 10, "")
    return sum(p.numel() for p in model.parameters())


def test_at_kth_64_it_has_the_parameters_of_the_other_wiring_and_with_30_blocks_nearly_the_papers_286_million():
    grids = TokenGrids(20, (16, 16), (16, 16), (8, 8))
    e, c, m, n = 758, 1024, 2048, 16384
    linear = lambda i, o: i * o + o  # noqa: E731
    block = linear(c, 3 * c) + linear(c, c) + linear(c, m) + linear(m, c) + 2 * (2 * c)
    vocabulary = (n + 1) * e + linear(e, c) + linear(c, n)
    # LayerNorms of the positions of scene, object, motion and frames, the two kinds, the last LayerNorm.
    rest = 4 * 2 * e + 2 * e + 2 * c
    assert single_blocks(TransformerConfig()) == 16 + 12
    assert _count(grids, wiring="single") == vocabulary + 28 * block + rest == 265_196_690
    assert _count(grids, wiring="two") == 265_216_478
    assert _count(grids, wiring="single", single_blocks=30) == vocabulary + 30 * block + rest == 281_996_434
    # 31 would be further from 286 million.
    assert vocabulary + 31 * block + rest - 286_000_000 > 286_000_000 - 281_996_434


@pytest.mark.parametrize(("blocks", "expected"), [((2, 3), 7), ((1, 1), 3), ((7, 7), 18)])
def test_half_a_block_is_rounded_up(blocks, expected):
    config = TransformerConfig(wiring="single", scene_object_blocks=blocks[0], motion_blocks=blocks[1])
    assert single_blocks(config) == expected


@pytest.mark.parametrize("name", ["show_given_motion", "show_codes", "show_guidance_map", "show_nearest"])
def test_there_is_nobody_to_show_more_to(name):
    with pytest.raises(ConfigError, match=rf"{name} = True: .*single.*set it to false"):
        TransformerConfig(wiring="single", **{name: True})


def test_no_block_is_refused():
    with pytest.raises(ConfigError, match="single_blocks = 0: must be at least 1, or null"):
        TransformerConfig(wiring="single", single_blocks=0)


@pytest.mark.parametrize(
    ("grids", "settings"), [(EQUAL, {}), (UNEQUAL, {}), (EQUAL, {"merged_scene_object": True}), (MOTION_ALONE, {})]
)
def test_a_token_is_answered_at_its_own_position(grids, settings):
    # Blocks that are the identity: an answer then depends on the token at its own position alone.
    model = build(grids, **SINGLE, **settings)
    with torch.random.fork_rng(devices=[]):
        initialise(model.single.blocks)
    clips, pseudo = tokens(grids, 3), tokens(grids, 3, seed=5)
    everything = _asked(clips, *grids.components)
    before = model.clip_logits(_content(model, clips, pseudo), clips.motion, everything)
    for component in grids.components:
        changed = {name: getattr(clips, name) for name in ("scene", "object", "motion")}
        flat = changed[component].flatten().clone()
        place = len(flat) - 2  # of the last clip
        flat[place] = (flat[place] + 1) % N
        changed[component] = flat.view_as(changed[component])
        content = Content(changed["scene"], changed["object"], pseudo.scene, pseudo.object)
        after = model.clip_logits(content, changed["motion"], everything)
        for name in grids.components:
            places = (before[name] != after[name]).any(dim=1).nonzero().flatten().tolist()
            # Merged, scene and object of a place stand at one position.
            together = settings and {name, component} <= {"scene", "object"}
            assert places == ([place] if name == component or together else [])


def test_logits_at_some_positions_are_those_of_all_positions(one):
    clips, pseudo = tokens(one.grids, 3), tokens(one.grids, 3, seed=5)
    components = one.grids.components
    everywhere = one.clip_logits(_content(one, clips, pseudo), clips.motion, _asked(clips, *components))
    asked = {name: torch.arange(getattr(clips, name).numel())[1::3] for name in components}
    some = one.clip_logits(_content(one, clips, pseudo), clips.motion, asked)
    for name in components:
        torch.testing.assert_close(some[name], everywhere[name][1::3], atol=1e-5, rtol=1e-4)


def test_every_token_is_seen_from_every_component():
    for form, make in ONE.items():
        model = make()
        clips, pseudo, other = (tokens(model.grids, 1, seed) for seed in (0, 5, 6))
        components = model.grids.components
        asked = {name: torch.tensor([0]) for name in components}

        def logits(target, past, motion, model=model, asked=asked):
            return model.clip_logits(_content(model, target, past), motion, asked)

        before = logits(clips, pseudo, clips.motion)
        last = clips.motion.clone()
        last[:, -1] = other.motion[:, -1]
        changes = [logits(clips, pseudo, last)]
        if len(components) > 1:
            changes += [logits(clips, other, clips.motion), logits(other, pseudo, clips.motion)]
        for after in changes:
            for name in components:
                assert not torch.allclose(before[name], after[name]), (form, name)


def test_the_same_place_means_another_thing_in_the_pseudo_clip():
    model = build(**SINGLE)
    clips, pseudo = tokens(EQUAL, 1), tokens(EQUAL, 1, seed=5)
    asked = {"motion": torch.arange(4)}
    one = model.clip_logits(_content(model, clips, pseudo), clips.motion, asked)["motion"]
    two = model.clip_logits(_content(model, pseudo, clips), clips.motion, asked)["motion"]
    assert not torch.allclose(one, two)


def test_the_public_functions_ask_the_one_network(one):
    grids = one.grids
    clips, pseudo = tokens(grids, 2), tokens(grids, 2, seed=5)
    nothing = [torch.full_like(part, one.mask) for part in (clips.scene, clips.object)]
    motion = torch.full_like(clips.motion, one.mask)
    motion[:, :GIVEN] = clips.motion[:, :GIVEN]
    both = one.scene_object_logits(pseudo.scene, pseudo.object, clips.motion[:, :GIVEN])
    present = [name for name in grids.components if name != "motion"]
    content = Content(*nothing, pseudo.scene, pseudo.object)
    expected = one.clip_logits(content, motion, _asked(clips, *present)) if present else {}
    for name, part in zip(("scene", "object"), both, strict=True):
        assert part.shape == (2, *getattr(grids, name), N)
        if name in present:
            assert torch.equal(part.flatten(0, 2), expected[name])
    # A pseudo clip that is not named is masked: interpolation knows the clip's own scene and object.
    told = one.guidance(clips.scene, clips.object)
    asked = (motion == one.mask).flatten().nonzero().squeeze(1)
    expected = one.clip_logits(Content(clips.scene, clips.object, *nothing), motion, {"motion": asked})["motion"]
    assert torch.equal(one.motion_logits(motion, told), expected)


def test_without_scene_and_object_it_is_a_network_of_motion_tokens():
    model = build(MOTION_ALONE, **SINGLE)
    assert not any("scene" in name or "object" in name for name in model.state_dict())
