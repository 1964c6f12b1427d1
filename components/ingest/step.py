"""ingest: raw recordings -> a manifest of episodes, with what is bad set aside.

The output folder `episodes`:

    manifest.parquet     a row an episode (moso.datasets.manifest)
    quarantine.parquet   a row a bad record: file, offset, reason
    sources.parquet      a row a raw file: the source that it belongs to, its size
    spec.json            the data set's spec as it was used
    splits.json          how the splits were made: rule, lists, whether a substitute stands in for one
    counts.json          episodes, frames and duplicates a split; bad records; the manifest's version
    raw/                 the raw files of a simulated data set, which have no other home; those of a folder stay there

Times of change, by which a later run knows what it need not read again, are kept in the work folder: they differ from
machine to machine, and the output's digest must not.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from components.raw import raw_root
from moso.config import to_dict
from moso.datasets.episode import Rejected, Source
from moso.datasets.ingest import Ingested, decisive, ingest, state_folder
from moso.datasets.journal import Journal
from moso.datasets.quarantine import check_share
from moso.datasets.readers import reader, sim_push
from moso.datasets.spec import SPLITS, DatasetSpec
from moso.datasets.splits import Splits
from moso.errors import ConfigError, DataError, FormatError
from moso.lock import hold
from moso.progress import Progress
from moso.provenance import atomic_folder, digest_json, package_digest, write_json, write_provenance
from moso.sim import SimulationConfig
from moso.step import Context, Paths

FORMAT = "moso.episodes"
VERSION = 2
TOLD = "told.json"
"""Beside the last result: what it depended on beyond the raw files and the settings."""


@dataclass(frozen=True)
class EpisodeCounts:
    """How many episodes a simulated data set has: the first so many seeds of each split's range."""

    train: int = 640
    validation: int = 48
    test: int = 132

    def __post_init__(self) -> None:
        for name in SPLITS:
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "must not be negative")


@dataclass(frozen=True)
class Config:
    """Section `ingest`.

    Attributes:
        spec: the data set (filled in from data/specs/<dataset>.yaml).
        episodes: how many to simulate; a folder of recordings is read whole.
        simulation: settings of the simulator, for a spec whose source is "simulate".
        raw: read raw files that are there already from this folder: simulated ones instead of simulating them again,
            or another place than the spec's.
        quarantine_share: largest share of bad records that the run goes on with, [0, 1].
        extend: go on from the last manifest of the same data set in the work folder: what it names stays, and only new
            and changed files are read. False starts anew. Simulated data sets always do.
    """

    spec: DatasetSpec
    episodes: EpisodeCounts = field(default_factory=EpisodeCounts)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    raw: str | None = None
    quarantine_share: float = 0.01
    extend: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.quarantine_share <= 1:
            raise ConfigError("quarantine_share", self.quarantine_share, "must be a share in [0, 1]", "0.01 is 1%")
        if self.spec.source.kind != "simulate":
            return
        if self.spec.splits.rule != "id_ranges":
            raise ConfigError(
                "spec.splits.rule", self.spec.splits.rule, "a simulated data set is split by its seeds", "use id_ranges"
            )
        for name in SPLITS:
            first, end = self.spec.splits.range(name)
            if getattr(self.episodes, name) > end - first:
                raise ConfigError(
                    f"episodes.{name}",
                    getattr(self.episodes, name),
                    f"the split has {end - first} seeds",
                    "ask for fewer",
                )


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> None:
    """Simulate, unpack or download where the spec says so, read every raw file, and write the output folder `episodes`.

    Raises:
        DataError: raw files are missing, too many are bad, or a recording lies in two splits.
        StopRequested: the stop signal was raised; simulated and downloaded files stay in the work folder.
    """
    if config.spec.source.kind == "simulate":
        root, sources = _simulated(config, context)
        spec = _as_simulated(config.spec, root)
        _check_present(root, sources)
        splits = Splits.of(spec)
        found = _read(config, spec, splits, root, sources, context, Ingested.nothing())
        _deliver(config, spec, splits, found, outputs["episodes"], keep=(root, sources))
        return

    spec = config.spec
    raw = raw_root(spec, config.raw, context.work.parent, context.stop)
    root = raw.root
    sources = reader(spec.format).sources(root, spec)
    if not sources:
        raise DataError(f"{root} holds no raw files of the data set's format")
    splits = Splits.of(spec)
    if splits.substitute:
        print(
            f"ingest: a split list of {spec.name} is not here (`moso data fetch-lists {spec.name}`): a seeded hash "
            "stands in for it, and every figure's protocol will say so"
        )
    state = state_folder(context.work, spec)
    state.parent.mkdir(parents=True, exist_ok=True)
    with hold(state.parent, "ingesting"):
        told = {"code": package_digest("datasets", "video"), "splits": splits.label, "data": decisive(root, spec)}
        base, recheck = _last(state, told) if config.extend else (Ingested.nothing(), False)
        journal = Journal(state.parent / f"journal-{digest_json(told)[:16]}.jsonl")
        found = _read(config, spec, splits, root, sources, context, base, recheck, journal, raw.rejected)
        everything = replace(found, rejected=[*raw.rejected, *found.rejected])
        _deliver(config, spec, splits, everything, outputs["episodes"])
        with atomic_folder(state) as folder:
            found.write(folder)
            write_json(folder / TOLD, told)
        for old in state.parent.glob("journal-*.jsonl"):
            old.unlink()


def _last(state: Path, told: Mapping[str, Any]) -> tuple[Ingested, bool]:
    """What was last known of the data set, and whether ids and splits must be asked for again."""
    if not state.is_dir():
        return Ingested.nothing(), False
    try:
        base, then = Ingested.load(state), json.loads((state / TOLD).read_text())
    except (FormatError, OSError) as error:
        raise FormatError(f"{state}: {error}; remove it or set ingest.extend = false to start anew") from None
    if then["splits"] != told["splits"]:
        raise DataError(
            "a split list has come, or gone, since the last manifest, and a split is never redrawn: start anew with "
            "ingest.extend = false"
        )
    if then["code"] != told["code"]:
        print("ingest: the readers' code has changed since the last manifest: every file is read again")
        base = base.without_times()
    return base, then["data"] != told["data"]


def _read(
    config: Config,
    spec: DatasetSpec,
    splits: Splits,
    root: Path,
    sources: Sequence[Source],
    context: Context,
    base: Ingested,
    recheck: bool = False,
    journal: Journal | None = None,
    beforehand: Sequence[Rejected] = (),
) -> Ingested:
    """Read the sources; `beforehand`: what could not even be fetched, which counts among the bad records."""
    with Progress("ingest", len(sources), "files") as progress:
        found = ingest(
            root,
            sources,
            spec,
            splits,
            base=base,
            recheck=recheck,
            journal=journal,
            workers=context.workers,
            stop=context.stop,
            each=lambda source: progress.advance(),
        )
    share = config.quarantine_share
    check_share([*beforehand, *found.rejected], len(found.manifest.table), share)
    # What is new alone, so that a bad delivery cannot hide among many good ones; not where it is so small that one bad
    # record would be too many.
    if share * found.read >= 1:
        check_share(found.read_rejected, found.read - len(found.read_rejected), share)
    return found


def _deliver(
    config: Config,
    spec: DatasetSpec,
    splits: Splits,
    found: Ingested,
    output: Path,
    keep: tuple[Path, Sequence[Source]] | None = None,
) -> None:
    """Write the output folder; `keep`: root and sources of raw files that have no other home."""
    if found.rejected:
        print(f"ingest: {len(found.rejected)} bad records are set aside in {output}/quarantine.parquet")
    with atomic_folder(output) as folder:
        if keep:
            _keep_raw(*keep, folder / "raw")
        found.without_times().write(folder)
        write_json(folder / "spec.json", spec)
        write_json(folder / "splits.json", splits.label)
        counts = {**found.manifest.counts(), "quarantined": len(found.rejected), "version": found.manifest.version}
        write_json(folder / "counts.json", counts)
        write_provenance(folder, format=FORMAT, version=VERSION, step="ingest", config=config, inputs={})


def _simulated(config: Config, context: Context) -> tuple[Path, list[Source]]:
    """The folder of simulated raw files, complete, and the files that belong to this data set."""
    seeds = [config.spec.splits.range(split)[0] + i for split in SPLITS for i in range(getattr(config.episodes, split))]
    if config.raw:
        root = Path(config.raw)
    else:
        from moso.sim import simulate

        # Keyed by settings and the simulator's own code: asking for more episodes goes on with those that are there.
        # Not by this module's: it says which seeds are wanted, and has no part in what an episode holds.
        key = digest_json({"simulation": to_dict(config.simulation), "code": package_digest("sim")})
        root = context.work / key[:16]
        simulate(config.simulation, seeds, root, workers=None, progress=True, stop=context.stop)
    return root, [Source(sim_push.source_of(seed)) for seed in seeds]


def _as_simulated(spec: DatasetSpec, root: Path) -> DatasetSpec:
    """The spec with the length and frame rate that the recorder noted: settings of the simulator may change them."""
    path = root / "simulation.json"
    if not path.exists():
        raise DataError(f"{path} is missing; write the raw files with `moso simulate`")
    settings = json.loads(path.read_text())["settings"]
    return replace(spec, episode_frames=int(settings["frames"]), fps=float(settings["fps"]))


def _check_present(root: Path, sources: Sequence[Source]) -> None:
    """Of a simulated data set all files are there; of a recorded one a missing file is a bad record."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of raw files; write them there with `moso simulate`")
    missing = [source.name for source in sources if not (root / source.name).exists()]
    if missing:
        raise DataError(
            f"{root}: {len(missing)} of {len(sources)} raw files are missing, the first is {missing[0]}; "
            "simulate them with `moso simulate`, or ask for fewer episodes"
        )
    if not sources:
        raise DataError("no episode is asked for: set ingest.episodes")


def _keep_raw(root: Path, sources: Sequence[Source], folder: Path) -> None:
    for name in ("simulation.json", *(source.name for source in sources)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, folder / name)


if __name__ == "__main__":
    from components.main import main

    main("ingest", Config, run)
