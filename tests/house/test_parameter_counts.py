"""The README's parameter counts are those of the models that the presets build."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from components.config import resolve
from moso.transformer.model import MosoTransformer
from moso.vqvae.config import given_motion_frames
from moso.vqvae.model import VQVAE

ROOT = Path(__file__).parents[2]
PRESETS = (
    "bair/default",
    "kth/default",
    "kth/128",
    "robonet/default",
    "robonet/256",
    "kitti/default",
    "kitti/256",
    "ucf101/unconditional",
    "ucf101/default",
)
PRINTED_TRANSFORMER = 265e6


def table() -> dict[str, tuple[int, int, int]]:
    """preset -> (VQVAE, Transformer, tokens of a clip) as the README prints them."""
    found = {}
    for line in (ROOT / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        name = re.fullmatch(r"`(\w+/\w+)`", cells[0])
        if name and name[1] in PRESETS and len(cells) >= 4:
            vqvae, transformer, tokens = (int(cell.replace(",", "")) for cell in cells[1:4])
            found[name[1]] = (vqvae, transformer, tokens)
    return found


def counted(preset: str) -> tuple[int, int, int]:
    dataset, _, name = preset.partition("/")
    params = {"dataset": dataset, "preset": name, "seed": 0}
    steps = ("train_vqvae", "extract_tokens", "train_transformer")
    sections: dict[str, Any] = {
        step: resolve(step, importlib.import_module(f"components.{step}.step").Config, params, ROOT / "data" / "specs")
        for step in steps
    }
    model, given = sections["train_vqvae"].model, sections["extract_tokens"].given_frames
    with torch.device("meta"):
        vqvae = VQVAE(model)
        transformer = MosoTransformer(
            sections["train_transformer"].model,
            vqvae.grids,
            model.codebook_size,
            None,
            given,
            given_motion_frames(model, given),
            "",
        )
    sizes = [sum(p.numel() for p in part.parameters()) for part in (vqvae, transformer)]
    return sizes[0], sizes[1], vqvae.grids.tokens


def test_the_readme_has_a_row_for_each_of_the_nine_presets() -> None:
    assert sorted(table()) == sorted(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_readme_counts_every_preset_as_it_is_built(preset: str) -> None:
    assert table()[preset] == counted(preset)


def test_only_the_kitti_transformers_differ_from_the_printed_265_million() -> None:
    differing = {
        preset for preset, (_, transformer, _) in table().items() if abs(transformer / PRINTED_TRANSFORMER - 1) > 0.002
    }
    assert differing == {"kitti/default", "kitti/256"}
