import json
import math

import pytest
import safetensors.torch
import torch

from moso.errors import CheckpointError
from moso.provenance import digest_bytes
from moso.training.checkpoint import Checkpoint, load, newest, save, writable


def make(step):
    weight = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last) + step
    tensors = {"weights": {"w": weight, "tied": weight, "n": torch.tensor(step)}, "optimizer": {}}
    return Checkpoint(step, tensors, {"sums": {"a": [0.1 + 0.2, 3]}, "nothing": None})


def test_what_was_saved_is_loaded_bit_for_bit(tmp_path):
    given = make(7)
    got = load(save(tmp_path, given, keep=2))
    assert got.step == 7
    assert got.state == given.state
    assert got.tensors["optimizer"] == {}
    for name, value in given.tensors["weights"].items():
        assert torch.equal(got.tensors["weights"][name], value)
        assert got.tensors["weights"][name].dtype == value.dtype


def test_the_files_are_the_formats_bytes_and_their_checksums_are_recorded(tmp_path):
    given = make(7)
    path = save(tmp_path, given, keep=2)
    expected = safetensors.torch.save({n: t.clone().contiguous() for n, t in given.tensors["weights"].items()})
    assert (path / "weights.safetensors").read_bytes() == expected
    assert json.loads((path / "state.json").read_bytes())["files"]["weights"] == digest_bytes(expected)


def test_only_what_the_format_cannot_take_as_it_lies_is_copied_to_be_written():
    large = torch.arange(24.0)
    laid = large.reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    given = {"plain": large, "view": large.reshape(4, 6), "laid": laid, "moment": torch.ones(2, requires_grad=True)}
    plain = writable(given)
    own = [name for name, tensor in plain.items() if tensor.data_ptr() == given[name].data_ptr()]
    assert own == ["plain", "moment"]
    for name, tensor in plain.items():
        assert tensor.is_contiguous()
        assert not tensor.requires_grad
        assert torch.equal(tensor, given[name])


def test_the_newest_n_are_kept(tmp_path):
    for step in (5, 10, 100, 20):
        save(tmp_path, make(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000020", "step_00000100"]
    assert newest(tmp_path).step == 100


def test_none_where_there_is_none(tmp_path):
    assert newest(tmp_path / "nowhere") is None


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_checkpoint_is_skipped_with_a_warning(tmp_path, capsys, file, damage):
    save(tmp_path, make(1), keep=2)
    path = save(tmp_path, make(2), keep=2) / file
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        at = data.index(b"0.3") if file == "state.json" else len(data) - 1
        data[at] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:-1])
    else:
        path.unlink()
    with pytest.raises(CheckpointError):
        load(path.parent)
    assert newest(tmp_path).step == 1
    assert "step_00000002" in capsys.readouterr().err


def test_a_checkpoint_that_was_being_written_at_a_kill_does_not_count_and_is_replaced(tmp_path):
    save(tmp_path, make(1), keep=2)
    partial = tmp_path / ".step_00000002.partial"
    partial.mkdir()
    (partial / "weights.safetensors").write_bytes(b"half")
    assert newest(tmp_path).step == 1
    save(tmp_path, make(2), keep=2)
    assert newest(tmp_path).step == 2
    assert not partial.exists()


def test_figures_that_are_not_numbers_survive(tmp_path):
    got = load(save(tmp_path, Checkpoint(1, {}, {"psnr": math.inf, "loss": math.nan}), keep=1))
    assert got.state["psnr"] == math.inf
    assert math.isnan(got.state["loss"])
