"""An evaluation from end to end: measured, with intervals and pictures, ready to be written as a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moso.evaluation.benchmark_table import BenchmarkTable, table_of
from moso.evaluation.comparison import Bands, Comparison
from moso.evaluation.frechet_metric import FrechetFigure
from moso.evaluation.generation import measure_generation
from moso.evaluation.measure import Measured, measure
from moso.evaluation.metrics import heading, higher_is_better
from moso.evaluation.per_clip import IDENTITY
from moso.evaluation.protocol import NotComputed, Protocol
from moso.evaluation.protocol_file import ProtocolFile
from moso.evaluation.report import Evaluation, render_page
from moso.evaluation.report.curves import Curves
from moso.evaluation.report.films import Film, drawn_films, make_films, ranked_by, shown_places
from moso.evaluation.report.recombinations import Recombination, draw_recombinations, recombination_pairs
from moso.evaluation.rollout import Rollout, RolloutConfig, roll_out
from moso.evaluation.seeds import sampling_seed
from moso.evaluation.summary import Margins, margins, summarise
from moso.frames.cache import FrameCache
from moso.provenance import write_json
from moso.step import StopSignal
from moso.tasks.model import Model
from moso.transformer.config import SamplingConfig


@dataclass(frozen=True)
class Found:
    """Everything that a report is written of.

    Attributes:
        asked: the protocol that was asked for.
        protocol: the one that was measured.
        main: name of what was measured.
        comparison: figures by clip; None of an unconditional evaluation.
        intervals: margins over the baselines.
        bands: of the curves.
        frechet: "fvd", "fid" where computed.
        not_computed: what is missing and why.
        films: the clips shown.
        recombinations: scene of one clip, motion of another.
        rollout: the long prediction; None where none was asked for.
        example: the first clip's given frames, uint8 (1, K, H, W, 3).
    """

    asked: ProtocolFile
    protocol: Protocol
    main: str
    comparison: Comparison | None
    frechet: Mapping[str, FrechetFigure]
    not_computed: Sequence[NotComputed]
    films: Sequence[Film]
    example: NDArray[np.uint8]
    intervals: Margins = field(default_factory=dict)
    bands: Bands = field(default_factory=dict)
    recombinations: Sequence[Recombination] = ()
    rollout: Rollout | None = None

    def summary(self, *, model_digest: str, sampling: SamplingConfig) -> dict[str, Any]:
        """The content of metrics.json."""
        figures = summarise(
            self.comparison,
            self.protocol,
            self.intervals,
            main=self.main,
            frechet=self.frechet,
            not_computed=self.not_computed,
            model_digest=model_digest,
            sampling=sampling,
        )
        figures["protocol_name"] = self.asked.name or self.asked.title
        return {**figures, **({"rollout": self.rollout.summary()} if self.rollout is not None else {})}

    def table(self, summary: Mapping[str, Any]) -> BenchmarkTable:
        """Ours in the paper's layout, beside the published rows of the same protocol."""
        bounds = ("reconstruction",) if self.main != "reconstruction" else ()
        methods = [self.main, *(self.comparison.baselines if self.comparison else ()), *bounds]
        ours = {method: dict(summary[method]) for method in methods if method in summary}
        reasons = {
            entry.metric: f"{entry.reason}; get it with `{entry.command}`" if entry.command else entry.reason
            for entry in self.not_computed
        }
        return table_of(self.asked, ours, self.protocol, main=self.main, not_computed=reasons)

    def write_figures(self, folder: Path, summary: Mapping[str, Any]) -> BenchmarkTable:
        """metrics.json, the tables and the example: the files that are the report's identity.

        Args:
            folder: to write to.
            summary: of `summary`.
        """
        write_json(folder / "metrics.json", summary)
        # Without clips the tables have their columns and no row: DVC wants every output of a stage to be there.
        rows = self.comparison.per_clip() if self.comparison else pd.DataFrame(columns=[*IDENTITY])
        curves = self.comparison.per_frame(self.bands) if self.comparison else pd.DataFrame(columns=["frame", "method"])
        rows.to_parquet(folder / "per_clip.parquet", index=False)
        curves.to_csv(folder / "per_frame.csv", index=False, float_format="%.6f")
        table = self.table(summary)
        (folder / "table.md").write_text(table.markdown, encoding="utf-8")
        table.frame.to_csv(folder / "table.csv", index=False, float_format="%.6g")
        np.save(folder / "example.npy", self.example, allow_pickle=False)
        return table

    def page(
        self,
        *,
        table: BenchmarkTable,
        curves: Sequence[Curves],
        usage: Mapping[str, NDArray[np.int64]],
        provenance: Mapping[str, str],
        environment: Mapping[str, str],
    ) -> str:
        """The report page."""
        return render_page(
            Evaluation(
                comparison=self.comparison,
                intervals=self.intervals,
                protocol=self.protocol,
                films=self.films,
                curves=curves,
                usage=usage,
                not_computed=self.not_computed,
                provenance=provenance,
                rollout=self.rollout,
                asked=self.asked,
                table=table,
                bands=self.bands,
                recombinations=self.recombinations,
                environment=environment,
                frechet=self.frechet,
            )
        )

    def words(self, summary: Mapping[str, Any]) -> str:
        """One line: how many clips, what was measured and the first baseline."""
        names = [self.main, *(self.comparison.baselines[:1] if self.comparison else ())]
        parts = []
        for name in names:
            figures = [f"{heading(m)} {v:.4g}" for m, v in summary.get(name, {}).items()]
            parts.append(f"{name.replace('_', ' ')}: {', '.join(figures) or 'nothing computed'}")
        return f"{self.protocol.clips} {self.protocol.split} clips; {'; '.join(parts)}"


def evaluate_clips(
    model: Model,
    cache: FrameCache,
    asked: ProtocolFile,
    *,
    work: Path,
    shown: int,
    resamples: int,
    min_clips: int = 1,
    min_episodes: int = 1,
    sampling: SamplingConfig | None = None,
    rollout: RolloutConfig | None = None,
    stop: StopSignal | None = None,
) -> Found:
    """Measure on clips and prepare the report; see moso.evaluation.measure.measure.

    Args:
        shown: clips on the page.
        resamples: draws of the bootstrap.
        rollout: prediction beyond a clip; None leaves it out.
    """
    measured = measure(
        model,
        cache,
        asked,
        work=work / "trials",
        sampling=sampling,
        min_clips=min_clips,
        min_episodes=min_episodes,
        stop=stop,
    )
    comparison = measured.comparison
    rolled = None
    if rollout is not None:
        rolled = roll_out(model, cache, asked.split, rollout, seed=asked.seed, sampling=sampling, stop=stop)
    how = {"seed": asked.seed, "resamples": resamples}
    clips = measured.clips
    example = clips.batch([0]).numpy()[:, : model.given_frames]
    return Found(
        asked=asked,
        protocol=measured.protocol,
        main=comparison.main,
        comparison=comparison,
        frechet=measured.frechet,
        not_computed=measured.not_computed,
        films=make_films(model, clips, comparison, _shown(measured, asked, shown, model.batch), shown),
        intervals=margins(comparison, **how),
        bands=comparison.bands(**how),
        recombinations=draw_recombinations(model, clips, recombination_pairs(clips.clips)),
        rollout=rolled,
        example=example,
    )


def evaluate_generation(
    model: Model,
    cache: FrameCache,
    asked: ProtocolFile,
    *,
    work: Path,
    shown: int,
    sampling: SamplingConfig | None = None,
    stop: StopSignal | None = None,
) -> Found:
    """Measure what is drawn from nothing; see moso.evaluation.generation.measure_generation."""
    generated = measure_generation(
        model, cache, asked, work=work / "generated", shown=shown, sampling=sampling, stop=stop
    )
    return Found(
        asked=asked,
        protocol=generated.protocol,
        main="generation",
        comparison=None,
        frechet=generated.frechet,
        not_computed=generated.not_computed,
        films=drawn_films(list(generated.shown)),
        example=generated.clips.batch([0]).numpy()[:, : model.given_frames],
    )


def _shown(measured: Measured, asked: ProtocolFile, count: int, batch: int) -> NDArray[np.uint8]:
    """The scored frames that the page shows, (N, P, H, W, 3): of one sample a clip all of them, as they were scored.

    Of several samples no videos were kept: the best one of each clip that will be shown is drawn again, by its seed;
    the other clips stay empty and take no memory.
    """
    if measured.trials.videos is not None:
        return measured.trials.videos
    comparison, clips = measured.comparison, measured.clips
    metric = ranked_by(comparison.metrics)
    assert metric is not None
    best = measured.trials.best(metric, higher_is_better=higher_is_better(metric))
    first = clips.batch([0]).numpy()
    drawn = np.zeros((len(clips), len(measured.task.scored), *first.shape[2:]), np.uint8)
    for _, index in shown_places(comparison, count):
        # In the company that it was scored in: alone, a sum may run in another order and a token flip.
        first_row = index - index % batch
        rows = range(first_row, min(first_row + batch, len(clips)))
        seeds = [sampling_seed(asked.seed, clips.clips[row]) + int(best[index]) for row in rows]
        for _, videos in measured.task.draw(clips.batch(list(rows)).numpy(), seeds, 1):
            drawn[index] = videos[index - first_row, 0]
    return drawn
