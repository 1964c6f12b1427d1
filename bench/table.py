"""The figures of `make bench` as a table in Markdown, for docs/performance.md and the README.

python -m bench.table [build/bench.json]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = (
    "| row | preset | clips | s | plain, s | over plain | over off | MiB | plain, MiB | of plain's | limit |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def first_line(found: dict[str, Any]) -> str:
    """The machine and its peaks."""
    machine, peaks = found["machine"], found["peaks"]
    bf16 = peaks["bf16_flops_per_s"]
    rates = [
        f"{peaks['flops_per_s'] / 1e9:,.0f} GFLOP/s",
        *([f"{bf16 / 1e9:,.0f} in bf16"] if bf16 else []),
        f"{peaks['bytes_per_s'] / 1e9:,.1f} GB/s at best",
    ]
    return (
        f"{machine['device']}, {machine['cores']} cores, torch {machine['torch']}, {machine['commit'] or 'no commit'}; "
        f"{', '.join(rates)}"
    )


def lines_of(row: dict[str, Any]) -> list[str]:
    """A row's line, and one for each further variant of ours.

    The plain reference's seconds are those of as much work: where a variant did another amount in its call (samples
    together against one by one), they are multiplied.
    """
    plain = row["variants"]["plain"]
    lines = []
    for name, one in row["variants"].items():
        if name in ("off", "plain"):
            continue
        memory = one["memory_over_plain"]
        cells = [
            row["row"] if name == "ours" else f"{row['row']}, {name}",
            row["preset"],
            str(row["batch"]),
            f"{one['seconds']:.3g}",
            f"{plain['seconds'] * one['amount'] / plain['amount']:.3g}",
            f"{one['over_plain']:.2f} x",
            f"{one['over_off']:.2f} x",
            f"{one['peak_mib']:,.0f}",
            f"{plain['peak_mib']:,.0f}",
            "" if memory is None else f"{memory:.0%}",
            f"{one['limit']} {one['of_roof']:.0%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def whole(found: dict[str, Any]) -> str:
    """A finished run: the machine, the table, what was left out, how long it took, whether to trust it."""
    lines = [first_line(found), "", *HEAD, *(line for row in found["rows"] for line in lines_of(row)), ""]
    return "\n".join([*lines, *last_lines(found)])


def last_lines(found: dict[str, Any]) -> list[str]:
    """What is to be said below the table."""
    lines = [f"{found['seconds'] / 60:.1f} minutes"]
    if left_out := [f"{one['row']} {one['preset']}" for one in found["left_out"]]:
        lines.append(f"left out for time: {', '.join(left_out)}; --row NAME measures one")
    if found["busy"]:
        lines.append("WARNING: the machine was busy when this began: do not trust the figures")
    return lines


if __name__ == "__main__":
    print(whole(json.loads(Path(*sys.argv[1:] or ["build/bench.json"]).read_text())))
