"""Videos of nothing given, as a set beside the set of true ones: only their distributions can be compared.

Legend: N videos, T frames, D features, H W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moso.errors import ConfigError, DataError, StopRequested
from moso.evaluation.asked import require_sizes
from moso.evaluation.comparison import select_clips
from moso.evaluation.extrapolation import GROUPS, GroupedMoments
from moso.evaluation.features import DDOF
from moso.evaluation.frechet_metric import FrechetFigure, add_videos_, distance_of, video_features
from moso.evaluation.measure import identity_of, realised
from moso.evaluation.measures import measures_of
from moso.evaluation.protocol import NotComputed, Protocol
from moso.evaluation.protocol_file import ProtocolFile
from moso.evaluation.trials import VideoFeatures
from moso.frames.cache import FrameCache
from moso.frames.clips import Clips
from moso.lock import hold
from moso.progress import Progress
from moso.provenance import write_json
from moso.step import StopSignal
from moso.tasks.model import Model
from moso.transformer.config import SamplingConfig


@dataclass(frozen=True)
class Generated:
    """What was found.

    Attributes:
        protocol: what was measured, exactly.
        clips: the true videos.
        shown: the first videos drawn, uint8 (n, T, H, W, 3).
        frechet: "fvd", "fid" where computed.
        not_computed: what is missing and why.
    """

    protocol: Protocol
    clips: Clips
    shown: np.ndarray
    frechet: Mapping[str, FrechetFigure]
    not_computed: Sequence[NotComputed]


def measure_generation(
    model: Model,
    cache: FrameCache,
    asked: ProtocolFile,
    *,
    work: Path,
    shown: int,
    sampling: SamplingConfig | None = None,
    stop: StopSignal | None = None,
) -> Generated:
    """Draw as many videos as the protocol asks for and compare their features with those of all true videos.

    Without a network nothing could be compared: then only the videos that are shown are drawn. Features are kept in
    `work`, block by block, so that a run that was killed goes on.

    Args:
        model: trained to draw from nothing.
        cache: the truth.
        asked: an unconditional protocol.
        work: folder of this run alone.
        shown: videos to hand back.
        sampling: settings in place of the model's own.
        stop: ends the work between two blocks.

    Raises:
        ConfigError: a protocol of another task, or that does not fit the model.
        MosoError: a model that was not trained to draw from nothing.
        StopRequested: `stop` was raised; what was drawn is kept.
    """
    if asked.task != "unconditional":
        raise ConfigError("evaluate.protocol.task", asked.task, "is not drawn from nothing")
    require_sizes(asked, model.given_frames, model.clip_frames, model.height, model.width)
    length = asked.predicted_frames
    clips = Clips(cache, select_clips(cache, asked.split, length, windows=asked.windows), length)
    protocol = realised(asked, cache, clips, predicted_frames=length)
    measures = measures_of(asked.metrics, length, model.device)
    how: dict[str, Any] = {"seed": asked.seed, "sampling": sampling}
    first = np.concatenate(list(model.generate(shown, **how)))[:, :length]
    found: dict[str, FrechetFigure] = {}
    unmet: list[NotComputed] = []
    if measures.networks:
        features = {metric: video_features(network) for metric, network in measures.networks.items()}
        identity = {**identity_of(model, protocol, sampling), "batch": model.batch}
        kept = _draw(model, asked.videos or len(clips), length, features, work, identity, how, stop)
        for metric, network in measures.networks.items():
            groups = 1 if network.by_frame else GROUPS
            ours, true = (GroupedMoments(network.dimension, groups) for _ in range(2))
            for start, rows in kept.rows(metric):
                add_videos_(ours, rows, start)
            with Progress(f"reference of {metric}", len(clips), "clips") as progress:
                for start in range(0, len(clips), model.batch):
                    part = range(start, min(start + model.batch, len(clips)))
                    add_videos_(true, features[metric](clips.batch(list(part)).numpy()), start)
                    progress.advance(len(part))
            try:
                found[metric] = distance_of(ours, true, DDOF[metric])
            except DataError as error:
                unmet.append(NotComputed(metric, str(error), ""))
    return Generated(protocol, clips, first, found, (*measures.not_computed, *unmet))


def _draw(
    model: Model,
    count: int,
    length: int,
    features: Mapping[str, VideoFeatures],
    work: Path,
    identity: Mapping[str, Any],
    how: Mapping[str, Any],
    stop: StopSignal | None,
) -> _Blocks:
    """The features of `count` videos, block by block in `work`; those there already are not drawn again."""
    work.mkdir(parents=True, exist_ok=True)
    with hold(work, "evaluating"), Progress("generate", count, "videos") as progress:
        kept = _Blocks(work, identity)
        for start in range(0, count, model.batch):
            number = min(model.batch, count - start)
            if not all(kept.path(metric, start).exists() for metric in features):
                if stop:
                    raise StopRequested(f"evaluate: stopped; {start} of {count} videos are kept in {work}")
                videos = np.concatenate(list(model.generate(number, first=start, **how)))[:, :length]
                for metric, of_videos in features.items():
                    kept.put(metric, start, of_videos(videos))
            progress.advance(number)
    return kept


class _Blocks:
    """Features of blocks of videos, a file each, of one run: those of another are removed."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        of = folder / "identity.json"
        if not of.exists() or json.loads(of.read_text()) != json.loads(json.dumps(identity)):
            for file in folder.glob("*.npy"):
                file.unlink()
            write_json(of, identity)

    def path(self, metric: str, start: int) -> Path:
        return self._folder / f"{metric}-{start:08d}.npy"

    def put(self, metric: str, start: int, rows: np.ndarray) -> None:
        partial = self._folder / "block.part"
        with partial.open("wb") as file:
            np.save(file, rows, allow_pickle=False)
        partial.replace(self.path(metric, start))

    def rows(self, metric: str) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the first video, features) of each block, in order."""
        for file in sorted(self._folder.glob(f"{metric}-*.npy")):
            yield int(file.stem.rpartition("-")[2]), np.load(file, allow_pickle=False)
