"""The nine presets against the paper's Table in C.1 and Sec. 4, cell by cell (tables.md)."""

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from components.config import STEPS, resolve

SPECS = Path(__file__).parents[2] / "data" / "specs"


class Column(NamedTuple):
    """A data set's column: T, factors, T', K; VQVAE batch, steps (thousands), schedule; Transformer batch, steps
    (thousands), SO/G and M blocks."""

    frames: int
    factors: tuple[int, int, int]
    pools: int
    given: int
    vqvae: tuple[int, int, str]
    transformer: tuple[int, int, int, int]


# No schedule is printed for RoboNet 256 and KITTI ("-"). T' and K: Sec. 4 and 4.1.
TABLE = {
    "ucf101/unconditional": Column(16, (8, 16, 32), 1, 0, (2, 250, "cosine"), (8, 300, 16, 8)),
    "bair/default": Column(16, (4, 4, 8), 1, 1, (24, 250, "cosine"), (32, 90, 16, 8)),
    "kth/default": Column(20, (4, 4, 8), 2, 10, (16, 250, "cosine"), (32, 30, 16, 8)),
    "kth/128": Column(20, (4, 8, 16), 2, 10, (6, 250, "cosine"), (8, 85, 16, 8)),
    "robonet/default": Column(12, (4, 4, 8), 6, 2, (24, 250, "cosine"), (32, 100, 16, 8)),
    "robonet/256": Column(12, (8, 16, 32), 6, 2, (3, 250, "constant"), (8, 110, 16, 8)),
    "kitti/default": Column(20, (4, 4, 8), 4, 5, (24, 300, "constant"), (48, 200, 7, 7)),
    "kitti/256": Column(20, (8, 16, 32), 4, 5, (2, 300, "constant"), (16, 250, 12, 7)),
    # the text's T = 12 and T' = 3; everything else as UCF101's column
    "ucf101/default": Column(12, (8, 16, 32), 3, 4, (2, 250, "cosine"), (8, 300, 16, 8)),
}
PIXELS = {"kth/128": 128, **dict.fromkeys(("robonet/256", "kitti/256", "ucf101/default", "ucf101/unconditional"), 256)}


def configs(preset: str) -> dict[str, Any]:
    dataset, _, name = preset.partition("/")
    params = {"dataset": dataset, "preset": name, "seed": 0}
    schemas = {step: importlib.import_module(f"components.{step}.step").Config for step in STEPS if step != "ingest"}
    return {step: resolve(step, schema, params, SPECS) for step, schema in schemas.items()}


@pytest.mark.parametrize("preset", TABLE)
def test_a_preset_is_its_column_of_table_c1(preset: str) -> None:
    sections = configs(preset)
    stage_1, stage_2 = sections["train_vqvae"], sections["train_transformer"]
    model, transformer = stage_1.model, stage_2.model
    pixels = PIXELS.get(preset, 64)
    assert (model.height, model.width) == (pixels, pixels)
    assert (
        Column(
            model.frames,
            (model.scene_factor, model.object_factor, model.motion_factor),
            model.pools,
            sections["extract_tokens"].given_frames,
            (stage_1.training.batch, stage_1.training.steps // 1000, stage_1.training.schedule),
            (
                stage_2.training.batch,
                stage_2.training.steps // 1000,
                transformer.scene_object_blocks,
                transformer.motion_blocks,
            ),
        )
        == TABLE[preset]
    )
    assert stage_1.training.optimizer.learning_rate == 2e-4
    assert transformer.dropout == 0.1
    assert transformer.heads == 8
    assert (transformer.embedding, transformer.hidden, transformer.mlp) == (758, 1024, 2048)


@pytest.mark.parametrize("preset", TABLE)
def test_settings_of_section_4_stand_in_every_preset(preset: str) -> None:
    sections = configs(preset)
    model, preprocessing = sections["train_vqvae"].model, sections["train_vqvae"].objective.preprocessing
    assert (model.codebook_size, model.code_dimension) == (16384, 256)
    assert (preprocessing.until_step, preprocessing.low, preprocessing.high) == (50_000, 0.1, 0.9)
    sampling = sections["train_transformer"].sampling
    assert (sampling.steps, sampling.schedule) == (16, "cosine")
    assert sampling.scene_object == "sample"
    loss = sections["train_vqvae"].loss
    assert loss.perceptual == 1.0
    assert (loss.adversarial.image, loss.adversarial.from_step) == (0.0, 50_000)
    # C.5: KTH 128 has negative SSIM in the place of the discriminator
    assert loss.adversarial.video == (0.0 if preset == "kth/128" else 0.1)
    assert (loss.reconstruction, loss.commitment) == ("l2", 0.25)
    assert loss.ssim == (1.0 if preset == "kth/128" else 0.0)
