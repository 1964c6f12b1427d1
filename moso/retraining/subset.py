"""Some episodes of a frame cache as a cache of their own: what came new, to be measured by itself."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from moso.datasets.manifest import Manifest
from moso.frames.cache import FORMAT, VERSION, FrameCache, FrameCacheWriter
from moso.provenance import atomic_folder, write_provenance

MANIFEST = "manifest.parquet"


def write_subset(cache: FrameCache, episodes: Sequence[str], target: Path) -> None:
    """Write the frames, actions, states and rows of `episodes` as the folder `target`; nothing is decoded again.

    Args:
        cache: with provenance.json, as preprocess wrote it.
        episodes: ids, in the order they are written in.
        target: appears whole or not at all.

    Raises:
        DataError: an episode that the cache does not hold.
    """
    index = cache.index
    manifest = Manifest.read(cache.folder / MANIFEST)
    with atomic_folder(target) as folder:
        with FrameCacheWriter(
            folder,
            height=cache.height,
            width=cache.width,
            fps=cache.fps,
            actions=index["actions"],
            states=index["states"],
        ) as writer:
            for name in episodes:
                split = cache.place(name).split
                writer.add(name, split, cache.frames(name), cache.actions(name), cache.states(name))
        table = manifest.table
        Manifest(table[table["episode_id"].isin(list(episodes))]).write(folder / MANIFEST)
        if (cache.folder / "data.json").exists():
            shutil.copyfile(cache.folder / "data.json", folder / "data.json")
        write_provenance(
            folder,
            format=FORMAT,
            version=VERSION,
            step="retraining",
            config={"episodes": list(episodes)},
            inputs={"frames": cache.digest},
        )
