"""Stage I's training: what moso.training.loop calls at each step.

B clips of this worker's part of the batch, T frames, n frames of each whose motion is encoded, d of these drawn,
V vectors of a clip before quantisation, D code dimension.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from moso.errors import ConfigError
from moso.frames.clips import Clips, to_float
from moso.training.accumulation import split
from moso.training.config import TrainingConfig
from moso.training.objective import Rival
from moso.training.random import generator
from moso.training.sampler import Sample
from moso.training.world import Solo, World
from moso.vqvae.adversarial import adversarial_terms, discriminators
from moso.vqvae.decompose import decompose
from moso.vqvae.kmeans import kmeans, rows_at
from moso.vqvae.losses import LossConfig, psnr, reconstruction_terms
from moso.vqvae.model import VQVAE, Features
from moso.vqvae.objective_config import ObjectiveConfig
from moso.vqvae.perceptual import load_lpips

CHUNK = 8
"""Clips encoded at once outside the training step (checks, k-means, validation)."""


class VQVAEObjective:
    """Stage I as the training loop's Objective.

    Args:
        model: on its device.
        training_clips, validation_clips: sets of clips of the model's length; the second may be None.
        steps, batch: of the whole training, from its TrainingConfig.
        seed: keys every random draw.

    Raises:
        ConfigError: settings that the model's shape does not allow.
        WeightsError: the perceptual loss is on and its backbone's weights are not there.
    """

    best_by: tuple[str, Literal["highest", "lowest"]] = ("psnr", "highest")

    def __init__(
        self,
        model: VQVAE,
        config: ObjectiveConfig,
        loss: LossConfig,
        training: TrainingConfig,
        *,
        training_clips: Clips,
        validation_clips: Clips | None,
        seed: int,
    ) -> None:
        pools = model.config.pools
        if config.decode_pools > pools:
            raise ConfigError(
                "decode_pools",
                config.decode_pools,
                f"a clip has {pools} pools",
                f"1 to {pools} would fit, or 0 for all",
            )
        if config.decode_frames > model.config.pool_frames:
            raise ConfigError(
                "decode_frames",
                config.decode_frames,
                f"a pool has {model.config.pool_frames} frames",
                f"1 to {model.config.pool_frames} would fit, or 0 for all",
            )
        adversarial = loss.adversarial
        if training.accumulation > 1 and adversarial.weight == "adaptive" and (adversarial.video or adversarial.image):
            raise ConfigError(
                "accumulation",
                training.accumulation,
                "the adaptive adversarial weight compares gradients of the whole batch",
                'set loss.adversarial.weight to "fixed", accumulation to 1, or save memory by recompute',
            )
        self.module: nn.Module = model
        self.model = model
        self.size = len(training_clips)
        self.per_sample = {"images": model.config.frames}
        self.config, self.loss_config, self.training = config, loss, training
        self.training_clips, self.validation_clips = training_clips, validation_clips
        self.seed = seed
        self.pools = config.decode_pools or pools
        self.pool_frames = config.decode_frames or model.config.pool_frames
        device = model.codebook.device
        self.perceptual = load_lpips("vgg", device) if loss.perceptual else None
        self.discriminators = discriminators(loss.adversarial, model.config, seed, device)
        self.rivals: Sequence[Rival] = self.discriminators
        self._world: World = Solo()
        self.quantised_from: int | None = None if config.soft_start.most else 0
        self._outputs: tuple[Tensor, Tensor] | None = None
        self._codebook_names = model.config.components if model.config.codebook_parts > 1 else ()

    # the protocol of moso.training.objective

    def prepare(self, samples: Sequence[Sample]) -> UInt8[Tensor, "B T H W 3"]:
        """The clips of `samples`, uint8 [0, 255]."""
        return self.training_clips.batch([s.index for s in samples])

    def sample_id(self, index: int) -> str:
        """The clip's id."""
        return self.training_clips.clips[index].id

    def parts(
        self, batch: UInt8[Tensor, "B T H W 3"], samples: Sequence[Sample], count: int
    ) -> list[tuple[Tensor, Sequence[Sample]]]:
        """Clips by clips: all terms are means over frames of which each clip has as many."""
        return [(batch[part], samples[part]) for part in split(len(samples), count)]

    def before_step(self, step: int, world: World) -> None:
        """End the soft start where it is time: quantisation begins with this step."""
        self._world = world
        self._outputs = None
        for discriminator in self.discriminators:
            discriminator.forget()
        self._choose_pools(step)
        if self.quantised_from is None and self._motion_in_use(step, world):
            self._initialise_codebook(step, world)
            self.quantised_from = step

    def loss(
        self, batch: UInt8[Tensor, "B T H W 3"], samples: Sequence[Sample], step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstruction of the drawn frames, commitment (Eq. 9) and, from its step on, what the discriminators say."""
        self._choose_pools(step)
        frames = to_float(batch.to(self.model.codebook.device, non_blocking=True))
        positions = [s.position for s in samples]
        chosen = self._chosen_frames(positions).to(frames.device)
        features = self._features(frames, chosen, step)
        figures: dict[str, Tensor] = {}
        if self.quantised_from is None:
            codes, total = features, frames.new_zeros(())
        else:
            quantised = self.model.quantize(features)
            codes, total = quantised.codes, self.loss_config.commitment * quantised.commitment
            figures["commitment"] = quantised.commitment
            if self.model.training:
                self._observe(quantised.vectors, quantised.found, samples)
        kept = self._drawn_frames(positions).to(frames.device)
        codes = codes._replace(motion=_take(codes.motion, kept))
        drawn, true = self.model.decoder(*codes), _take(frames, chosen.gather(1, kept))
        terms = reconstruction_terms(self.loss_config, drawn, true, self.perceptual)
        for name, (weight, term) in (*terms.items(), *self._adversarial(terms, drawn, true, step, len(samples))):
            total = total + weight * term
            figures[name] = term
        with torch.no_grad():
            figures["psnr"] = psnr(drawn, true).mean()
        return total, {name: value.detach() for name, value in figures.items()}

    def after_step(self, step: int, world: World) -> dict[str, float]:
        """The codebook's one update of this step, and the restart of dead entries where it is time.

        Where codebooks are separate, usage, perplexity and dead entries are also given for each (codes_used_scene …):
        in the whole table one that collapses hides behind the others.
        """
        if self._outputs is None:
            return {}
        vectors, slots = self._outputs
        self._outputs = None
        quantizer, config = self.model.quantizer, self.config.codebook
        figures = quantizer.update_(config, world, self._codebook_names)
        due = (
            config.restart_every
            and (step + 1) % config.restart_every == 0
            and step < config.restart_until * self.training.steps
        )
        dead = quantizer.dead(config)
        figures["codes_dead"] = float(len(dead))
        for name, part in self._named_parts():
            figures[f"codes_dead_{name}"] = float(((dead >= part.start) & (dead < part.stop)).sum())
        if due and len(dead):
            draws = generator(self.seed, "restart", step)
            for entries, rows in self._codebooks():
                mine = dead[(dead >= entries.start) & (dead < entries.stop)]
                if len(mine):
                    found = vectors[:, rows]
                    places = torch.randint(self.training.batch * found.shape[1], (len(mine),), generator=draws)
                    quantizer.replace_(mine, rows_at(places.to(vectors.device), found, slots, world))
        return figures

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, float]:
        """Reconstruction of the validation clips in dB, also with every frame drawn from the first one's motion
        (psnr_frozen), and usage of the codebook, where codebooks are separate also of each.

        Where psnr_frozen is as high as psnr, the motion tokens carry nothing.
        """
        clips = self.validation_clips
        if clips is None or not len(clips) or not self.config.validation_clips:
            return {}
        wanted = evenly(len(clips), self.config.validation_clips)
        sums, used = self._reconstruction(clips, wanted)
        whole, frozen = (sums / len(wanted)).tolist()
        by_part = {f"codes_used_{name}": float(used[part].sum()) for name, part in self._named_parts()}
        return {"psnr": whole, "psnr_frozen": frozen, "codes_used": float(used.sum()), **by_part}

    def state(self) -> dict[str, Any]:
        """Where quantisation began; None while the soft start goes on."""
        return {"quantised_from": self.quantised_from}

    def load_state(self, state: dict[str, Any]) -> None:
        self.quantised_from = state["quantised_from"]

    # its parts

    def _features(self, frames: Float[Tensor, "B T C H W"], chosen: Int[Tensor, "B n"], step: int) -> Features:
        """Features of all three components, motion for the chosen frames (whole pools)."""
        preprocessing = self.config.preprocessing
        if step < preprocessing.until_step and self.model.config.decomposition == "motion_scene_object":
            videos = decompose(frames, preprocessing.low, preprocessing.high)
        else:
            videos = self.model.videos(frames)
        return self.model.features(videos.scene, videos.object, _take(videos.motion, chosen))

    def _adversarial(
        self,
        terms: Mapping[str, tuple[float, Tensor]],
        drawn: Float[Tensor, "B n C H W"],
        true: Float[Tensor, "B n C H W"],
        step: int,
        samples: int,
    ) -> Iterable[tuple[str, tuple[float | Tensor, Tensor]]]:
        config = self.loss_config.adversarial
        if step < config.from_step or not self.discriminators:
            return ()
        reconstruction = torch.stack([weight * term for weight, term in terms.values()]).sum()
        return adversarial_terms(
            self.discriminators,
            config.weight,
            drawn,
            true,
            reconstruction=reconstruction,
            last_layer=self.model.decoder.last_layer,
            share=samples / self.training.batch,
            world=self._world,
        ).items()

    def _choose_pools(self, step: int) -> None:
        """How many pools this step draws, and frames of each: all where a discriminator looks at whole clips."""
        adversarial, model = self.loss_config.adversarial, self.model.config
        whole = adversarial.video > 0 and step >= adversarial.from_step
        self.pools = model.pools if whole else self.config.decode_pools or model.pools
        self.pool_frames = model.pool_frames if whole else self.config.decode_frames or model.pool_frames

    def _chosen_frames(self, positions: Sequence[int]) -> Int[Tensor, "B n"]:
        """Frames to encode of each sample: those of `pools` random pools, keyed by the sample's position."""
        every, length = self.model.config.pools, self.model.config.pool_frames
        if self.pools == every:
            return torch.arange(every * length).expand(len(positions), -1)
        rows = [_draw(every, self.pools, generator(self.seed, "pools", p)) for p in positions]
        return (torch.stack(rows)[:, :, None] * length + torch.arange(length)).flatten(1)

    def _drawn_frames(self, positions: Sequence[int]) -> Int[Tensor, "B d"]:
        """Which of the encoded frames are drawn: `pool_frames` random ones of each pool, keyed likewise."""
        length = self.model.config.pool_frames
        if self.pool_frames == length:
            return torch.arange(self.pools * length).expand(len(positions), -1)
        rows = []
        for position in positions:
            random = generator(self.seed, "frames", position)
            rows.append(torch.stack([_draw(length, self.pool_frames, random) for _ in range(self.pools)]))
        return (torch.stack(rows) + torch.arange(self.pools)[:, None] * length).flatten(1)

    def _observe(self, vectors: Float[Tensor, "B V D"], tokens: Int[Tensor, "B V"], samples: Sequence[Sample]) -> None:
        """Statistics for the codebook; a drawn pool's positions count for those of the pools left out."""
        model = self.model.config
        still = vectors.shape[1] - self.pools * model.pool_frames * int(np.prod(self.model.grids.motion))
        for part, weight in ((slice(None, still), 1.0), (slice(still, None), model.pools / self.pools)):
            self.model.quantizer.observe_(vectors[:, part].flatten(0, 1), tokens[:, part].flatten(), weight)
        slots = torch.tensor([s.position % self.training.batch for s in samples], device=vectors.device)
        before, self._outputs = self._outputs, (vectors, slots)
        if before is not None:  # of this step's earlier parts
            self._outputs = torch.cat([before[0], vectors]), torch.cat([before[1], slots])

    def _motion_in_use(self, step: int, world: World) -> bool:
        """Whether the soft start is over: its criterion is met, or its longest time is up."""
        soft, steps = self.config.soft_start, self.training.steps
        if step < soft.least * steps:
            return False
        if step >= soft.most * steps:
            return True
        if step % soft.check_every:
            return False
        wanted = evenly(self.size, soft.check_clips)
        # every worker draws its part, and all decide by the same sum
        sums, _ = self._reconstruction(self.training_clips, wanted[world.rank :: world.size])
        whole, frozen = (world.all_reduce_(sums) / len(wanted)).tolist()
        return bool(whole - frozen >= soft.motion_gain)

    @torch.no_grad()
    def _reconstruction(self, clips: Clips, wanted: np.ndarray) -> tuple[Float[Tensor, "2"], Tensor]:
        """Sums over clips of their PSNR, whole and with motion frozen to the first frame's, and which codes they
        use."""
        model = self.model
        device = model.codebook.device
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        used = torch.zeros(len(model.codebook), dtype=torch.bool, device=device)
        for at in range(0, len(wanted), CHUNK):
            frames = to_float(clips.batch(wanted[at : at + CHUNK]).to(device))
            videos = model.videos(frames)
            codes = model.features(videos.scene, videos.object, videos.motion)
            if self.quantised_from is not None:
                quantised = model.quantize(codes)
                codes = quantised.codes
                used[quantised.found] = True
            still = codes._replace(motion=codes.motion[:, :1])
            for i, part in enumerate((codes, still)):
                sums[i] += psnr(model.decoder(*part).expand_as(frames), frames).mean(1).sum()
        return sums, used

    @torch.no_grad()
    def _initialise_codebook(self, step: int, world: World) -> None:
        """k-means of what the encoders give for random training clips, in the share in which a step sees the
        components; where codebooks are separate, each of its own component's vectors."""
        model, soft, seed = self.model, self.config.soft_start, self.seed
        sizes = [(entries.stop - entries.start, rows.stop - rows.start) for entries, rows in self._codebooks()]
        per_clip = sum(vectors for _, vectors in sizes)
        count = max(1, *(-(-soft.vectors_per_code * codes // vectors) for codes, vectors in sizes))
        wanted = torch.randint(self.size, (count,), generator=generator(seed, "codebook", "clips"))
        chosen = self._chosen_frames([-1 - i for i in range(count)])  # positions that no training sample has
        mine = torch.arange(count)[world.rank :: world.size]
        parts = [model.codebook.new_zeros(0, per_clip, model.config.code_dimension)]
        for part in mine.split(CHUNK) if len(mine) else ():  # with fewer clips than workers some have none
            frames = to_float(self.training_clips.batch(wanted[part].numpy()).to(model.codebook.device))
            parts.append(self._features(frames, chosen[part].to(frames.device), step).rows().float())
        vectors = torch.cat(parts)
        slots, draws = mine.to(vectors.device), generator(seed, "codebook", "kmeans")
        model.quantizer.weight.fill_(1)
        for (entries, rows), (size, _) in zip(self._codebooks(), sizes, strict=True):
            centres, uses = kmeans(
                vectors[:, rows], slots, count, size, generator=draws, iterations=soft.iterations, world=world
            )
            every = torch.arange(entries.start, entries.stop, device=centres.device)
            model.quantizer.replace_(every, centres, uses * (self.training.batch / count))

    def _named_parts(self) -> Iterable[tuple[str, slice]]:
        """Component and entries of each codebook; nothing where they share one."""
        return zip(self._codebook_names, self.model.quantizer.parts, strict=bool(self._codebook_names))

    def _codebooks(self) -> list[tuple[slice, slice]]:
        """Of each part of the codebook its entries, and which of a clip's vectors in a step are for them."""
        rows = self.model.rows_of_parts(self.pools * self.model.config.pool_frames)
        return list(zip(self.model.quantizer.parts, rows, strict=True))


def evenly(size: int, count: int) -> Int[np.ndarray, " n"]:
    """At most `count` indices spread evenly over [0, size), the middles of equal parts."""
    count = min(size, count)
    return (np.arange(count) * 2 + 1) * size // (2 * count)


def _draw(size: int, count: int, random: torch.Generator) -> Int[Tensor, " count"]:
    """`count` of [0, size), each as likely as the next, in order."""
    return torch.randperm(size, generator=random)[:count].sort().values


def _take(video: Float[Tensor, "B T C H W"], frames: Int[Tensor, "B n"]) -> Float[Tensor, "B n C H W"]:
    if frames.shape[1] == video.shape[1]:  # all of them: they are in order
        return video
    return video[torch.arange(len(video), device=video.device)[:, None], frames]
