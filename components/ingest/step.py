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
from dataclasses import dataclass, field, replace
from pathlib import Path

from components.raw import raw_root
from moso.config import to_dict
from moso.datasets.episode import Source
from moso.datasets.ingest import Ingested, ingest, state_folder
from moso.datasets.quarantine import check_share
from moso.datasets.readers import reader, sim_push
from moso.datasets.spec import SPLITS, DatasetSpec
from moso.datasets.splits import Splits
from moso.errors import ConfigError, DataError, FormatError
from moso.progress import Progress
from moso.provenance import atomic_folder, digest_bytes, digest_file, digest_json, write_json, write_provenance
from moso.sim import SimulationConfig
from moso.step import Context, Paths

FORMAT = "moso.episodes"
VERSION = 2


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
    simulated = config.spec.source.kind == "simulate"
    base = Ingested.nothing()
    if simulated:
        root, sources = _simulated(config, context)
        spec = _as_simulated(config.spec, root)
    else:
        root, spec = raw_root(config.spec, config.raw, context.work.parent, context.stop).root, config.spec
        sources = reader(spec.format).sources(root, spec)
        state = state_folder(context.work, spec)
        if config.extend:
            base = _last(state)
    _check_present(root, sources, simulated)
    splits = Splits.of(spec)
    if splits.substitute:
        print(
            f"ingest: a split list of {spec.name} is not here (`moso data fetch-lists {spec.name}`): a seeded hash "
            "stands in for it, and every figure's protocol will say so"
        )

    with Progress("ingest", len(sources), "files") as progress:
        found = ingest(
            root,
            sources,
            spec,
            splits,
            base=base,
            workers=context.workers,
            stop=context.stop,
            each=lambda source: progress.advance(),
        )
    check_share(found.rejected, len(found.manifest.table), config.quarantine_share)
    if found.rejected:
        print(f"ingest: {len(found.rejected)} bad records are set aside in {outputs['episodes']}/quarantine.parquet")

    with atomic_folder(outputs["episodes"]) as folder:
        if simulated:
            _keep_raw(root, sources, folder / "raw")
        found.without_times().write(folder)
        write_json(folder / "spec.json", spec)
        write_json(folder / "splits.json", splits.label)
        counts = {**found.manifest.counts(), "quarantined": len(found.rejected), "version": found.manifest.version}
        write_json(folder / "counts.json", counts)
        write_provenance(folder, format=FORMAT, version=VERSION, step="ingest", config=config, inputs={})
    if not simulated:
        with atomic_folder(state) as folder:
            found.write(folder)


def _last(state: Path) -> Ingested:
    if not state.is_dir():
        return Ingested.nothing()
    try:
        return Ingested.read(state)
    except FormatError as error:
        raise FormatError(f"{error}; remove {state} or set ingest.extend = false to start anew") from None


def _simulated(config: Config, context: Context) -> tuple[Path, list[Source]]:
    """The folder of simulated raw files, complete, and the files that belong to this data set."""
    seeds = [config.spec.splits.range(split)[0] + i for split in SPLITS for i in range(getattr(config.episodes, split))]
    if config.raw:
        root = Path(config.raw)
    else:
        from moso.sim import simulate

        # Keyed by settings and the simulator's own code: asking for more episodes goes on with those that are there.
        # Not by this module's: it says which seeds are wanted, and has no part in what an episode holds.
        root = context.work / digest_json({"simulation": to_dict(config.simulation), "code": _simulator_digest()})[:16]
        simulate(config.simulation, seeds, root, workers=None, progress=True, stop=context.stop)
    return root, [Source(sim_push.source_of(seed)) for seed in seeds]


def _simulator_digest() -> str:
    import moso.sim

    folder = Path(moso.sim.__file__).parent
    return digest_bytes("".join(digest_file(path) for path in sorted(folder.rglob("*.py"))).encode())


def _as_simulated(spec: DatasetSpec, root: Path) -> DatasetSpec:
    """The spec with the length and frame rate that the recorder noted: settings of the simulator may change them."""
    path = root / "simulation.json"
    if not path.exists():
        raise DataError(f"{path} is missing; write the raw files with `moso simulate`")
    settings = json.loads(path.read_text())["settings"]
    return replace(spec, episode_frames=int(settings["frames"]), fps=float(settings["fps"]))


def _check_present(root: Path, sources: list[Source], simulated: bool) -> None:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of raw files; write them there with `moso simulate`")
    if not sources:
        raise DataError(f"{root} holds no raw files of the data set's format")
    missing = [source.name for source in sources if not (root / source.name).exists()]
    # Of a recorded data set a missing file is a record that is set aside: published sets miss some.
    if missing and simulated:
        raise DataError(
            f"{root}: {len(missing)} of {len(sources)} raw files are missing, the first is {missing[0]}; "
            "simulate them with `moso simulate`, or ask for fewer episodes"
        )


def _keep_raw(root: Path, sources: list[Source], folder: Path) -> None:
    for name in ("simulation.json", *(source.name for source in sources)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, folder / name)


if __name__ == "__main__":
    from components.main import main

    main("ingest", Config, run)
