"""Manipulation (Sec. 4.4): scene of one video, object of another, motion of a third, decoded together.

Legend: N clips, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from moso.tasks.checks import InputError
from moso.tasks.encode import decode, encode
from moso.tasks.networks import Networks
from moso.tokens.clip_tokens import COMPONENTS, ClipTokens


def mix(sources: Mapping[str, ClipTokens]) -> ClipTokens:
    """Each component's tokens from its own source; all three components are named."""
    return ClipTokens(*(getattr(sources[component], component) for component in COMPONENTS))


def check_sources(videos: Mapping[str, Any], components: Sequence[str]) -> dict[str, np.ndarray]:
    """`videos` that are not None, when they are one for each of the model's `components`.

    Raises:
        InputError: one is missing, or one too many: a component that the model does without.
    """
    for component, clips in videos.items():
        if clips is not None and component not in components:
            raise InputError(f"{component}: this model has no such component; it takes {', '.join(components)}")
        if clips is None and component in components:
            raise InputError(
                f"{component}: expected a video for each of {', '.join(components)}, got none for this one"
            )
    return {component: videos[component] for component in components}


def check_counts(videos: Mapping[str, np.ndarray]) -> int:
    """The number of clips when all hold equally many.

    Raises:
        InputError: they do not.
    """
    counts = {component: len(clips) for component, clips in videos.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} of {component}" for component, count in counts.items())
        raise InputError(f"expected equally many clips of each component, got {told}")
    return next(iter(counts.values()))


def recombine(
    networks: Networks, videos: Mapping[str, UInt8[np.ndarray, "N T H W 3"]]
) -> UInt8[np.ndarray, "N T H W 3"]:
    """The videos drawn from the tokens of `videos`, component -> clips. A component that the model lacks needs none:
    its (empty) tokens come with the motion's."""
    encoded = {component: encode(networks, clips) for component, clips in videos.items()}
    return decode(networks, mix({component: encoded.get(component, encoded["motion"]) for component in COMPONENTS}))
