"""The real networks, compiled, give the loss and gradients of the uncompiled ones.

In processes of their own: the tests' checks of shapes at every call are nothing that a compiler can see through.
"""

import json
import shutil
import subprocess
import sys

import pytest

TURNS = """
import dataclasses, json, sys, torch
from torch._dynamo.utils import counters
from moso.planning.stages import Experiment, make_objective
from moso.training.sampler import Sample
from moso.training.segment import Segment
from moso.training.switches import compiling, switch_
from moso.training.world import Solo

stage, backend, recompute = sys.argv[1], sys.argv[2], sys.argv[3] == "True"
experiment = Experiment.of_preset("sim_push/tiny")
network = dataclasses.replace(experiment.transformer, dropout=0.0)  # compiled, it draws other numbers
experiment = dataclasses.replace(experiment, transformer=network)
torch.manual_seed(0)
objective = make_objective(experiment, stage, torch.device("cpu"))
module, samples, step = objective.module.train(), [Sample(i, 0, i) for i in range(2)], 5
batch = objective.prepare(samples)

def turn(**switches):
    switch_(module, dataclasses.replace(experiment.training[stage], **switches), backend)
    module.zero_grad()
    objective.before_step(step, Solo())
    loss, _ = objective.loss(batch, samples, step)
    loss.backward()
    return {"loss": loss.detach(), **{n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}}

plain = turn()
with compiling(True):
    compiled = turn(compile=True, recompute=recompute)
assert plain.keys() == compiled.keys()
far = {n: float((compiled[n] - v).abs().max() / v.abs().max().clamp(min=1e-6)) for n, v in plain.items()}
print(json.dumps({
    "far": max(far.values()),
    "named": max(far, key=far.get),
    "graphs": counters["stats"]["unique_graphs"],
    "segments": sum(isinstance(part, Segment) for part in module.modules()),
}))
"""


@pytest.mark.parametrize("stage", ["vqvae", "transformer"])
@pytest.mark.parametrize(
    ("backend", "recompute"),
    [
        pytest.param("aot_eager", False, marks=pytest.mark.slow),
        ("aot_eager", True),
        pytest.param("inductor", False, marks=pytest.mark.slow),
    ],
)
def test_compiled_networks_give_the_same_loss_and_gradients(stage, backend, recompute):
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("it takes a compiler")
    command = [sys.executable, "-c", TURNS, stage, backend, str(recompute)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert min(found["graphs"], found["segments"]) > 1, found
    assert found["far"] < 1e-3, found
