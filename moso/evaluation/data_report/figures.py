"""All numbers of the data report, as plain data whose keys are stable: gates read them (docs/data.md lists them)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from moso.evaluation.data_report.checks import checks
from moso.evaluation.data_report.folder import FramesFolder
from moso.evaluation.data_report.sample import Piece, SampleConfig, spread_pieces
from moso.evaluation.data_report.thresholds import threshold_effect
from moso.provenance import FILE
from moso.vqvae.decompose import HIGH, LOW

FORMAT = "moso.data_report"
VERSION = 1
BRIGHTNESS_EDGES = tuple(range(0, 257, 8))
"""Grey levels; a frame's brightness is the mean of its pixels and channels."""
MOTION_EDGES = (0, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Grey levels; motion is the mean difference from one frame to the next. Doubling, as motion spans decades."""
LENGTH_BINS = 16
SHOWN = 20
"""Groups of duplicates and quarantined records that are named; all are counted."""


def data_figures(folder: FramesFolder, config: SampleConfig | None = None) -> dict[str, Any]:
    """The report of a frames folder.

    Args:
        folder: opened.
        config: how much of the frames is looked at.
    """
    config = config or SampleConfig()
    cache, manifest = folder.cache, folder.manifest
    edges = _length_edges(manifest["frames"])
    report: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "data": {
            **folder.data,
            "height": cache.height,
            "width": cache.width,
            "fps": cache.fps,
            "manifest_version": int(manifest["added_in"].max()) if len(manifest) else 0,
            "frames_digest": cache.digest if (cache.folder / FILE).is_file() else None,
        },
        "sample": {
            "clip_frames": config.clip_frames,
            "clips": config.clips,
            "threshold_clips": config.threshold_clips,
        },
        "splits": {split: _split(folder, split, edges, config) for split in folder.splits},
        "thresholds": {"low": LOW, "high": HIGH, "splits": _thresholds(folder, config)},
        "duplicates": _duplicates(manifest),
        "leaks": _leaks(manifest),
        "quarantine": _quarantine(folder.quarantine, len(manifest)),
    }
    report["checks"] = checks(report)
    return report


def histogram(values: Shaped[np.ndarray, "n"], edges: Sequence[float]) -> dict[str, list[Any]]:
    """{"edges", "counts"}: counts[i] of edges[i] <= value < edges[i + 1]; what lies outside counts at the ends."""
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return {"edges": list(edges), "counts": np.bincount(places, minlength=len(edges) - 1).tolist()}


def _split(folder: FramesFolder, split: str, edges: Sequence[float], config: SampleConfig) -> dict[str, Any]:
    rows = folder.manifest[folder.manifest["split"] == split]
    whole = folder.statistics.get(split, {})
    frames = rows["frames"].to_numpy(dtype=np.int64)
    pieces = spread_pieces(folder.cache, split, config.clip_frames, config.clips)
    return {
        "episodes": len(rows),
        "recordings": int(rows["recording"].nunique()),
        "frames": int(frames.sum()),
        "duration_s": float((frames / rows["fps"].to_numpy()).sum()),
        "episode_frames": {
            "min": int(frames.min()),
            "median": float(np.median(frames)),
            "max": int(frames.max()),
            "histogram": histogram(frames, edges),
        },
        "raw_sizes": _counted(rows, ["height", "width"]),
        "raw_fps": _counted(rows, ["fps"]),
        "duplicates": int(rows["sha256"].duplicated().sum()),
        **_looks(folder, pieces, whole),
        **{name: _signal(folder, name, whole[name]) for name in ("actions", "states") if name in whole},
    }


def _looks(folder: FramesFolder, pieces: Sequence[Piece], whole: dict[str, Any]) -> dict[str, Any]:
    """Brightness and motion: means over every frame from statistics.json, histograms over the sample."""
    brightness: list[np.ndarray] = []
    motion: list[np.ndarray] = []
    for piece in pieces:
        video = piece.frames(folder.cache)
        brightness.append(video.mean(axis=(1, 2, 3), dtype=np.float64))
        # max - min is the absolute difference without leaving uint8.
        step = np.maximum(video[1:], video[:-1]) - np.minimum(video[1:], video[:-1])
        motion.append(step.mean(axis=(1, 2, 3), dtype=np.float64))
    bright, moved = np.concatenate([np.empty(0), *brightness]), np.concatenate([np.empty(0), *motion])
    return {
        "sampled_clips": len(pieces),
        "brightness": {
            "mean": whole.get("brightness", {}).get("mean"),
            "std": whole.get("brightness", {}).get("std"),
            "histogram": histogram(bright, BRIGHTNESS_EDGES),
        },
        "motion": {
            "mean": whole.get("mean_difference"),
            "still_share": float((moved == 0).mean()) if len(moved) else None,
            "histogram": histogram(moved, MOTION_EDGES),
        },
    }


def _signal(folder: FramesFolder, name: str, figures: dict[str, Any]) -> dict[str, Any]:
    """What actions or states mean, from data.json, and how they spread, in their own units."""
    spec = folder.data.get(name) or {}
    dimension = len(figures["mean"])
    return {
        "names": list(spec.get("names") or [str(i) for i in range(dimension)]),
        "units": list(spec.get("units") or [""] * dimension),
        "meaning": spec.get("meaning", "unknown"),
        "space": spec.get("space", "unknown"),
        **{key: figures[key] for key in ("mean", "std", "min", "max")},
    }


def _thresholds(folder: FramesFolder, config: SampleConfig) -> dict[str, list[dict[str, Any]]]:
    effects = {}
    for split in folder.splits:
        pieces = spread_pieces(folder.cache, split, config.clip_frames, config.threshold_clips)
        effects[split] = threshold_effect(piece.frames(folder.cache) for piece in pieces)
    return effects


def _duplicates(manifest: pd.DataFrame) -> dict[str, Any]:
    """Episodes with the very same frames as another."""
    groups = [group["episode_id"].tolist() for _, group in manifest.groupby("sha256", sort=False) if len(group) > 1]
    return {"episodes": sum(len(g) - 1 for g in groups), "groups": len(groups), "shown": groups[:SHOWN]}


def _leaks(manifest: pd.DataFrame) -> dict[str, int]:
    """How many ids, recordings and frames lie in more than one split: zero each, or ingest would have stopped."""
    return {
        name: int((manifest.groupby(column)["split"].nunique() > 1).sum())
        for name, column in (("episode_ids", "episode_id"), ("recordings", "recording"), ("frames", "sha256"))
    }


def _quarantine(table: pd.DataFrame, episodes: int) -> dict[str, Any]:
    total = len(table) + episodes
    reasons = table["reason"].value_counts(sort=True)
    return {
        "records": len(table),
        "share": len(table) / total if total else 0.0,
        "reasons": [{"reason": str(reason), "records": int(n)} for reason, n in reasons.items()][:SHOWN],
        "shown": [
            {"file": str(f), "offset": int(o), "reason": str(r)}
            for f, o, r in table[["file", "offset", "reason"]].head(SHOWN).itertuples(index=False, name=None)
        ],
    }


def _counted(rows: pd.DataFrame, columns: list[str]) -> list[dict[str, Any]]:
    """Episodes with each combination of values, the most frequent first."""
    counts = rows.groupby(columns).size().sort_values(ascending=False, kind="stable").reset_index(name="episodes")
    return [
        {key: float(value) if key == "fps" else int(value) for key, value in record.items()}
        for record in counts.to_dict("records")
    ]


def _length_edges(frames: pd.Series) -> list[float]:
    """Whole numbers of frames from the shortest episode to beyond the longest, the same for all splits."""
    if not len(frames):
        return [0, 1]
    low, high = int(frames.min()), int(frames.max()) + 1
    return np.unique(np.rint(np.linspace(low, high, min(LENGTH_BINS, high - low) + 1)).astype(int)).tolist()
