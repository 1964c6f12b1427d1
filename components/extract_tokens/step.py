"""extract_tokens: frames and Stage I -> the token store, the only thing that Stage II reads.

The output folder `tokens` is a moso.tokens.store. Of a target clip all tokens are kept, of its pseudo clip (the K
given frames, then the last of them repeated) scene and object: its given motion tokens are the target's (Eq. 12).
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from moso.config import check_choices
from moso.device import device_of
from moso.errors import ConfigError, DataError, StopRequested
from moso.frames.cache import FORMAT as FRAMES_FORMAT
from moso.frames.cache import VERSION as FRAMES_VERSION
from moso.frames.cache import FrameCache
from moso.frames.clips import Clip, Clips, to_float
from moso.progress import Progress
from moso.provenance import atomic_folder, read_provenance, write_provenance
from moso.step import Context, Paths
from moso.tokens.clip_tokens import ClipTokens
from moso.tokens.rows import from_rows, row_length, to_rows
from moso.tokens.store import FORMAT, VERSION
from moso.tokens.writer import TokenStoreWriter
from moso.training.random import generator
from moso.training.work import WorkFolder, run_identity, work_key
from moso.training.world import broadcast_
from moso.vqvae.config import given_motion_frames
from moso.vqvae.model import FORMAT as VQVAE_FORMAT
from moso.vqvae.model import VERSION as VQVAE_VERSION
from moso.vqvae.model import VQVAE, load_vqvae

SHARD_CLIPS = 1024
"""Clips of a shard of the store, about."""


@dataclass(frozen=True)
class Config:
    """Section `extract_tokens`.

    Attributes:
        given_frames: K, the conditioning frames of the pseudo clip; 0: unconditional, there is no pseudo clip.
        starts_per_episode: clips taken from each episode, fewer where it is too short; 0: every window.
        starts: "even" from the episode's first window to its last, or "random", drawn by start_seed and the
            episode's id.
        start_seed: used where starts are random.
        batch: clips encoded at once, by each worker.
        splits: whose episodes are taken; none named: all that the cache has.
    """

    given_frames: int
    starts_per_episode: int = 0
    starts: Literal["even", "random"] = "even"
    start_seed: int = 0
    batch: int = 16
    splits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choices(self)
        for name, least in (("given_frames", 0), ("starts_per_episode", 0), ("batch", 1)):
            if getattr(self, name) < least:
                raise ConfigError(name, getattr(self, name), f"must be at least {least}", f"{least} would fit")


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> None:
    """Encode the clips and write the store. A killed run goes on from its last whole shard, to the same bytes.

    Every worker of the context's world calls it and encodes its share of the batches; rank 0 alone holds the work
    folder and writes, the same bytes as one worker.

    Raises:
        StopRequested: the stop signal was raised (on any worker); whole shards are kept.
        ConfigError: K is not below the model's T, frames of another size than the model's, or an unknown split.
        DataError: no episode is as long as a clip.
    """
    digests = {
        "frames": read_provenance(inputs["frames"], format=FRAMES_FORMAT, version=FRAMES_VERSION)["digest"],
        "vqvae": read_provenance(inputs["vqvae"], format=VQVAE_FORMAT, version=VQVAE_VERSION)["digest"],
    }
    identity = run_identity("extract_tokens", config, digests, code=Path(__file__))
    work, first = WorkFolder(context.work, work_key(identity)), context.world.rank == 0
    with work if first else contextlib.nullcontext():
        model = load_vqvae(inputs["vqvae"], device_of(context.device))
        cache = FrameCache.open(inputs["frames"])
        _write_store(config, model, cache, work.folder / "tokens", context)
        if not first:
            return
        with atomic_folder(outputs["tokens"]) as folder:
            for path in sorted((work.folder / "tokens").iterdir()):
                shutil.move(path, folder / path.name)
            write_provenance(
                folder, format=FORMAT, version=VERSION, step="extract_tokens", config=config, inputs=digests
            )
        work.discard()


def choose_clips(config: Config, cache: FrameCache, clip_frames: int) -> list[tuple[str, Clip]]:
    """(split, clip) of all clips to encode, by split, episode and start.

    Raises:
        ConfigError: a split that the cache does not hold.
        DataError: no episode is as long as a clip.
    """
    table = cache.episodes
    known = list(dict.fromkeys(table["split"]))
    for split in config.splits:
        if split not in known:
            raise ConfigError("splits", split, "the cache holds no such split", f"it has: {', '.join(known)}")
    chosen = []
    for split in config.splits or known:
        rows = table[table["split"] == split]
        for episode_id, frames in zip(rows["episode_id"], rows["frames"], strict=True):
            starts = _starts(config, str(episode_id), int(frames) - clip_frames + 1)
            chosen += [(str(split), Clip(str(episode_id), start)) for start in starts]
    if not chosen:
        raise DataError(f"no episode has {clip_frames} frames; the longest has {int(table['frames'].max())}")
    return chosen


def encode(model: VQVAE, frames: UInt8[Tensor, "B T H W 3"], given_frames: int) -> tuple[ClipTokens, ClipTokens]:
    """Tokens of target clips and of their pseudo clips (with the target's motion tokens, of which the given ones hold).

    With given_frames = 0 there is no pseudo clip, and its scene and object tokens are 0: Stage II masks all of them.

    Raises:
        ConfigError: frames of another size than the model's.
    """
    clips = to_float(frames.to(model.codebook.device))
    if given_frames:
        return model.encode_with_pseudo(clips, given_frames)
    target = model.encode(clips)
    return target, ClipTokens(torch.zeros_like(target.scene), torch.zeros_like(target.object), target.motion)


def _write_store(config: Config, model: VQVAE, cache: FrameCache, folder: Path, context: Context) -> None:
    """Encode the clips that `folder` lacks on all workers; rank 0 alone looks into it and writes."""
    length = model.config.frames
    given = given_motion_frames(model.config, config.given_frames)
    chosen = choose_clips(config, cache, length)
    clips = Clips(cache, [clip for _, clip in chosen], length)
    missing = torch.zeros(len(chosen), dtype=torch.bool)
    if context.world.rank != 0:
        for _ in _encoded(config, model, clips, missing, context):
            pass  # rank 0 has it too
        return
    whole_batches = max(1, SHARD_CLIPS // config.batch) * config.batch
    with TokenStoreWriter(folder, model.grids, model.codebook, config.given_frames, given, whole_batches) as writer:
        missing[:] = torch.tensor([clip.id not in writer.clip_ids for _, clip in chosen])
        with Progress("extract_tokens", len(chosen), "clips", done=len(chosen) - int(missing.sum())) as progress:
            for rows, target, pseudo in _encoded(config, model, clips, missing, context):
                new = [i for i, row in enumerate(rows) if chosen[row][1].id not in writer.clip_ids]
                for split in dict.fromkeys(chosen[rows[i]][0] for i in new):
                    of = [i for i in new if chosen[rows[i]][0] == split]
                    writer.add([chosen[rows[i]][1] for i in of], split, target[of], pseudo[of])
                progress.advance(len(new))


def _encoded(
    config: Config, model: VQVAE, clips: Clips, missing: Bool[Tensor, " n"], context: Context
) -> Iterator[tuple[Int[np.ndarray, " b"], ClipTokens, ClipTokens]]:
    """Every batch in which clips are missing, in order: its clips' numbers, and their tokens as `encode` gives them.

    Turn by turn each worker encodes one batch and all get those of all. The batches are the same whatever the number
    of workers, and of as many clips each (the last one is filled up): tokens must not depend on how many clips are
    encoded together.

    Args:
        missing: which clips are to be encoded; rank 0's counts.

    Raises:
        StopRequested: the stop signal was raised on any worker; all batches before it have been given.
    """
    world, grids = context.world, model.grids
    broadcast_(missing, world)
    batches = [rows for rows in torch.arange(len(missing)).split(config.batch) if missing[rows].any()]
    for at in range(0, len(batches), world.size):
        turn = [rows.numpy() for rows in batches[at : at + world.size]]
        # a row of numbers a worker: its batch's tokens, and behind them whether it was asked to stop
        said = torch.zeros(
            world.size, config.batch * row_length(grids) + 1, dtype=torch.int32, device=model.codebook.device
        )
        if world.rank < len(turn):
            filled = np.resize(turn[world.rank], config.batch)
            said[world.rank, :-1] = to_rows(*encode(model, clips.batch(filled), config.given_frames)).flatten()
        said[world.rank, -1] = int(bool(context.stop))
        world.all_reduce_(said)
        for rows, tokens in zip(turn, said[:, :-1].cpu(), strict=False):  # the last turn may have fewer batches
            target, pseudo = from_rows(tokens.view(config.batch, -1)[: len(rows)], grids)
            yield rows, target, pseudo
        if said[:, -1].any():
            raise StopRequested("extract_tokens: whole shards are kept; rerun to go on")


def _starts(config: Config, episode_id: str, windows: int) -> list[int]:
    """First frames of the clips to take of an episode that has `windows` windows."""
    count = min(config.starts_per_episode or windows, windows)
    if count <= 0:
        return []
    if config.starts == "random":
        order = torch.randperm(windows, generator=generator(config.start_seed, "starts", episode_id))
        return sorted(order[:count].tolist())
    return [int(start) for start in np.linspace(0, windows - 1, count).round()]


if __name__ == "__main__":
    from components.main import main

    main("extract_tokens", Config, run)
