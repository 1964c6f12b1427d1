"""A manifest's row is its episode, by a hash computed anew from the episode's file."""

import json

import numpy as np
import pytest

from moso.cli.lineage_episodes import changed_episodes, raw_folder
from moso.config import to_dict
from moso.datasets.ingest import Ingested, ingest
from moso.datasets.readers import sim_push
from moso.datasets.spec import DatasetSpec, SourceSpec, SplitSpec
from moso.datasets.splits import Splits
from moso.errors import DataError
from moso.provenance import write_json


@pytest.fixture
def spec():
    splits = SplitSpec("id_ranges", train=(0, 100), validation=(100, 200), test=(200, 300))
    return DatasetSpec("tiny", "sim_push", SourceSpec("simulate"), 10.0, splits)


@pytest.fixture
def write_raw(tmp_path):
    """write(seed, **arrays): the raw file of an episode; arrays replace those drawn from the seed."""

    def write(seed, **arrays):
        rng = np.random.default_rng(seed)
        drawn = {
            "frames": rng.integers(0, 256, (5, 4, 4, 3), dtype=np.uint8),
            "actions": rng.normal(size=(5, 3)).astype(np.float32),
            "states": rng.normal(size=(5, 2)).astype(np.float32),
        }
        (tmp_path / "episodes").mkdir(exist_ok=True)
        np.savez_compressed(tmp_path / "episodes" / f"seed_{seed:06d}.npz", **drawn | arrays)

    return write


@pytest.fixture
def episodes(tmp_path, spec, write_raw):
    """An output folder of ingest over three episodes whose raw files lie in tmp_path."""
    for seed in (1, 2, 201):
        write_raw(seed)
    folder = tmp_path / "out"
    folder.mkdir()
    found = ingest(
        tmp_path, sim_push.sources(tmp_path, spec), spec, Splits.of(spec), base=Ingested.nothing(), workers=1
    )
    found.write(folder)
    write_json(folder / "spec.json", to_dict(spec))
    (folder / "provenance.json").write_text(json.dumps({"config": {"raw": None}}))
    return folder


def test_episodes_as_they_were_ingested_are_all_right_and_each_is_counted(tmp_path, episodes):
    seen = []
    assert changed_episodes(episodes, tmp_path, lambda: seen.append(1)) == {}
    assert len(seen) == 3


def test_a_changed_pixel_a_changed_action_and_a_file_that_is_gone_are_told_apart(tmp_path, episodes, write_raw):
    with np.load(tmp_path / "episodes/seed_000001.npz") as file:
        frames, actions = file["frames"].copy(), file["actions"]
    frames[3, 1, 2, 0] ^= 1
    write_raw(1, frames=frames)
    with np.load(tmp_path / "episodes/seed_000002.npz") as file:
        actions = file["actions"].copy()
    actions[0, 0] += 1
    write_raw(2, actions=actions)
    (tmp_path / "episodes/seed_000201.npz").unlink()
    wrong = changed_episodes(episodes, tmp_path)
    assert "its frames have sha256" in wrong["seed_000001"]
    assert "actions or states" in wrong["seed_000002"]
    assert "no longer there" in wrong["seed_000201"]


def test_a_truncated_file_is_named_with_the_readers_reason(tmp_path, episodes):
    path = tmp_path / "episodes/seed_000002.npz"
    path.write_bytes(path.read_bytes()[:100])
    assert "archive" in changed_episodes(episodes, tmp_path)["seed_000002"]


def test_raw_files_that_are_nowhere_must_be_named(tmp_path, episodes):
    with pytest.raises(DataError, match="--raw"):
        raw_folder(episodes, tmp_path)
    (tmp_path / "data/tiny/raw").mkdir(parents=True)
    assert raw_folder(episodes, tmp_path) == tmp_path / "data/tiny/raw"
    (episodes / "raw").mkdir()
    assert raw_folder(episodes, tmp_path) == episodes / "raw"
