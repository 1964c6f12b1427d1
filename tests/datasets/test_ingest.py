import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from moso.datasets.ingest import ingest
from moso.datasets.spec import DatasetSpec
from moso.errors import DataError

Write = Callable[..., str]


def test_a_row_says_what_the_file_holds(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    frames = np.arange(5 * 2 * 6 * 3, dtype=np.uint8).reshape(5, 2, 6, 3)
    manifest, rejected = ingest(tmp_path, [write_raw(120, frames=frames)], spec)
    assert rejected == []
    assert manifest.table.to_dict("records") == [
        {
            "episode_id": "seed_000120",
            "split": "validation",
            "source": "episodes/seed_000120.npz",
            "sha256": hashlib.sha256(bytes(range(180))).hexdigest(),
            "frames": 5,
            "height": 2,
            "width": 6,
            "fps": 10.0,
            "actions": 3,
            "added_in": 1,
        }
    ]


def test_bad_files_are_set_aside_and_the_others_stay_in_order(
    tmp_path: Path, spec: DatasetSpec, write_raw: Write
) -> None:
    sources = [write_raw(seed) for seed in (2, 0, 1, 250, 999)]  # 999 has no split
    (tmp_path / sources[1]).write_bytes(b"")
    seen: list[str] = []
    manifest, rejected = ingest(tmp_path, sources, spec, each=seen.append)
    assert list(manifest.table["episode_id"]) == ["seed_000002", "seed_000001", "seed_000250"]
    assert [(r.file, r.reason.split(":")[0]) for r in rejected] == [
        (sources[1], "the file is empty"),
        (sources[4], "'seed_000999' lies in no split"),
    ]
    assert seen == sources


def test_a_video_in_train_and_in_test_fails_the_run(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    same = np.full((5, 4, 4, 3), 9, np.uint8)
    sources = [write_raw(1, frames=same), write_raw(201, frames=same)]
    with pytest.raises(DataError, match="several splits"):
        ingest(tmp_path, sources, spec)


def test_new_files_are_appended_as_the_next_version_and_leaks_to_old_ones_are_found(
    tmp_path: Path, spec: DatasetSpec, write_raw: Write
) -> None:
    same = np.full((5, 4, 4, 3), 9, np.uint8)
    base, _ = ingest(tmp_path, [write_raw(0), write_raw(1, frames=same)], spec)
    extended, _ = ingest(tmp_path, [write_raw(2)], spec, base=base)
    assert list(extended.table["added_in"]) == [1, 1, 2]
    with pytest.raises(DataError, match="several splits"):
        ingest(tmp_path, [write_raw(202, frames=same)], spec, base=base)
