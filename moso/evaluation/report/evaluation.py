"""What the report page shows, as one value: the step evaluate fills it, the sections read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moso.evaluation.benchmark_table import BenchmarkTable
from moso.evaluation.comparison import Comparison
from moso.evaluation.frechet_metric import FrechetFigure
from moso.evaluation.protocol import NotComputed, Protocol
from moso.evaluation.protocol_file import ProtocolFile
from moso.evaluation.report.curves import Curves
from moso.evaluation.report.films import Film
from moso.evaluation.report.recombinations import Recombination
from moso.evaluation.rollout import Rollout
from moso.evaluation.statistics import Interval


@dataclass(frozen=True)
class Evaluation:
    """What the page shows.

    Attributes:
        comparison: figures of every method, clip and frame; None of an unconditional evaluation, which has no truth.
        intervals: baseline -> metric -> the main method's margin over it, main - baseline in the metric's unit.
        protocol: what was measured.
        films: the clips shown.
        curves: charts of the trainings.
        usage: component -> how often each code is used, (N,).
        not_computed: metrics left out.
        provenance: name -> value, as shown: digests, commit (moso.evaluation.report.lineage.lineage_rows).
        rollout: the long prediction; None where none was asked for.
        asked: the protocol file that was asked for; None where none was named.
        table: the benchmark's table; None leaves its section out.
        bands: metric -> method -> lower and upper ends, (P,) each, of the confidence band around its curve.
        recombinations: components of two clips drawn together; none leaves the section out.
        environment: name -> value: the machine and the versions (moso.evaluation.report.environment).
        frechet: "fvd", "fid" -> the distance and the numbers behind it, where it was computed.
    """

    comparison: Comparison | None
    intervals: Mapping[str, Mapping[str, Interval]]
    protocol: Protocol
    films: Sequence[Film]
    curves: Sequence[Curves]
    usage: Mapping[str, NDArray[np.int64]]
    not_computed: Sequence[NotComputed]
    provenance: Mapping[str, str]
    rollout: Rollout | None = None
    asked: ProtocolFile | None = None
    table: BenchmarkTable | None = None
    bands: Mapping[str, Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]] = field(default_factory=dict)
    recombinations: Sequence[Recombination] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    frechet: Mapping[str, FrechetFigure] = field(default_factory=dict)
