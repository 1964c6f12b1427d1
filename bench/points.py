"""What `make bench-scale` measures: small networks of the paper's form at growing sizes.

B clips, T frames, K given frames, h w motion grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from bench.cases import Subject
from bench.training_step import training_step
from moso.planning.stages import Experiment, Stage, make_objective
from moso.tasks.networks import Networks
from moso.tasks.rollout import rollout, trials
from moso.tokens.clip_tokens import TokenGrids
from moso.tokens.store import codebook_digest
from moso.training.config import TrainingConfig
from moso.transformer.config import LossConfig as TransformerLoss
from moso.transformer.config import SamplingConfig, TransformerConfig
from moso.transformer.model import MosoTransformer
from moso.vqvae.config import VQVAEConfig
from moso.vqvae.losses import LossConfig
from moso.vqvae.model import VQVAE
from moso.vqvae.objective_config import ObjectiveConfig

Curve = Literal["vqvae_batch", "transformer_batch", "motion_frames", "motion_grid", "rollout_frames", "samples"]
CURVES: tuple[Curve, ...] = get_args(Curve)
SAMPLED_AT_ONCE = 4
GIVEN = 1


@dataclass(frozen=True)
class Point:
    """One size of one curve.

    Attributes:
        curve: what grows.
        x: how large it is: clips, motion tokens of a clip, frames, samples.
        small: networks that only show whether it runs.
    """

    curve: Curve
    x: int
    small: bool = False


@dataclass(frozen=True)
class Size:
    """Sizes of the networks."""

    frames: int
    pixels: int
    channels: int
    codebook: int
    hidden: int
    blocks: int

    @property
    def vqvae(self) -> VQVAEConfig:
        """Stage I; BAIR's factors."""
        return VQVAEConfig(
            frames=self.frames,
            height=self.pixels,
            width=self.pixels,
            scene_factor=4,
            object_factor=4,
            motion_factor=8,
            pools=1,
            channels=self.channels,
            code_dimension=32,
            codebook_size=self.codebook,
            residual_channels=self.channels,
            attention_heads=2,
        )

    @property
    def transformer(self) -> TransformerConfig:
        """Stage II; the MLP twice as wide as the blocks, as in the paper."""
        hidden = self.hidden
        return TransformerConfig(
            embedding=hidden,
            hidden=hidden,
            mlp=2 * hidden,
            heads=4,
            scene_object_blocks=self.blocks,
            motion_blocks=self.blocks,
        )


FULL = Size(frames=8, pixels=64, channels=64, codebook=512, hidden=256, blocks=3)
SMALL = Size(frames=4, pixels=32, channels=16, codebook=32, hidden=32, blocks=1)


def grid_of(tokens: int) -> tuple[int, int]:
    """A grid of so many places, a square or twice as wide as high."""
    height = 2 ** ((tokens.bit_length() - 1) // 2)
    return height, tokens // height


def make_point(point: Point, device: torch.device) -> Subject:
    """The work of a point, ready to be called."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _MAKERS[point.curve](point, SMALL if point.small else FULL, device)


def result_bytes(point: Point) -> int:
    """Bytes of what a call returns: a rollout's frames. A prediction's samples are handed out as they come."""
    pixels = (SMALL if point.small else FULL).pixels
    return SAMPLED_AT_ONCE * point.x * pixels**2 * 3 if point.curve == "rollout_frames" else 0


def _step(stage: Stage) -> Callable[[Point, Size, torch.device], Subject]:
    def made(point: Point, size: Size, device: torch.device) -> Subject:
        training = TrainingConfig(steps=10, batch=point.x, channels_last=True)
        experiment = Experiment(
            vqvae=size.vqvae,
            transformer=size.transformer,
            vqvae_loss=LossConfig(),
            objective=ObjectiveConfig(),
            transformer_loss=TransformerLoss(),
            training={"vqvae": training, "transformer": training},
            given_frames=GIVEN,
        )
        objective = make_objective(experiment, stage, device)
        first = ObjectiveConfig().preprocessing.until_step
        return Subject(training_step(objective, training, device, first), point.x, "clips", "")

    return made


def _motion(grids: TokenGrids, size: Size, device: torch.device, tokens: int) -> Subject:
    """TransformerM forward and back, all of a clip's tokens masked."""
    model = MosoTransformer(size.transformer, grids, size.codebook, None, GIVEN, 0, "bench").to(device)
    motion = torch.full((1, *grids.shape("motion")), model.mask, device=device)
    scene, object = (torch.zeros(1, *grids.shape(n), dtype=torch.long, device=device) for n in ("scene", "object"))
    with torch.no_grad():
        guidance = model.guidance(scene, object)

    def work() -> None:
        model.zero_grad()
        model.motion_logits(motion, guidance).square().mean().backward()

    return Subject(work, tokens, "tokens", "")


def _frames(point: Point, size: Size, device: torch.device) -> Subject:
    grid = size.vqvae.grids.motion
    return _motion(TokenGrids(point.x // (grid[0] * grid[1]), (4, 4), (4, 4), grid), size, device, point.x)


def _grid(point: Point, size: Size, device: torch.device) -> Subject:
    return _motion(TokenGrids(size.frames, (4, 4), (4, 4), grid_of(point.x // size.frames)), size, device, point.x)


def _networks(size: Size, device: torch.device) -> Networks:
    vqvae = VQVAE(size.vqvae).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    digest = codebook_digest(vqvae.codebook)
    transformer = MosoTransformer(
        dataclasses.replace(size.transformer, dropout=0.0),
        vqvae.grids,
        size.codebook,
        None,
        GIVEN,
        0,
        digest,
    )
    return Networks(vqvae, transformer, sampling=SamplingConfig(steps=4), device=str(device), batch=SAMPLED_AT_ONCE)


def _given(size: Size, videos: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (videos, GIVEN, size.pixels, size.pixels, 3), dtype=np.uint8)


def _rollout(point: Point, size: Size, device: torch.device) -> Subject:
    networks, given = _networks(size, device), _given(size, SAMPLED_AT_ONCE)

    def work() -> None:
        with torch.no_grad():  # the counters know no inference mode
            rollout(networks, given, point.x, "tokens", (False,), range(SAMPLED_AT_ONCE), networks.sampling)

    return Subject(work, point.x, "frames", "")


def _samples(point: Point, size: Size, device: torch.device) -> Subject:
    networks, given = _networks(size, device), _given(size, 1)

    def work() -> None:
        with torch.no_grad():  # the counters know no inference mode
            for _ in trials(networks, given, point.x, size.frames - GIVEN, "tokens", False, [0], networks.sampling):
                pass

    return Subject(work, point.x, "samples", "")


_MAKERS: dict[Curve, Callable[[Point, Size, torch.device], Subject]] = {
    "vqvae_batch": _step("vqvae"),
    "transformer_batch": _step("transformer"),
    "motion_frames": _frames,
    "motion_grid": _grid,
    "rollout_frames": _rollout,
    "samples": _samples,
}
