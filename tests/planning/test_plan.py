"""Plans of presets."""

import dataclasses

import pytest
import torch

from moso.cli.sizes import sizes
from moso.config import preset_names
from moso.errors import ConfigError
from moso.planning.fitting import check_fits, largest_batch, needed, remedies
from moso.planning.machine import host_memory
from moso.planning.plan import cache_bytes, gibibytes, measure_step, parameters, plan_stage, token_bytes
from moso.planning.stages import STAGES, Experiment
from moso.planning.text import duration, per_second, stage_lines
from moso.vqvae.discriminators import AdversarialConfig
from moso.vqvae.objective_config import PreprocessingConfig

CPU = torch.device("cpu")
TINY = Experiment.of_preset("sim_push/tiny")
# with one kind of step and no validation: planned many times over
QUICK = dataclasses.replace(
    TINY.with_training(validate_every=0),
    objective=dataclasses.replace(TINY.objective, preprocessing=PreprocessingConfig(until_step=0)),
)


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_has_the_parameters_that_info_tells(preset) -> None:
    experiment, size = Experiment.of_preset(preset), sizes(preset)
    assert [parameters(experiment, stage) for stage in STAGES] == [size.vqvae, size.transformer]


@pytest.mark.slow
@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_has_a_plan(preset) -> None:
    """With one block in the place of many, which are alike."""
    experiment = Experiment.of_preset(preset)
    experiment = dataclasses.replace(
        experiment.with_training(validate_every=0),
        vqvae=dataclasses.replace(experiment.vqvae, encoder_blocks=1, decoder_blocks=1),
        transformer=dataclasses.replace(
            experiment.transformer, scene_object_blocks=1, motion_blocks=1, single_blocks=1
        ),
    )
    for stage in STAGES:
        plan = plan_stage(experiment, stage, CPU, flops_per_s=1e11)
        assert plan.memory.gradients >= 4 * plan.parameters * 0.99
        assert plan.needed > plan.memory.step > plan.memory.kept > 0
        assert plan.total_s == plan.step_s * plan.steps > 0


@pytest.fixture
def no_imports(monkeypatch) -> None:
    """These models are smaller than what recomputation imports, so that it would never be worth its while."""
    monkeypatch.setattr("moso.planning.memory.process_bytes", lambda *_: 0)


@pytest.mark.slow
def test_settings_that_would_fit_are_named_those_that_keep_the_batch_first_and_take_what_they_are_said_to(
    no_imports,
) -> None:
    wide = QUICK.with_batch(9)
    plan = plan_stage(wide, "vqvae", CPU, flops_per_s=1e11)
    six, seven = (needed(QUICK, "vqvae", CPU, batch=n) for n in (6, 7))
    free = (six + seven) // 2
    found = dict(_named(remedies(wide, "vqvae", plan, CPU, free)))
    assert list(found) == ["accumulation=3", "recompute=True", "batch=6"]  # nine clips have no two equal parts
    assert found["batch=6"] == six
    assert found["accumulation=3"] == needed(wide, "vqvae", CPU, accumulation=3) <= free
    said = r"train_vqvae.training.batch = 9: takes .*fit: accumulation 3 \(.*\), recompute true \(.*\), batch 6 \("
    with pytest.raises(ConfigError, match=said):
        check_fits(wide, "vqvae", plan, CPU, free)
    check_fits(wide, "vqvae", plan, CPU, plan.needed)


@pytest.mark.slow
def test_the_largest_batch_is_found_and_none_where_one_clip_is_too_much() -> None:
    wide = QUICK.with_batch(5)
    plan = plan_stage(wide, "transformer", CPU, flops_per_s=1e11)
    one, three = (needed(QUICK, "transformer", CPU, batch=n) for n in (1, 3))
    assert largest_batch(wide, "transformer", CPU, plan, three) == (3, three)
    assert largest_batch(wide, "transformer", CPU, plan, one - 1) == (0, one)
    with pytest.raises(ConfigError, match=r"even a batch of 1 with recompute takes .*larger machine"):
        check_fits(wide, "transformer", plan, CPU, 1 << 20)


@pytest.mark.slow
def test_both_are_named_where_neither_alone_keeps_the_batch(no_imports) -> None:
    wide = QUICK.with_batch(3)
    plan = plan_stage(wide, "vqvae", CPU, flops_per_s=1e11)
    one, both = needed(QUICK, "vqvae", CPU, batch=1), {"accumulation": 3, "recompute": True}
    free = (needed(wide, "vqvae", CPU, **both) + min(one, needed(wide, "vqvae", CPU, recompute=True))) // 2
    assert list(dict(_named(remedies(wide, "vqvae", plan, CPU, free)))) == ["accumulation=3, recompute=True"]


def test_a_smaller_batch_with_recompute_is_named_where_nothing_else_fits(no_imports) -> None:
    """An adaptive weight knows no parts, and one clip is too much without recompute."""
    rivals = AdversarialConfig(video=0.0, image=0.1, from_step=0, channels=8, layers=1, weight="adaptive")
    wide = dataclasses.replace(QUICK.with_batch(3), vqvae_loss=dataclasses.replace(TINY.vqvae_loss, adversarial=rivals))
    plan = plan_stage(wide, "vqvae", CPU, flops_per_s=1e11)
    free = needed(wide, "vqvae", CPU, batch=1, recompute=True)
    assert free < needed(wide, "vqvae", CPU, batch=1)
    assert list(dict(_named(remedies(wide, "vqvae", plan, CPU, free)))) == ["batch=1, recompute=True"]


@pytest.mark.slow
def test_parts_are_not_named_where_the_loss_knows_none(no_imports) -> None:
    """An adaptive adversarial weight compares gradients of the whole batch."""
    rivals = AdversarialConfig(video=0.0, image=0.1, from_step=0, channels=8, layers=1, weight="adaptive")
    wide = dataclasses.replace(QUICK.with_batch(3), vqvae_loss=dataclasses.replace(TINY.vqvae_loss, adversarial=rivals))
    plan = plan_stage(wide, "vqvae", CPU, flops_per_s=1e11)
    assert list(dict(_named(remedies(wide, "vqvae", plan, CPU, plan.needed - 1)))) == ["recompute=True", "batch=2"]


def _named(found):
    return ((", ".join(f"{name}={value}" for name, value in changes.items()), size) for changes, size in found)


def test_tokens_and_frames_take_what_their_files_take() -> None:
    # 64 scene and object tokens and as many of the pseudo clip, 6 frames of 16 motion tokens, a byte each (N = 32);
    # the codebook has 32 codes of 8 floats
    assert token_bytes(TINY, 10) == 10 * (4 * 64 + 6 * 16) + 32 * 8 * 4
    assert cache_bytes(TINY, 7) == 7 * 32 * 32 * 3


def test_a_step_can_be_measured_and_a_validation_is_then_as_fast() -> None:
    seconds = measure_step(TINY, "transformer", CPU, 1)
    assert 0 < seconds < 60
    estimated = plan_stage(TINY, "transformer", CPU, flops_per_s=1e11)
    plan = estimated.with_step(seconds, 1, estimated.batch)
    assert (estimated.measured, plan.measured, plan.step_s) == (0, 1, seconds)
    assert plan.validation_s / plan.step_s == pytest.approx(estimated.validation_s / estimated.step_s)
    # 16 steps, a validation each 8
    assert plan.total_s == pytest.approx(16 * seconds + 2 * plan.validation_s)


def test_a_step_that_would_take_long_is_measured_at_a_half_of_its_batch_and_told_in_proportion() -> None:
    plan = plan_stage(TINY, "transformer", CPU, flops_per_s=1e11)  # a batch of 4, one kind of step
    three = 3 * plan.step_s
    assert [plan.batch_within(three * share, 3) for share in (1.01, 0.9, 0.51, 0.3, 0.2)] == [4, 2, 2, 1, 0]
    stage_1 = plan_stage(TINY, "vqvae", CPU, flops_per_s=1e11)  # a batch of 2; Algorithm 1, then without: two kinds
    assert [stage_1.batch_within(3 * stage_1.step_s * times, 3) for times in (2.1, 1.9, 0.9)] == [2, 1, 0]
    halved = plan.with_step(2.0, 1, 1)
    assert halved.step_s == 8.0
    assert "8 s a step (measured, 1 of each kind on random data, at a batch of 1, in proportion: at most)" in "\n".join(
        stage_lines({"transformer": halved}, CPU)
    )


def test_settings_can_be_laid_over_a_preset() -> None:
    changed = Experiment.of_preset("sim_push/tiny", {"train_vqvae": {"training": {"accumulation": 2}}})
    assert changed == TINY.with_training("vqvae", accumulation=2)
    with pytest.raises(ConfigError, match=r"section = 'train_vqva'.*train_vqvae, extract_tokens, train_transformer"):
        Experiment.of_preset("sim_push/tiny", {"train_vqva": {}})
    with pytest.raises(ConfigError, match=r"train_vqvae = 'trainin'.*loss, objective, training"):
        Experiment.of_preset("sim_push/tiny", {"train_vqvae": {"trainin": {"batch": 3}}})


def test_another_batch_of_one_stage_leaves_the_other_alone() -> None:
    changed = TINY.with_batch(9, "vqvae")
    assert {stage: changed.training[stage].batch for stage in STAGES} == {"vqvae": 9, "transformer": 4}
    assert dataclasses.replace(changed, training=TINY.training) == TINY


def test_a_container_s_limit_counts_where_it_is_lower(tmp_path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 8 kB\nMemAvailable:    4 kB\n")
    assert host_memory(meminfo, tmp_path) == 4096
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert host_memory(meminfo, tmp_path) == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert host_memory(meminfo, tmp_path) == 4096
    assert host_memory(tmp_path / "missing", tmp_path / "missing") is None


def test_sizes_and_times_are_read_at_a_glance() -> None:
    assert (gibibytes(3 << 29), gibibytes(87 << 20)) == ("1.50 GiB", "87 MiB")
    assert [duration(s) for s in (42, 210, 25920, 1036800)] == ["42 s", "3.5 min", "7.2 h", "12 days"]
    assert [per_second(rate) for rate in (0.5234, 35.74, 4771.2)] == ["0.523", "35.7", "4,771"]
