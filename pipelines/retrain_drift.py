"""The drift of a retraining's new episodes: measured once; drift.json, drift.html, and a run of the tracker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.main import finishing, settle_torch, tracker
from moso.frames.cache import FrameCache
from moso.provenance import write_json
from moso.registry.decide import figures
from moso.retraining.drift_page import drift_lines, render_drift_page
from moso.retraining.measure import measure_drift
from moso.tokens.store import TokenStore
from moso.vqvae.model import load_vqvae
from pipelines.retrain_settings import RetrainSettings
from pipelines.retrain_state import read_json


def measured_drift(
    folder: Path,
    current: Mapping[str, Any],
    settings: RetrainSettings,
    trained: set[str],
    parts: Mapping[str, Path],
) -> dict[str, Any]:
    """The drift's figures; measured where `folder` has none yet, and printed.

    Args:
        folder: takes drift.json and drift.html.
        current: the content of current.json.
        settings: of retraining.yaml.
        trained: `retrain_state.trained_on` of the champion.
        parts: frames, their tokens and the vqvae, both of the champion's Stage I.
    """
    path = folder / "drift.json"
    found = read_json(path)
    if not found:
        settle_torch("cpu")  # a reconstruction of some dozen clips; equal bits from run to run
        cache, new = FrameCache.open(parts["frames"]), current["new"]
        table = cache.episodes
        training = [str(e) for e in table.loc[table["split"] == "train", "episode_id"] if e in trained]
        store = TokenStore.open(parts["tokens"])
        found = measure_drift(load_vqvae(parts["vqvae"]), cache, store, training, new, settings.drift_episodes)
        about = f"{len(new)} new episodes against the champion's {len(training)} training episodes; its Stage I"
        folder.mkdir(parents=True, exist_ok=True)
        page = render_drift_page(f"Drift of {current['name']}", found, about)
        (folder / "drift.html").write_text(page, encoding="utf-8")
        records = tracker()
        with finishing(records):
            records.start("drift", params={"retraining": current["id"]}, tags={"step": "retraining"})
            records.summary(figures(found))
            records.artifact(folder / "drift.html")
            records.finish()
        write_json(path, found)
    for line in drift_lines(found):
        print(f"drift: {line}", flush=True)
    return found


def stage_1_fails(drift: Mapping[str, Any], settings: RetrainSettings) -> bool:
    """Whether the champion's Stage I draws new data worse than training data by more than the bound; it is said."""
    of = drift["reconstruction_psnr"]
    loss, bound = of["training"] - of["new"], settings.vqvae_bound_db
    if loss > bound:
        print(f"Stage I draws the new data {loss:.2f} dB worse than the training data (bound {bound:g}): retrained")
    else:
        print(f"Stage I stays: it draws the new data {loss:+.2f} dB worse (bound {bound:g})")
    return bool(loss > bound)
