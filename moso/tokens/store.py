"""The token store: tokens of clips on disk, the only thing that Stage II reads of Stage I.

    store.json       format, grids, codebook_size, codebook_digest, dtype, given frames, shards with their checksums
    codebook.npy     float32 (N, D)
    clips.parquet    clip_id, episode_id, first_frame, split, shard, row
    shards/00000/    scene, object, pseudo_scene, pseudo_object (n, h, w) and motion (n, T, h, w) as .npy of the
                     smallest unsigned type that holds N - 1; clips.parquet and shard.json of this shard alone.
                     A component that the model does not have (grid (0, 0)) has no files

B clips of a batch, T frames, h w token grid, N codebook size, D code dimension, K given frames. writer.py writes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from moso.errors import ConfigError, DataError, FormatError, MismatchError
from moso.provenance import digest_bytes, digest_file
from moso.tokens.clip_tokens import COMPONENTS, ClipTokens, TokenGrids

FORMAT, VERSION = "moso.tokens", 1
ARRAYS = ("scene", "object", "pseudo_scene", "pseudo_object", "motion")
COLUMNS = ("clip_id", "episode_id", "first_frame", "split", "shard", "row")


def codebook_digest(codebook: Float[Tensor, "N D"] | np.ndarray) -> str:
    """sha256 of the float32 bytes: the identity of a codebook, carried by token stores and Stage II models."""
    array = codebook.detach().cpu().numpy() if isinstance(codebook, Tensor) else codebook
    return digest_bytes(np.ascontiguousarray(array, dtype="<f4").tobytes())


def stored_arrays(grids: TokenGrids) -> tuple[str, ...]:
    """Those of ARRAYS that a store of these grids has files of."""
    return tuple(name for name in ARRAYS if component_of(name) in grids.components)


def component_of(array: str) -> str:
    """The component that one of ARRAYS holds tokens of."""
    return array.removeprefix("pseudo_")


def token_dtype(codebook_size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds every token in [0, N)."""
    return np.min_scalar_type(codebook_size - 1)


@dataclass(frozen=True)
class StoreSettings:
    """What all clips of a store have in common.

    Attributes:
        grids: of the tokens.
        codebook_size: N.
        codebook_digest: of the codebook that the tokens index.
        given_frames: K; frames after the K-th are repeats of it in the pseudo clip (Eq. 10).
        given_motion_frames: the motion tokens of this many first frames are given (their pools lie inside the first K).
    """

    grids: TokenGrids
    codebook_size: int
    codebook_digest: str
    given_frames: int
    given_motion_frames: int

    def __post_init__(self) -> None:
        if not 0 <= self.given_motion_frames <= self.given_frames < self.grids.frames:
            raise ConfigError(
                "given_frames",
                (self.given_frames, self.given_motion_frames),
                f"(given_frames, given_motion_frames) of a clip of {self.grids.frames} frames must be ordered "
                "0 <= given_motion_frames <= given_frames < frames",
            )

    def require_equal(self, other: StoreSettings, folder: Path) -> None:
        """Raise MismatchError, naming the setting, where `other` is not the same."""
        for field in fields(self):
            mine, its = getattr(self, field.name), getattr(other, field.name)
            if mine != its:
                raise MismatchError(f"{folder}: {field.name} of the store is {mine}, not {its}; write another store")


@dataclass(frozen=True)
class StoredBatch:
    """What Stage II trains on: tokens of B target clips, and those of their pseudo clips that differ from them.

    Attributes:
        target: scene, object and motion tokens of the clip x.
        pseudo_scene, pseudo_object: (B, h, w), of the pseudo clip, which repeats frame K. Its given motion tokens are
            the target's (Eq. 12).
    """

    target: ClipTokens
    pseudo_scene: Int[Tensor, "B hs ws"]
    pseudo_object: Int[Tensor, "B ho wo"]

    def __len__(self) -> int:
        return len(self.target)

    def to(self, device: torch.device | str) -> StoredBatch:
        """The same batch on `device`."""
        return StoredBatch(self.target.to(device), self.pseudo_scene.to(device), self.pseudo_object.to(device))


class TokenStore:
    """A finished store, memory-mapped.

    Attributes:
        settings: what its clips have in common; also as .grids, .codebook_size, .codebook_digest, .given_frames and
            .given_motion_frames.
        codebook: float32 (N, D).
        table: a row a clip, columns as in clips.parquet; rows are numbered from 0.
    """

    def __init__(self, folder: Path, settings: StoreSettings, codebook: Tensor, table: pd.DataFrame) -> None:
        self.folder, self.settings, self.codebook, self.table = folder, settings, codebook, table
        self.grids = settings.grids
        self.codebook_size = settings.codebook_size
        self.codebook_digest = settings.codebook_digest
        self.given_frames = settings.given_frames
        self.given_motion_frames = settings.given_motion_frames
        self._shard, self._row = table["shard"].to_numpy(), table["row"].to_numpy()
        self._arrays: dict[int, dict[str, np.ndarray]] = {}

    @classmethod
    def open(cls, folder: Path, *, verify: bool = True) -> TokenStore:
        """The store in `folder`.

        Args:
            folder: what a TokenStoreWriter has closed.
            verify: compare the checksum of every file (it reads them once, about a second a gigabyte).

        Raises:
            FormatError: no token store, or another version of it.
            DataError: it was never finished, or a file is missing or not what was written.
        """
        record = read_record(folder)
        shards = record["shards"]
        if not shards:
            raise DataError(f"{folder}: the store was never finished; run the extraction again, it goes on")
        settings = settings_of(record)
        try:
            codebook = np.load(folder / "codebook.npy", allow_pickle=False)
            table = pd.read_parquet(folder / "clips.parquet")
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: {error}") from error
        if codebook_digest(codebook) != settings.codebook_digest:
            raise DataError(f"{folder / 'codebook.npy'} is not the codebook of the store")
        # An extension killed between its index and store.json has left rows of shards that do not count yet.
        table = table[table["shard"] < len(shards)].reset_index(drop=True)
        counts = np.bincount(table["shard"], minlength=len(shards)).tolist()
        if counts != [shard["clips"] for shard in shards]:
            raise DataError(f"{folder / 'clips.parquet'} does not list the clips of the shards")
        if verify:
            for number, shard in enumerate(shards):
                verify_shard(shard_folder(folder, number), shard)
        return cls(folder, settings, torch.from_numpy(codebook), table)

    def __len__(self) -> int:
        return len(self.table)

    def rows(self, split: str) -> np.ndarray:
        """Row numbers int64 of a split's clips, in the order they were added.

        Raises:
            ConfigError: the store has no such split.
        """
        rows = np.flatnonzero(self.table["split"].to_numpy() == split)
        if not len(rows):
            known = ", ".join(sorted(set(self.table["split"])))
            raise ConfigError("split", split, f"{self.folder} has no clips of it", f"it has: {known}")
        return rows

    def batch(self, rows: Sequence[int] | np.ndarray) -> StoredBatch:
        """The clips of `rows`, in that order, as int64 tensors."""
        at = np.asarray(rows, dtype=np.int64)
        shard, row = self._shard[at], self._row[at]
        gathered = {name: self._gather(name, shard, row) for name in ARRAYS}
        target = ClipTokens(*(gathered[name] for name in COMPONENTS))
        return StoredBatch(target, gathered["pseudo_scene"], gathered["pseudo_object"])

    def require_codebook(self, digest: str) -> None:
        """Raise MismatchError where `digest` is not that of this store's codebook."""
        if digest != self.codebook_digest:
            raise MismatchError(
                f"{self.folder} was written with the codebook {self.codebook_digest[:12]}, the model belongs to "
                f"{digest[:12]}: extract the tokens again with its VQVAE, or train on these"
            )

    def array(self, shard: int, name: str) -> np.ndarray:
        """The memory map of one of stored_arrays(grids) in a shard, in the stored type."""
        if shard not in self._arrays:
            folder = shard_folder(self.folder, shard)
            self._arrays[shard] = {
                array: np.load(folder / f"{array}.npy", mmap_mode="r", allow_pickle=False)
                for array in stored_arrays(self.grids)
            }
        return self._arrays[shard][name]

    def _gather(self, name: str, shard: np.ndarray, row: np.ndarray) -> Tensor:
        component = component_of(name)
        tokens = np.empty((len(row), *self.grids.shape(component)), dtype=np.int64)
        for number in np.unique(shard) if tokens.size else ():
            here = shard == number
            tokens[here] = self.array(int(number), name)[row[here]]
        return torch.from_numpy(tokens)


def usage(store: TokenStore, split: str | None = None) -> dict[str, np.ndarray]:
    """How often each code occurs in the target clips: component -> int64 (N,), for the components that are there.

    Args:
        store: whose clips are counted.
        split: count this split's clips alone.
    """
    rows = np.arange(len(store)) if split is None else store.rows(split)
    shard, row = store.table["shard"].to_numpy()[rows], store.table["row"].to_numpy()[rows]
    counts = {name: np.zeros(store.codebook_size, dtype=np.int64) for name in store.grids.components}
    for number in np.unique(shard):  # one shard at a time: a store may be larger than memory
        for name in counts:
            tokens = store.array(int(number), name)[row[shard == number]]
            counts[name] += np.bincount(tokens.ravel(), minlength=store.codebook_size)
    return counts


def shard_folder(folder: Path, number: int) -> Path:
    """Where shard `number` of the store in `folder` lies."""
    return folder / "shards" / f"{number:05d}"


def read_record(folder: Path) -> dict[str, Any]:
    """The content of store.json.

    Raises:
        FormatError: it is missing, or of another format or version.
    """
    path = folder / "store.json"
    if not path.exists():
        raise FormatError(f"{folder} is no token store: it has no store.json")
    record: dict[str, Any] = json.loads(path.read_text())
    if (record.get("format"), record.get("format_version")) != (FORMAT, VERSION):
        raise FormatError(
            f"{path}: {record.get('format')} version {record.get('format_version')}, this code reads {FORMAT} version "
            f"{VERSION}; rerun extract_tokens"
        )
    return record


def settings_of(record: dict[str, Any]) -> StoreSettings:
    """The settings in a store.json."""
    grids = record["grids"]
    return StoreSettings(
        TokenGrids(grids["frames"], tuple(grids["scene"]), tuple(grids["object"]), tuple(grids["motion"])),
        record["codebook_size"],
        record["codebook_digest"],
        record["given_frames"],
        record["given_motion_frames"],
    )


def verify_shard(folder: Path, shard: dict[str, Any]) -> None:
    """Raise DataError where a file of the shard is missing or differs from its checksum."""
    for name, checksum in shard["sha256"].items():
        path = folder / name
        if not path.exists():
            raise DataError(f"{path} is missing")
        if digest_file(path) != checksum:
            raise DataError(f"{path}: checksum differs; the file is damaged, extract the tokens again")
