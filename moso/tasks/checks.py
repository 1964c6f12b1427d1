"""Checks of what a caller hands in: each message names what was expected and what was given."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import torch

from moso.errors import MosoError
from moso.tokens.clip_tokens import COMPONENTS, ClipTokens, TokenGrids


class InputError(MosoError, ValueError):
    """An argument of a task that does not fit the model."""


def describe(value: object) -> str:
    """`uint8 (2, 3, 64, 64, 3)` of an array or tensor, the type's name of anything else."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__


def check_frames(
    frames: object, *, frames_expected: int | None, height: int | None, width: int | None, name: str = "frames"
) -> np.ndarray:
    """`frames` itself when it is uint8 (N, `frames_expected`, `height`, `width`, 3) with N at least 1.

    Args:
        frames: what a caller handed in.
        frames_expected: frames of a clip; None: at least one.
        height, width: of a frame; None: any.
        name: of the argument, for the message.

    Raises:
        InputError: another type, dtype, number of axes, number of frames, size or number of channels.
    """
    sizes = (frames_expected or "T", height or "H", width or "W")
    given = f"expected uint8 (N, {', '.join(map(str, sizes))}, 3), got {describe(frames)}"
    if not isinstance(frames, np.ndarray):
        raise InputError(f"{name}: {given}; hand over a numpy array")
    if frames.dtype != np.uint8:
        raise InputError(f"{name}: {given}; pixels are 8-bit, 0 to 255 (scale floats in [0,1] by 255 and round)")
    if frames.ndim != 5:
        hint = "; a single clip needs a leading axis: frames[None]" if frames.ndim == 4 else ""
        raise InputError(f"{name}: {given}, which has {frames.ndim} axes instead of 5{hint}")
    if frames.shape[0] < 1:
        raise InputError(f"{name}: {given}, which holds no clip")
    if frames.shape[-1] != 3:
        hint = "; channels come last" if frames.shape[2] == 3 else ""
        raise InputError(f"{name}: {given}; {frames.shape[-1]} channels instead of 3{hint}")
    if frames_expected is None and frames.shape[1] < 1:
        raise InputError(f"{name}: {given}, whose clips hold no frame")
    if frames_expected is not None and frames.shape[1] != frames_expected:
        some = f"{frames_expected} frame{'' if frames_expected == 1 else 's'}"
        raise InputError(f"{name}: {given}; this model takes {some} here, not {frames.shape[1]}")
    if frames.shape[2:4] != (height or frames.shape[2], width or frames.shape[3]):
        raise InputError(f"{name}: {given}; this model's frames are {height} x {width} pixels, resize them first")
    return frames


def check_tokens(tokens: ClipTokens, grids: TokenGrids, codebook_size: int) -> None:
    """Nothing when the tokens fit the grids and the codebook.

    Raises:
        InputError: a component of another grid or number of frames, or a token outside [0, N).
    """
    for name in COMPONENTS:
        grid, expected = getattr(tokens, name), (len(tokens), *grids.shape(name))
        if tuple(grid.shape) != expected:
            raise InputError(f"tokens.{name}: expected shape {expected}, got {describe(grid)}")
        if grid.numel() and (int(grid.min()) < 0 or int(grid.max()) >= codebook_size):
            raise InputError(
                f"tokens.{name}: expected values from 0 to {codebook_size - 1} (the codebook's entries), "
                f"got {int(grid.min())} to {int(grid.max())}"
            )


def seeds_of(seed: object, clips: int) -> list[int]:
    """One seed a clip: an integer serves every clip, a sequence is taken as it is.

    Raises:
        InputError: a sequence of another length, or a seed that is no whole number from 0.
    """
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        seeds = [int(seed)] * clips
    elif isinstance(seed, (list, tuple, np.ndarray)) and all(isinstance(s, (int, np.integer)) for s in seed):
        seeds = [int(s) for s in seed]
    else:
        raise InputError(f"seed: expected a whole number, or one a clip, got {seed!r}")
    if len(seeds) != clips:
        raise InputError(f"seed: expected {clips} seed{'' if clips == 1 else 's'}, one a clip, got {len(seeds)}")
    if min(seeds) < 0:
        raise InputError(f"seed: expected numbers from 0, got {min(seeds)}")
    return seeds


def check_count(name: str, value: object, *, least: int = 1) -> int:
    """`value` as an int when it is a whole number from `least`.

    Raises:
        InputError: it is not.
    """
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= least:
        return int(value)
    raise InputError(f"{name}: expected a whole number from {least}, got {value!r}")


def check_choice(name: str, value: object, known: Collection[str]) -> None:
    """Nothing when `value` is one of `known`.

    Raises:
        InputError: it is not.
    """
    if value not in known:
        raise InputError(f"{name}: expected one of {', '.join(known)}, got {value!r}")


def check_names(name: str, names: object, known: Collection[str]) -> list[str]:
    """`names` as a list when it is a collection of at least one of `known`.

    Raises:
        InputError: it is not; a text alone is refused, which would be read letter by letter.
    """
    if isinstance(names, str) or not isinstance(names, Collection):
        hint = f"; write [{names!r}]" if isinstance(names, str) else ""
        raise InputError(f"{name}: expected a list of {', '.join(known)}, got {names!r}{hint}")
    if not names:
        raise InputError(f"{name}: expected at least one of {', '.join(known)}")
    for word in names:
        check_choice(name, word, known)
    return list(names)


def check_frame_numbers(name: str, numbers: Iterable[Any], frames: int) -> list[int]:
    """`numbers` as a list when they are frames of a clip of `frames`, at least one.

    Raises:
        InputError: they are not.
    """
    wanted = list(numbers)
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in wanted)
    if not wanted or not whole or min(wanted) < 0 or max(wanted) >= frames:
        raise InputError(f"{name}: expected numbers from 0 to {frames - 1}, at least one, got {wanted}")
    return [int(n) for n in wanted]
