"""ablations/variants.yaml and dvc.yaml: every variant can be, is a setting and no copy, and DVC follows it."""

import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from components.config import resolve
from components.train_vqvae.step import Config as TrainVqvae
from moso.config import merge, to_dict
from moso.parameters import count_parameters
from moso.vqvae.model import VQVAE
from pipelines import code_deps
from pipelines.ablations import STAGE_1, STAGE_2, VARIANTS, load

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "data" / "specs"
ABLATIONS = load(ROOT / VARIANTS)
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "ablations" / "dvc.yaml").read_text())["stages"]
GRAPH = code_deps.graph()
EVERY = [(name, False) for name in ABLATIONS.stage_1] + [(name, True) for name in ABLATIONS.stage_2]


def leaves(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict) or not values:
        return {prefix.rstrip("."): values}
    return {key: leaf for name, value in values.items() for key, leaf in leaves(value, f"{prefix}{name}.").items()}


@pytest.mark.parametrize(("variant", "second"), EVERY)
def test_every_variant_passes_the_checks_of_an_experiment(variant: str, second: bool) -> None:
    configs = ABLATIONS.configs(variant, second=second, specs=SPECS)
    assert configs["train_vqvae"].training.steps == 300
    assert configs["train_transformer"].training.steps == 300


@pytest.mark.parametrize(("variant", "second"), EVERY)
def test_a_variant_differs_from_the_whole_model_by_its_own_entry_alone(variant: str, second: bool) -> None:
    whole = leaves(to_dict(ABLATIONS.configs("moso", second=second, specs=SPECS)))
    this = leaves(to_dict(ABLATIONS.configs(variant, second=second, specs=SPECS)))
    own = dict((ABLATIONS.stage_2 if second else ABLATIONS.stage_1)[variant])
    if second:
        own = merge(ABLATIONS.stage_1[own.pop("vqvae")], own)
    differing = {path for path in whole if this[path] != whole[path]}
    assert differing <= set(leaves(own))
    assert bool(differing) == (variant != "moso")


def test_every_table_of_the_issue_is_there_and_every_variant_stands_in_one() -> None:
    assert [table.number for table in ABLATIONS.tables] == ["6", "9", "10", "11"]
    named = {(row.of, table.measured) for table in ABLATIONS.tables for row in table.rows if row.of}
    assert {name for name, measured in named if measured == "prediction"} == set(ABLATIONS.stage_2)
    alone = {name for name, measured in named if measured == "reconstruction"}
    assert alone | {entry["vqvae"] for entry in ABLATIONS.stage_2.values()} == set(ABLATIONS.stage_1)


def test_variants_have_the_token_counts_of_table_7_at_the_paper_s_size() -> None:
    rows = [row for table in ABLATIONS.tables for row in table.rows if row.of and row.paper_tokens]
    assert Counter(row.paper_tokens for row in rows) == {1280: 1, 5120: 1, 1536: 1, 2304: 1, 1792: 4}
    for row in rows:
        first = ABLATIONS.stage_1[ABLATIONS.stage_2[row.of]["vqvae"]]
        params = {"dataset": "kth", "preset": "default", "seed": 0, "train_vqvae": first.get("train_vqvae", {})}
        assert resolve("train_vqvae", TrainVqvae, params, SPECS).model.grids.tokens == row.paper_tokens


def test_decompositions_are_compared_at_comparable_parameters() -> None:
    """Sec. 4.3; the merge module is left out without a substitute, as in the paper (593M to 557M)."""
    sizes = {}
    for variant in ABLATIONS.stage_1:
        with torch.device("meta"):
            model = VQVAE(ABLATIONS.configs(variant, second=False, specs=SPECS)["train_vqvae"].model)
        sizes[variant] = count_parameters(model)
    for variant, size in sizes.items():
        if variant != "no_merge_module":
            assert size == pytest.approx(sizes["moso"], rel=0.02), variant


def test_the_cost_that_is_told_names_steps_and_variants_that_there_are() -> None:
    assert set(ABLATIONS.minutes) == {*STAGE_1, *STAGE_2}
    for step, minutes in ABLATIONS.minutes.items():
        assert {"moso"} <= set(minutes) <= set(ABLATIONS.stage_1 if step in STAGE_1 else ABLATIONS.stage_2)
    plain = sum(ABLATIONS.minutes[step]["moso"] for step in STAGE_1) * len(ABLATIONS.stage_1)
    plain += sum(ABLATIONS.minutes[step]["moso"] for step in STAGE_2) * len(ABLATIONS.stage_2)
    extra = sum(value - of["moso"] for of in ABLATIONS.minutes.values() for value in of.values())
    assert ABLATIONS.cost() == pytest.approx(plain + extra)


def test_table_11_keeps_the_paper_s_ratio_of_codebooks() -> None:
    sizes = {
        row.label: ABLATIONS.configs(str(row.of), second=False, specs=SPECS)["train_vqvae"].model
        for row in ABLATIONS.tables[3].rows
    }
    n = sizes["shared n"].codebook_size
    assert (sizes["separate 3 x n"].codebook_size, sizes["shared 2n"].codebook_size) == (3 * n, 2 * n)
    assert [model.codebooks for model in sizes.values()] == ["separate", "shared", "shared"]


def test_dvc_has_a_stage_for_each_step_of_each_variant() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only", "ablations/dvc.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = [f"{step}@{name}" for step in STAGE_1 for name in ABLATIONS.stage_1]
    expected += [f"{step}@{name}" for step in STAGE_2 for name in ABLATIONS.stage_2]
    listed = [line.removeprefix("ablations/dvc.yaml:") for line in done.stdout.split()]
    assert sorted(listed) == sorted([*expected, "table"])


@pytest.mark.parametrize("step", [*STAGE_1, *STAGE_2])
def test_a_stage_reads_and_writes_what_its_command_says_and_follows_its_variant_s_settings(step: str) -> None:
    stage = STAGES[step]["do"]
    words = stage["cmd"].split()
    assert words[:5] == ["python", "-m", "pipelines.ablations", step, "${key}"]
    pairs = [(a, b.split("=", 1)[1]) for a, b in itertools.pairwise(words) if a in ("--in", "--out")]
    assert stage["outs"] == [path for option, path in pairs if option == "--out"]
    data = [path for path in stage["deps"] if path.startswith(("data/", "ablations/"))]
    assert data == [path for option, path in pairs if option == "--in"]

    keys = stage["params"][0]["ablations/variants.yaml"]
    section = "evaluate" if step == "reconstruct" else step
    assert {"dataset", "preset", f"common.{section}"} <= set(keys)
    assert ("seed" in keys) == step.startswith("train_")
    entries = {"train_vqvae": "stage_1.${key}", "train_transformer": "stage_2.${key}"}
    assert entries.get(step, "preset") in keys
    assert {"moso/presets/${dataset}/${preset}.yaml": ["base", section]} in stage["params"]
    assert {"moso/presets/paper.yaml": [section]} in stage["params"]


def test_every_section_that_a_stage_follows_stands_in_common() -> None:
    """DVC refuses to run where a followed key is missing."""
    keys = [key for stage in STAGES.values() for key in stage.get("do", {}).get("params", [{}])[0].values()]
    followed = {key.split(".")[1] for key in itertools.chain(*keys) if key.startswith("common.")}
    assert followed == set(ABLATIONS.common)


def test_entries_set_only_what_the_stages_follow() -> None:
    """An entry of a section that no stage of it follows would change results without a rerun."""
    for entry in ABLATIONS.stage_1.values():
        assert set(entry) <= {"train_vqvae"}
    for entry in ABLATIONS.stage_2.values():
        assert set(entry) <= {"vqvae", "train_transformer"}


@pytest.mark.parametrize("step", code_deps.FILES["ablations/dvc.yaml"])
def test_code_dependencies_of_a_stage_are_what_it_imports(step: str) -> None:
    code = [path for path in STAGES[step]["do"]["deps"] if path.startswith(("moso", "components", "pipelines"))]
    assert code == code_deps.code_deps(step, GRAPH), "run `make code-deps`"
