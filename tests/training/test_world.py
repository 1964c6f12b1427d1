"""Two processes with gloo against one: the sum, the deal, and a whole training."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent

SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
import torch, torch.distributed as dist
from safetensors.torch import save_file
from toy import Toy
from moso.step import Context
from moso.training.config import TrainingConfig
from moso.training.loop import train
from moso.training.work import WorkFolder, run_identity, work_key
from moso.training.world import Distributed, Solo, broadcast_

rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
if size > 1:
    dist.init_process_group("gloo", init_method=f"file://{{folder}}/meet", rank=rank, world_size=size)
world = Distributed() if size > 1 else Solo()
total = world.all_reduce_(torch.tensor([1.0 + rank, 10.0]))
flags = broadcast_(torch.tensor([rank == 0, rank == 1]), world)
odd = torch.tensor([-0.0, float("nan"), float("-inf"), 1e-42], dtype=torch.float64)
odd = broadcast_(odd if rank == 0 else torch.ones_like(odd), world)
last = torch.full((2, 3, 4, 4), float(rank + 1), dtype=torch.bfloat16).to(memory_format=torch.channels_last)
last, number, none = broadcast_(last, world), broadcast_(torch.tensor(7 + rank), world), torch.zeros(0, 3)
assert last.is_contiguous(memory_format=torch.channels_last) and broadcast_(none, world).shape == (0, 3)
objective = Toy(dropout=0.0, rival_from=1)
if rank == 1:
    torch.nn.init.zeros_(objective.module[0].weight)  # rank 0's start values count
    torch.nn.init.zeros_(objective.rivals[0].module.weight)
config = TrainingConfig(steps=3, batch=5, gradient_clip=1.0, log_every=1)
identity = run_identity("toy", config, {{}}, code=Path({here!r}) / "toy.py")
history = train(objective, config, seed=2, work=WorkFolder(folder / "work", work_key(identity)),
                context=Context(folder), title="toy", identity=identity, world=world)
rival = {{f"rival.{{name}}": value for name, value in objective.rivals[0].module.state_dict().items()}}
save_file({{**objective.module.state_dict(), **rival, "total": total, "flags": flags,
           "odd": odd.view(torch.int64), "last": last.contiguous(), "number": number,
           "losses": torch.tensor([row["loss"] for row in history])}}, folder / f"{{size}}_{{rank}}.safetensors")
if size > 1:
    dist.destroy_process_group()
"""


def start(folder, rank, size):
    command = [sys.executable, "-c", SCRIPT.format(here=str(HERE)), str(rank), str(size), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_two_workers_train_what_one_trains(tmp_path):
    pair = tmp_path / "pair"
    pair.mkdir()
    processes = [start(pair, 0, 2), start(pair, 1, 2), start(tmp_path, 0, 1)]
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    first, second, alone = (
        load_file(p) for p in (pair / "2_0.safetensors", pair / "2_1.safetensors", tmp_path / "1_0.safetensors")
    )
    assert first["total"].tolist() == second["total"].tolist() == [3.0, 20.0]
    assert second["flags"].tolist() == [True, False]
    odd = torch.tensor([-0.0, float("nan"), float("-inf"), 1e-42], dtype=torch.float64)
    assert torch.equal(second["odd"], odd.view(torch.int64))  # bit for bit: -0 is no 0
    assert (second["last"] == 1).all()
    assert second["number"] == 7
    for name in first:
        assert torch.equal(first[name], second[name]), name
    for name in alone.keys() - {"total"}:
        torch.testing.assert_close(first[name], alone[name], msg=name)
