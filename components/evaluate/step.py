"""evaluate: predictions of episodes that training never saw, beside baselines and the ceiling, and the report page.

The output folder `report` gets metrics.json, per_clip.parquet, per_frame.csv, table.md and table.csv (the benchmark's
table in the paper's layout), example.npy (the first clip's given frames: the registered model's input example),
index.html and provenance.json. Other files in it (promotion.json) are left alone.
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
from typing import Any

from moso.config import build, merge, to_dict
from moso.errors import ConfigError
from moso.evaluation.asked import check_fields, made_for, require_sizes, title_of
from moso.evaluation.found import Found, evaluate_clips, evaluate_generation
from moso.evaluation.protocol_file import ProtocolFile, load_data
from moso.evaluation.report.curves import read_curves
from moso.evaluation.report.environment import environment
from moso.evaluation.report.lineage import lineage_rows
from moso.evaluation.rollout import RolloutConfig
from moso.frames.cache import FrameCache
from moso.progress import Progress
from moso.provenance import code_digest, digest_folder, digest_json, git_commit, read_provenance, write_provenance
from moso.step import Context, Paths
from moso.tasks import Model
from moso.tokens.store import TokenStore, usage
from moso.training.work import WorkFolder, run_identity, work_key
from moso.transformer.config import SamplingConfig

FORMAT, VERSION = "moso.report", 1


@dataclass(frozen=True)
class Config:
    """Section `evaluate`.

    Attributes:
        data_set: the data set's name.
        protocol: what is measured: a name ("kth/64": moso/protocols/kth/64.yaml), or a mapping with that `name` and
            settings laid over the file's. Without a name the protocol is made of the model's own sizes: T - K frames
            predicted, one sample a clip.
        sampling: settings in place of the model's own (those it was saved with).
        min_clips: refuse fewer.
        min_episodes: refuse clips of fewer episodes.
        batch: clips worked on at a time; bounds memory. Another batch changes figures by rounding alone: where two
            tokens are as good, one may take the other's place.
        resamples: draws of the bootstrap.
        shown_clips: clips on the page.
        rollout: prediction beyond a clip; None leaves it out. It enters no comparison with a champion.
    """

    data_set: str
    protocol: str | Mapping[str, Any] | None = None
    sampling: SamplingConfig | None = None
    min_clips: int = 256
    min_episodes: int = 128
    batch: int = 8  # measured on 2 cores: a tenth faster a clip than 16
    resamples: int = 10_000
    shown_clips: int = 12
    rollout: RolloutConfig | None = None

    def __post_init__(self) -> None:
        given = {"name": self.protocol} if isinstance(self.protocol, str) else dict(self.protocol or {})
        # The file's content becomes part of the config: a container needs no file, and a run records what it asked for.
        fields = merge(load_data(given["name"]), given) if given.get("name") else given
        object.__setattr__(self, "protocol", check_fields(fields, "protocol"))
        if self.split == "train":
            raise ConfigError(
                "protocol.split", self.split, "the model was trained on it", "take test, or validation for choosing"
            )
        for name in ("min_clips", "min_episodes", "batch", "shown_clips"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "must be at least 1")
        if self.videos is not None and self.videos < self.min_clips:
            raise ConfigError("protocol.videos", self.videos, f"must not be below min_clips = {self.min_clips}")
        if self.resamples < 100:
            raise ConfigError("resamples", self.resamples, "must be at least 100", "10000 is usual")

    @property
    def _fields(self) -> Mapping[str, Any]:
        assert isinstance(self.protocol, Mapping)  # made one above
        return self.protocol

    @property
    def split(self) -> str:
        """The protocol's."""
        return str(self._fields.get("split", "test"))

    @property
    def videos(self) -> int | None:
        """The protocol's: so many clips; None takes all."""
        found = self._fields.get("videos")
        return None if found is None else int(found)

    def asked(self, *, given_frames: int, clip_frames: int, height: int, width: int) -> ProtocolFile:
        """The protocol, for a model of these sizes.

        Raises:
            ConfigError: a protocol of another data set or of other sizes, or a setting against its rule.
        """
        named = bool(self._fields.get("name"))  # a file says everything by itself
        made = {} if named else made_for(self.data_set, given_frames, clip_frames, height, width)
        fields = {**made, **self._fields}
        if not named:
            fields.setdefault("title", title_of(fields))
        asked = build(ProtocolFile, fields, "evaluate.protocol")
        if asked.data_set != self.data_set:
            raise ConfigError(
                "evaluate.protocol.data_set",
                asked.data_set,
                f"the protocol {asked.name} is of another data set than {self.data_set}",
                "name one of this data set (moso/protocols), or none",
            )
        require_sizes(asked, given_frames, clip_frames, height, width)
        return asked


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> None:
    """Measure the model and write the report.

    Raises:
        ConfigError: a protocol that does not fit the model.
        DataError: too few clips or episodes.
        MismatchError: the VQVAE and the transformer do not belong together.
        StopRequested: the stop signal was raised; no report was written, what was drawn is kept.
    """
    model = Model.from_parts(inputs["vqvae"], inputs["transformer"], context.device)
    model.batch = config.batch
    store = TokenStore.open(inputs["tokens"])
    store.require_codebook(model.transformer.codebook_digest)
    cache = FrameCache.open(inputs["frames"])
    asked = config.asked(
        given_frames=model.given_frames, clip_frames=model.clip_frames, height=model.height, width=model.width
    )
    digests = {name: read_provenance(inputs[name])["digest"] for name in ("frames", "vqvae", "tokens", "transformer")}
    tags = {"step": "evaluate", "git_commit": git_commit(), "code": code_digest(), "model": model.digest}
    context.tracker.start(
        "evaluate", params=to_dict(config), tags={**tags, **{f"input.{k}": v for k, v in digests.items()}}
    )
    identity = run_identity("evaluate", config, digests, code=Path(__file__))
    with WorkFolder(context.work, work_key(identity)) as work:
        found = _measure(config, model, cache, asked, work.folder, context)
        summary = _write(config, found, inputs, outputs["report"], model, store, tags, digests)
        work.discard()
    context.tracker.summary(_leaves(summary))
    for file in ("metrics.json", "table.md", "index.html"):
        context.tracker.artifact(outputs["report"] / file)
    context.tracker.finish()
    print((outputs["report"] / "table.md").read_text())
    print(f"evaluate: {found.words(summary)}; page: {(outputs['report'] / 'index.html').absolute()}")


def _measure(
    config: Config, model: Model, cache: FrameCache, asked: ProtocolFile, work: Path, context: Context
) -> Found:
    how: dict[str, Any] = {
        "work": work,
        "shown": config.shown_clips,
        "sampling": config.sampling,
        "stop": context.stop,
    }
    if asked.task == "unconditional":
        return evaluate_generation(model, cache, asked, **how)
    limits: dict[str, Any] = {"min_clips": config.min_clips, "min_episodes": config.min_episodes}
    return evaluate_clips(model, cache, asked, resamples=config.resamples, rollout=config.rollout, **limits, **how)


def _write(
    config: Config,
    found: Found,
    inputs: Paths,
    target: Path,
    model: Model,
    store: TokenStore,
    tags: Mapping[str, str],
    digests: Mapping[str, str],
) -> dict[str, Any]:
    """The report's files, all of them or none; the content of metrics.json."""
    target.mkdir(parents=True, exist_ok=True)
    for left in target.glob(".partial-*"):  # of a killed run
        shutil.rmtree(left)
    with (
        tempfile.TemporaryDirectory(dir=target, prefix=".partial-") as name,
        Progress("report", 2, "part") as progress,
    ):
        folder = Path(name)
        summary = found.summary(model_digest=model.digest, sampling=config.sampling or model.sampling)
        table = found.write_figures(folder, summary)
        progress.advance(note="figures")
        # The report's identity are its figures: the page shows the commit, and differs where nothing else does.
        digest = digest_folder(folder)
        page = found.page(
            table=table,
            curves=[*read_curves("Stage I", inputs["vqvae"]), *read_curves("Stage II", inputs["transformer"])],
            usage=usage(store),
            provenance={
                **lineage_rows({**tags, "report": digest, "config": digest_json(to_dict(config))}, digests),
                "Sampling": json.dumps(summary["sampling"], sort_keys=True),
            },
            environment=environment(str(model.device)),
        )
        (folder / "index.html").write_text(page, encoding="utf-8")
        progress.advance(note="page")
        write_provenance(
            folder, format=FORMAT, version=VERSION, step="evaluate", config=config, inputs=digests, digest=digest
        )
        _move(folder, target)
    return summary


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
