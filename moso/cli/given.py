"""What the commands that read clips begin with, and what predict and rollout share.

Predict and rollout: K given frames of each source in, given and new frames together out.

Legend: N clips, S samples, K given frames, L new ones, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from moso.cli.inputs import Taken, locate, take
from moso.cli.models import load
from moso.cli.options import Reading, Running, Writing
from moso.cli.outputs import deliver
from moso.cli.ready import ready, ready_rate
from moso.errors import MosoError
from moso.tasks.model import Model


def begin(
    model: str,
    sources: Sequence[str],
    reading: Reading,
    running: Running,
    writing: Writing,
    *,
    given_alone: bool = False,
) -> tuple[Model, Taken]:
    """The model, and a clip of every source; the output is looked at before either is loaded.

    Args:
        given_alone: the first K frames in place of all T of a clip.

    Raises:
        MosoError: an output that cannot be, no such model, sources that do not fit, or K = 0 where given frames are
            asked for.
    """
    ready(writing, sources)
    loaded = load(model, running)
    if given_alone and not loaded.given_frames:
        raise MosoError("this model continues nothing, it was trained to generate: moso generate")
    frames = loaded.given_frames if given_alone else loaded.clip_frames
    taken = take(locate(sources, reading), reading, frames, loaded.height, loaded.width)
    ready_rate(writing, taken.fps)
    return loaded, taken


def show_continued(writing: Writing, taken: Taken, new: UInt8[np.ndarray, "N *S L H W 3"]) -> None:
    """Write the new frames (.npy), or pictures of the given and the new ones (without the given ones if bare)."""
    panels = new if new.ndim == 6 else new[:, None]
    if writing.bare:
        deliver(writing, new, panels, taken.fps)
        return
    given = np.broadcast_to(taken.clips[:, None], (*panels.shape[:2], *taken.clips.shape[1:]))
    together = np.concatenate([given, panels], axis=2)
    deliver(writing, new, together, taken.fps, given=range(taken.clips.shape[1]))
