"""Random clips, as the training draws them, beside a bare memory map and beside decoding from mp4.

The training's path: moso.training.sampler.samples (shuffled by epoch, dealt to ranks, resumed in the middle of an epoch
with nothing remembered) and moso.frames.clips.Clips.batch, which assembles uint8 tensors. The bare memory map: np.load
with mmap_mode, 16 frames in a row from anywhere, copied into one batch allocated beforehand; no index, no shuffling,
nothing handed out. Both read the same warm files, turn by turn, in this process; the best turn of each counts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.pictures import video
from moso.frames.cache import FrameCache, FrameCacheWriter
from moso.frames.clips import Clips, windows
from moso.frames.writer import SHARDS
from moso.training.sampler import order, samples
from moso.training.world import Solo
from moso.video import stream_timed, write

FPS = 10.0
SEED = 7
CLIP_FRAMES = 16


class SecondOfTwo(Solo):
    """The second of two workers, as the sampler asks for them."""

    rank = 1
    size = 2


@dataclass(frozen=True)
class ClipSet:
    """What is drawn from.

    Attributes:
        pixels: height and width of a frame.
        episodes: in the cache.
        episode_frames: of each.
        batch: clips of a worker's batch.
        clips: drawn in a turn, by one worker.
        turns: of each way, at least 1.
        filmed: episodes that are written as mp4 too.
        decoded: clips decoded from them.
    """

    pixels: int
    episodes: int
    episode_frames: int
    batch: int
    clips: int
    turns: int
    filmed: int
    decoded: int


@dataclass(frozen=True)
class ClipRates:
    """Clips a second, of one process.

    Attributes:
        pixels, batch: of the set.
        set_clips: clips in the set, one at each frame where one fits.
        moso: by the training's path.
        bare: by a bare memory map.
        of_bare: moso / bare.
        mp4: decoding the same clips from H.264, from the last key frame before them.
        over_mp4: moso / mp4.
    """

    pixels: int
    batch: int
    set_clips: int
    moso: float
    bare: float
    of_bare: float
    mp4: float
    over_mp4: float


def measure_clips(wanted: ClipSet, folder: Path) -> ClipRates:
    """Write the set into `folder`, an empty one, and measure."""
    cache = _cache(wanted, folder / "cache")
    clips = Clips(cache, windows(cache, "train", CLIP_FRAMES), CLIP_FRAMES)
    shards = [
        np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        for path in sorted((folder / "cache" / SHARDS).glob("*/frames.npy"))
    ]
    for shard in shards:
        shard.sum()  # every page is read once
    moso, bare = 0.0, 0.0
    for turn in range(wanted.turns):
        bare = max(bare, _bare_rate(shards, wanted, turn))
        moso = max(moso, _moso_rate(clips, wanted, turn))
    mp4 = _mp4_rate(cache, wanted, folder / "mp4")
    return ClipRates(wanted.pixels, wanted.batch, len(clips), moso, bare, moso / bare, mp4, moso / mp4)


def _cache(wanted: ClipSet, folder: Path) -> FrameCache:
    with FrameCacheWriter(folder, height=wanted.pixels, width=wanted.pixels, fps=FPS) as writer:
        for number in range(wanted.episodes):
            writer.add(f"e{number:05d}", "train", video(number, wanted.episode_frames, wanted.pixels))
    return FrameCache.open(folder)


def _moso_rate(clips: Clips, wanted: ClipSet, turn: int) -> float:
    """Resumed two thirds through an epoch, and on into the next ones."""
    world = SecondOfTwo()
    together = wanted.batch * world.size
    begin = turn * len(clips) + 2 * len(clips) // 3
    order.cache_clear()
    start = time.perf_counter()
    for at in range(begin, begin + wanted.clips * world.size, together):
        dealt = samples(SEED, len(clips), at, together, world)
        clips.batch([sample.index for sample in dealt])
    return wanted.clips / (time.perf_counter() - start)


def _bare_rate(shards: list[np.ndarray], wanted: ClipSet, turn: int) -> float:
    rng = np.random.default_rng(turn)
    lengths = np.array([len(shard) for shard in shards])
    chosen = rng.choice(len(shards), wanted.clips, p=lengths / lengths.sum())
    firsts = rng.integers(0, lengths[chosen] - CLIP_FRAMES + 1)
    places = list(zip(chosen.tolist(), firsts.tolist(), strict=True))
    batch = np.zeros((wanted.batch, CLIP_FRAMES, wanted.pixels, wanted.pixels, 3), dtype=np.uint8)
    start = time.perf_counter()
    for at in range(0, wanted.clips, wanted.batch):
        for row, (shard, first) in enumerate(places[at : at + wanted.batch]):
            batch[row] = shards[shard][first : first + CLIP_FRAMES]
    return wanted.clips / (time.perf_counter() - start)


def _mp4_rate(cache: FrameCache, wanted: ClipSet, folder: Path) -> float:
    folder.mkdir()
    names = [str(name) for name in cache.episodes["episode_id"][: wanted.filmed]]
    for name in names:
        write(folder / f"{name}.mp4", cache.frames(name)[None], FPS)
    possible = [clip for clip in windows(cache, "train", CLIP_FRAMES) if clip.episode_id in names]
    drawn = np.random.default_rng(SEED).integers(0, len(possible), wanted.decoded).tolist()
    batch = np.zeros((CLIP_FRAMES, wanted.pixels, wanted.pixels, 3), dtype=np.uint8)
    start = time.perf_counter()
    for index in drawn:
        clip = possible[index]
        begin, end = (clip.first_frame - 0.5) / FPS, (clip.first_frame + CLIP_FRAMES - 0.5) / FPS
        count = 0
        for _, frame in stream_timed(folder / f"{clip.episode_id}.mp4", max(begin, 0.0), end):
            batch[count] = frame
            count += 1
        if count != CLIP_FRAMES:
            raise AssertionError(f"{clip.id}: {count} frames decoded")
    return wanted.decoded / (time.perf_counter() - start)
