"""evaluate: predictions of episodes that training never saw, beside baselines and the ceiling, and the report page.

The output folder `report` gets metrics.json, per_clip.parquet, per_frame.csv, example.npy (the first clip's given
frames: the registered model's input example), index.html and provenance.json. Other files in it (promotion.json) are
left alone.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import torch

from moso import __version__
from moso.config import to_dict
from moso.errors import ConfigError
from moso.evaluation.comparison import CLIP_RULE, Comparison, compare, select_clips
from moso.evaluation.protocol import NOT_COMPUTED, Protocol, clips_digest
from moso.evaluation.report import Evaluation, render_page
from moso.evaluation.report.curves import read_curves
from moso.evaluation.report.films import Film, draw_videos, spread
from moso.evaluation.rollout import Rollout, RolloutConfig, roll_out
from moso.evaluation.statistics import Interval
from moso.evaluation.summary import margins, summarise
from moso.frames.cache import FrameCache
from moso.frames.clips import Clips, mean_image
from moso.progress import Progress
from moso.provenance import code_digest, digest_folder, git_commit, read_provenance, write_json, write_provenance
from moso.step import Context, Paths
from moso.tasks import Model
from moso.tokens.store import TokenStore, usage
from moso.transformer.config import SamplingConfig

FORMAT, VERSION = "moso.report", 1


@dataclass(frozen=True)
class Config:
    """Section `evaluate`.

    Attributes:
        data_set: the data set's name, as the protocol and the page show it.
        split: "test"; "validation" while settings are being chosen.
        sample_seed: of the samples and the bootstrap. Not called `seed`, which the experiment's seed would fill: models
            of different training seeds are compared under one protocol.
        sampling: settings in place of the model's own (those it was saved with).
        max_clips: take the first so many clips; all when None.
        min_clips: refuse fewer.
        min_episodes: refuse clips of fewer episodes.
        batch: clips worked on at a time; bounds memory, changes no result.
        resamples: draws of the bootstrap.
        shown_clips: clips on the page.
        rollout: prediction beyond a clip; None leaves it out. It enters no comparison with a champion.
    """

    data_set: str
    split: str = "test"
    sample_seed: int = 0
    sampling: SamplingConfig | None = None
    max_clips: int | None = None
    min_clips: int = 256
    min_episodes: int = 128
    batch: int = 8  # measured on 2 cores: a tenth faster a clip than 16
    resamples: int = 10_000
    shown_clips: int = 12
    rollout: RolloutConfig | None = None

    def __post_init__(self) -> None:
        if self.split == "train":
            raise ConfigError(
                "split", self.split, "the model was trained on it", "take test, or validation for choosing"
            )
        for name in ("min_clips", "min_episodes", "batch", "shown_clips"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "must be at least 1")
        if self.max_clips is not None and self.max_clips < self.min_clips:
            raise ConfigError("max_clips", self.max_clips, f"must not be below min_clips = {self.min_clips}")
        if self.sample_seed < 0:
            raise ConfigError("sample_seed", self.sample_seed, "must be at least 0")
        if self.resamples < 100:
            raise ConfigError("resamples", self.resamples, "must be at least 100", "10000 is usual")


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> None:
    """Measure the model and write the report.

    Raises:
        ConfigError: a model that takes no given frames: it predicts nothing.
        DataError: too few clips or episodes.
        MismatchError: the VQVAE and the transformer do not belong together.
        StopRequested: the stop signal was raised; nothing was written.
    """
    model = Model.from_parts(inputs["vqvae"], inputs["transformer"], context.device)
    model.batch = config.batch
    if model.given_frames == 0:
        raise ConfigError(
            "extract_tokens.given_frames",
            0,
            "the model was trained to generate from nothing, and evaluate measures prediction",
            "draw from it with `moso generate`",
        )
    store = TokenStore.open(inputs["tokens"])
    store.require_codebook(model.transformer.codebook_digest)
    cache = FrameCache.open(inputs["frames"])
    chosen = select_clips(
        cache,
        config.split,
        model.clip_frames,
        max_clips=config.max_clips,
        min_clips=config.min_clips,
        min_episodes=config.min_episodes,
    )
    clips = Clips(cache, chosen, model.clip_frames)
    protocol = _protocol(config, model, clips)
    digests = {name: read_provenance(inputs[name])["digest"] for name in ("frames", "vqvae", "tokens", "transformer")}
    tags = {"step": "evaluate", "git_commit": git_commit(), "code": code_digest(), "model": model.digest}
    context.tracker.start(
        "evaluate",
        params=to_dict(config),
        tags={**tags, "protocol": protocol.digest, **{f"input.{k}": v for k, v in digests.items()}},
    )

    target = outputs["report"]
    target.mkdir(parents=True, exist_ok=True)
    for left in target.glob(".partial-*"):  # of a killed run
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=target, prefix=".partial-") as name:
        folder = Path(name)
        # On disk, so that memory stays bounded; the metrics that need networks will read them again.
        predictions = np.lib.format.open_memmap(
            folder / "predictions.npy",
            mode="w+",
            dtype=np.uint8,
            shape=(len(clips), model.predicted_frames, model.height, model.width, 3),
        )
        comparison = compare(
            model,
            clips,
            mean_image=mean_image(cache, "train"),
            seed=config.sample_seed,
            sampling=config.sampling,
            predictions=predictions,
            stop=context.stop,
        )
        rollout = None
        if config.rollout is not None:
            rollout = roll_out(
                model,
                cache,
                config.split,
                config.rollout,
                seed=config.sample_seed,
                sampling=config.sampling,
                stop=context.stop,
            )
        with Progress("report", 3, "part") as progress:
            films = _films(config, model, clips, comparison, predictions)
            del predictions
            (folder / "predictions.npy").unlink()
            progress.advance(note="pictures")

            intervals = margins(comparison, seed=config.sample_seed, resamples=config.resamples)
            metrics = summarise(
                comparison, protocol, intervals, model_digest=model.digest, sampling=config.sampling or model.sampling
            )
            if rollout is not None:
                metrics["rollout"] = rollout.summary()
            write_json(folder / "metrics.json", metrics)
            comparison.per_clip().to_parquet(folder / "per_clip.parquet", index=False)
            comparison.per_frame().to_csv(folder / "per_frame.csv", index=False, float_format="%.6f")
            np.save(folder / "example.npy", clips.batch([0]).numpy()[:, : model.given_frames], allow_pickle=False)
            progress.advance(note="figures")

            # The report's identity are its figures: the page shows the commit, and differs where nothing else does.
            digest = digest_folder(folder)
            tags = {**tags, "report": digest, "sampling": json.dumps(metrics["sampling"])}
            page = _page(inputs, usage(store), comparison, intervals, protocol, films, rollout, tags, digests)
            (folder / "index.html").write_text(page, encoding="utf-8")
            progress.advance(note="page")
        write_provenance(
            folder, format=FORMAT, version=VERSION, step="evaluate", config=config, inputs=digests, digest=digest
        )
        _move(folder, target)

    context.tracker.summary(_leaves(metrics))
    for file in ("metrics.json", "index.html"):
        context.tracker.artifact(target / file)
    context.tracker.finish()
    ours, held = metrics["prediction"], metrics["repeat_last"]
    print(
        f"evaluate: {protocol.clips} {config.split} clips: prediction {ours['psnr']:.2f} dB, SSIM {ours['ssim']:.4f}; "
        f"repeat last {held['psnr']:.2f} dB, SSIM {held['ssim']:.4f}; page: {(target / 'index.html').absolute()}"
    )


def _protocol(config: Config, model: Model, clips: Clips) -> Protocol:
    return Protocol(
        data_set=config.data_set,
        split=config.split,
        splits=clips.cache.data.get("splits", {}),
        clips_digest=clips_digest(
            (clip.id for clip in clips.clips), (clips.batch([i]).numpy()[0] for i in range(len(clips)))
        ),
        clips=len(clips),
        episodes=len({clip.episode_id for clip in clips.clips}),
        clip_rule=CLIP_RULE,
        height=model.height,
        width=model.width,
        given_frames=model.given_frames,
        clip_frames=model.clip_frames,
        predicted_frames=model.predicted_frames,
        samples_per_video=1,
        seed=config.sample_seed,
    )


def _films(config: Config, model: Model, clips: Clips, comparison: Comparison, predictions: np.ndarray) -> list[Film]:
    places = spread(comparison.of_clips("psnr", "prediction"), config.shown_clips)
    videos = draw_videos(model, clips, [index for _, index in places], predictions)
    return [
        Film(
            clip=clips.clips[index],
            rank=rank,
            videos=shown,
            psnr=comparison.values["psnr"]["prediction"][index].tolist(),
            baseline_psnr=comparison.values["psnr"]["repeat_last"][index].tolist(),
            figures={
                metric: (float(of["prediction"][index].mean()), float(of["repeat_last"][index].mean()))
                for metric, of in comparison.values.items()
            },
        )
        for (rank, index), shown in zip(places, videos, strict=True)
    ]


def _page(
    inputs: Paths,
    counts: Mapping[str, np.ndarray],
    comparison: Comparison,
    intervals: Mapping[str, Mapping[str, Interval]],
    protocol: Protocol,
    films: list[Film],
    rollout: Rollout | None,
    tags: Mapping[str, str],
    digests: Mapping[str, str],
) -> str:
    return render_page(
        Evaluation(
            comparison=comparison,
            intervals=intervals,
            protocol=protocol,
            films=films,
            curves=[
                *read_curves("Stage I", inputs["vqvae"]),
                *read_curves("Stage II", inputs["transformer"]),
            ],
            usage=counts,
            not_computed=NOT_COMPUTED,
            provenance=_provenance(tags, digests),
            rollout=rollout,
        )
    )


def _provenance(tags: Mapping[str, str], digests: Mapping[str, str]) -> dict[str, str]:
    return {
        "Git commit": tags["git_commit"],
        "Sampling": tags["sampling"],
        "Versions": f"moso {__version__}, torch {torch.__version__}, numpy {np.__version__}, Python {python_version()}",
        **{f"Digest: {name}": tags[name] for name in ("code", "model", "report")},
        **{f"Digest: input {name}": digest for name, digest in digests.items()},
    }


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Dotted name -> figure."""
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and key not in ("protocol", "sampling"):
            found |= _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, float) and math.isfinite(value):
            found[prefix + key] = value
    return found


def _move(folder: Path, target: Path) -> None:
    """Every file of `folder` into `target`, provenance.json last: where it stands, the others are whole."""
    (target / "provenance.json").unlink(missing_ok=True)
    for path in sorted(folder.iterdir(), key=lambda p: (p.name == "provenance.json", p.name)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            os.replace(path, target / path.name)


if __name__ == "__main__":
    from components.main import main

    main("evaluate", Config, run)
