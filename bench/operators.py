"""A profile by operator: seconds from torch.profiler, bytes and FLOPs from bench.counting, in groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bench.counting import Amount

Group = Literal[
    "convolution", "matmul", "attention", "norm", "random numbers", "elementwise and copies", "optimizer", "data"
]
GROUPS: tuple[Group, ...] = get_args(Group)
LABELS: tuple[Group, ...] = ("optimizer", "data")
"""Groups by where an operator is called, not by what it is."""
DATA = "bench.data"
"""Name of the profiler's record around what prepares a batch."""
_BY_NAME: dict[Group, tuple[str, ...]] = {
    "convolution": ("conv",),
    "matmul": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear"),
    "attention": ("scaled_dot_product", "aten::_softmax"),
    "norm": ("group_norm", "layer_norm", "batch_norm"),
    "random numbers": ("dropout", "bernoulli", "aten::rand", "aten::uniform", "aten::normal"),
}


@dataclass(frozen=True)
class Row:
    """One operator, or one group, in a step.

    Attributes:
        name: of the operator ("aten::mm") or of the group.
        group: that it belongs to.
        calls: in a step.
        seconds: that the operator itself took, and what it calls inside torch.
        bytes, flops: see bench.counting.Operators.
    """

    name: str
    group: Group
    calls: float
    seconds: float
    bytes: float
    flops: float


def group_of(label: str, name: str) -> Group:
    """Of an operator that was called within `label` ("" for none)."""
    for own in LABELS:
        if label == own:
            return own
    for group, parts in _BY_NAME.items():
        if any(part in name for part in parts):
            return group
    return "elementwise and copies"


def rows(events: Iterable[Any], counted: Mapping[tuple[str, str], Amount], steps: int) -> list[Row]:
    """Operators by the seconds that they took, most first, mean over `steps` profiled steps.

    Args:
        events: of torch.profiler (FunctionEvent); each one's own time counts for the outermost operator around it that
            `counted` knows: what torch calls inside an operator has no line of its own.
        counted: of one step.
    """
    known = {name for _, name in counted}
    seconds: dict[tuple[str, str], float] = dict.fromkeys(counted, 0.0)
    for event in events:
        label, owner = _place(event, known)
        if owner:
            key = label, owner
            seconds[key] = seconds.get(key, 0.0) + event.self_cpu_time_total / 1e6 / steps
    found = []
    for (label, name), its in seconds.items():
        amount = counted.get((label, name), Amount())
        found.append(Row(name, group_of(label, name), amount.calls, its, amount.bytes, amount.flops))
    return sorted(found, key=lambda row: -row.seconds)


def grouped(operators: Iterable[Row]) -> list[Row]:
    """Their sums by group, in the order of GROUPS, without groups of which there is nothing."""
    found = []
    for group in GROUPS:
        those = [row for row in operators if row.group == group]
        if those:
            sums = [sum(getattr(row, what) for row in those) for what in ("calls", "seconds", "bytes", "flops")]
            found.append(Row(group, group, *sums))
    return found


def _place(event: Any, known: set[str]) -> tuple[str, str]:
    """The label that an event lies in, and the outermost known operator around it ("" where there is none)."""
    label = owner = ""
    while event is not None:
        if event.name in known:
            owner = event.name
        elif event.name.startswith("Optimizer.step"):
            label = "optimizer"
        elif event.name == DATA:
            label = "data"
        event = event.cpu_parent
    return label, owner
