"""`moso data` on a small project: real specs, recordings, an ingested data set and a frame cache."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from components.ingest.step import Config as IngestConfig
from components.ingest.step import run as ingest_step
from components.preprocess.step import Config as PreprocessConfig
from components.preprocess.step import run as preprocess_step
from moso.cli.data import command
from moso.cli.data_look import Look
from moso.cli.data_preset import fitted
from moso.config import build, load_preset
from moso.datasets.spec import DatasetSpec
from moso.errors import MosoError
from moso.step import Context
from moso.vqvae.config import VQVAEConfig

SPECS = Path(__file__).parents[3] / "data" / "specs"


class Done(NamedTuple):
    out: str
    error: Exception | None


def moso_data(*arguments: str) -> Done:
    result = CliRunner().invoke(command, arguments)
    if result.exception is not None and not isinstance(result.exception, MosoError):
        raise result.exception
    return Done(result.output, result.exception)  # type: ignore[arg-type]


def write_episode(raw: Path, number: int, frames: int = 9) -> None:
    rng = np.random.default_rng(number)
    (raw / "episodes").mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        raw / "episodes" / f"seed_{number:06d}.npz",
        frames=rng.integers(0, 256, (frames, 12, 16, 3), dtype=np.uint8),
        actions=rng.normal(size=(frames, 2)).astype(np.float32),
        states=rng.normal(size=(frames, 3)).astype(np.float32),
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with the specs, and 12 recordings of 9 frames, 12 x 16 pixels, one of them damaged."""
    root = tmp_path / "project"
    shutil.copytree(SPECS, root / "data" / "specs")
    (root / "moso" / "presets").mkdir(parents=True)
    for number in range(12):
        write_episode(root / "recordings", number)
    (root / "recordings" / "episodes" / "seed_000099.npz").write_bytes(b"PK\x03\x04 cut short")
    monkeypatch.chdir(root)
    monkeypatch.setenv("MOSO_LISTS", str(tmp_path / "lists"))
    monkeypatch.setenv("MOSO_WORK", str(tmp_path / "work"))
    return root


def test_help_imports_nothing_that_takes_seconds() -> None:
    code = """
import sys
from click.testing import CliRunner
from moso.cli.data import command
for name in ("", *command.commands):
    assert CliRunner().invoke(command, [*filter(None, [name]), "--help"]).exit_code == 0
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pandas", "pyarrow", "av", "PIL", "boto3"} & set(done.stdout.split())


def init(*more: str) -> Done:
    return moso_data("init", "arm", "--format", "sim_push", "--path", "recordings", "--like", "sim_push/tiny", *more)


def ingest(work: Path) -> None:
    config = IngestConfig(DatasetSpec.load(Path("data/specs/arm.yaml")), quarantine_share=0.2)
    ingest_step(config, {}, {"episodes": Path("data/arm/episodes")}, Context(work=work / "ingest"))


def test_every_data_set_is_listed_with_its_place(project: Path) -> None:
    (project / "data" / "kth" / "raw").mkdir(parents=True)
    rows = {line.split()[0]: line.split() for line in moso_data("list").out.splitlines() if not line.startswith(" ")}
    assert set(rows) == {path.stem for path in SPECS.glob("*.yaml")}
    assert rows["kth"][1:] == ["kth", "missing", "data/kth/raw"]  # an empty folder is no data
    assert rows["sim_push"][2] == "simulated"
    (project / "data" / "kth" / "raw" / "person01_boxing_d1_uncomp.avi").touch()
    assert "kth        here " in moso_data("list").out


def test_show_tells_the_protocol_and_the_lists(project: Path) -> None:
    out = moso_data("show", "kth").out
    assert "10 -> 40 frames, clips of 20, 64 and 128 pixels" in out
    assert "kth_mcnet_test.txt: missing: moso data fetch-lists (863 lines" in out
    assert "dx (m), dy (m), dz (m)" in moso_data("show", "sim_push").out


def test_an_unknown_data_set_is_told_the_nearest(project: Path) -> None:
    assert "did you mean 'kth'?" in str(moso_data("show", "kht").error)


def test_outside_a_project_the_folder_is_asked_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "call it in the project's folder" in str(moso_data("list").error)
    assert "call it in the project's folder" in str(
        moso_data("init", "arm", "--format", "sim_push", "--path", str(tmp_path)).error
    )


def test_init_writes_a_spec_that_says_what_the_data_says(project: Path) -> None:
    done = init("--licence", "ours")
    assert done.error is None
    assert "12 episodes in 13 sources, 9 frames each, 12 x 16" in done.out
    assert "bad: episodes/seed_000099.npz at 0" in done.out
    assert "dvc exp run -S dataset=arm" in done.out
    spec = DatasetSpec.load(project / "data" / "specs" / "arm.yaml")
    assert (spec.name, spec.format, spec.licence) == ("arm", "sim_push", "ours")
    assert (spec.source.kind, spec.source.path) == ("folder", "recordings")
    assert spec.splits.rule == "hash"
    assert spec.actions is not None
    assert spec.states is not None
    assert (len(spec.actions.names), len(spec.states.names)) == (2, 3)
    assert spec.actions.meaning == "unknown"
    assert "not said by the data" in (project / "data" / "specs" / "arm.yaml").read_text()


def test_init_writes_a_preset_in_full_that_fits_the_recordings(project: Path) -> None:
    init()
    preset = yaml.safe_load((project / "moso" / "presets" / "arm" / "default.yaml").read_text())
    assert preset.pop("base") is None
    like = load_preset("sim_push/tiny")
    assert preset["preprocess"] == {"height": 32, "width": 32}
    assert preset["ingest"] == {}  # nothing is simulated
    assert preset["promote"] == {}  # no other data set's model is challenged
    for section in ("train_vqvae", "train_transformer", "extract_tokens"):
        assert preset[section] == like[section]
    assert preset["evaluate"]["rollout"]["frames"] == 7  # 2 given, of 9
    assert preset["evaluate"]["min_episodes"] < like["evaluate"]["min_episodes"]


def test_what_init_wrote_can_be_ingested_preprocessed_and_reported(project: Path, tmp_path: Path) -> None:
    init()
    ingest(tmp_path / "work")
    preprocess_step(
        PreprocessConfig(height=16, width=16),
        {"episodes": Path("data/arm/episodes")},
        {"frames": Path("data/arm/frames")},
        Context(work=tmp_path / "work" / "preprocess"),
    )
    assert "12 episodes in 1 shard, every checksum is right" in moso_data("verify", "arm").out

    done = moso_data("report", "data/arm/frames")
    assert done.error is None, done
    report = json.loads((project / "reports" / "data" / "arm" / "report.json").read_text())
    assert sum(split["episodes"] for split in report["splits"].values()) == 12
    assert report["quarantine"]["records"] == 1
    assert report["data"]["data_set"] == "arm"
    assert "<h1>Data: arm</h1>" in (project / "reports" / "data" / "arm" / "index.html").read_text()
    failed = {c["id"] for c in report["checks"] if not c["ok"]}
    assert "quarantine_share" in failed  # one of thirteen
    assert "quarantine_share" in str(moso_data("report", "arm", "--out", "elsewhere", "--check").error)
    assert (project / "elsewhere" / "report.json").is_file()

    shard = next((project / "data" / "arm" / "frames" / "shards").glob("*/frames.npy"))
    os.chmod(shard, 0o644)
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.unlink()  # hard links: the work folder's shard stays whole
    shard.write_bytes(content)
    assert "is damaged: its sha256 differs" in str(moso_data("verify", "data/arm/frames").error)


def test_status_names_what_is_new_changed_and_gone(project: Path, tmp_path: Path) -> None:
    init()
    assert "was not ingested yet" in moso_data("status", "arm").out
    ingest(tmp_path / "work")
    assert "13 raw files, all as at the last ingest" in moso_data("status", "arm").out
    episodes = project / "recordings" / "episodes"
    write_episode(project / "recordings", 50)
    write_episode(project / "recordings", 3, frames=11)
    (episodes / "seed_000007.npz").unlink()
    out = moso_data("status", "arm").out.splitlines()
    assert out[0].split() == ["new", "1", "file:", "episodes/seed_000050.npz"]
    assert out[1].split() == ["changed", "1", "file:", "episodes/seed_000003.npz"]
    assert out[2].split() == ["gone", "1", "file:", "episodes/seed_000007.npz"]
    assert out[-1] == "to take it up: dvc repro --force --single-item ingest && dvc repro"


def test_status_notices_a_change_of_time_alone_only_where_times_are_known(project: Path, tmp_path: Path) -> None:
    init()
    ingest(tmp_path / "work")
    file = project / "recordings" / "episodes" / "seed_000003.npz"
    os.utime(file, ns=(1, 1))
    assert "changed  1 file: episodes/seed_000003.npz" in moso_data("status", "arm").out
    shutil.rmtree(tmp_path / "work")  # as on a machine that pulled the data
    assert "all as at the last ingest" in moso_data("status", "arm").out


def test_status_looks_where_the_setting_ingest_raw_of_this_data_set_says(project: Path, tmp_path: Path) -> None:
    init()
    ingest(tmp_path / "work")
    shutil.copytree(project / "recordings", project / "elsewhere")
    write_episode(project / "elsewhere", 50)
    params = project / "params.yaml"
    params.write_text("dataset: arm\npreset: default\ningest: {raw: elsewhere}\n")
    out = moso_data("status", "arm").out
    assert "new      1 file: episodes/seed_000050.npz" in out
    params.write_text("dataset: arm\npreset: default\ningest: {raw: nowhere}\n")
    assert "params.yaml (ingest.raw) says" in str(moso_data("status", "arm").error)
    params.write_text("dataset: kth\npreset: default\ningest: {raw: nowhere}\n")  # another data set's setting
    assert "all as at the last ingest" in moso_data("status", "arm").out
    params.write_text("dataset: arm\npreset: default\ningest:\n")
    assert "all as at the last ingest" in moso_data("status", "arm").out


def test_the_quarantine_is_a_table(project: Path, tmp_path: Path) -> None:
    init()
    assert "`dvc repro ingest` writes it" in str(moso_data("quarantine", "arm").error)
    ingest(tmp_path / "work")
    out = moso_data("quarantine", "arm").out.splitlines()
    assert out[0] == "arm: 1 record set aside, 1 reason"
    row = pd.read_parquet("data/arm/episodes/quarantine.parquet").iloc[0]
    assert out[1].split(maxsplit=2) == [row["file"], "0", row["reason"]]


def test_nothing_that_is_there_is_replaced_unless_asked(project: Path) -> None:
    init()
    before = (project / "data" / "specs" / "arm.yaml").read_text()
    assert "is there already" in str(init("--licence", "other").error)
    assert (project / "data" / "specs" / "arm.yaml").read_text() == before
    assert init("--licence", "other", "--force").error is None
    assert DatasetSpec.load(project / "data" / "specs" / "arm.yaml").licence == "other"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "sim_pull", "--path", "recordings"), "no such reader"),
        (("--format", "sim_push", "--path", "nowhere"), "neither a folder nor an archive"),
        (("--format", "sim_push", "--path", "data"), "nothing that the reader 'sim_push' can read"),
        (("--format", "sim_push", "--path", "recordings", "--camera", "top"), "has no choice of cameras"),
        (("--format", "sim_push", "--path", "recordings", "--like", "sim_push/large"), "no such preset"),
        (("--format", "sim_push", "--path", "recordings", "--endpoint", "http://x"), "has no meaning for a path"),
        (("--format", "videos", "--path", "recordings", "--option", "sufixes=[.mp4]"), "did you mean 'suffixes'?"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    project: Path, arguments: tuple[str, ...], message: str
) -> None:
    before = {path for path in project.rglob("*") if path.is_file()}
    error = moso_data("init", "arm", *arguments).error
    assert message in str(error)
    assert "\n" not in str(error)
    assert {path for path in project.rglob("*") if path.is_file()} == before


def look_of(lengths: list[int]) -> Look:
    return Look(lengths=lengths)


def test_clips_are_shortened_in_whole_pools_until_they_fit() -> None:
    """sim_push/default: clips of 12 frames in 6 pools, 2 a pool; 9 frames hold 4 pools."""
    preset = fitted(load_preset("sim_push/default"), look_of([9, 20, 30]), {"test": 40})
    model = preset["train_vqvae"]["model"]
    assert (model["frames"], model["pools"]) == (8, 4)
    build(VQVAEConfig, model)
    assert preset["evaluate"]["rollout"]["frames"] == 7
    assert (preset["evaluate"]["min_clips"], preset["evaluate"]["min_episodes"]) == (40, 40)


def test_few_short_recordings_do_not_shorten_the_clips_of_all() -> None:
    preset = fitted(load_preset("sim_push/default"), look_of([3, *[30] * 20]), {"test": 5})
    assert preset["train_vqvae"]["model"]["frames"] == 12
    assert preset["evaluate"]["min_clips"] == 4  # the short one may be among the five
    assert preset["evaluate"]["rollout"] is None


def test_settings_of_the_preset_that_is_copied_stay_as_they_are() -> None:
    before = load_preset("sim_push/default")
    fitted(before, look_of([4]), {"test": 1})
    assert before == load_preset("sim_push/default")


def test_recordings_too_short_for_any_clip_are_refused() -> None:
    with pytest.raises(MosoError, match="too short for clips"):
        fitted(load_preset("sim_push/default"), look_of([1, 1]), {})


def test_fetch_lists_says_what_needs_none_and_gathers_what_failed(project: Path) -> None:
    assert "sim_push: needs no published list" in moso_data("fetch-lists", "sim_push").out
    spec = yaml.safe_load((project / "data" / "specs" / "kth.yaml").read_text())
    for item in spec["lists"]:
        item["url"] = f"http://127.0.0.1:9/{item['file']}"  # the discard port: nobody answers
    (project / "data" / "specs" / "kth.yaml").write_text(yaml.safe_dump(spec))
    error = str(moso_data("fetch-lists", "kth").error)
    assert "could not get kth_mcnet_train.txt" in error
    assert "could not get kth_mcnet_test.txt" in error


def test_init_looks_into_an_archive_as_ingest_will(project: Path, tmp_path: Path) -> None:
    shutil.make_archive("arm", "zip", "recordings")
    done = moso_data("init", "arm", "--format", "sim_push", "--path", "arm.zip", "--like", "sim_push/tiny")
    assert "12 episodes in 13 sources" in done.out
    spec = DatasetSpec.load(project / "data" / "specs" / "arm.yaml")
    assert (spec.source.kind, spec.source.path) == ("archive", "arm.zip")
    (unpacked,) = [path for path in (tmp_path / "work" / "raw").glob("*/unpacked/*") if path.is_dir()]
    changed = (unpacked / "episodes" / "seed_000000.npz").stat().st_ctime_ns
    ingest(tmp_path / "work")  # nothing is unpacked twice
    assert (unpacked / "episodes" / "seed_000000.npz").stat().st_ctime_ns == changed
    assert "raw files inside archives are looked at by ingest alone" in str(moso_data("status", "arm").error)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The address of an S3 server on this machine, and a client of it."""
    import boto3
    from moto.server import ThreadedMotoServer

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client("s3", endpoint_url=address)
    client.create_bucket(Bucket="lab-data")
    yield address, client
    server.stop()


def test_a_prefix_in_s3_is_initialised_ingested_and_its_new_objects_are_seen(
    project: Path, tmp_path: Path, bucket
) -> None:
    endpoint, client = bucket

    def put(number: int) -> None:
        name = f"episodes/seed_{number:06d}.npz"
        client.upload_file(f"recordings/{name}", "lab-data", f"arm/{name}")

    for number in range(8):
        put(number)
    place = ("--path", "s3://lab-data/arm", "--endpoint", endpoint)
    done = moso_data("init", "arm", "--format", "sim_push", *place, "--like", "sim_push/tiny")
    assert done.error is None, done
    assert "8 episodes in 8 sources" in done.out
    spec = DatasetSpec.load(project / "data" / "specs" / "arm.yaml")
    assert (spec.source.kind, spec.source.url, spec.source.endpoint) == ("s3", "s3://lab-data/arm", endpoint)
    ingest(tmp_path / "work")
    assert "8 raw files, all as at the last ingest" in moso_data("status", "arm").out
    put(8)
    client.put_object(Bucket="lab-data", Key="arm/notes.txt", Body=b"no recording")
    client.delete_object(Bucket="lab-data", Key="arm/episodes/seed_000001.npz")
    out = moso_data("status", "arm").out.splitlines()
    assert out[0].split() == ["new", "1", "file:", "episodes/seed_000008.npz"]
    assert out[1].split() == ["gone", "1", "file:", "episodes/seed_000001.npz"]
    client.delete_object(Bucket="lab-data", Key="arm/episodes/seed_000008.npz")
    put(1)
    assert "8 raw files, all as at the last ingest" in moso_data("status", "arm").out  # the same content, a later time
    data = bytearray(Path("recordings/episodes/seed_000002.npz").read_bytes())
    data[-1] ^= 1
    client.put_object(Bucket="lab-data", Key="arm/episodes/seed_000002.npz", Body=bytes(data))  # of the same size
    out = moso_data("status", "arm").out.splitlines()
    assert out[0].split() == ["changed", "1", "file:", "episodes/seed_000002.npz"]
