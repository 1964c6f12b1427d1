"""The paper's presets build what the paper describes, each section as it stands in the preset."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from components.config import STEPS, check_whole_pipeline, load_params, resolve, resolve_all
from moso.config import preset_names
from moso.errors import ConfigError
from moso.transformer.model import MosoTransformer
from moso.vqvae.config import given_motion_frames
from moso.vqvae.model import VQVAE
from pipelines.training import arguments

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "data" / "specs"

# T, K, parameters of the VQVAE (tests/vqvae/test_config.py holds them against the released code's), and Table C.1's
# blocks of TransformerSO and M, and whether its row of schedules says cosine.
PAPER: dict[str, tuple[int, int, int, int, int, str]] = {
    "ucf101/unconditional": (16, 0, 58_571_779, 16, 8, "cosine"),
    "ucf101/default": (12, 4, 53_853_187, 16, 8, "cosine"),
    "bair/default": (16, 1, 53_062_915, 16, 8, "cosine"),
    "kth/default": (20, 10, 57_781_507, 16, 8, "cosine"),
    "kth/128": (20, 10, 55_551_747, 16, 8, "cosine"),
    "robonet/default": (12, 2, 48_344_323, 16, 8, "cosine"),
    "robonet/256": (12, 2, 53_853_187, 16, 8, "constant"),
    "kitti/default": (20, 5, 57_781_507, 7, 7, "constant"),
    "kitti/256": (20, 5, 63_290_371, 12, 7, "constant"),
}


def named(preset: str) -> dict[str, Any]:
    """The params.yaml that names a preset."""
    dataset, _, name = preset.partition("/")
    return {"dataset": dataset, "preset": name, "seed": 0}


def configs(preset: str) -> dict[str, Any]:
    """Every section that is no matter of the data set's spec, one by one."""
    schemas = {step: importlib.import_module(f"components.{step}.step").Config for step in STEPS if step != "ingest"}
    return {step: resolve(step, schema, named(preset), SPECS) for step, schema in schemas.items()}


@pytest.fixture
def simulated(tmp_path: Path) -> Path:
    """Specs that say of each data set that it is simulated: sim_push stands in for the paper's, as large as asked."""
    for dataset in {preset.split("/")[0] for preset in PAPER}:
        text = (SPECS / "sim_push.yaml").read_text()
        (tmp_path / f"{dataset}.yaml").write_text(text.replace("name: sim_push", f"name: {dataset}"))
    return tmp_path


def test_the_paper_s_presets_those_of_the_embedded_data_set_and_three_to_start_from_are_all_there_are() -> None:
    own = {f"{name}/default" for name in ("lerobot", "videos", "images")}
    assert set(preset_names()) == {*PAPER, *own, "sim_push/default", "sim_push/tiny"}


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.stem)
def test_naming_another_data_set_is_all_it_takes(path: Path) -> None:
    """`dvc exp run -S dataset=kth`: its spec and its preset's default fit together, for the whole pipeline."""
    params = {**load_params(ROOT / "params.yaml"), "dataset": path.stem}
    resolved = resolve_all(params, SPECS)
    check_whole_pipeline(resolved)
    paper = resolved["ingest"].spec.paper
    if paper is not None:
        assert resolved["train_vqvae"].model.frames == paper.clip_frames
        assert resolved["extract_tokens"].given_frames == paper.given_frames
        assert resolved["train_vqvae"].model.height in paper.pixels


def transformer_parameters(frames: int, scene_object_blocks: int, motion_blocks: int) -> int:
    """By hand: embedding 758, hidden 1024, MLP 2048, N = 16384; fixed positions have a LayerNorm's two vectors each."""
    e, c, m, n = 758, 1024, 2048, 16384
    attention, mlp, norm = (c * 3 * c + 3 * c) + (c * c + c), (c * m + m) + (m * c + c), 2 * c
    vocabulary = (n + 1) * e + (e * c + c) + (c * n + n)  # with the mask; projection; output
    scene_object = scene_object_blocks * (attention + mlp + 2 * norm) + norm + 2 * (2 * e) + frames * e  # T queries
    motion = motion_blocks * (2 * attention + mlp + 3 * norm) + norm + 2 * (2 * e)
    return vocabulary + scene_object + motion


@pytest.mark.parametrize("preset", PAPER)
def test_a_paper_preset_builds_models_of_the_papers_size(preset: str) -> None:
    frames, given, vqvae_parameters, scene_object_blocks, motion_blocks, schedule = PAPER[preset]
    sections = configs(preset)
    stage_1, stage_2 = sections["train_vqvae"], sections["train_transformer"]
    assert (stage_1.model.frames, sections["extract_tokens"].given_frames) == (frames, given)
    assert (stage_1.training.schedule, stage_2.training.schedule) == (schedule, "constant")
    with torch.device("meta"):
        vqvae = VQVAE(stage_1.model)
        given_motion = given_motion_frames(stage_1.model, given)
        transformer = MosoTransformer(
            stage_2.model, vqvae.grids, stage_1.model.codebook_size, None, given, given_motion, ""
        )
    assert sum(p.numel() for p in vqvae.parameters()) == vqvae_parameters
    counted = sum(p.numel() for p in transformer.parameters())
    assert counted == transformer_parameters(frames, scene_object_blocks, motion_blocks)
    if scene_object_blocks == 16:
        assert round(counted / 1e6, 1) == 265.2  # the released code's


@pytest.mark.parametrize("preset", [preset for preset in PAPER if PAPER[preset][1]])
def test_the_sections_of_a_paper_preset_fit_each_other(preset: str, simulated: Path) -> None:
    model = configs(preset)["train_vqvae"].model
    simulation = {"height": model.height, "width": model.width}
    params = {**named(preset), "ingest": {"simulation": simulation}}
    assert resolve_all(params, simulated)["train_vqvae"].model == model


def test_the_unconditional_preset_trains_and_is_refused_before_anything_runs_where_it_would_be_registered(
    simulated: Path,
) -> None:
    params = {**named("ucf101/unconditional"), "ingest": {"simulation": {"height": 256, "width": 256}}}
    found = resolve_all(params, simulated)
    assert found["extract_tokens"].given_frames == 0
    with pytest.raises(ConfigError, match=r"extract_tokens\.given_frames = 0.*`dvc repro evaluate`"):
        check_whole_pipeline(found)
    with pytest.raises(ConfigError, match=r"extract_tokens\.given_frames = 0"):
        arguments(params, simulated)
