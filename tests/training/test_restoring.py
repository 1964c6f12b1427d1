"""Where a training goes on: the newest of two places, told to workers that see neither."""

import threading

import pytest
import torch

from moso.errors import CheckpointError
from moso.step import Context
from moso.training import restoring
from moso.training.checkpoint import Checkpoint, newest, save
from moso.training.work import WorkFolder
from moso.training.world import Solo

CPU = torch.device("cpu")


class Threads:
    """A world of threads of this process."""

    class Meeting:
        def __init__(self, size):
            self.size, self.given, self.barrier = size, {}, threading.Barrier(size)

    def __init__(self, rank, meeting):
        self.rank, self.size, self.meeting = rank, meeting.size, meeting

    def all_reduce_(self, tensor):
        self.meeting.given[self.rank] = tensor.clone()
        self.barrier()
        tensor.copy_(sum(self.meeting.given[rank] for rank in range(self.size)))
        self.barrier()
        return tensor

    def barrier(self):
        self.meeting.barrier.wait(60)


def everywhere(call, size=3):
    """What `call(world)` returns on each of `size` workers."""
    meeting, results = Threads.Meeting(size), {}

    def work(rank):
        results[rank] = call(Threads(rank, meeting))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[rank] for rank in range(size)]


def given():
    tensors = {
        "weights": {
            "w": torch.tensor([[-0.0, float("nan")], [1e-42, -3.5]]),  # what a sum of numbers would not keep
            "half": torch.tensor([1.0, -0.0], dtype=torch.bfloat16),
            "flags": torch.tensor([True, False]),
            "count": torch.tensor(2**60 + 1),
            "none": torch.empty(0, 3),
        },
        "optimizer": {},
    }
    return Checkpoint(7, tensors, {"history": [{"step": 7.0, "loss": 0.1 + 0.2}], "run_id": "größe", "nothing": None})


def test_every_worker_gets_rank_0s_checkpoint_bit_for_bit_without_seeing_its_folder(tmp_path):
    save(tmp_path / "0" / "run" / "checkpoints", given(), 2)
    got = everywhere(lambda world: restoring.found(WorkFolder(tmp_path / str(world.rank), "run"), None, world, CPU))
    for found in got:
        assert (found.step, found.state) == (7, given().state)
        assert found.tensors.keys() == {"weights", "optimizer"}
        for name, tensor in given().tensors["weights"].items():
            other = found.tensors["weights"][name]
            assert (other.dtype, other.shape) == (tensor.dtype, tensor.shape)
            as_bytes = [one.reshape(-1).view(torch.uint8) for one in (tensor, other)]
            assert torch.equal(*as_bytes), name
    assert not (tmp_path / "1").exists()


def test_what_only_another_worker_has_does_not_count(tmp_path):
    save(tmp_path / "1" / "run" / "checkpoints", given(), 2)
    got = everywhere(lambda world: restoring.found(WorkFolder(tmp_path / str(world.rank), "run"), None, world, CPU))
    assert got == [None] * 3


@pytest.mark.parametrize(("brought", "expected"), [(3, 5), (5, 5), (9, 9)])
def test_a_checkpoint_that_was_brought_counts_where_it_is_newer(tmp_path, brought, expected):
    work = WorkFolder(tmp_path, "run")
    save(work.checkpoints, Checkpoint(5, {}, {}), 2)
    other = save(tmp_path / "elsewhere", Checkpoint(brought, {}, {}), 2).rename(tmp_path / "any name")
    found = restoring.found(work, other, Solo(), CPU)
    assert found.step == expected
    assert found.folder == (other if expected == 9 else work.checkpoints / "step_00000005")


def test_a_damaged_one_that_was_brought_is_named_and_passed_over(tmp_path, capsys):
    work = WorkFolder(tmp_path, "run")
    save(work.checkpoints, Checkpoint(5, {}, {}), 2)
    other = save(tmp_path / "elsewhere", given(), 2)
    (other / "weights.safetensors").write_bytes(b"cut")
    assert restoring.found(work, other, Solo(), CPU).step == 5
    (other / "state.json").unlink()
    assert restoring.found(work, other, Solo(), CPU).step == 5
    assert capsys.readouterr().err.count(f"skipped a checkpoint: {other}") == 2


def test_a_training_goes_on_from_what_was_brought_to_the_same_weights(run, toy, config, tmp_path):
    whole = toy.Toy()
    history = run(whole, config(), work="whole", context=Context(tmp_path, on_checkpoint=copy_at(2, tmp_path)))
    resumed = toy.Toy()
    assert run(resumed, config(), work="fresh", context=Context(tmp_path, restore=tmp_path / "copy")) == history
    assert resumed.seen == whole.seen[2:]
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name


def test_what_was_brought_from_another_run_is_refused(run, toy, config, tmp_path):
    run(toy.Toy(), config(), work="whole", context=Context(tmp_path, on_checkpoint=copy_at(2, tmp_path)))
    with pytest.raises(CheckpointError, match="copy belongs to another run"):
        run(toy.Toy(), config(batch=5), work="fresh", context=Context(tmp_path, restore=tmp_path / "copy"))


def copy_at(step, folder):
    """A sink that keeps the checkpoint of `step` as the folder 'copy'."""
    import shutil

    def sink(path, now, figures):
        if now == step:
            shutil.copytree(path, folder / "copy")

    return sink


def test_the_best_is_kept_beside_the_newest(tmp_path):
    for step, value in enumerate([0.5, 0.9, float("nan"), 0.9, 0.1, None], start=1):
        judged = None if value is None else {"figure": "validation_psnr", "value": value, "better": "highest"}
        save(tmp_path, Checkpoint(step, {}, {"judged": judged}), keep=2)
    # 2 is as good as 4 and older
    assert [int(path.name[-2:]) for path in sorted(tmp_path.iterdir())] == [2, 5, 6]
    assert newest(tmp_path).step == 6
    for path in tmp_path.iterdir():
        path.joinpath("state.json").write_bytes(path.joinpath("state.json").read_bytes().replace(b"highest", b"lowest"))
    save(tmp_path, Checkpoint(7, {}, {}), keep=1)
    assert [int(path.name[-2:]) for path in sorted(tmp_path.iterdir())] == [5, 7]


@pytest.mark.parametrize("keep_best", [True, False])
def test_a_training_keeps_the_checkpoint_with_the_best_validation(run, toy, config, tmp_path, keep_best):
    class Ranked(toy.Toy):
        best_by = ("error", "lowest")

        def validate(self, step):
            return {"error": {2: 0.1, 4: 0.3, 6: 0.2}[step]}

    settings = config(steps=6, validate_every=2, keep_checkpoints=1, keep_best=keep_best)
    run(Ranked(), settings)
    kept = sorted(int(path.name[-2:]) for path in (tmp_path / "work").glob("*/checkpoints/*"))
    assert kept == ([2, 6] if keep_best else [6])
