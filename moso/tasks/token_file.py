"""Token files: the tokens of clips in one safetensors file, for other programs to work on. Nothing is pickled.

Tensors scene (N, h, w), object (N, h, w), motion (N, T, h, w), int64; metadata: format and version, the codebook's size
and digest. A component without tokens is left out. Any program that reads safetensors reads it.

Legend: N clips, T frames, h w token grid.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from moso.config import build, to_dict
from moso.errors import ConfigError, FormatError
from moso.tasks.checks import check_tokens
from moso.tokens.clip_tokens import COMPONENTS, ClipTokens, TokenGrids

FORMAT, VERSION = "moso.token_file", 1


@dataclass(frozen=True)
class TokenFile:
    """What a token file holds.

    Attributes:
        tokens: of N clips, on the CPU.
        grids: their sizes.
        codebook_digest: of the codebook that they are indices of.
        codebook_size: its number of entries.
    """

    tokens: ClipTokens
    grids: TokenGrids
    codebook_digest: str
    codebook_size: int


def write_tokens(path: Path, tokens: ClipTokens, grids: TokenGrids, codebook_digest: str, codebook_size: int) -> None:
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
    }
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
    try:
        grids, size = build(TokenGrids, json.loads(metadata["grids"])), int(metadata["codebook_size"])
        digest = metadata["codebook_digest"]
        if missing := [name for name in grids.components if name not in parts]:
            raise FormatError(f"{path}: no tokens of {', '.join(missing)} in it")
        if len({len(part) for part in parts.values()}) > 1:
            raise FormatError(f"{path}: its components hold different numbers of clips")
        absent = torch.zeros((len(parts["motion"]), 0, 0), dtype=torch.long)
        tokens = ClipTokens(**{name: parts.get(name, absent).long() for name in COMPONENTS})
        check_tokens(tokens, grids, size)
    except (KeyError, ValueError, ConfigError) as error:
        raise FormatError(f"{path}: contradicts itself: {error}") from None
    return TokenFile(tokens, grids, digest, size)
