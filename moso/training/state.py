"""All that a training's next step depends on, as one checkpoint and back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from moso.errors import CheckpointError
from moso.provenance import digest_json
from moso.training.average import WeightAverage
from moso.training.checkpoint import Checkpoint
from moso.training.history import History, Means
from moso.training.objective import Objective, Ranked
from moso.training.optimizer import ModuleOptimizer


@dataclass
class TrainingState:
    """The parts of a training that change from step to step; `checkpoint` and `load` are inverse.

    Attributes:
        objective, optimizer, rivals (name -> optimizer of the rival), average, scaler: what is trained, and how far.
        identity: JSON-able; a checkpoint of another one is refused.
        batch: samples a step, over all workers.
        judged: put the figure that the objective is ranked by into checkpoints, so that the best one is kept.
        done: optimizer steps.
        history, means: of the curve.
        run_id: of the tracker's run.
        flops: of a step; None until they are counted.
    """

    objective: Objective
    optimizer: ModuleOptimizer
    rivals: Mapping[str, ModuleOptimizer]
    average: WeightAverage | None
    scaler: torch.amp.GradScaler | None
    identity: Mapping[str, Any]
    batch: int
    judged: bool
    done: int = 0
    history: History = field(default_factory=list)
    means: Means = field(default_factory=Means)
    run_id: str | None = None
    flops: float | None = None

    def checkpoint(self) -> Checkpoint:
        """The state now. Its tensors are the training's own memory, which the next step changes; all else is a copy."""
        tensors: dict[str, Any] = {
            "weights": self.objective.module.state_dict(),
            "optimizer": self.optimizer.state(),
        }
        if self.average:
            tensors["average"] = self.average.tensors
        for rival in self.objective.rivals:
            tensors[rival.name] = rival.module.state_dict()
            tensors[f"{rival.name}_optimizer"] = self.rivals[rival.name].state()
        state = {
            "identity": self.identity,
            "identity_digest": digest_json(self.identity),
            "position": self.done * self.batch,
            "objective": self.objective.state(),
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "history": self.history,
            "means": self.means.sums,
            "run_id": self.run_id,
            "flops": self.flops,
            "judged": self._judgement(),
        }
        return Checkpoint(self.done, tensors, copy.deepcopy(state))

    def load(self, found: Checkpoint) -> None:
        """Go on from `found`.

        Raises:
            CheckpointError: it belongs to another run, or its tensors do not fit.
        """
        where = found.folder or f"the checkpoint of step {found.step}"
        if found.state["identity_digest"] != digest_json(self.identity):
            raise CheckpointError(f"{where} belongs to another run; remove it, or give that run's settings and data")
        try:
            self.objective.module.load_state_dict(dict(found.tensors["weights"]))
            for rival in self.objective.rivals:
                rival.module.load_state_dict(dict(found.tensors[rival.name]))
                self.rivals[rival.name].load_state(dict(found.tensors[f"{rival.name}_optimizer"]))
        except RuntimeError as error:
            raise CheckpointError(f"{where}: {error}") from error
        self.optimizer.load_state(dict(found.tensors["optimizer"]))
        if self.average:
            self.average.load(found.tensors["average"])
        if self.scaler:
            self.scaler.load_state_dict(found.state["scaler"])
        self.objective.load_state(found.state["objective"])
        self.history = list(found.state["history"])
        self.means = Means(found.state["means"])
        self.run_id = found.state["run_id"]
        self.flops = found.state["flops"]
        self.done = found.step

    def figures(self) -> dict[str, float]:
        """The newest value of each recorded figure."""
        newest = {name: value for row in self.history for name, value in row.items()}
        newest.pop("step", None)
        return newest

    def _judgement(self) -> dict[str, Any] | None:
        """The figure of a validation at this very step that the objective is ranked by; None where there is none."""
        objective = self.objective
        if not self.judged or not isinstance(objective, Ranked):
            return None
        name, better = objective.best_by
        row = self.history[-1] if self.history and self.history[-1]["step"] == self.done else {}
        value = row.get(f"validation_{name}")
        return None if value is None else {"figure": f"validation_{name}", "value": value, "better": better}
