"""What predict and rollout share: K given frames of each source in, given and new frames together out.

Legend: N clips, S samples, K given frames, L new ones, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from moso.cli.inputs import Taken, locate, take
from moso.cli.options import Reading, Writing
from moso.cli.outputs import deliver
from moso.errors import MosoError
from moso.tasks.model import Model


def given_frames(sources: Sequence[str], reading: Reading, model: Model) -> Taken:
    """The first K frames of every source.

    Raises:
        MosoError: sources that do not fit, or a model that takes no given frames.
    """
    if not model.given_frames:
        raise MosoError("this model continues nothing, it was trained to generate: moso generate")
    return take(locate(sources, reading), reading, model.given_frames, model.height, model.width)


def show_continued(writing: Writing, taken: Taken, new: UInt8[np.ndarray, "N *S L H W 3"]) -> None:
    """Write the new frames (.npy), or pictures of the given and the new ones (without the given ones if bare)."""
    panels = new if new.ndim == 6 else new[:, None]
    if writing.bare:
        deliver(writing, new, panels, taken.fps)
        return
    given = np.broadcast_to(taken.clips[:, None], (*panels.shape[:2], *taken.clips.shape[1:]))
    together = np.concatenate([given, panels], axis=2)
    deliver(writing, new, together, taken.fps, given=range(taken.clips.shape[1]))
