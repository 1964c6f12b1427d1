"""Writing beside the training, and what goes wrong there: full disks, kills, stops; real ones."""

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from moso.errors import CheckpointError
from moso.training.checkpoint import Checkpoint, load, newest, save
from moso.training.writing import CheckpointWriter

HERE = Path(__file__).parent


def make(step, numbers=6):
    weight = torch.arange(float(numbers)).reshape(1, 2, -1, 1).to(memory_format=torch.channels_last) + step
    return Checkpoint(step, {"weights": {"w": weight, "tied": weight, "n": torch.tensor(step)}}, {"step": step})


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_background_writes_the_same_bytes_as_the_foreground(tmp_path):
    written = {}
    for background in (True, False):
        with CheckpointWriter(tmp_path / str(background), 2, background) as writer:
            writer.write(make(3))
            writer.wait()
            written[background] = files(writer.saved)
    assert written[True] == written[False] == files(save(tmp_path / "plain", make(3), 2))


def test_what_the_next_step_changes_is_not_what_is_written(tmp_path):
    given = make(1)
    expected = given.tensors["weights"]["w"].clone()
    with CheckpointWriter(tmp_path, 2, True) as writer:
        writer.write(given)
        given.tensors["weights"]["w"].zero_()
    assert torch.equal(load(writer.saved).tensors["weights"]["w"], expected)


def test_snapshots_take_the_same_memory_again(tmp_path):
    places = []
    with CheckpointWriter(tmp_path, 2, True) as writer:
        for step in (1, 2, 3):
            writer.write(make(step))
            places.append([buffer.data_ptr() for buffer in writer._buffers.values()])
    assert places[0] == places[1] == places[2]
    assert newest(tmp_path).tensors["weights"]["n"] == 3


def test_the_next_write_waits_for_the_one_under_way(tmp_path, monkeypatch):
    go, order = threading.Event(), []

    def slow(folder, checkpoint, keep):
        go.wait(30)
        order.append(checkpoint.step)
        return save(folder, checkpoint, keep)

    monkeypatch.setattr("moso.training.writing.save", slow)
    with CheckpointWriter(tmp_path, 2, True) as writer:
        writer.write(make(1))
        assert order == []  # and yet write has returned
        second = threading.Thread(target=writer.write, args=(make(2),))
        second.start()
        assert order == []
        go.set()
        second.join()
    assert order == [1, 2]


def test_a_partial_one_of_a_killed_write_is_removed_at_the_start(tmp_path):
    (tmp_path / ".step_00000009.partial").mkdir()
    with CheckpointWriter(tmp_path, 2, True):
        assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_is_told_at_the_next_one_and_once(tmp_path):
    with CheckpointWriter(tmp_path / "file" / "checkpoints", 2, True) as writer:
        (tmp_path / "file").write_bytes(b"no folder")
        writer.write(make(1))
        with pytest.raises(CheckpointError, match=r"step 1 could not be written .*it goes on from the start"):
            writer.write(make(2))
        writer.wait()


@pytest.mark.parametrize("background", [True, False])
def test_a_full_disk_leaves_the_older_checkpoint_whole_and_says_what_to_do(small_disk, background):
    with CheckpointWriter(small_disk / "checkpoints", 2, background) as writer:
        writer.write(make(1, 50_000))  # 400 kB: the two names of one tensor are written each
        writer.wait()
        writer.write(make(2, 100_000))
        with pytest.raises(CheckpointError) as caught:
            writer.wait()
        message = str(caught.value)
        assert "checkpoint of step 2 could not be written: no space left: it takes 800,008 bytes, " in message
        assert "MOSO_WORK" in message
        assert message.endswith("it goes on from step 1")
        assert "\n" not in message
        free = int(message.split("bytes, ")[1].split(" are free")[0].replace(",", ""))
        assert 0 < free < 800_008
        assert [path.name for path in writer.folder.iterdir()] == ["step_00000001"]
        assert newest(writer.folder).step == 1
        writer.write(make(3, 50_000))  # what fits is written again
        writer.wait()
        assert newest(writer.folder).step == 3


def test_a_limit_on_a_files_size_is_told_like_a_full_disk(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    save(tmp_path, make(1), 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"no space left: it takes 80,008 bytes.*it goes on from step 1$"):
            save(tmp_path, make(2, 10_000), 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import torch
from toy import Toy
from moso.errors import MosoError, StopRequested
from moso.step import Context
from moso.training.config import TrainingConfig
from moso.training.loop import train
from moso.training.work import WorkFolder
from safetensors.torch import save_file

folder, how, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
synced, fsync = [], os.fsync
def counted(handle):
    synced.append(handle)
    if how == "kill" and len(synced) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = counted
def hook(step):
    if how == "stop" and step == at:
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "fill" and step == at:
        while not (folder / "toy" / "checkpoints" / f"step_{{at - 1:08d}}").exists():
            time.sleep(0.01)  # it is written in the background
        with (folder / "filling").open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
context = Context(folder)
context.stop.listen()
config = TrainingConfig(steps=8, batch=4, checkpoint_every=2, log_every=2)
objective = Toy(hook=hook)
work = WorkFolder(folder, "toy")
try:
    train(objective, config, seed=5, work=work, context=context, title="toy", identity={{"step": "toy"}})
except MosoError as error:
    print(error, file=sys.stderr)
    sys.exit(143 if isinstance(error, StopRequested) else 1)
save_file(objective.module.state_dict(), folder / "result.safetensors")
print(len(objective.seen))
"""


def train(folder, how="run", at=0):
    """A training of 8 steps in a process of its own, a checkpoint every 2: (status, steps done, last line of errors).

    `how`: "kill": SIGKILL at its at-th sync (5 a checkpoint: weights, optimizer, state, its folder, the folder above);
    "stop": SIGTERM before step `at`; "fill": the disk is filled before step `at`, behind a checkpoint.
    """
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", SCRIPT.format(here=str(HERE)), str(folder), how, str(at)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip(), (done.stderr.strip().splitlines() or [""])[-1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The result's bytes."""
    folder = tmp_path_factory.mktemp("whole")
    assert train(folder)[:2] == (0, "8")
    return (folder / "result.safetensors").read_bytes()


@pytest.mark.parametrize("at", [6, 8, 9])
def test_a_kill_in_the_middle_of_a_write_costs_that_checkpoint_alone(tmp_path, undisturbed, at):
    """5 syncs a checkpoint (weights, optimizer, state, its folder, the folder above): killed in the second one."""
    assert train(tmp_path, "kill", at)[0] == -signal.SIGKILL
    checkpoints = tmp_path / "toy" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir() if path.name.endswith(".partial")]
    assert newest(checkpoints).step == 2
    assert train(tmp_path)[:2] == (0, "6")
    assert (tmp_path / "result.safetensors").read_bytes() == undisturbed
    assert not list(checkpoints.glob(".*"))


def test_a_truncated_newest_checkpoint_is_passed_over_for_the_one_before(tmp_path, undisturbed):
    assert train(tmp_path, "kill", 11)[0] == -signal.SIGKILL  # in the third one
    checkpoints = tmp_path / "toy" / "checkpoints"
    assert newest(checkpoints).step == 4
    weights = checkpoints / "step_00000004" / "weights.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    assert train(tmp_path)[:2] == (0, "6")  # from step 2
    assert (tmp_path / "result.safetensors").read_bytes() == undisturbed


def test_sigterm_leaves_a_whole_checkpoint_and_ends_with_143(tmp_path, undisturbed):
    status, _, said = train(tmp_path, "stop", 4)
    assert (status, said) == (143, "toy: stopped after step 5 of 8; rerun to go on")
    assert newest(tmp_path / "toy" / "checkpoints").step == 5
    assert not (tmp_path / "toy" / "lock.json").exists()
    assert train(tmp_path)[:2] == (0, "3")
    assert (tmp_path / "result.safetensors").read_bytes() == undisturbed


def test_a_training_that_meets_a_full_disk_goes_on_from_the_newest_whole_checkpoint(small_disk, undisturbed):
    status, _, said = train(small_disk, "fill", 5)
    assert status == 1
    assert "checkpoint of step 6 could not be written: no space left" in said
    assert said.endswith("it goes on from step 4")
    (small_disk / "filling").unlink()
    assert train(small_disk)[:2] == (0, "4")
    assert (small_disk / "result.safetensors").read_bytes() == undisturbed
