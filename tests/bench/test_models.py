"""`make bench` runs, at sizes that take seconds; its ratios are those of its own figures; its JSON has the keys that
docs/performance.md explains; its variants are made of the configuration's own switches.

No figure is looked at: a machine under tests is no machine to measure on.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import models
from bench.cases import ROWS, Case, Settings, said, switched
from bench.subjects import make
from bench.table import lines_of
from moso.training.config import OptimizerConfig, TrainingConfig
from moso.training.segment import SwitchedAttention

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    """The JSON of four rows, and what was printed."""
    output = tmp_path_factory.mktemp("bench") / "build" / "bench.json"
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *texts, **_: printed.extend(str(text) for text in texts))
        rows = ["codebook", "transformer_train", "sampling", "many_samples"]
        arguments = [part for row in rows for part in ("--row", row)]
        models.main(["--small", "--device", "cpu", "--output", str(output), *arguments])
    return json.loads(output.read_text()), "\n".join(printed).splitlines()


def test_every_key_is_documented_and_every_documented_key_is_there(finished: Any, documented: Any) -> None:
    found, _ = finished
    rows = documented("bench.json")
    variant = found["rows"][0]["variants"]["ours"]
    assert set(rows) - {"variants"} == set(found)
    for key, inner in (
        ("machine", found["machine"]),
        ("peaks", found["peaks"]),
        ("rows", found["rows"][0]),
        ("left_out", {"row": "", "preset": ""}),
        ("variants", {**variant, "compilation_seconds": 0}),
    ):
        assert rows[key] == set(inner), key


def test_every_mean_names_a_test_that_exists() -> None:
    means = (ROOT / "docs" / "performance.md").read_text().split("### The means")[1].split("\n### ")[0]
    rows = [line for line in means.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for row in rows:
        (name, path), *_ = re.findall(r"\[`(\w+)`\]\(\.\./([\w/.]+)\)", row)
        assert f"def {name}(" in (ROOT / path).read_text(), name


def test_rows_stand_in_the_order_asked_for_at_both_presets(finished: Any) -> None:
    found, _ = finished
    seen = [(row["row"], row["preset"]) for row in found["rows"]]
    rows = ("codebook", "transformer_train", "sampling", "many_samples")
    assert seen == [(row, preset) for row in rows for preset in ("bair/default", "kth/128")]
    assert set(found["rows"][0]["variants"]) == {"ours", "off", "plain"}
    assert set(found["rows"][4]["variants"]) == {"ours", "off", "plain", "fewer"}


def test_ratios_are_those_of_the_figures_beside_them(finished: Any) -> None:
    found, _ = finished
    for row in found["rows"]:
        off, plain = row["variants"]["off"], row["variants"]["plain"]
        for one in row["variants"].values():
            assert one["per_s"] == pytest.approx(one["amount"] / one["seconds"])
            assert one["over_off"] == pytest.approx(one["per_s"] / off["per_s"])
            assert one["over_plain"] == pytest.approx(one["per_s"] / plain["per_s"])
            if one["memory_over_plain"] is not None:
                assert one["memory_over_plain"] == pytest.approx(one["peak_mib"] / plain["peak_mib"])
        assert plain["over_plain"] == 1


def test_many_samples_predict_so_many_times_the_frames_of_one(finished: Any) -> None:
    found, _ = finished
    for row in found["rows"]:
        if row["row"] == "many_samples":
            assert row["variants"]["ours"]["amount"] == 2 * row["variants"]["plain"]["amount"]


def test_a_row_is_printed_with_its_ratio_under_one_head(finished: Any) -> None:
    found, printed = finished
    head = next(i for i, line in enumerate(printed) if line.startswith("| row |"))
    for row in found["rows"]:
        line = next(text for text in printed[head:] if text.startswith(f"| {row['row']} | {row['preset']} |"))
        assert f"{row['variants']['ours']['over_plain']:.2f} x" in line
    assert sum(line.startswith("| row |") for line in printed) == 1


def test_the_table_shows_the_plain_seconds_of_as_much_work() -> None:
    ours = {"seconds": 6.0, "amount": 60, "peak_mib": 30.0, "over_plain": 2.0, "over_off": 1.5, "limit": "flops"}
    ours |= {"of_roof": 0.5, "memory_over_plain": 0.75}
    plain = {"seconds": 3.0, "amount": 15, "peak_mib": 40.0}
    row = {"row": "many_samples", "preset": "p", "batch": 4, "variants": {"ours": ours, "off": {}, "plain": plain}}
    # four times the frames, so four times the 3 s
    assert lines_of(row) == ["| many_samples | p | 4 | 6 | 12 | 2.00 x | 1.50 x | 30 | 40 | 75% | flops 50% |"]


def test_the_best_turn_counts_and_the_counted_one_where_there_is_no_other() -> None:
    assert models.best({"seconds": 9.0}, [3.0, 2.0, 4.0]) == 2
    assert models.best({"seconds": 9.0}, []) == 9
    assert models.best({"seconds": 9.0, "compilation_seconds": 40.0}, []) == 40


def test_off_turns_every_switch_off_and_changes_nothing_else() -> None:
    optimizer = OptimizerConfig(learning_rate=0.5)
    preset = TrainingConfig(steps=7, batch=9, optimizer=optimizer, channels_last=True, gradient_clip=2.0)
    off, ours = switched(preset, "off", 3), switched(preset, "ours", 3)
    assert (off.precision, off.channels_last, off.fused_attention, off.optimizer.fused) == (
        "float32",
        False,
        False,
        False,
    )
    assert (ours.precision, ours.channels_last, ours.fused_attention, ours.optimizer.fused) == (
        "auto",
        True,
        True,
        True,
    )
    for one in (off, ours):
        assert (one.steps, one.batch, one.gradient_clip, one.optimizer.learning_rate) == (7, 3, 2.0, 0.5)
        assert not one.compile
    assert switched(preset, "compiled", 3).compile


def test_every_row_is_measured_at_both_presets_but_for_what_is_too_slow_on_a_cpu() -> None:
    cuda = models.full(torch.device("cuda"), ROWS, bf16=False, compiled=True)
    assert [(case.row, case.preset) for case in cuda.cases] == [(row, at) for row in ROWS for at in models.PRESETS]
    assert all(not case.overrides for case in cuda.cases)
    assert cuda.extras["transformer_train", "kth/128"] == ["compiled"]
    cpu = models.full(CPU, ROWS, bf16=True, compiled=False)
    assert len(cpu.cases) == len(cuda.cases) - 1
    assert cpu.extras["transformer_train", "bair/default"] == ["bf16"]
    last = [(case.row, case.preset) for case in cpu.cases[-3:]]
    assert last == list(models.WHERE_TIME_IS_LEFT)
    assert last == [("many_samples", "bair/default"), ("sampling", "kth/128"), ("transformer_train", "kth/128")]
    assert (cuda.until, cpu.until) == (None, 60 * models.MINUTES)
    assert models.full(CPU, ["sampling"], bf16=False, compiled=False).until is None


def test_the_slowest_rows_are_left_out_by_name_where_they_would_end_too_late() -> None:
    before = [{"row": "sampling", "preset": "bair/default", "variants": {v: {"seconds": 10} for v in models.TOGETHER}}]
    slow = Case("sampling", "kth/128", 1)
    assert models.expected_seconds(slow, before) == pytest.approx(1.2 * 30)
    assert models.expected_seconds(Case("many_samples", "bair/default", 3), before) == pytest.approx(0.75 * 30)
    assert models.expected_seconds(Case("encode", "kth/128", 1), before) == 0
    quick = models.small(["codebook"], bf16=False, compiled=False).cases[0]
    plan = models.Plan((quick, slow), False, {}, {}, until=0.0)
    found = models.measure(plan, CPU, small_peaks=True)
    assert [row["row"] for row in found["rows"]] == ["codebook"]
    assert found["left_out"] == [{"row": "sampling", "preset": "kth/128"}]


def test_half_of_what_a_step_could_draw_is_drawn_with_the_switches_on() -> None:
    bair, kth = models.small(["vqvae_train"], bf16=False, compiled=False).cases
    assert "decode_frames 2 of 4" in make(bair, "ours", CPU).switches
    assert "decode_frames 4 of 4" in make(bair, "off", CPU).switches
    assert "decode_pools 1 of 2" in make(kth, "ours", CPU).switches


def test_fewer_takes_the_embedded_runs_steps_of_sampling() -> None:
    case = Case("sampling", "bair/default", 1)
    steps = {v: Settings(case, v, CPU).transformer.sampling.steps for v in ("ours", "plain", "fewer")}
    assert steps == {"ours": 16, "plain": 16, "fewer": 6}


def test_off_means_written_out_attention_in_the_modules_and_in_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    case = models.small(["transformer_train"], bf16=False, compiled=False).cases[0]
    whole = SwitchedAttention.__init__

    def seen(self: SwitchedAttention) -> None:
        whole(self)
        layers.append(self)

    for variant, expected in (("ours", True), ("off", False)):
        layers: list[SwitchedAttention] = []  # of this variant
        monkeypatch.setattr(SwitchedAttention, "__init__", seen)
        subject = make(case, variant, CPU)
        fused = [layer.fused for layer in layers]
        assert fused
        assert set(fused) == {expected}
        assert f"fused_attention {'on' if expected else 'off'}" in subject.switches


def test_settings_are_said_in_words() -> None:
    assert said({"channels_last": True, "compile": False, "steps": 16}) == "channels_last on, compile off, steps 16"
