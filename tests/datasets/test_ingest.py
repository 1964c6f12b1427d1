import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moso.datasets.episode import Episode, Source
from moso.datasets.ingest import Ingested, changed, fingerprint, ingest, row_of
from moso.datasets.journal import Journal
from moso.datasets.spec import DatasetSpec, SplitSpec
from moso.datasets.splits import Splits
from moso.errors import DataError, StopRequested
from moso.step import StopSignal

Write = Callable[..., str]


def test_a_row_says_what_the_file_holds(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    frames = np.arange(5 * 2 * 6 * 3, dtype=np.uint8).reshape(5, 2, 6, 3)
    actions, states = np.zeros((5, 3), np.float32), np.ones((5, 2), np.float32)
    found = ingest(tmp_path, [Source(write_raw(120, frames=frames, actions=actions, states=states))], spec)
    manifest = found.manifest
    assert found.rejected == []
    assert manifest.table.to_dict("records") == [
        {
            "episode_id": "seed_000120",
            "split": "validation",
            "recording": "seed_000120",
            "source": "episodes/seed_000120.npz",
            "sha256": hashlib.sha256(bytes(range(180))).hexdigest(),
            "signals_sha256": hashlib.sha256(b"(5, 3)" + actions.tobytes() + b"(5, 2)" + states.tobytes()).hexdigest(),
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
    found = ingest(tmp_path, [Source(name) for name in sources], spec, each=seen.append)
    manifest, rejected = found.manifest, found.rejected
    assert list(manifest.table["episode_id"]) == ["seed_000002", "seed_000001", "seed_000250"]
    assert [(r.file, r.reason.split(":")[0]) for r in rejected] == [
        (sources[1], "the file is empty"),
        (sources[4], "seed_000999"),
    ]
    assert seen == sources


def test_a_video_in_train_and_in_test_fails_the_run(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    same = np.full((5, 4, 4, 3), 9, np.uint8)
    sources = [Source(write_raw(1, frames=same)), Source(write_raw(201, frames=same))]
    with pytest.raises(DataError, match="several splits"):
        ingest(tmp_path, sources, spec)


def test_new_files_are_appended_as_the_next_version_and_leaks_to_old_ones_are_found(
    tmp_path: Path, spec: DatasetSpec, write_raw: Write
) -> None:
    same = np.full((5, 4, 4, 3), 9, np.uint8)
    sources = [Source(write_raw(0)), Source(write_raw(1, frames=same))]
    base = ingest(tmp_path, sources, spec)
    extended = ingest(tmp_path, [*sources, Source(write_raw(2))], spec, base=base)
    assert list(extended.manifest.table["added_in"]) == [1, 1, 2]
    pd.testing.assert_frame_equal(extended.manifest.table.head(2), base.manifest.table)
    with pytest.raises(DataError, match="several splits"):
        ingest(tmp_path, [*sources, Source(write_raw(202, frames=same))], spec, base=base)


def test_what_did_not_change_is_not_read_again(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    names = [write_raw(seed) for seed in (0, 1, 2)]
    (tmp_path / names[2]).write_bytes(b"")
    base = ingest(tmp_path, [Source(name) for name in names], spec)
    # A file of the same size and time whose content would be refused: only a read could tell.
    status = (tmp_path / names[0]).stat()
    (tmp_path / names[0]).write_bytes(bytes(status.st_size))
    os.utime(tmp_path / names[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    again = ingest(tmp_path, [Source(name) for name in names], spec, base=base)
    pd.testing.assert_frame_equal(again.manifest.table, base.manifest.table)
    assert [r.file for r in again.rejected] == [names[2]]
    # The bad file is repaired: it is read, joins the manifest and leaves the quarantine.
    write_raw(2)
    mended = ingest(tmp_path, [Source(name) for name in names], spec, base=again)
    assert list(mended.manifest.table["episode_id"]) == ["seed_000000", "seed_000001", "seed_000002"]
    assert mended.manifest.version == 2
    assert mended.rejected == []


def test_an_episode_that_changed_or_is_gone_is_refused_for_a_manifest_only_grows(
    tmp_path: Path, spec: DatasetSpec, write_raw: Write
) -> None:
    names = [write_raw(0), write_raw(1)]
    base = ingest(tmp_path, [Source(name) for name in names], spec)
    write_raw(1, frames=np.zeros((5, 4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"seed_000001 has other frames now.*extend = false"):
        ingest(tmp_path, [Source(name) for name in names], spec, base=base)
    (tmp_path / names[1]).write_bytes(b"")
    with pytest.raises(DataError, match=r"seed_000001 is no longer there or has become bad"):
        ingest(tmp_path, [Source(name) for name in names], spec, base=base)
    with pytest.raises(DataError, match=r"1 raw files are gone.*seed_000001"):
        ingest(tmp_path, [Source(names[0])], spec, base=base)


def test_a_result_survives_the_way_to_disk_and_without_times_everything_is_read_again(
    tmp_path: Path, spec: DatasetSpec, write_raw: Write
) -> None:
    sources = [Source(write_raw(0)), Source(write_raw(250))]
    (tmp_path / sources[1].name).write_bytes(b"x")
    base = ingest(tmp_path, sources, spec)
    (tmp_path / "out").mkdir()
    base.write(tmp_path / "out")
    back = Ingested.load(tmp_path / "out")
    pd.testing.assert_frame_equal(back.manifest.table, base.manifest.table)
    pd.testing.assert_frame_equal(back.files, base.files, check_dtype=False)
    assert back.rejected == base.rejected
    files = fingerprint(tmp_path, sources)
    assert changed(files, back.files) == (set(), set())
    assert changed(files, base.without_times().files) == ({s.name for s in sources}, set())


def test_several_workers_find_what_one_finds(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    sources = [Source(write_raw(seed)) for seed in (3, 0, 120, 2, 1)]
    (tmp_path / sources[3].name).write_bytes(b"")
    one, three = (ingest(tmp_path, sources, spec, workers=workers) for workers in (1, 3))
    pd.testing.assert_frame_equal(one.manifest.table, three.manifest.table)
    assert one.rejected == three.rejected
    assert len(one.rejected) == 1


def test_other_actions_or_another_split_are_refused_like_other_frames(
    tmp_path: Path, spec: DatasetSpec, write_raw: Write
) -> None:
    source = Source(write_raw(0))
    base = ingest(tmp_path, [source], spec)
    with np.load(tmp_path / source.name) as file:
        same = dict(file)
    write_raw(0, **{**same, "actions": same["actions"] + 1})
    with pytest.raises(DataError, match="seed_000000 has other actions or states now"):
        ingest(tmp_path, [source], spec, base=base)
    write_raw(0, **same)
    moved = replace(spec, splits=SplitSpec("id_ranges", train=(1, 9), validation=(0, 1), test=(9, 10)))
    with pytest.raises(DataError, match="seed_000000 has another split now"):
        ingest(tmp_path, [source], moved, base=base.without_times())


def test_ids_and_splits_are_asked_for_again_without_reading_frames(
    tmp_path: Path, spec: DatasetSpec, write_raw: Write
) -> None:
    source = Source(write_raw(0))
    base = ingest(tmp_path, [source], spec)
    assert len(ingest(tmp_path, [source], spec, base=base, recheck=True).manifest.table) == 1
    moved = replace(spec, splits=SplitSpec("id_ranges", train=(1, 9), validation=(0, 1), test=(9, 10)))
    assert len(ingest(tmp_path, [source], moved, base=base).manifest.table) == 1  # nobody asked
    with pytest.raises(DataError, match="another split or recording now"):
        ingest(tmp_path, [source], moved, base=base, recheck=True)


def test_an_episode_of_another_length_than_the_spec_says_is_set_aside_whatever_the_reader(
    tmp_path: Path, spec: DatasetSpec
) -> None:
    episode = Episode.of("seed_000000", "a", np.zeros((4, 2, 2, 3), np.uint8), 10.0)
    assert row_of(episode, Splits.of(spec), 4)["frames"] == 4
    with pytest.raises(DataError, match="4 frames, the spec says 5"):
        row_of(episode, Splits.of(spec), 5)


class StopAfter(StopSignal):
    """Raised from the n-th question on."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self.left = questions

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_stopped_run_goes_on_with_what_it_has_read_and_ends_as_one_that_was_never_stopped(
    tmp_path: Path, spec: DatasetSpec, write_raw: Write
) -> None:
    sources = [Source(write_raw(seed)) for seed in range(5)]
    (tmp_path / sources[1].name).write_bytes(b"")
    whole = ingest(tmp_path, sources, spec)
    journal = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(StopRequested):
        ingest(tmp_path, sources, spec, journal=journal, stop=StopAfter(3))
    with journal.path.open("a") as file:  # killed while it wrote a line
        file.write('{"source": "episodes/seed_0000')
    # A file of the same size and time whose content would be refused: only a read could tell.
    status = (tmp_path / sources[0].name).stat()
    (tmp_path / sources[0].name).write_bytes(bytes(status.st_size))
    os.utime(tmp_path / sources[0].name, ns=(status.st_atime_ns, status.st_mtime_ns))
    seen: list[str] = []
    found = ingest(tmp_path, sources, spec, journal=journal, each=seen.append)
    pd.testing.assert_frame_equal(found.manifest.table, whole.manifest.table)
    assert found.rejected == whole.rejected
    assert sorted(seen) == [source.name for source in sources]
    again = ingest(tmp_path, sources, spec, journal=journal)  # all of it from the journal, whose cut line is gone
    pd.testing.assert_frame_equal(again.manifest.table, whole.manifest.table)
    # A file that changed since is read again, in place of what the journal says.
    write_raw(2, frames=np.zeros((5, 4, 4, 3), np.uint8))
    other = ingest(tmp_path, sources, spec, journal=journal).manifest.table
    assert other["sha256"].iloc[1] == hashlib.sha256(bytes(5 * 4 * 4 * 3)).hexdigest()


def test_bad_records_of_sources_that_did_not_change_stay_in_the_quarantine(
    tmp_path: Path, spec: DatasetSpec, write_raw: Write
) -> None:
    # Both sources name the file that the bad record is filed under.
    names = [write_raw(0), write_raw(1)]
    (tmp_path / names[0]).write_bytes(b"")
    shared = [Source(names[0]), Source(names[1], (names[1], names[0]))]
    base = ingest(tmp_path, shared, spec)
    assert [(r.file, r.source) for r in base.rejected] == [(names[0], names[0])]
    write_raw(5)
    os.utime(tmp_path / names[1], ns=(1, 1))
    again = ingest(tmp_path, shared, spec, base=base)
    assert [(r.file, r.source) for r in again.rejected] == [(names[0], names[0])]
    assert (again.read, again.read_rejected) == (1, ())
