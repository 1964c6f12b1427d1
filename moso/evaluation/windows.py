"""Which windows of the episodes are measured: a protocol's rule, applied to a frame cache.

Order and choice depend on the episodes' names and lengths alone, not on how a cache was written: the same data gives
the same clips in the same order.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from moso.errors import ConfigError, DataError
from moso.evaluation.protocol_file import WindowRule
from moso.frames.clips import Clip

if TYPE_CHECKING:
    from moso.frames.cache import FrameCache


def evaluated_windows(
    cache: FrameCache, split: str, rule: WindowRule, length: int, videos: int | None = None
) -> list[Clip]:
    """The clips that a protocol measures, by episode's name and first frame.

    Args:
        cache: the frames.
        split: whose episodes.
        rule: which windows of an episode.
        length: frames of a window: given and scored ones, T or K + P of a rollout.
        videos: take so many, spread evenly over the windows in their order (the i-th of n among N is number
            floor(i N / n)); None takes all.

    Raises:
        ConfigError: a length below 1, a number of videos below 1, or a split that the cache does not hold.
        DataError: fewer windows than videos are asked for.
    """
    for name, value in (("length", length), ("videos", videos)):
        if value is not None and value < 1:
            raise ConfigError(name, value, "must be at least 1")
    table = cache.episodes
    rows = table[table["split"] == split]
    if rows.empty:
        known = ", ".join(sorted(set(table["split"])))
        raise ConfigError("split", split, "the cache holds no such split", f"it has: {known}")
    found = [
        Clip(str(episode), first)
        for episode, frames in sorted(zip(rows["episode_id"], rows["frames"], strict=True))
        for first in first_frames(rule, str(episode), int(frames), length)
    ]
    if videos is None:
        return found
    if len(found) < videos:
        raise DataError(
            f"the protocol asks for {videos} videos, and split {split!r} has {len(found)} ({in_words(rule, length)}): "
            f"add episodes, or set evaluate.protocol.videos to {len(found)} or less (another protocol than the file's)"
        )
    return [found[i * len(found) // videos] for i in range(videos)]


def first_frames(rule: WindowRule, episode: str, frames: int, length: int) -> range:
    """First frames, from 0, of the windows in an episode of that name and number of frames."""
    stride = stride_of(rule, episode, length)
    firsts = range(rule.start, frames - rule.skip_end - length + 1, stride)
    return firsts[:1] if rule.rule == "first" else firsts


def stride_of(rule: WindowRule, episode: str, length: int) -> int:
    """Frames between two windows' first frames: of the first pattern that the episode's name matches, or the rule's."""
    for pattern, stride in rule.per_episode.items():
        if fnmatchcase(episode, pattern):
            return stride
    return rule.stride or length


def in_words(rule: WindowRule, length: int) -> str:
    """The rule in words: what a realised protocol's clip_rule says."""
    if rule.rule == "first":
        words = [f"the first window of {length} frames of every episode"]
    else:
        stride = rule.stride or length
        apart = "none overlap" if stride >= length else "overlapping"
        words = [f"windows of {length} frames inside an episode, {stride} frames apart ({apart})"]
        words += [f"{step} frames apart in {pattern}" for pattern, step in rule.per_episode.items()]
    if rule.start:
        words.append(f"beginning with frame {rule.start + 1}")
    if rule.skip_end:
        words.append(f"the last {rule.skip_end} frames unused")
    return ", ".join([*words, "in the order of the episodes' names"])
