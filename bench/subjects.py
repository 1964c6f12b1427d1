"""What `make bench` measures: six pieces of work at two presets, each by several variants of the code.

Every piece works on random clips or tokens of the preset's sizes; untrained networks cost what trained ones do.
Perceptual loss and discriminators are left out in all variants: they are the same networks in all of them, and the
first needs weights that must be fetched.

B clips, T frames, h w token grid, N codebook size, D code dimension.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import pandas as pd
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.plain.quantizer import OneHotQuantizer
from bench.plain.sampling import sample as plain_sample
from bench.plain.training import transformer_loss, vqvae_loss
from bench.plain.weights import plain_transformer, plain_vqvae
from components.train_transformer.step import Config as TransformerStep
from components.train_vqvae.step import Config as VQVAEStep
from components.train_vqvae.step import build_model
from moso.config import load_preset, resolve_section
from moso.frames.clips import Clips, to_float
from moso.tokens.clip_tokens import ClipTokens
from moso.tokens.store import StoredBatch, TokenStore
from moso.training.optimizer import ModuleOptimizer
from moso.training.precision import choose
from moso.training.random import generator
from moso.training.sampler import Sample
from moso.training.update import Updates
from moso.training.world import Solo
from moso.transformer.masking import training_mask
from moso.transformer.model import MosoTransformer
from moso.transformer.objective import TransformerObjective
from moso.transformer.sampling import sample
from moso.vqvae.config import given_motion_frames
from moso.vqvae.decompose import pseudo_clip
from moso.vqvae.model import VQVAE
from moso.vqvae.objective import VQVAEObjective
from moso.vqvae.quantizer import BLOCK, CodebookConfig, Quantizer, nearest

Row = Literal["vqvae_train", "encode", "decode", "codebook", "transformer_train", "sampling"]
Variant = Literal["ours", "off", "plain", "bf16"]
"""ours: moso with its switches on; off: the same code with them off; plain: bench.plain; bf16: ours by autocast."""


@dataclass(frozen=True)
class Case:
    """One row at one preset.

    Attributes:
        row: which piece of work.
        preset: dataset/preset.
        batch: clips at once.
        overrides: settings laid over the preset's, section by section; {} is the preset.
    """

    row: Row
    preset: str
    batch: int
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """Something to be timed.

    Attributes:
        work: one call is one measurement.
        amount: of `unit` in a call.
        unit: "clips", "vectors" or "frames".
        switches: what is on, or off, in words.
    """

    work: Callable[[], None]
    amount: int
    unit: str
    switches: str


def make(case: Case, variant: Variant, device: torch.device) -> Subject:
    """The work of a case by a variant, ready to be called."""
    return _Maker(case, variant, device).make()


class _Maker:
    def __init__(self, case: Case, variant: Variant, device: torch.device) -> None:
        self.case, self.variant, self.device = case, variant, device
        self.on = variant in ("ours", "bf16")
        dataset, preset = case.preset.split("/")
        params = {"dataset": dataset, "preset": preset, **case.overrides}
        self.vqvae_step = resolve_section(VQVAEStep, "train_vqvae", params)
        self.transformer_step = resolve_section(TransformerStep, "train_transformer", params)
        given = case.overrides.get("extract_tokens", load_preset(case.preset)["extract_tokens"])
        self.given_frames: int = given["given_frames"]
        setting = {"ours": "auto", "bf16": "bf16"}.get(variant, "float32")
        self.precision = choose(setting, device)
        self.random = generator(0, "bench")

    def make(self) -> Subject:
        name = "plain_" if self.variant == "plain" else ""
        subject: Subject = getattr(self, f"{name}{self.case.row}")()
        return dataclasses.replace(subject, work=self._in_context(subject.work))

    def _in_context(self, work: Callable[[], None]) -> Callable[[], None]:
        """Attention is written out where switches are off."""
        if self.variant != "off":
            return work

        def wrapped() -> None:
            with sdpa_kernel(SDPBackend.MATH):
                work()

        return wrapped

    # inputs

    def clips(self) -> Tensor:
        """uint8 (B, T, H, W, 3)."""
        config = self.vqvae_step.model
        shape = (self.case.batch, config.frames, config.height, config.width, 3)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=self.random)

    def tokens(self) -> ClipTokens:
        """Random tokens of B clips."""
        config, names = self.vqvae_step.model, ("scene", "object", "motion")
        shapes = [(self.case.batch, *config.grids.shape(name)) for name in names]
        return ClipTokens(*(torch.randint(0, config.codebook_size, s, generator=self.random) for s in shapes))

    def vqvae(self) -> VQVAE:
        """Ours; channels last where switches are on."""
        model = build_model(self.vqvae_step).to(self.device)
        return self._laid_out(model)

    def transformer(self) -> MosoTransformer:
        """Ours."""
        step, config = self.transformer_step, self.vqvae_step.model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            given = given_motion_frames(config, self.given_frames)
            model = MosoTransformer(
                step.model, config.grids, config.codebook_size, None, self.given_frames, given, "bench"
            )
        return model.to(self.device)

    def _laid_out(self, model: VQVAE) -> VQVAE:
        if self.on:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    # Stage I

    def vqvae_train(self) -> Subject:
        step, pools = self.vqvae_step, self.vqvae_step.model.pools
        drawn = max(1, pools // 2) if self.on and pools > 1 else 0
        model = self.vqvae()
        adversarial = dataclasses.replace(step.loss.adversarial, video=0.0, image=0.0)
        objective = VQVAEObjective(
            model,
            dataclasses.replace(step.objective, decode_pools=drawn),
            dataclasses.replace(step.loss, perceptual=0.0, adversarial=adversarial),
            dataclasses.replace(step.training, batch=self.case.batch),
            training_clips=cast(Clips, _Sized(self.case.batch)),
            validation_clips=None,
            seed=0,
        )
        first = step.objective.preprocessing.until_step  # raw frames, as in most of the training
        work = self._training(objective, self.clips(), self.vqvae_step.training.optimizer, first)
        words = [self.precision.name, *([f"{drawn} of {pools} pools drawn"] if drawn else [])]
        words += ["channels_last", "fused optimizer"] if self.on else ["default layout, optimizer not fused"]
        return Subject(work, self.case.batch, "clips", ", ".join(words))

    def plain_vqvae_train(self) -> Subject:
        step = self.vqvae_step
        model = plain_vqvae(self.vqvae()).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=step.training.optimizer.learning_rate)
        clips = self.clips()

        def work() -> None:
            optimizer.zero_grad()
            frames = to_float(clips.to(self.device))
            loss = vqvae_loss(model, frames, step.loss.commitment, step.loss.ssim)
            loss.backward()
            optimizer.step()
            loss.item()

        return Subject(work, self.case.batch, "clips", "plain")

    def encode(self) -> Subject:
        model, frames = self.vqvae().eval(), to_float(self.clips()).to(self.device)

        def work() -> None:
            with self.precision.autocast(self.device):
                model.encode(frames)

        return Subject(work, frames.shape[0] * frames.shape[1], "frames", self._layout())

    def plain_encode(self) -> Subject:
        model, frames = plain_vqvae(self.vqvae()).eval(), to_float(self.clips()).to(self.device)
        return Subject(lambda: _done(model.encode(frames)), frames.shape[0] * frames.shape[1], "frames", "plain")

    def decode(self) -> Subject:
        model, tokens = self.vqvae().eval(), self.tokens().to(self.device)

        def work() -> None:
            with self.precision.autocast(self.device):
                model.decode(tokens)

        return Subject(work, self.case.batch * self.vqvae_step.model.frames, "frames", self._layout())

    def plain_decode(self) -> Subject:
        model, tokens = plain_vqvae(self.vqvae()).eval(), self.tokens().to(self.device)
        whole = (tokens.scene, tokens.object, tokens.motion)
        return Subject(
            lambda: _done(model.decode(whole)), self.case.batch * self.vqvae_step.model.frames, "frames", "plain"
        )

    def _layout(self) -> str:
        return f"{self.precision.name}, {'channels_last' if self.on else 'default layout'}"

    # the codebook

    def vectors(self) -> list[Tensor]:
        """Features of the three components, (P, D) each."""
        config = self.vqvae_step.model
        counts = [self.case.batch * part[0].numel() for part in dataclasses.astuple(self.tokens())]
        return [torch.randn(n, config.code_dimension, generator=self.random).to(self.device) for n in counts]

    def codebook(self) -> Subject:
        config = self.vqvae_step.model
        quantizer = Quantizer(config.codebook_size, config.code_dimension).to(self.device)
        vectors, settings = torch.cat(self.vectors()), CodebookConfig()
        block = BLOCK if self.on else len(vectors) * config.codebook_size

        def work() -> None:
            found = nearest(vectors, quantizer.codebook, block)
            quantizer.observe_(vectors, found)
            quantizer.update_(settings, Solo())

        return Subject(work, len(vectors), "vectors", "search in blocks" if self.on else "all distances at once")

    def plain_codebook(self) -> Subject:
        config = self.vqvae_step.model
        quantizer = OneHotQuantizer(config.codebook_size, config.code_dimension).to(self.device).train()
        components = [part.T[None, :, :, None] for part in self.vectors()]

        def work() -> None:
            for part in components:
                quantizer(part)

        return Subject(work, sum(part.shape[2] for part in components), "vectors", "plain")

    # Stage II

    def transformer_train(self) -> Subject:
        step, model = self.transformer_step, self.transformer()
        objective = TransformerObjective(model, cast(TokenStore, _Store(model, self.case.batch)), step.loss, seed=0)
        target, pseudo = self.tokens(), self.tokens()
        batch = StoredBatch(target, pseudo.scene, pseudo.object)
        work = self._training(objective, batch, step.training.optimizer, 0)
        words = [self.precision.name, "fused optimizer" if self.on else "attention written out, optimizer not fused"]
        return Subject(work, self.case.batch, "clips", ", ".join(words))

    def plain_transformer_train(self) -> Subject:
        step, ours = self.transformer_step, self.transformer()
        given, grids = ours.given_motion_frames, ours.grids
        model = plain_transformer(ours).train()
        del ours
        optimizer = torch.optim.Adam(model.parameters(), lr=step.training.optimizer.learning_rate)
        target, pseudo = self.tokens().to(self.device), self.tokens().to(self.device)

        def work() -> None:
            optimizer.zero_grad()
            masks = [training_mask(grids.frames, grids.motion, given, self.random) for _ in range(self.case.batch)]
            loss = transformer_loss(
                model,
                (target.scene, target.object, target.motion),
                pseudo.scene,
                pseudo.object,
                torch.stack(masks).to(self.device),
                step.loss.changed_weight,
                step.loss.unchanged_weight,
            )
            loss.backward()
            optimizer.step()
            loss.item()

        return Subject(work, self.case.batch, "clips", "plain")

    def sampling(self) -> Subject:
        """A whole prediction: given frames to predicted ones."""
        first, second = self.vqvae().eval(), self.transformer().eval()
        frames, settings = to_float(self.clips()).to(self.device), self.transformer_step.sampling
        wanted = torch.arange(self.given_frames, frames.shape[1], device=self.device)
        seeds = range(self.case.batch)

        def work() -> None:
            with torch.no_grad(), self.precision.autocast(self.device):
                known = first.encode(pseudo_clip(frames, self.given_frames))
                given = known.motion[:, : second.given_motion_frames]
                tokens = sample(second, known.scene, known.object, given, settings, seeds)
                first.decode(tokens, wanted)

        attention = "attention fused" if self.on else "attention written out"
        return Subject(
            work, self.case.batch * len(wanted), "frames", f"{self._layout()}, {attention}, {settings.steps} steps"
        )

    def plain_sampling(self) -> Subject:
        ours = self.transformer()
        given = ours.given_motion_frames
        first, second = plain_vqvae(self.vqvae()).eval(), plain_transformer(ours).eval()
        del ours
        frames, settings = to_float(self.clips()).to(self.device), self.transformer_step.sampling

        def work() -> None:
            scene, object, motion = first.encode(pseudo_clip(frames, self.given_frames))
            noise = settings.confidence_noise
            first.decode(plain_sample(second, scene, object, motion[:, :given], settings.steps, noise))

        predicted = self.case.batch * (frames.shape[1] - self.given_frames)
        return Subject(work, predicted, "frames", f"plain, {settings.steps} steps")

    # a step as moso.training.loop makes it, with the batch at hand

    def _training(
        self, objective: VQVAEObjective | TransformerObjective, batch: Any, settings: Any, first: int
    ) -> Callable[[], None]:
        optimizer = ModuleOptimizer(objective.module, settings)
        if not self.on:
            for part in optimizer.parts:
                for group in part.param_groups:
                    group["fused"] = False
        world = Solo()
        updates = Updates(0.0, world, self.device, self.precision.scaler(self.device), lambda: False)
        samples = [Sample(i, 0, i) for i in range(self.case.batch)]

        def work() -> None:
            objective.module.train()
            objective.before_step(first, world)
            optimizer.zero_grad()
            with self.precision.autocast(self.device):
                loss, extra = objective.loss(batch, samples, first)
            updates.apply(optimizer, loss, extra, 1.0)
            updates.finish()
            objective.after_step(first, world)

        return work


class _Sized:
    """As much of a set of clips as a training step asks for: the batch is at hand."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


class _Store:
    """As much of a token store as the objective asks for before its first batch."""

    def __init__(self, model: MosoTransformer, clips: int) -> None:
        self.table = pd.DataFrame({"split": ["train"] * clips})
        self.codebook_digest, self.grids = model.codebook_digest, model.grids
        self.given_frames, self.given_motion_frames = model.given_frames, model.given_motion_frames

    def rows(self, split: str) -> list[int]:
        return list(range(len(self.table)))


def _done(result: object) -> None:
    """Drop a result."""
