"""A toy objective for the tests of the loop: a tiny linear model with dropout on synthetic points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from moso.training.accumulation import split
from moso.training.config import OptimizerConfig
from moso.training.random import generator
from moso.training.sampler import Sample
from moso.training.world import World

SIZE = 10


class ToyRival:
    """Tells the sum of a point from what the toy says of it, two numbers of its own."""

    name = "rival"
    optimizer = OptimizerConfig("adam", learning_rate=0.1)

    def __init__(self, from_step: int) -> None:
        self.from_step = from_step
        self.module: nn.Module = nn.Linear(1, 1)
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.fill_(0.5)
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.turns: list[int] = []

    def loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        true, said = self.seen.pop(0)
        self.turns.append(step)
        gap = self.module(true[:, None]) - self.module(said[:, None])
        return (1 - gap).relu().mean(), {"gap": gap.mean()}


class Toy:
    """Learns y = sum(x) from 10 points; `hook(step)` is called in before_step. `rival_from`: with a rival from that
    step on."""

    def __init__(
        self,
        dropout: float = 0.5,
        hook: Callable[[int], None] | None = None,
        rival_from: int | None = None,
    ) -> None:
        self.module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(dropout), nn.Linear(8, 1))
        with torch.no_grad():
            for i, parameter in enumerate(self.module.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=generator(0, "toy", i)) * 0.3)
        self.module.register_buffer("steps_seen", torch.zeros((), dtype=torch.int64))
        self.size = SIZE
        self.per_sample = {"points": 1}
        self.rivals = () if rival_from is None else (ToyRival(rival_from),)
        self.points = torch.randn(SIZE, 4, generator=generator(0, "points"))
        self.hook = hook
        self.after_steps = 0
        self.seen: list[tuple[int, ...]] = []

    def sample_id(self, index: int) -> str:
        return f"point_{index}"

    def prepare(self, samples: Sequence[Sample]) -> Tensor:
        return self.points[[sample.index for sample in samples]]

    def parts(self, batch: Tensor, samples: Sequence[Sample], count: int) -> list[tuple[Tensor, Sequence[Sample]]]:
        return [(batch[part], samples[part]) for part in split(len(samples), count)]

    def before_step(self, step: int, world: World) -> None:
        for rival in self.rivals:
            rival.seen.clear()
        if self.hook:
            self.hook(step)

    def loss(self, batch: Tensor, samples: Sequence[Sample], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        self.seen.append(tuple(sample.index for sample in samples))
        noise = torch.stack([torch.randn(4, generator=generator(7, "noise", s.position)) for s in samples])
        said, true = self.module(batch + 0.1 * noise)[:, 0], batch.sum(1)
        loss = (said - true).square().mean()
        for rival in self.rivals:
            if step >= rival.from_step:
                rival.seen.append((true, said.detach()))
                weight, bias = (p.detach() for p in rival.module.parameters())
                loss = loss - 0.1 * (said * weight + bias).mean()
        return loss, {"absolute": (said - true).abs().mean()}

    def after_step(self, step: int, world: World) -> dict[str, float]:
        self.module.steps_seen += 1
        self.after_steps += 1
        return {"after": float(step)}

    def validate(self, step: int) -> dict[str, float]:
        assert not self.module.training
        return {"error": (self.module(self.points)[:, 0] - self.points.sum(1)).square().mean().item()}

    def state(self) -> dict[str, Any]:
        return {"after_steps": self.after_steps}

    def load_state(self, state: dict[str, Any]) -> None:
        self.after_steps = state["after_steps"]
