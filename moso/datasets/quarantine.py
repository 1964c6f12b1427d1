"""The quarantine table: bad records set aside, with what is wrong; the run goes on, or stops where they are many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from moso.datasets.episode import Rejected
from moso.datasets.manifest import write_parquet
from moso.errors import DataError, FormatError

SCHEMA = pa.schema([("file", pa.string()), ("offset", pa.int64()), ("reason", pa.string()), ("source", pa.string())])
SHOWN = 5


def write_quarantine(rejected: Sequence[Rejected], path: Path) -> None:
    """Write columns file, offset, reason, source; a table without rows where nothing is bad."""
    table = pd.DataFrame([(r.file, r.offset, r.reason, r.source) for r in rejected], columns=SCHEMA.names)
    write_parquet(table, SCHEMA, path)


def read_quarantine(path: Path) -> list[Rejected]:
    """The records that `write_quarantine` wrote.

    Raises:
        FormatError: columns that are not a quarantine table's.
    """
    table = pq.read_table(path)
    if table.schema.names != SCHEMA.names:
        raise FormatError(f"{path}: columns {table.schema.names}, a quarantine table has {SCHEMA.names}")
    return [Rejected(**row) for row in table.to_pylist()]


def check_share(rejected: Sequence[Rejected], read: int, limit: float) -> None:
    """Stop where too much is bad: then the reader or the whole delivery is wrong, not a few files.

    Args:
        rejected: bad records.
        read: good records.
        limit: largest tolerated share of bad records, [0, 1].

    Raises:
        DataError: the share is larger; the message sums up the reasons.
    """
    total = len(rejected) + read
    if not rejected or len(rejected) <= limit * total:
        return
    reasons = "; ".join(f"{n} x {reason}" for reason, n in Counter(r.reason for r in rejected).most_common(SHOWN))
    files = ", ".join(r.file for r in rejected[:SHOWN]) + (", …" if len(rejected) > SHOWN else "")
    raise DataError(
        f"{len(rejected)} of {total} records are bad ({len(rejected) / total:.1%}, tolerated: {limit:.1%}): {reasons}. "
        f"Files: {files}. Repair them or raise quarantine_share"
    )
