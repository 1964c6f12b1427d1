"""Plans of presets."""

import dataclasses

import pytest
import torch

from moso.cli.sizes import sizes
from moso.config import preset_names
from moso.errors import ConfigError
from moso.planning.machine import host_memory
from moso.planning.plan import cache_bytes, check_fits, gibibytes, largest_batch, measure_step, plan_stage, token_bytes
from moso.planning.stages import STAGES, Experiment
from moso.planning.text import duration

CPU = torch.device("cpu")
TINY = Experiment.of_preset("sim_push/tiny")


@pytest.mark.slow
@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_has_a_plan(preset) -> None:
    experiment, size = Experiment.of_preset(preset), sizes(preset)
    plans = {stage: plan_stage(experiment, stage, CPU, flops_per_s=1e11) for stage in STAGES}
    assert [plan.parameters for plan in plans.values()] == [size.vqvae, size.transformer]
    for plan in plans.values():
        assert plan.memory.gradients >= 4 * plan.parameters * 0.99
        assert plan.needed > plan.memory.step > plan.memory.kept > 0
        assert plan.step_s > 0


def test_the_batch_that_fits_is_the_largest_that_does() -> None:
    wide = TINY.with_batch(9)
    plan = plan_stage(wide, "vqvae", CPU, flops_per_s=1e11)
    six, seven = (plan_stage(TINY.with_batch(n), "vqvae", CPU, flops_per_s=1e11).needed for n in (6, 7))
    assert largest_batch(wide, "vqvae", CPU, plan, (six + seven) // 2)[0] == 6
    with pytest.raises(ConfigError, match=r"train_vqvae.training.batch = 9: takes .*; 6 would fit"):
        check_fits(wide, "vqvae", plan, CPU, (six + seven) // 2)
    with pytest.raises(ConfigError, match="larger machine"):
        check_fits(wide, "vqvae", plan, CPU, 1 << 20)
    check_fits(wide, "vqvae", plan, CPU, plan.needed)


def test_tokens_and_frames_take_what_their_files_take() -> None:
    # 64 scene and object tokens and as many of the pseudo clip, 6 frames of 16 motion tokens, a byte each (N = 32);
    # the codebook has 32 codes of 8 floats
    assert token_bytes(TINY, 10) == 10 * (4 * 64 + 6 * 16) + 32 * 8 * 4
    assert cache_bytes(TINY, 7) == 7 * 32 * 32 * 3


def test_a_step_can_be_measured() -> None:
    assert 0 < measure_step(TINY, "transformer", CPU, 1) < 60


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
