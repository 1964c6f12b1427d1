"""Stage II's rows: training step, a whole prediction, many samples of one video.

K given frames, T frames of a clip, S samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bench.cases import Settings, Subject, said
from bench.plain.sampling import sample as plain_sample
from bench.plain.training import transformer_loss
from bench.plain.transformer import PlainTransformer
from bench.plain.vqvae import PlainVQVAE
from bench.plain.weights import plain_transformer, plain_vqvae
from bench.stage_one import StageOne
from bench.training_step import training_step
from moso.planning.samples import RandomTokens
from moso.tokens.store import StoreSettings
from moso.training.random import generator
from moso.training.switches import switch_
from moso.transformer.masking import training_mask
from moso.transformer.model import MosoTransformer
from moso.transformer.objective import TransformerObjective
from moso.transformer.sampling import sample
from moso.vqvae.config import given_motion_frames
from moso.vqvae.decompose import pseudo_clip
from moso.vqvae.model import VQVAE


class StageTwo:
    """Makes them, for one variant."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.step, self.device = settings, settings.transformer, settings.device
        self.batch, self.config, self.one = settings.case.batch, settings.vqvae.model, StageOne(settings)
        self.random = generator(0, "bench")
        self.given = settings.given_frames
        self.given_motion = given_motion_frames(self.config, self.given)

    def model(self) -> MosoTransformer:
        """Untrained, switched."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = MosoTransformer(
                self.step.model,
                self.config.grids,
                self.config.codebook_size,
                None,
                self.given,
                self.given_motion,
                "bench",
            )
        switch_(model, dataclasses.replace(self.step.training, compile=False))
        return model.to(self.device)

    def store(self) -> RandomTokens:
        """Random tokens of as many clips as a batch has."""
        grids, size = self.config.grids, self.config.codebook_size
        return RandomTokens(self.batch, StoreSettings(grids, size, "bench", self.given, self.given_motion))

    def train(self) -> Subject:
        """One step of the training."""
        training, name = self.step.training, self.settings.precision.name
        objective = TransformerObjective(self.model(), self.store(), self.step.loss, seed=0)
        words = {
            "precision": name,
            "optimizer.fused": training.optimizer.fused,
            "fused_attention": training.fused_attention,
            "compile": training.compile,
        }
        work = training_step(objective, training, self.device, 0)
        return Subject(work, self.batch, "clips", said(words), name, training.compile)

    def plain_train(self) -> Subject:
        """The same, plainly."""
        loss_config, grids, store = self.step.loss, self.config.grids, self.store()
        model = plain_transformer(self.model()).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=self.step.training.optimizer.learning_rate)

        def work() -> None:
            optimizer.zero_grad()
            batch = store.batch(range(self.batch))
            target = batch.target.to(self.device)
            masks = [training_mask(grids.frames, grids.motion, self.given_motion, self.random) for _ in target.motion]
            loss = transformer_loss(
                model,
                (target.scene, target.object, target.motion),
                batch.pseudo_scene.to(self.device),
                batch.pseudo_object.to(self.device),
                torch.stack(masks).to(self.device),
                loss_config.changed_weight,
                loss_config.unchanged_weight,
            )
            loss.backward()
            optimizer.step()
            loss.item()

        return Subject(work, self.batch, "clips", "plain")

    def sampling(self) -> Subject:
        """A prediction of B clips, given frames to predicted ones."""
        first, second = self.one.model().eval(), self.model().eval()
        frames = self.one.frames()
        words = {"steps": self.step.sampling.steps}
        return self._prediction(lambda: self._predict(first, second, frames, 1), words)

    def plain_sampling(self) -> Subject:
        """The same, plainly."""
        first: PlainVQVAE = plain_vqvae(self.one.model()).eval()
        second: PlainTransformer = plain_transformer(self.model()).eval()
        frames, settings = self.one.frames(), self.step.sampling

        def work() -> None:
            scene, object, motion = first.encode(pseudo_clip(frames, self.given))
            known = motion[:, : self.given_motion]
            first.decode(plain_sample(second, scene, object, known, settings.steps, settings.confidence_noise))

        return Subject(work, self.amount, "frames", f"plain, {said({'steps': settings.steps})}")

    def many_samples(self) -> Subject:
        """S samples of one video: known frames encoded, and TransformerSO asked, once for all."""
        first, second, frames = self.one.model().eval(), self.model().eval(), self.one.frames(1)
        words = {"steps": self.step.sampling.steps, "samples at once": self.batch}
        return self._prediction(lambda: self._predict(first, second, frames, self.batch), words)

    def _predict(self, first: VQVAE, second: MosoTransformer, frames: Tensor, samples: int) -> None:
        """As moso.tasks does it."""
        wanted = torch.arange(self.given, self.config.frames, device=self.device)
        seeds = range(len(frames) * samples)
        with torch.no_grad(), self.settings.precision.autocast(self.device):
            known = first.encode(pseudo_clip(frames, self.given))
            given = known.motion[:, : self.given_motion]
            tokens = sample(second, known.scene, known.object, given, self.step.sampling, seeds, repeats=samples)
            first.decode(tokens, wanted)

    @property
    def amount(self) -> int:
        """Frames that a call predicts."""
        return self.batch * (self.config.frames - self.given)

    def _prediction(self, work: Callable[[], None], words: Mapping[str, object]) -> Subject:
        training, name = self.step.training, self.settings.precision.name
        on = {
            "precision": name,
            "channels_last": self.settings.vqvae.training.channels_last,
            "fused_attention": training.fused_attention,
        }
        return Subject(work, self.amount, "frames", said({**on, **words}), name)
