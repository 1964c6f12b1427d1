import json

import pytest
import torch
from small_transformers import EQUAL, GIVEN, MOTION_ALONE, N, build, tokens

from moso.config import build as build_config
from moso.errors import ConfigError, FormatError, MismatchError
from moso.tokens.clip_tokens import TokenGrids
from moso.transformer.config import LossConfig, SamplingConfig, TransformerConfig
from moso.transformer.model import MosoTransformer, load_transformer, save_transformer


def _count(config: TransformerConfig, grids: TokenGrids, given: int) -> int:
    with torch.device("meta"):
        model = MosoTransformer(config, grids, 16384, None, given, given, "")
    return sum(p.numel() for p in model.parameters())


def test_the_papers_model_has_265_million_parameters():
    # KTH 64; moso.md: "265.2M counted" in the released code.
    kth_64 = TokenGrids(20, (16, 16), (16, 16), (8, 8))
    e, c, m, n = 758, 1024, 2048, 16384
    linear = lambda i, o: i * o + o  # noqa: E731
    attention, mlp, norm = linear(c, 3 * c) + linear(c, c), linear(c, m) + linear(m, c), 2 * c
    vocabulary = (n + 1) * e + linear(e, c) + linear(c, n)
    scene_object = 16 * (attention + mlp + 2 * norm) + 2 * (2 * e) + 20 * e + norm
    motion = 8 * (2 * attention + mlp + 3 * norm) + 2 * (2 * e) + norm
    assert _count(TransformerConfig(), kth_64, 10) == vocabulary + scene_object + motion == 265_216_478


def test_the_kitti_models_differ_by_their_blocks():
    block, factorised = 8_399_872, 12_600_320
    grids = TokenGrids(20, (16, 16), (16, 16), (8, 8))
    smaller = _count(TransformerConfig(scene_object_blocks=7, motion_blocks=7), grids, 5)
    assert smaller == 265_216_478 - 9 * block - factorised


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 3}, r"heads = 3: must divide hidden = 1024; (2|4) would fit"),
        ({"dropout": 1.0}, r"dropout = 1.0: must lie in \[0, 1\)"),
        ({"motion_blocks": 0}, "motion_blocks = 0: must be at least 1"),
    ],
)
def test_settings_that_break_a_rule_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TransformerConfig(**settings)


def test_losses_and_sampling_that_break_a_rule_are_refused():
    with pytest.raises(ConfigError, match="changed_weight = 0"):
        LossConfig(changed_weight=0)
    with pytest.raises(ConfigError, match=r"unconditional_share = 1.5: must lie in \[0, 1\]"):
        LossConfig(unconditional_share=1.5)
    with pytest.raises(ConfigError, match="steps = 0"):
        SamplingConfig(steps=0)
    with pytest.raises(ConfigError, match=r"schedule = 'cubic'.*'square'"):
        build_config(SamplingConfig, {"schedule": "cubic"})


def test_given_frames_must_leave_something_to_predict():
    codes = torch.zeros(N, 2)
    with pytest.raises(ConfigError, match=r"given_frames = 5: must lie in \[0, 5\)"):
        MosoTransformer(TransformerConfig(hidden=16, heads=2), EQUAL, N, codes, 5, 2, "")
    with pytest.raises(ConfigError, match="given_motion_frames = 3"):
        MosoTransformer(TransformerConfig(hidden=16, heads=2), EQUAL, N, codes, 2, 3, "")
    with pytest.raises(ConfigError, match="show_given_motion = True: no motion token is given"):
        MosoTransformer(TransformerConfig(hidden=16, heads=2, show_given_motion=True), EQUAL, N, codes, 2, 0, "")


def test_more_can_be_shown_only_where_there_is_a_scene_or_an_object():
    for name in ("show_codes", "show_guidance_map"):
        with pytest.raises(ConfigError, match=f"{name} = True: there are no scene and object tokens"):
            build(MOTION_ALONE, **{name: True})


@pytest.mark.parametrize(
    ("given", "unconditional", "expected"), [(2, False, False), (2, True, True), (0, False, True), (0, True, True)]
)
def test_a_model_knows_whether_it_generates_with_nothing_given(tmp_path, given, unconditional, expected):
    model = build(given=given, unconditional=unconditional)
    save_transformer(model, tmp_path)
    assert (model.unconditional, load_transformer(tmp_path).unconditional) == (expected, expected)
    # A model written before the field was there learnt it with K = 0 alone.
    record = json.loads((tmp_path / "config.json").read_text())
    assert record.pop("unconditional") == expected
    (tmp_path / "config.json").write_text(json.dumps(record))
    assert load_transformer(tmp_path).unconditional == (given == 0)


def test_loading_gives_back_what_was_saved(model, tmp_path):
    save_transformer(model, tmp_path)
    loaded = load_transformer(tmp_path)
    assert (loaded.config, loaded.grids, loaded.codebook_digest) == (model.config, model.grids, model.codebook_digest)
    assert not loaded.training
    clips = tokens(model.grids, 2)
    for ours, theirs in zip(
        model.scene_object_logits(clips.scene, clips.object, clips.motion[:, :GIVEN]),
        loaded.scene_object_logits(clips.scene, clips.object, clips.motion[:, :GIVEN]),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    motion = clips.motion.masked_fill(clips.motion == 3, model.mask)
    known = (clips.scene, clips.object, clips.scene, clips.object, clips.motion[:, :GIVEN])
    logits = [m.motion_logits(motion, m.guidance(*known)) for m in (model, loaded)]
    assert torch.equal(*logits)


def test_a_transformer_of_another_codebook_is_refused(tmp_path):
    save_transformer(build(), tmp_path)
    load_transformer(tmp_path, codebook_digest=build().codebook_digest)
    with pytest.raises(MismatchError, match="not of 0123456789ab"):
        load_transformer(tmp_path, codebook_digest="0123456789abcdef")


def test_a_folder_without_weights_or_with_others_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"no config\.json"):
        load_transformer(tmp_path)
    save_transformer(build(), tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    record["model"]["mlp"] += 1
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(FormatError, match="size mismatch"):
        load_transformer(tmp_path)
