"""What an ingest that has not ended yet has read, source by source: a stopped or killed one goes on from there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from moso.datasets.episode import Rejected
from moso.datasets.manifest import Row

State = Collection[tuple[str, int, int]]


class Journal:
    """A file of JSON lines, one a source: its files as they were, its rows, its bad records."""

    def __init__(self, path: Path) -> None:
        """`path`: made with the first source; its folder must be there."""
        self.path = path

    def found(self, states: Mapping[str, State]) -> dict[str, tuple[list[Row], list[Rejected]]]:
        """Rows and bad records of the sources whose files are still as they were.

        Args:
            states: of each source, its files with sizes and times of change.
        """
        found: dict[str, tuple[list[Row], list[Rejected]]] = {}
        for entry in self._entries():
            then = {(str(file), int(size), int(time)) for file, size, time in entry["files"]}
            if set(states.get(entry["source"], ())) == then:
                found[entry["source"]] = entry["rows"], [Rejected(**bad) for bad in entry["rejected"]]
        return found

    def add(self, source: str, state: State, rows: Sequence[Row], rejected: Sequence[Rejected]) -> None:
        """Note a source that was read."""
        entry = {
            "source": source,
            "files": sorted(state),
            "rows": [dict(row) for row in rows],
            "rejected": [dataclasses.asdict(bad) for bad in rejected],
        }
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _entries(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        text = self.path.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # the last line was being written when the run was killed: what follows must not join it
            self.path.write_text(whole)
        return [json.loads(line) for line in whole.splitlines()]
