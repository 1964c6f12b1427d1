"""Ray Train for real: two gloo workers on this machine, killed, stopped and refused.

Each fit costs half a minute on an idle machine; those that start it run by `make test-ray` alone:

    python -m pytest tests/adapters/test_ray.py -m ray
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow.fs
import pytest
import torch
from ray_runs import ROOT, Run, end, frame_cache
from safetensors.torch import load_file

from moso.adapters import ray as adapter
from moso.adapters.ray import RayError
from moso.adapters.ray_storage import RECORD, Storage
from moso.provenance import read_provenance

TWO = {"workers": 2}
STEPS = {"steps": 24, "checkpoint_every": 4}


def stage_1(folder: Path, frames: Path) -> Run:
    """A run of train_vqvae."""
    return Run(folder, "train_vqvae", {"frames": frames}, "vqvae", training=STEPS)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame cache; to be read only."""
    return frame_cache(tmp_path_factory.mktemp("ray") / "frames")


@pytest.fixture(scope="module")
def undisturbed(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with two workers that nothing happened to."""
    run = stage_1(tmp_path_factory.mktemp("undisturbed"), frames)
    run.finish(run.start(TWO))
    return run


@pytest.fixture
def run(frames: Path, tmp_path: Path) -> Iterator[Run]:
    """A run of the same settings in a folder of its own."""
    run = stage_1(tmp_path, frames)
    yield run
    for process in run.started:
        end(process)


@pytest.fixture(scope="module")
def one_store(undisturbed: Run, frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """extract_tokens in one process, without Ray."""
    run = extraction(tmp_path_factory.mktemp("one_store"), frames, undisturbed)
    run.finish(run.start())
    return run


def extraction(folder: Path, frames: Path, stage_1: Run) -> Run:
    """A run of extract_tokens in five batches, of which the last is not full."""
    return Run(folder, "extract_tokens", {"frames": frames, "vqvae": stage_1.output}, "tokens", batch=16)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.output / "model.safetensors")


def assert_equal(one: Run, other: Run) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_a_missing_ray_is_one_line_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RayError, match=r"ray is not installed: pip install 'moso\[ray\]'"):
        adapter.require_ray()


def test_a_storage_that_cannot_be_written_to_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RayError, match=r"ray\.storage = '.*/file/below': .*; choose a folder that can be written to"):
        Storage.at(str(tmp_path / "file" / "below"), "run")


@pytest.mark.parametrize("content", ["", '{"ray_version": "1.0", "checkpoint_results": []}', "{}"])
def test_a_record_that_ray_would_refuse_is_left_aside(tmp_path: Path, content: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RECORD).write_text(content)
    Storage.at(str(tmp_path), "run")
    assert not (tmp_path / "run" / RECORD).exists()
    assert (tmp_path / "run" / f"{RECORD}.damaged").read_text() == content


def test_a_record_of_lost_checkpoints_is_left_aside_and_one_of_whole_ones_is_kept(tmp_path: Path) -> None:
    import ray

    record = {"ray_version": ray.__version__, "checkpoint_results": [{"checkpoint_dir_name": "checkpoint_1"}]}
    (tmp_path / "run" / "checkpoint_1").mkdir(parents=True)
    (tmp_path / "run" / RECORD).write_text(json.dumps(record))
    storage = Storage.at(str(tmp_path), "run")
    assert (tmp_path / "run" / RECORD).exists()
    (tmp_path / "run" / "checkpoint_1").rmdir()
    Storage.at(str(tmp_path), "run")
    assert not (tmp_path / "run" / RECORD).exists()
    assert isinstance(storage.filesystem, pyarrow.fs.LocalFileSystem)
    storage.discard()
    assert not (tmp_path / "run").exists()


def test_a_bucket_holds_a_run_and_a_lost_one_is_named_in_one_line(
    s3: tuple[Any, str], s3_server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, bucket = s3
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*s3_server))
    client.put_object(Bucket=bucket, Key=f"checkpoints/run/{RECORD}", Body=b"cut o")
    storage = Storage.at(f"s3://{bucket}/checkpoints", "run")
    keys = {found["Key"].rpartition("/")[2] for found in client.list_objects_v2(Bucket=bucket)["Contents"]}
    assert {f"{RECORD}.damaged", ".moso"} <= keys
    assert RECORD not in keys
    storage.discard()
    left = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    assert [found["Key"] for found in left if found["Key"].startswith("checkpoints/run/")] == []
    with pytest.raises(RayError, match=r"ray\.storage = 's3://moso-no-such-bucket/x'.*check the address") as caught:
        Storage.at("s3://moso-no-such-bucket/x", "run")
    assert "\n" not in str(caught.value)


@pytest.mark.ray
def test_two_workers_follow_one_without_ray(undisturbed: Run, run: Run) -> None:
    """To rounding until k-means starts the codebook (after step 8), where a rounding decides which token is taken.

    tests/vqvae/test_distributed.py compares weights over 20 steps, in settings that leave no such ties.
    """
    run.finish(run.start())
    alone, pair = (pandas.read_csv(one.output / "history.csv").set_index("step") for one in (run, undisturbed))
    for name in ("loss", "psnr", "gradient_norm"):
        np.testing.assert_allclose(pair.loc[[4, 8], name], alone.loc[[4, 8], name], rtol=1e-5)
    np.testing.assert_allclose(pair.loc[24, "loss"], alone.loc[24, "loss"], rtol=0.02)
    said = undisturbed.errors()
    assert "effective batch 2: 2 workers with 1 samples each, on Ray (local)" in said
    assert "24/24" in said  # the workers' progress is seen at the driver
    assert not list(undisturbed.folder.glob("work/train_vqvae/ray/*"))  # the copies go once the output is whole


@pytest.mark.ray
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_is_replaced_and_the_weights_are_those_of_an_undisturbed_run(
    undisturbed: Run, run: Run, rank: int
) -> None:
    process = run.start(TWO)
    run.until(lambda: len(run.checkpoints()) > 0 and len(run.workers(process)) == 2, process)
    run.workers(process)[rank].send_signal(signal.SIGKILL)
    run.finish(process)
    assert "goes on from step" in run.errors()
    assert_equal(run, undisturbed)


@pytest.mark.ray
def test_a_killed_driver_that_is_started_again_goes_on_to_the_weights_of_an_undisturbed_run(
    undisturbed: Run, run: Run
) -> None:
    process = run.start(TWO)
    run.until(lambda: len(run.checkpoints()) > 0, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run.finish(run.start(TWO))
    assert "goes on from step" in run.errors()
    assert_equal(run, undisturbed)


@pytest.mark.ray
def test_sigterm_at_the_driver_makes_the_workers_write_a_checkpoint_and_ends_as_interrupted(
    undisturbed: Run, run: Run
) -> None:
    process = run.start(TWO)
    run.until(lambda: len(run.checkpoints()) > 0, process)
    process.send_signal(signal.SIGTERM)
    run.finish(process, status=143)
    assert "stopped; run it again to go on" in run.errors()
    run.finish(run.start(TWO))
    assert "goes on from step" in run.errors()
    assert_equal(run, undisturbed)


@pytest.mark.ray
def test_two_workers_extract_the_store_of_one_byte_for_byte(
    one_store: Run, undisturbed: Run, frames: Path, tmp_path: Path
) -> None:
    run = extraction(tmp_path, frames, undisturbed)
    try:
        run.finish(run.start(TWO))
    finally:
        end(run.started[0])
    assert "batches of 16 clips, dealt to 2 workers, on Ray (local)" in run.errors()
    names = sorted(path.relative_to(one_store.output) for path in one_store.output.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(run.output) for path in run.output.rglob("*") if path.is_file())
    assert any(name.suffix == ".npy" for name in names), names
    for name in names:
        if name.name != "provenance.json":  # it says when
            assert (run.output / name).read_bytes() == (one_store.output / name).read_bytes(), name
    assert read_provenance(run.output)["digest"] == read_provenance(one_store.output)["digest"]


@pytest.mark.ray
def test_two_workers_train_stage_2_as_one_without_ray(one_store: Run, tmp_path: Path) -> None:
    alone, pair = (
        Run(
            tmp_path / name,
            "train_transformer",
            {"tokens": one_store.output},
            "transformer",
            model={"dropout": 0.0},
            training={"steps": 20, "log_every": 1},
        )
        for name in ("alone", "pair")
    )
    alone.finish(alone.start())
    try:
        pair.finish(pair.start(TWO))
    finally:
        end(pair.started[0])
    assert "effective batch 4: 2 workers with 2 samples each, on Ray (local)" in pair.errors()
    one, two = (pandas.read_csv(run.output / "history.csv").set_index("step") for run in (alone, pair))
    assert len(one) == len(two) == 20
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-3)
    ours, theirs = weights(pair), weights(alone)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-4)


@pytest.mark.ray
def test_a_training_whose_machine_is_gone_goes_on_from_the_copies_in_s3(
    undisturbed: Run, run: Run, s3: tuple[Any, str], s3_server: tuple[str, int]
) -> None:
    client, bucket = s3
    asked = {**TWO, "storage": f"s3://{bucket}/checkpoints"}
    endpoint = "http://{}:{}".format(*s3_server)

    def copies() -> set[str]:
        """The checkpoints in the bucket of which all parts are there."""
        keys = [found["Key"] for found in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
        return {key.split("/")[-2] for key in keys if key.endswith("state.json")}

    process = run.start(asked, AWS_ENDPOINT_URL=endpoint)
    run.until(lambda: len(copies()) > 0, process)
    process.send_signal(signal.SIGTERM)
    run.finish(process, status=143)
    shutil.rmtree(run.folder / "work")
    run.finish(run.start(asked, AWS_ENDPOINT_URL=endpoint))
    assert "goes on from step" in run.errors()
    assert_equal(run, undisturbed)
    assert copies() == set()  # they go once the output is whole


@pytest.mark.ray
def test_an_error_that_a_user_must_mend_is_one_line_and_not_tried_again(tmp_path: Path) -> None:
    run = stage_1(tmp_path / "run", frame_cache(tmp_path / "frames", size=16))
    run.finish(run.start(TWO), status=1)
    assert run.errors().strip().splitlines()[-1].startswith("train_vqvae: model.height = 32: the frames' height is 16")
    assert "failed" not in run.errors()


@pytest.mark.ray
@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("one_refuses", "model.height = 32: is met by rank 0 alone"),
        ("one_breaks", "worker 0 failed: .*met by rank 0 alone"),
    ],
)
def test_an_error_that_rank_0_alone_meets_ends_the_step_although_the_other_worker_waits_for_it(
    tmp_path: Path, body: str, line: str
) -> None:
    """A worker waits for another for hours (WAIT_S), as rank 0 validates meanwhile; an error must not take as long."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.adapters.ray_bodies", body, str(tmp_path / "storage")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert re.search(line, ended.stderr), ended.stderr
