"""Token files: the tokens of clips in one safetensors file, for other programs to work on. Nothing is pickled.

Tensors scene (N, h, w), object (N, h, w), motion (N, T, h, w), int64; metadata: format and version, the codebook's size
and digest, and frames per second where they are known. A component without tokens is left out. Any program that reads
safetensors reads it.

Legend: N clips, T frames, h w token grid.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from moso.config import build, to_dict
from moso.errors import ConfigError, FormatError
from moso.tasks.checks import check_tokens, describe
from moso.tokens.clip_tokens import COMPONENTS, ClipTokens, TokenGrids

FORMAT, VERSION = "moso.token_file", 1
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class TokenFile:
    """What a token file holds.

    Attributes:
        tokens: of N clips, on the CPU.
        grids: their sizes.
        codebook_digest: of the codebook that they are indices of.
        codebook_size: its number of entries.
        fps: frames per second of the clips, None where it is not known.
    """

    tokens: ClipTokens
    grids: TokenGrids
    codebook_digest: str
    codebook_size: int
    fps: float | None = None


def write_tokens(
    path: Path,
    tokens: ClipTokens,
    grids: TokenGrids,
    codebook_digest: str,
    codebook_size: int,
    fps: float | None = None,
) -> None:
    """Write a token file; inverse of `read_tokens`.

    Raises:
        InputError: tokens of other grids or outside the codebook.
    """
    check_tokens(tokens, grids, codebook_size)
    parts = {name: getattr(tokens, name).cpu().contiguous() for name in COMPONENTS}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "grids": json.dumps(to_dict(grids)),
        "codebook_digest": codebook_digest,
        "codebook_size": str(codebook_size),
    } | ({} if fps is None else {"fps": repr(float(fps))})
    save_file({name: part for name, part in parts.items() if part.numel()}, path, metadata)


def read_tokens(path: Path) -> TokenFile:
    """The content of a token file.

    Raises:
        FormatError: no token file, another version, or a content that contradicts itself.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata, parts = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not iterable)
    except (OSError, SafetensorError) as error:
        raise FormatError(f"{path}: is no token file ({error})") from None
    if metadata.get("format") != FORMAT:
        raise FormatError(f"{path}: is no token file (its metadata name the format {metadata.get('format')!r})")
    if metadata.get("version") != str(VERSION):
        raise FormatError(f"{path}: version {metadata.get('version')} of {FORMAT}, this code reads version {VERSION}")
    if lacking := [name for name in ("grids", "codebook_size", "codebook_digest") if name not in metadata]:
        raise FormatError(f"{path}: its metadata lack {', '.join(lacking)}")
    size, fps = _number(path, metadata, "codebook_size", int), None
    if "fps" in metadata:
        fps = _number(path, metadata, "fps", float)
    for name, part in parts.items():
        if part.is_floating_point() or part.is_complex() or part.dtype == torch.bool or not part.ndim:
            raise FormatError(f"{path}: {name} holds {describe(part)}, expected grids of whole numbers (int64)")
    try:
        grids, digest = build(TokenGrids, json.loads(metadata["grids"])), metadata["codebook_digest"]
        if missing := [name for name in grids.components if name not in parts]:
            raise FormatError(f"{path}: no tokens of {', '.join(missing)} in it")
        if len({len(part) for part in parts.values()}) > 1:
            raise FormatError(f"{path}: its components hold different numbers of clips")
        absent = torch.zeros((len(parts["motion"]), 0, 0), dtype=torch.long)
        tokens = ClipTokens(**{name: parts.get(name, absent).long() for name in COMPONENTS})
        check_tokens(tokens, grids, size)
    except (KeyError, ValueError, ConfigError) as error:
        raise FormatError(f"{path}: contradicts itself: {error}") from None
    return TokenFile(tokens, grids, digest, size, fps)


def _number(path: Path, metadata: dict[str, str], name: str, kind: type[Number]) -> Number:
    """The number above 0 that the metadata call `name`."""
    try:
        number = kind(metadata[name])
    except ValueError:
        number = kind(0)
    if not (number > 0 and math.isfinite(number)):
        kinds = "a whole number" if kind is int else "a finite number"
        raise FormatError(f"{path}: its metadata say {name} = {metadata[name]!r}, expected {kinds} above 0")
    return number
