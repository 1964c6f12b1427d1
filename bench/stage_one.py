"""Stage I's rows: training step, encode, decode, codebook.

Perceptual loss and discriminators are left out in all variants: they are the same networks in all of them, and the
first needs weights that must be fetched.

P positions, N codebook size, D code dimension.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bench.cases import Settings, Subject, said
from bench.plain.quantizer import OneHotQuantizer
from bench.plain.training import vqvae_loss
from bench.plain.weights import plain_vqvae
from bench.training_step import training_step
from components.train_vqvae.step import build_model
from moso.frames.clips import to_float
from moso.planning.samples import RandomClips
from moso.tokens.clip_tokens import ClipTokens
from moso.training.random import generator
from moso.training.switches import switch_
from moso.training.world import Solo
from moso.vqvae.model import VQVAE
from moso.vqvae.objective import VQVAEObjective
from moso.vqvae.quantizer import CodebookConfig, Quantizer, nearest


class StageOne:
    """Makes them, for one variant."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.step, self.device = settings, settings.vqvae, settings.device
        self.batch, self.config = settings.case.batch, settings.vqvae.model
        self.random = generator(0, "bench")

    def model(self) -> VQVAE:
        """Untrained, as a training or a task holds it: switched, and channels last where that is on."""
        model = build_model(self.step).to(self.device)
        switch_(model, dataclasses.replace(self.step.training, compile=False))
        if self.step.training.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def frames(self, clips: int | None = None) -> Tensor:
        """Random frames in [0, 1], (B, T, 3, H, W), on the device."""
        whole = RandomClips(self.batch, (self.config.frames, self.config.height, self.config.width))
        return to_float(whole.batch(range(self.batch if clips is None else clips)).to(self.device))

    def tokens(self) -> ClipTokens:
        """Random tokens of B clips, on the device."""
        shapes = [(self.batch, *self.config.grids.shape(name)) for name in ("scene", "object", "motion")]
        size = self.config.codebook_size
        return ClipTokens(*(torch.randint(0, size, s, generator=self.random) for s in shapes)).to(self.device)

    def train(self) -> Subject:
        """One step of the training, on raw frames, as most of it is."""
        training, config = self.step.training, self.config
        of = "decode_pools" if config.pools > 1 else "decode_frames"
        every = config.pools if config.pools > 1 else config.pool_frames
        drawn = every // 2 if self.settings.on else every
        objective_config = dataclasses.replace(
            self.step.objective,
            decode_pools=drawn if of == "decode_pools" else 0,
            decode_frames=drawn if of == "decode_frames" else 0,
        )
        adversarial = dataclasses.replace(self.step.loss.adversarial, video=0.0, image=0.0)
        objective = VQVAEObjective(
            build_model(self.step).to(self.device),
            objective_config,
            dataclasses.replace(self.step.loss, perceptual=0.0, adversarial=adversarial),
            training,
            training_clips=RandomClips(self.batch, (self.config.frames, self.config.height, self.config.width)),
            validation_clips=None,
            seed=0,
        )
        objective.quantised_from = 0
        step = training_step(objective, training, self.device, self.step.objective.preprocessing.until_step)
        return self._training(step, {of: f"{drawn} of {every}"})

    def plain_train(self) -> Subject:
        """The same, plainly."""
        model = plain_vqvae(self.model()).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.step.training.optimizer.learning_rate)
        loss_config = self.step.loss
        clips = RandomClips(self.batch, (self.config.frames, self.config.height, self.config.width))

        def work() -> None:
            optimizer.zero_grad()
            frames = to_float(clips.batch(range(self.batch)).to(self.device))
            loss = vqvae_loss(model, frames, loss_config.commitment, loss_config.ssim)
            loss.backward()
            optimizer.step()
            loss.item()

        return Subject(work, self.batch, "clips", "plain")

    def encode(self) -> Subject:
        """Clips to tokens."""
        model, frames = self.model().eval(), self.frames()

        def work() -> None:
            with self.settings.precision.autocast(self.device):
                model.encode(frames)

        return self._inference(work)

    def plain_encode(self) -> Subject:
        """The same, plainly."""
        model, frames = plain_vqvae(self.model()).eval(), self.frames()
        return Subject(lambda: _done(model.encode(frames)), self.batch * self.config.frames, "frames", "plain")

    def decode(self) -> Subject:
        """Tokens to clips."""
        model, tokens = self.model().eval(), self.tokens()

        def work() -> None:
            with self.settings.precision.autocast(self.device):
                model.decode(tokens)

        return self._inference(work)

    def plain_decode(self) -> Subject:
        """The same, plainly."""
        model, tokens = plain_vqvae(self.model()).eval(), self.tokens()
        whole = (tokens.scene, tokens.object, tokens.motion)
        return Subject(lambda: _done(model.decode(whole)), self.batch * self.config.frames, "frames", "plain")

    def codebook(self) -> Subject:
        """Nearest codes of a batch's features, and the one update that follows."""
        quantizer = Quantizer(self.config.codebook_size, self.config.code_dimension).to(self.device)
        vectors, settings = torch.cat(self._vectors()), CodebookConfig()
        block = None if self.settings.on else len(vectors) * self.config.codebook_size  # all distances at once

        def work() -> None:
            found = nearest(vectors, quantizer.codebook, block)
            quantizer.observe_(vectors, found)
            quantizer.update_(settings, Solo())

        return Subject(work, len(vectors), "vectors", said({"search in blocks": self.settings.on}))

    def plain_codebook(self) -> Subject:
        """The same by one-hot matrices, with an update a component."""
        quantizer = OneHotQuantizer(self.config.codebook_size, self.config.code_dimension).to(self.device).train()
        components = [part.T[None, :, :, None] for part in self._vectors()]

        def work() -> None:
            for part in components:
                quantizer(part)

        return Subject(work, sum(part.shape[2] for part in components), "vectors", "plain")

    def _vectors(self) -> list[Tensor]:
        """Features of the three components, (P, D) each."""
        counts = [part.numel() for part in dataclasses.astuple(self.tokens())]
        return [torch.randn(n, self.config.code_dimension, generator=self.random).to(self.device) for n in counts]

    def _training(self, work: Callable[[], None], drawn: Mapping[str, object]) -> Subject:
        training, name = self.step.training, self.settings.precision.name
        words = said(
            {
                "precision": name,
                "channels_last": training.channels_last,
                "optimizer.fused": training.optimizer.fused,
                "fused_attention": training.fused_attention,
                "compile": training.compile,
                **drawn,
            }
        )
        return Subject(work, self.batch, "clips", words, name, training.compile)

    def _inference(self, work: Callable[[], None]) -> Subject:
        training, name = self.step.training, self.settings.precision.name
        words = {"precision": name, "channels_last": training.channels_last}
        words["fused_attention"] = training.fused_attention
        return Subject(work, self.batch * self.config.frames, "frames", said(words), name)


def _done(result: object) -> None:
    """Drop a result."""
