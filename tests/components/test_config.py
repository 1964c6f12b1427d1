"""params.yaml, presets and specs become configs; what does not fit together is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import STEPS, load_params, resolve_all
from moso.errors import ConfigError

SPECS = Path(__file__).parents[2] / "data" / "specs"


def params(**sections: Any) -> dict[str, Any]:
    """A tiny experiment with overrides."""
    return {"dataset": "sim_push", "preset": "tiny", "seed": 3, **sections}


def written(folder: Path, content: dict[str, Any]) -> Path:
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    return folder / "params.yaml"


def test_seed_spec_and_data_set_reach_the_configs_that_ask_for_them() -> None:
    configs = resolve_all(params(), SPECS)
    assert list(configs) == list(STEPS)
    assert configs["train_vqvae"].seed == configs["train_transformer"].seed == 3
    assert configs["ingest"].spec.name == configs["evaluate"].data_set == "sim_push"


def test_an_override_beats_the_preset_and_leaves_its_neighbours() -> None:
    plain = resolve_all(params(), SPECS)["train_vqvae"]
    changed = resolve_all(params(train_vqvae={"training": {"batch": 3}}), SPECS)["train_vqvae"]
    assert (plain.training.batch, changed.training.batch) == (2, 3)
    assert changed.training.steps == plain.training.steps
    assert changed.model == plain.model


def test_the_shipped_params_and_both_of_their_presets_resolve() -> None:
    shipped = load_params(SPECS.parents[1] / "params.yaml")
    for preset in ("default", "tiny"):
        resolve_all({**shipped, "preset": preset}, SPECS)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("extract_tokens", {"given_frames": 6}, "extract_tokens.given_frames = 6: must lie below .* = 6"),
        ("train_vqvae", {"model": {"pools": 4}}, r"train_vqvae\.model\.pools = 4: must divide frames = 6"),
        ("preprocess", {"height": 64, "width": 64}, r"train_vqvae\.model\.height = 32: .* 64 pixels \(preprocess"),
        ("ingest", {"simulation": {"height": 64, "width": 64}}, r"height = 32: .* 64 pixels \(ingest\.simulation"),
        ("train_vqvae", {"model": {"frames": 14, "pools": 7}}, "frames = 14: episodes have 12 frames"),
        ("train_vqvae", {"model": {"object_factor": 8}}, "merged_scene_object = True: needs equal grids"),
        (
            "train_vqvae",
            {"model": {"decomposition": "motion_content"}},
            r"merged_scene_object = True: needs equal grids .*\(0, 0\); set it to false$",
        ),
        ("evaluate", {"min_clip": 4}, r"evaluate\.min_clip = 4: unknown setting; did you mean 'min_clips'"),
    ],
)
def test_a_broken_experiment_names_field_value_and_rule(section: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_all(params(**{section: values}), SPECS)


def test_resizing_makes_another_size_of_recordings_fit() -> None:
    simulation = {"simulation": {"height": 64, "width": 64}}
    resolve_all(params(ingest=simulation, preprocess={"height": 32, "width": 32}), SPECS)


def test_an_unknown_data_set_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"dataset = 'baur': .*known: .*sim_push"):
        resolve_all({**params(), "dataset": "baur"}, SPECS)


def test_params_refuse_unknown_sections_missing_names_and_sections_that_are_no_mappings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train_vqae = .*: is no section"):
        load_params(written(tmp_path, params(train_vqae={"seed": 1})))
    with pytest.raises(ConfigError, match="preset = None: is missing"):
        load_params(written(tmp_path, {"dataset": "sim_push", "seed": 0}))
    with pytest.raises(ConfigError, match="evaluate = 3: must be a mapping"):
        load_params(written(tmp_path, params(evaluate=3)))
