"""ingest on raw files written by hand in the documented format; once on files that the simulator writes."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.ingest.step import Config, run
from moso.config import build, load_yaml
from moso.datasets.manifest import Manifest
from moso.errors import CheckpointError, ConfigError, DataError, StopRequested
from moso.lock import hold
from moso.provenance import digest_folder, read_provenance
from moso.step import Context

SPEC = load_yaml(Path(__file__).parents[2] / "data" / "specs" / "sim_push.yaml")
SEEDS = (0, 1, 2, 100000, 200000, 200001)
COUNTS = {"train": 3, "validation": 1, "test": 2}


def write_raw(root: Path, seed: int, frames: np.ndarray | None = None, length: int = 4) -> None:
    rng = np.random.default_rng(seed)
    (root / "episodes").mkdir(parents=True, exist_ok=True)
    (root / "simulation.json").write_text(json.dumps({"settings": {"frames": length, "fps": 10.0}}))
    np.savez_compressed(
        root / "episodes" / f"seed_{seed:06d}.npz",
        frames=rng.integers(0, 256, (length, 8, 8, 3), dtype=np.uint8) if frames is None else frames,
        actions=rng.normal(size=(length, 3)).astype(np.float32),
        states=rng.normal(size=(length, 3)).astype(np.float32),
    )


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for seed in SEEDS:
        write_raw(tmp_path / "raw", seed)
    return tmp_path / "raw"


@pytest.fixture
def ingest(tmp_path: Path) -> Callable[..., Path]:
    """ingest(**settings) -> the output folder."""

    def call(out: str = "episodes", context: Context | None = None, **settings: Any) -> Path:
        config = build(Config, {"spec": SPEC, "episodes": COUNTS, **settings}, "ingest")
        run(config, {}, {"episodes": tmp_path / out}, context or Context(work=tmp_path / "work"))
        return tmp_path / out

    return call


def test_the_output_holds_manifest_quarantine_spec_counts_and_raw_files(raw: Path, ingest: Callable[..., Path]) -> None:
    folder = ingest(raw=str(raw))
    table = Manifest.read(folder / "manifest.parquet").table
    assert list(table["episode_id"]) == [f"seed_{seed:06d}" for seed in SEEDS]
    assert list(table["split"]) == ["train"] * 3 + ["validation"] + ["test"] * 2
    assert set(table["added_in"]) == {1}
    assert len(pd.read_parquet(folder / "quarantine.parquet")) == 0
    assert json.loads((folder / "spec.json").read_text())["name"] == "sim_push"
    assert json.loads((folder / "counts.json").read_text()) == {
        "episodes": {"train": 3, "validation": 1, "test": 2},
        "frames": {"train": 12, "validation": 4, "test": 8},
        "duplicates": {"train": 0, "validation": 0, "test": 0},
        "quarantined": 0,
        "version": 1,
    }
    for path in raw.rglob("*.npz"):
        assert (folder / "raw" / path.relative_to(raw)).read_bytes() == path.read_bytes()
    record = read_provenance(folder, format="moso.episodes", version=2)
    assert record["digest"] == digest_folder(folder)
    assert record["config"]["episodes"] == COUNTS


def test_the_digest_depends_on_the_data_and_not_on_where_they_lay(
    raw: Path, tmp_path: Path, ingest: Callable[..., Path]
) -> None:
    first = read_provenance(ingest("one", raw=str(raw)))["digest"]
    assert read_provenance(ingest("two", raw=str(raw.rename(tmp_path / "elsewhere"))))["digest"] == first
    write_raw(tmp_path / "elsewhere", 1, frames=np.zeros((4, 8, 8, 3), np.uint8))
    assert read_provenance(ingest("three", raw=str(tmp_path / "elsewhere")))["digest"] != first


def test_files_beyond_the_wanted_seeds_are_left_alone(raw: Path, ingest: Callable[..., Path]) -> None:
    write_raw(raw, 3)
    folder = ingest(raw=str(raw))
    assert len(Manifest.read(folder / "manifest.parquet").table) == 6
    assert not (folder / "raw/episodes/seed_000003.npz").exists()


def test_a_bad_file_is_quarantined_and_the_run_goes_on_within_the_share(raw: Path, ingest: Callable[..., Path]) -> None:
    path = raw / "episodes/seed_000001.npz"
    path.write_bytes(path.read_bytes()[:100])
    write_raw(raw, 200001, frames=np.zeros((3, 8, 8, 3), np.uint8))
    folder = ingest(raw=str(raw), quarantine_share=0.4)
    table = pd.read_parquet(folder / "quarantine.parquet")
    assert list(table["file"]) == ["episodes/seed_000001.npz", "episodes/seed_200001.npz"]
    assert all(table["reason"].str.len() > 0)
    kept = Manifest.read(folder / "manifest.parquet").table["episode_id"]
    assert list(kept) == ["seed_000000", "seed_000002", "seed_100000", "seed_200000"]
    assert json.loads((folder / "counts.json").read_text())["quarantined"] == 2


def test_more_bad_files_than_the_share_stop_the_run_and_leave_no_output(
    raw: Path, tmp_path: Path, ingest: Callable[..., Path]
) -> None:
    (raw / "episodes/seed_000001.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 6 records are bad .*1 x the file is empty"):
        ingest(raw=str(raw))
    assert not (tmp_path / "episodes").exists()


def test_an_episode_of_another_length_than_the_recorder_noted_is_bad(raw: Path, ingest: Callable[..., Path]) -> None:
    write_raw(raw, 0, length=3)
    (raw / "simulation.json").write_text(json.dumps({"settings": {"frames": 4, "fps": 10.0}}))
    with pytest.raises(DataError, match="3 frames, the spec says 4"):
        ingest(raw=str(raw))


def test_missing_raw_files_are_named_with_the_remedy(raw: Path, tmp_path: Path, ingest: Callable[..., Path]) -> None:
    (raw / "episodes/seed_000002.npz").unlink()
    with pytest.raises(DataError, match=r"1 of 6 raw files are missing.*seed_000002\.npz.*moso simulate"):
        ingest(raw=str(raw))
    with pytest.raises(DataError, match="moso simulate"):
        ingest(raw=str(tmp_path / "nowhere"))


def test_the_same_frames_in_train_and_test_fail_the_run(raw: Path, ingest: Callable[..., Path]) -> None:
    with np.load(raw / "episodes/seed_000000.npz") as file:
        write_raw(raw, 200000, frames=file["frames"])
    with pytest.raises(DataError, match=r"seed_000000 \(train\), seed_200000 \(test\)"):
        ingest(raw=str(raw))


def test_a_folder_is_read_whole_and_its_files_stay_where_they_are(raw: Path, ingest: Callable[..., Path]) -> None:
    spec = {**SPEC, "source": {"kind": "folder", "path": str(raw)}, "fps": 5}
    folder = ingest(spec=spec, episodes={"train": 1})
    table = Manifest.read(folder / "manifest.parquet").table
    assert len(table) == 6
    assert set(table["fps"]) == {5.0}
    assert not (folder / "raw").exists()


def test_the_stop_signal_ends_the_run_without_output(raw: Path, tmp_path: Path, ingest: Callable[..., Path]) -> None:
    context = Context(work=tmp_path / "work")
    context.stop.set()
    with pytest.raises(StopRequested):
        ingest(raw=str(raw), context=context)
    assert not (tmp_path / "episodes").exists()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"quarantine_share": 1.5}, "ingest.quarantine_share"),
        ({"episodes": {"train": -1}}, "ingest.episodes.train"),
        ({"episodes": {"test": 100001}}, "ingest.episodes.test"),
        ({"spec": {**SPEC, "fps": -1}}, "ingest.spec.fps"),
    ],
)
def test_a_setting_that_breaks_a_rule_is_refused(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Config, {"spec": SPEC, **settings}, "ingest")
    assert caught.value.field == field


def test_simulated_episodes_stay_in_the_work_folder_and_are_not_made_again(
    tmp_path: Path, ingest: Callable[..., Path]
) -> None:
    pytest.importorskip("mujoco")
    small = {"frames": 2, "height": 8, "width": 8, "supersampling": 1}
    one = {"train": 1, "validation": 0, "test": 0}
    folder = ingest(simulation=small, episodes=one)
    (made,) = (tmp_path / "work").rglob("*.npz")
    before = made.stat().st_mtime_ns
    assert Manifest.read(folder / "manifest.parquet").table[["frames", "height"]].to_numpy().tolist() == [[2, 8]]
    folder = ingest(simulation=small, episodes={**one, "test": 1})
    assert made.stat().st_mtime_ns == before
    assert list(Manifest.read(folder / "manifest.parquet").table["split"]) == ["train", "test"]


@pytest.fixture
def recorded(raw: Path, ingest: Callable[..., Path]) -> Callable[..., Path]:
    """ingest of the same files as recordings in a folder, with the spec's splits replaced where asked."""

    def call(splits: dict[str, Any] | None = None, lists: list[dict[str, Any]] | None = None, **settings: Any) -> Path:
        spec = {**SPEC, "source": {"kind": "folder", "path": str(raw)}}
        spec |= {"splits": splits} if splits else {}
        spec |= {"lists": lists} if lists else {}
        return ingest(spec=spec, **settings)

    return call


def test_a_split_list_that_comes_later_never_redraws_what_a_substitute_has_split(
    recorded: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSO_LISTS", str(tmp_path / "lists"))
    text = "seed_000000\n"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    published = [{"file": "t.txt", "split": "test", "url": "https://example.org/t", "lines": 1, "sha256": sha256}]
    rule = {"rule": "lists", "validation_share": 0.2, "test_share": 0.2}
    folder = recorded(rule, published)
    assert json.loads((folder / "splits.json").read_text())["substitute"] is True
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "t.txt").write_text(text)
    with pytest.raises(DataError, match=r"a split list has come, or gone.*ingest\.extend = false"):
        recorded(rule, published)
    folder = recorded(rule, published, extend=False)
    assert json.loads((folder / "splits.json").read_text())["substitute"] is False
    table = Manifest.read(folder / "manifest.parquet").table
    assert set(table[table["split"] == "test"]["episode_id"]) == {"seed_000000"}


def test_with_other_readers_code_every_file_is_read_again(
    recorded: Callable[..., Path], raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded()
    path = raw / "episodes/seed_000001.npz"
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    recorded()  # not read again, so not seen
    (told,) = tmp_path.rglob("told.json")
    told.write_text(json.dumps({**json.loads(told.read_text()), "code": "another"}))
    with pytest.raises(DataError, match="seed_000001 is no longer there or has become bad"):
        recorded()
    assert "every file is read again" in capsys.readouterr().out


def test_a_bad_delivery_cannot_hide_among_many_good_recordings(recorded: Callable[..., Path], raw: Path) -> None:
    recorded(quarantine_share=0.4)
    for seed in range(10, 14):
        (raw / f"episodes/seed_{seed:06d}.npz").write_bytes(b"")
    # 4 of 10 records are bad, which is tolerated; 4 of the 4 that are new are not.
    with pytest.raises(DataError, match=r"4 of 4 records are bad"):
        recorded(quarantine_share=0.4)


def test_the_share_can_be_raised_without_reading_everything_again(
    recorded: Callable[..., Path], raw: Path, tmp_path: Path
) -> None:
    (raw / "episodes/seed_000001.npz").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 6 records are bad"):
        recorded()
    (journal,) = tmp_path.rglob("journal-*.jsonl")
    assert len(journal.read_text().splitlines()) == 6
    path = raw / "episodes/seed_000000.npz"
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    folder = recorded(quarantine_share=0.2)
    assert len(Manifest.read(folder / "manifest.parquet").table) == 5
    assert not journal.exists()


def test_two_processes_do_not_ingest_one_data_set_at_once(recorded: Callable[..., Path], tmp_path: Path) -> None:
    recorded()
    (state,) = (path.parent.parent for path in tmp_path.rglob("told.json"))
    with hold(state, "testing"), pytest.raises(CheckpointError, match="another process is ingesting"):
        recorded()


def test_what_a_bucket_does_not_give_is_in_the_quarantine_and_the_rest_is_ingested(
    raw: Path, ingest: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = pytest.importorskip("boto3").client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="recordings")
        for path in raw.rglob("*.npz"):
            client.upload_file(str(path), "recordings", f"arm/{path.relative_to(raw).as_posix()}")
        client.put_object(Bucket="recordings", Key="arm/../escape.npz", Body=b"evil")
        source = {"kind": "s3", "url": "s3://recordings/arm", "endpoint": endpoint}
        folder = ingest(spec={**SPEC, "source": source}, quarantine_share=0.2)
    finally:
        server.stop()
    assert len(Manifest.read(folder / "manifest.parquet").table) == len(SEEDS)
    (row,) = pd.read_parquet(folder / "quarantine.parquet").to_dict("records")
    assert "escape.npz" in row["file"]
    assert not list(tmp_path.rglob("escape.npz"))
