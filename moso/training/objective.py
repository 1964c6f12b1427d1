"""What a stage gives to the loop: its module, its batches, its loss, and what happens around a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from moso.training.config import OptimizerConfig
from moso.training.sampler import Sample
from moso.training.world import World


@runtime_checkable
class Rival(Protocol):
    """A module that is trained against the objective's module, in turn with it: a discriminator.

    From `from_step` on the loop gives it its turn at each step, after the objective's own update: its loss, backward,
    its own optimizer (whose rate follows the training's schedule). Its weights and moments are in the checkpoint; the
    average of the weights and the result know nothing of it.
    """

    name: str
    """Its figures are recorded as <name>_loss, <name>_gradient_norm and <name>_<figure>."""

    module: nn.Module
    """On the device of the objective's module. The objective's own loss must leave its parameters without gradient."""

    optimizer: OptimizerConfig

    from_step: int
    """The first step, from 0, at which it is trained."""

    def loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Its loss on what the objective's loss has just seen: a mean over this worker's samples, and scalar figures.

        It gives gradients to `module` alone. Where the objective's loss was called for several parts of the batch
        (TrainingConfig.accumulation), it is called as often, and the parts come in the same order.
        """


@runtime_checkable
class Ranked(Protocol):
    """An objective with a figure of its validations by which its checkpoints are compared."""

    @property
    def best_by(self) -> tuple[str, Literal["highest", "lowest"]]:
        """Name of the figure, and which of its values is the best: the best checkpoint is kept."""


@runtime_checkable  # tests check arguments as they are passed
class Objective(Protocol):
    """One stage's training, as the loop sees it.

    Steps are counted from 0; the loop calls, for each: before_step, loss, (backward, optimizer), after_step. The loop
    puts `module` into training mode, and into evaluation mode without gradients around `validate`.

    Random numbers come from `moso.training.random.generator(seed, purpose, sample.position)`. The one exception is
    dropout, which draws from torch's global generator: the loop keys it anew by (seed, step, rank) before before_step.
    """

    module: nn.Module
    """All that is trained or counted (an EMA codebook as buffers): its state_dict is the checkpoint's weights."""

    size: int
    """Number of samples in the training set."""

    rivals: Sequence[Rival]
    """What is trained against `module`; mostly nothing."""

    @property
    def per_sample(self) -> Mapping[str, int]:
        """What a sample counts, for the rates that are logged: {"images": 16} gives images_per_s."""

    def sample_id(self, index: int) -> str:
        """Name of a sample of the training set for messages, such as the clip's 'seed_000012@00004'."""

    def prepare(self, samples: Sequence[Sample]) -> Any:
        """The batch of `samples` on the CPU (uint8 frames, int tokens).

        It may run in another thread, ahead of the step, so it must depend on `samples` alone: no module, no global
        random state.
        """

    def parts(self, batch: Any, samples: Sequence[Sample], count: int) -> list[tuple[Any, Sequence[Sample]]]:
        """What `prepare` gave for `samples`, in `count` parts of about equal size, each with its samples.

        `loss` takes such a part. Its results, weighted by the parts' numbers of samples, must add up to those of the
        whole batch: what a loss divides by is the whole batch's, not the part's.
        """

    def before_step(self, step: int, world: World) -> None:
        """What precedes step `step`, for example the codebook's initialisation; every worker calls it."""

    def loss(self, batch: Any, samples: Sequence[Sample], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar and a mean over `samples` (this worker's part), and scalar figures to record.

        It moves `batch` to the module's device. The figures' names must be the same on every worker at a step, and
        'loss' and 'learning_rate' are the loop's own.
        """

    def after_step(self, step: int, world: World) -> dict[str, float]:
        """What follows the optimizer's step, for example the codebook's EMA update; returns figures to record.

        Every worker calls it; the figures of rank 0 are recorded.
        """

    def validate(self, step: int) -> dict[str, float]:
        """Figures on the validation episodes after `step` completed steps; {} where there is none.

        Rank 0 alone calls it (no all_reduce inside). Recorded as validation_<name>.
        """

    def state(self) -> dict[str, Any]:
        """What `module`'s state_dict does not hold, as JSON-able data."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
