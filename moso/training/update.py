"""From a loss to new weights: backward, sum over the workers, clipping, the optimizer's step; whether all is finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from moso.training.gradients import all_reduce_gradients_
from moso.training.optimizer import ModuleOptimizer
from moso.training.world import World


class NotFinite(Exception):
    """A loss or its gradient is infinite or undefined; the weights that this update is for are as they were.

    Those of the step's earlier updates are not: a rival's turn comes after the objective's own module has stepped.
    """

    def __init__(self, loss: float, gradient_norm: float) -> None:
        super().__init__(f"loss {loss}, gradient norm {gradient_norm}")
        self.loss, self.gradient_norm = loss, gradient_norm


class Updates:
    """Updates of one training; with several losses a step (rivals) one for each.

    Args:
        clip: largest norm of a whole gradient; 0: not clipped.
        scaler: loss scaling, for fp16.
        stopping: whether this worker was asked to stop; read at each update, so that all hear of it at the same step.
    """

    def __init__(
        self,
        clip: float,
        world: World,
        device: torch.device,
        scaler: torch.amp.GradScaler | None,
        stopping: Callable[[], bool],
    ) -> None:
        self.clip, self.world, self.device, self.scaler, self.stopping = clip, world, device, scaler, stopping
        self._figures: dict[str, Tensor] = {}

    def apply(
        self, optimizer: ModuleOptimizer, loss: Tensor, extra: Mapping[str, Tensor], share: float
    ) -> tuple[dict[str, float], bool]:
        """`backward` of one part that is this worker's whole share of the batch, and `step`."""
        self.backward(loss, extra, share)
        return self.step(optimizer)

    def backward(self, loss: Tensor, extra: Mapping[str, Tensor], share: float) -> None:
        """Add the gradient of one part of the batch, and its figures, to those of the parts before it.

        Args:
            loss, extra: scalars, means over the part's samples.
            share: of the whole batch, the part's.
        """
        scaled = loss if share == 1 else loss * share
        (self.scaler.scale(scaled) if self.scaler else scaled).backward()  # type: ignore[no-untyped-call]
        for name, value in {"loss": loss, **extra}.items():
            part = torch.as_tensor(value, device=self.device).detach().double() * share
            self._figures[name] = self._figures[name] + part if name in self._figures else part

    def step(self, optimizer: ModuleOptimizer) -> tuple[dict[str, float], bool]:
        """One update of the optimizer's parameters by the gradients of the parts since the last one.

        Returns:
            "loss", "gradient_norm" and the figures of `extra` as means over the batch, the same on every worker, and
            whether any worker was asked to stop.

        Raises:
            NotFinite: before the optimizer's step. Under fp16 an infinite gradient only leaves the step out.
        """
        parameters = list(optimizer.parameters.values())
        all_reduce_gradients_(parameters, self.world)
        if self.scaler:  # after the sum, so that every worker finds the same infinities
            for part in optimizer.parts:
                self.scaler.unscale_(part)
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        values, stopping = self._agree()
        gradient_norm = norm.item()
        if not math.isfinite(values["loss"]) or not (self.scaler or math.isfinite(gradient_norm)):
            raise NotFinite(values["loss"], gradient_norm)
        if self.clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip, norm)
        optimizer.step(self.scaler)
        if math.isfinite(gradient_norm):  # fp16 leaves out the steps where it is not
            values["gradient_norm"] = gradient_norm
        return values, stopping

    def finish(self) -> None:
        """What follows a step's last update."""
        if self.scaler:
            self.scaler.update()

    def _agree(self) -> tuple[dict[str, float], bool]:
        """The figures as means over the global batch, and whether any worker's stop signal is raised."""
        figures, self._figures = self._figures, {}
        vector = torch.stack([*figures.values(), torch.zeros((), dtype=torch.float64, device=self.device)])
        vector[-1] = float(self.stopping())
        *values, stopping = self.world.all_reduce_(vector).tolist()
        return dict(zip(figures, values, strict=True)), stopping > 0
