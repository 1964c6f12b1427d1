from pathlib import Path

import pytest

from moso.config import build, to_dict
from moso.datasets.spec import SPLITS, DatasetSpec
from moso.errors import ConfigError

SPECS = Path(__file__).parents[2] / "data" / "specs"
PLAIN = {
    "name": "x",
    "format": "sim_push",
    "source": {"kind": "simulate"},
    "fps": 10,
    "splits": {"rule": "id_ranges", "train": [0, 10], "validation": [10, 20], "test": [20, 30]},
}


def test_every_committed_spec_is_valid_and_bears_its_files_name() -> None:
    paths = sorted(SPECS.glob("*.yaml"))
    assert "sim_push" in [path.stem for path in paths]
    for path in paths:
        assert DatasetSpec.load(path).name == path.stem


def test_sim_push_splits_by_the_documented_seed_ranges() -> None:
    splits = DatasetSpec.load(SPECS / "sim_push.yaml").splits
    assert [getattr(splits, s) for s in SPLITS] == [(0, 100_000), (100_000, 200_000), (200_000, 300_000)]


def test_a_spec_survives_the_way_to_plain_data_and_back() -> None:
    spec = DatasetSpec.load(SPECS / "sim_push.yaml")
    assert build(DatasetSpec, to_dict(spec)) == spec


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"format": "bair_tf"}, "format"),
        ({"fps": 0}, "fps"),
        ({"episode_frames": 0}, "episode_frames"),
        ({"source": {"kind": "archive"}}, "source.path"),
        ({"source": {"kind": "s3", "url": "http://x"}}, "source.url"),
        ({"source": {"kind": "folder", "url": "s3://x/y"}}, "source.url"),
        ({"options": {"view": 1}}, "options.view"),
        ({"splits": {"rule": "patterns"}}, "splits.train"),
        ({"splits": {"rule": "patterns", "train": "("}}, "splits.train"),
        ({"splits": {"rule": "hash", "test_share": 0.1}}, "splits.test_share"),
        ({"splits": {"rule": "hash", "test_share": 0.6, "validation_share": 0.4}}, "splits.test_share"),
        ({"splits": {"rule": "id_ranges"}}, "splits.train"),
        ({"splits": {"rule": "hash", "train": [0, 1]}}, "splits.train"),
        ({"splits": {"rule": "lists", "test_share": 0.1}}, "lists"),
        ({"name": "../x"}, "name"),
        ({"source": {"kind": "simulate", "path": "/data"}}, "source.path"),
        ({"source": {"kind": "ftp"}}, "source.kind"),
        ({"splits": {**PLAIN["splits"], "test": [15, 30]}}, "splits.test"),  # type: ignore[dict-item]
        ({"splits": {**PLAIN["splits"], "train": [5, 5]}}, "splits.train"),  # type: ignore[dict-item]
        ({"fpz": 10}, "fpz"),
        (
            {"actions": {"names": ["x", "y"], "meaning": "delta", "space": "joint", "units": ["m"]}},
            "actions.units",
        ),
    ],
)
def test_a_spec_that_breaks_a_rule_is_refused_by_the_fields_name(change: dict[str, object], field: str) -> None:
    assert build(DatasetSpec, PLAIN).name == "x"
    with pytest.raises(ConfigError) as caught:
        build(DatasetSpec, {**PLAIN, **change})
    assert caught.value.field == field
