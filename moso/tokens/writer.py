"""Writing and extending a token store: shards appear whole or not at all, and old ones are never touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from moso.config import to_dict
from moso.errors import DataError
from moso.frames.clips import Clip
from moso.provenance import digest_file, write_json
from moso.tokens.clip_tokens import ClipTokens, TokenGrids
from moso.tokens.store import (
    COLUMNS,
    FORMAT,
    VERSION,
    StoreSettings,
    codebook_digest,
    component_of,
    read_record,
    settings_of,
    shard_folder,
    stored_arrays,
    token_dtype,
    verify_shard,
)


class TokenStoreWriter:
    """Adds clips to the store in `folder`, which is new, finished (an extension), or left by a killed extraction.

    A shard is written when `shard_clips` clips wait, the rest by `close`; without `close` readers do not see what was
    added. To go on after a kill, leave out the clips of `clip_ids`: those that are in whole shards. With a shard_clips
    that is a multiple of the encoder's batch, a killed and an undisturbed extraction encode the same batches.

    Use as a context manager: closes on success, keeps the whole shards on failure.

    Args:
        folder: of the store.
        grids: of the tokens.
        codebook: float (N, D), that the tokens index.
        given_frames: K of the pseudo clips.
        given_motion_frames: motion tokens of this many first frames are given.
        shard_clips: clips of a shard. The default makes shards of about 4 MB of sim_push's clips.

    Raises:
        MismatchError: the store has another codebook, other grids or other given frames.
        DataError: a shard left by a killed extraction is damaged.
    """

    def __init__(
        self,
        folder: Path,
        grids: TokenGrids,
        codebook: Float[Tensor, "N D"],
        given_frames: int,
        given_motion_frames: int,
        shard_clips: int = 1024,
    ) -> None:
        if shard_clips < 1:
            raise ValueError(f"shard_clips = {shard_clips}: must be at least 1")
        self.folder, self._shard_clips = folder, shard_clips
        self.settings = StoreSettings(
            grids, len(codebook), codebook_digest(codebook), given_frames, given_motion_frames
        )
        self._dtype = token_dtype(len(codebook))
        self._arrays = stored_arrays(grids)
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        if (folder / "store.json").exists():
            settings_of(read_record(folder)).require_equal(self.settings, folder)
        else:
            np.save(folder / "codebook.npy", codebook.detach().cpu().numpy().astype("<f4"), allow_pickle=False)
            self._write_record([])
        self._shards, self._tables = self._whole_shards()
        self.clip_ids = {clip_id for table in self._tables for clip_id in table["clip_id"]}
        """Ids of the clips that are in the store; those that wait for their shard to fill included."""
        self._waiting: list[tuple[Clip, str, dict[str, np.ndarray]]] = []

    def __enter__(self) -> TokenStoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def add(self, clips: Sequence[Clip], split: str, target: ClipTokens, pseudo: ClipTokens) -> None:
        """Add `clips` of one split with the tokens of the target and of the pseudo clips (whose motion is not stored).

        Raises:
            DataError: a clip is there already, tokens have other shapes than the grids say, or lie outside [0, N).
        """
        if not len(clips) == len(target) == len(pseudo):
            raise DataError(f"{len(clips)} clips, tokens of {len(target)} target and {len(pseudo)} pseudo clips")
        arrays = {
            "scene": target.scene,
            "object": target.object,
            "pseudo_scene": pseudo.scene,
            "pseudo_object": pseudo.object,
            "motion": target.motion,
        }
        stored = {name: self._checked(name, tokens) for name, tokens in arrays.items()}
        for i, clip in enumerate(clips):
            if clip.id in self.clip_ids:
                raise DataError(f"{self.folder} has the clip {clip.id} already")
            self.clip_ids.add(clip.id)
            self._waiting.append((clip, split, {name: array[i] for name, array in stored.items()}))
        while len(self._waiting) >= self._shard_clips:
            self._write_shard(self._shard_clips)

    def close(self) -> None:
        """Write the last shard and the index; after it a reader sees all clips."""
        if self._waiting:
            self._write_shard(len(self._waiting))
        if not self._shards:
            raise DataError(f"{self.folder}: no clip was added")
        # The index first: its rows of shards that store.json does not list yet are overlooked by readers.
        temporary = self.folder / ".clips.parquet.tmp"
        pd.concat(self._tables, ignore_index=True).to_parquet(temporary, index=False)
        os.replace(temporary, self.folder / "clips.parquet")
        self._write_record(self._shards)

    def _checked(self, name: str, tokens: Tensor) -> np.ndarray:
        shape = self.settings.grids.shape(component_of(name))
        if tuple(tokens.shape[1:]) != shape:
            raise DataError(f"{name} tokens of a clip have the shape {tuple(tokens.shape[1:])}, the store's {shape}")
        array = tokens.detach().cpu().numpy()
        if array.size and not (array.min() >= 0 and array.max() < self.settings.codebook_size):
            raise DataError(
                f"{name} tokens from {array.min()} to {array.max()} lie outside [0, {self.settings.codebook_size})"
            )
        return array.astype(self._dtype)

    def _write_shard(self, count: int) -> None:
        members, self._waiting = self._waiting[:count], self._waiting[count:]
        number = len(self._shards)
        target = shard_folder(self.folder, number)
        temporary = target.with_name(f".{target.name}.partial")
        temporary.mkdir()
        for name in self._arrays:
            np.save(temporary / f"{name}.npy", np.stack([arrays[name] for *_, arrays in members]), allow_pickle=False)
        rows = [
            (clip.id, clip.episode_id, clip.first_frame, split, number, row)
            for row, (clip, split, _) in enumerate(members)
        ]
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        table.to_parquet(temporary / "clips.parquet", index=False)
        checksums = {path.name: digest_file(path) for path in sorted(temporary.iterdir())}
        shard = {"clips": count, "sha256": checksums}
        write_json(temporary / "shard.json", shard)
        for path in temporary.iterdir():
            _sync(path)
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
        self._shards.append(shard)
        self._tables.append(table)

    def _whole_shards(self) -> tuple[list[dict[str, Any]], list[pd.DataFrame]]:
        for partial in (self.folder / "shards").glob(".*.partial"):
            shutil.rmtree(partial)
        shards: list[dict[str, Any]] = []
        tables = []
        while (folder := shard_folder(self.folder, len(shards))).exists():
            shard = json.loads((folder / "shard.json").read_text())
            verify_shard(folder, shard)
            shards.append(shard)
            tables.append(pd.read_parquet(folder / "clips.parquet"))
        return shards, tables

    def _write_record(self, shards: list[dict[str, Any]]) -> None:
        record = {"format": FORMAT, "format_version": VERSION, "dtype": self._dtype.name, "shards": shards}
        write_json(self.folder / "store.json", {**record, **to_dict(self.settings)})


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
