"""Two variants and a single transformer, tiny, from frames to tables: what is measured stands there, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from moso.errors import ConfigError, DataError
from moso.frames.cache import FrameCacheWriter
from moso.provenance import write_provenance
from moso.step import Context
from pipelines.ablation_tables import PRETRAINED, gather, write_tables
from pipelines.ablations import STAGE_1, STAGE_2, Ablations, load, run_all, step_of

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "data" / "specs"
EPISODES = {"train": 4, "validation": 1, "test": 4}
TRAINING = {"training": {"steps": 4, "batch": 2, "checkpoint_every": 4, "validate_every": 0}}
ROWS = [
    {"label": "whole", "of": "whole", "paper": {"psnr": 29.8, "ssim": 82.2, "lpips": 0.083}, "paper_tokens": 1792},
    {"label": "nothing apart", "of": "nothing", "paper": {"psnr": 21.5}},
    {"label": "single", "of": "single"},
    {"label": "the paper's own", "paper": {"psnr": 20.0}},
    {"label": "still to come", "of": "later"},
]
VARIANTS: dict[str, Any] = {
    "dataset": "sim_push",
    "preset": "tiny",
    "seed": 3,
    "common": {
        "train_vqvae": TRAINING,
        "train_transformer": {**TRAINING, "model": {"merged_scene_object": False}},
        "evaluate": {"min_clips": 4, "min_episodes": 4, "protocol": {"videos": 4}, "shown_clips": 1, "rollout": None},
    },
    "stage_1": {"whole": {}, "nothing": {"train_vqvae": {"model": {"decomposition": "none"}}}},
    "stage_2": {
        "whole": {"vqvae": "whole"},
        "nothing": {"vqvae": "nothing"},
        "single": {"vqvae": "whole", "train_transformer": {"model": {"wiring": "single"}}},
        "later": {"vqvae": "whole", "train_transformer": {"training": {"steps": 5}}},
    },
    "tables": {
        "6": {"title": "Prediction", "measured": "prediction", "paper": "KTH", "rows": ROWS},
        "9": {"title": "Reconstruction", "measured": "reconstruction", "paper": "KTH", "rows": ROWS[:2]},
    },
}


def written(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "variants.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame cache of squares that move over a still ground, 32 x 32."""
    folder, random, number = tmp_path_factory.mktemp("frames") / "frames", np.random.default_rng(0), 0
    with FrameCacheWriter(folder, height=32, width=32, fps=10.0) as writer:
        for split, count in EPISODES.items():
            for _ in range(count):
                video = np.repeat(random.integers(60, 120, (1, 32, 32, 3)), 8, axis=0).astype(np.uint8)
                for t in range(8):
                    video[t, 8:14, 2 * t : 2 * t + 6] = 230
                writer.add(f"seed_{number:06d}", split, video)
                number += 1
    write_provenance(folder, format="moso.frames", version=1, step="preprocess", config={}, inputs={})
    return folder


@pytest.fixture(scope="session")
def ablations(tmp_path_factory: pytest.TempPathFactory) -> Ablations:
    return load(written(tmp_path_factory.mktemp("variants"), VARIANTS))


@pytest.fixture(scope="session")
def runs(frames: Path, ablations: Ablations, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs after all variants but `later`."""
    folder = tmp_path_factory.mktemp("runs")
    context = Context(work=folder / "work", device="cpu")
    for variant in ablations.stage_1:
        here = folder / variant
        here.mkdir()
        for step, outputs in (("train_vqvae", "vqvae"), ("reconstruct", "reconstruction.json")):
            run, config = step_of(ablations, step, variant, SPECS)
            inputs = {"frames": frames, "vqvae": here / "vqvae"}
            run(config, inputs, {outputs.removesuffix(".json"): here / outputs}, context)
    for variant in ("whole", "nothing", "single"):
        here, first = folder / variant, folder / ablations.stage_2[variant]["vqvae"]
        here.mkdir(exist_ok=True)
        inputs = {"frames": frames, "vqvae": first / "vqvae"}
        inputs |= {name: here / name for name in ("tokens", "transformer")}
        for step, output in zip(STAGE_2, ("tokens", "transformer", "report"), strict=True):
            run, config = step_of(ablations, step, variant, SPECS)
            run(config, inputs, {output: here / output}, context)
    return folder


@pytest.fixture(scope="session")
def tables(runs: Path, ablations: Ablations, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_tables(ablations, runs, folder)
    return folder


def test_a_row_a_row_in_csv_parquet_and_page(tables: Path) -> None:
    csv, parquet = pd.read_csv(tables / "table.csv"), pd.read_parquet(tables / "table.parquet")
    labels = [row["label"] for row in ROWS] + [row["label"] for row in ROWS[:2]]
    assert list(csv["row"]) == list(parquet["row"]) == labels
    page = (tables / "index.html").read_text()
    assert page.count('<th scope="row">') == len(labels)
    assert "http" not in page


def test_figures_are_those_of_the_variant_s_own_report(tables: Path, runs: Path) -> None:
    table = pd.read_parquet(tables / "table.parquet").set_index(["table", "row"])
    for label, variant in (("whole", "whole"), ("nothing apart", "nothing"), ("single", "single")):
        metrics = json.loads((runs / variant / "report" / "metrics.json").read_text())
        row = table.loc[("6", label)]
        assert (row["psnr"], row["ssim"]) == (metrics["prediction"]["psnr"], metrics["prediction"]["ssim"])
        assert row["clips"] == metrics["protocol"]["clips"] == 4
        assert (row["stage_1_steps"], row["stage_2_steps"], row["seed"]) == (4, 4, 3)
    for label, variant in (("whole", "whole"), ("nothing apart", "nothing")):
        alone = json.loads((runs / variant / "reconstruction.json").read_text())
        assert table.loc[("9", label)]["psnr"] == alone["psnr"] == table.loc[("6", label)]["reconstruction_psnr"]


def test_sizes_are_those_of_what_was_trained(tables: Path) -> None:
    table = pd.read_parquet(tables / "table.parquet").set_index(["table", "row"]).loc["6"]
    # 32 / 4 = 8 a side for scene and object, 32 / 8 = 4 for the motion of 6 frames
    assert table["tokens"].tolist()[:3] == [2 * 64 + 6 * 16, 6 * 16, 2 * 64 + 6 * 16]
    assert table["vqvae_parameters"]["nothing apart"] < table["vqvae_parameters"]["whole"]
    assert table["stage_1_digest"]["single"] == table["stage_1_digest"]["whole"]
    assert table["transformer_parameters"]["single"] != table["transformer_parameters"]["whole"]


def test_nothing_that_was_not_computed_has_a_figure(tables: Path) -> None:
    table = pd.read_parquet(tables / "table.parquet")
    assert table[list(PRETRAINED)].isna().all(axis=None)
    rows = table.set_index(["table", "row"]).loc["6"]
    for label in ("still to come", "the paper's own"):
        assert rows.loc[label][["psnr", "ssim", "transformer_parameters", "stage_2_steps", "clips"]].isna().all()
    page = (tables / "index.html").read_text()
    assert page.count("<td>not run</td>") == 2
    assert page.count("<td>not ours</td>") == 3
    assert page.count("<td>not computed</td>") == 4 + 2  # LPIPS of our rows; the paper prints it in both tables
    assert "moso weights fetch" in page


def test_the_paper_s_figures_stand_beside_ours_in_the_table_s_units(tables: Path) -> None:
    whole = pd.read_parquet(tables / "table.parquet").iloc[0]
    assert (whole["paper_psnr"], whole["paper_ssim"], whole["paper_lpips"]) == (29.8, 0.822, 0.083)
    page = (tables / "index.html").read_text()
    assert "<td>29.8</td><td>82.2</td><td>0.083</td>" in page  # with the digits that it prints


def test_an_empty_folder_gives_the_same_rows_without_a_figure(ablations: Ablations, tmp_path: Path) -> None:
    table = gather(ablations, tmp_path)
    assert len(table) == len(ROWS) + 2
    assert table[["psnr", "ssim", "vqvae_parameters", "seed"]].isna().all(axis=None)


def test_the_command_line_runs_a_step_and_refuses_a_variant_that_is_not_there(
    frames: Path, runs: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pipelines.ablations", "reconstruct"]
    paths = ["--in", f"frames={frames}", "--in", f"vqvae={runs}/whole/vqvae", "--out", f"reconstruction={tmp_path}/r"]
    options = ["--variants", str(written(tmp_path, VARIANTS)), *paths]

    def run(variant: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, variant, *options], cwd=ROOT, capture_output=True, text=True, check=False)

    done = run("whole")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r").read_text()) == json.loads((runs / "whole" / "reconstruction.json").read_text())
    refused = run("hole")
    assert refused.returncode == 1
    assert refused.stderr == "reconstruct: variant = 'hole': is not in variants.yaml; known: whole, nothing\n"


def test_without_frames_it_says_to_run_the_pipeline_first(tmp_path: Path) -> None:
    (tmp_path / "ablations").mkdir()
    written(tmp_path / "ablations", VARIANTS)
    with pytest.raises(DataError, match="data/sim_push/frames is not there: run `make repro` first"):
        run_all(tmp_path)


def test_a_variant_is_the_common_settings_and_its_own_over_those_of_its_stage_1(ablations: Ablations) -> None:
    params = ablations.params("nothing", second=True)
    assert params["train_vqvae"] == {**TRAINING, "model": {"decomposition": "none"}}
    assert (params["dataset"], params["preset"], params["seed"]) == ("sim_push", "tiny", 3)
    assert "vqvae" not in params
    for step in (*STAGE_1, *STAGE_2):
        assert callable(step_of(ablations, step, "whole", SPECS)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"common": {"train_vqae": {}}}, "common.train_vqae"),
        ({"stage_2": {"whole": {"vqvae": "hole"}}}, r"stage_2.whole.vqvae = 'hole'"),
        ({"stage_2": {}}, "has no such variant"),
        ({"stages": {}}, "stages"),
    ],
)
def test_a_file_that_names_what_is_not_there_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load(written(tmp_path, {**VARIANTS, **change}))
