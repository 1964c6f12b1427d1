"""Stage II's training as the loop sees it: batches from the token store, masks, the loss, the validation's figures.

B batch, T frames, N codebook size, h w token grid (s scene, o object, m motion).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moso.errors import ConfigError, MismatchError
from moso.tokens.clip_tokens import ClipTokens
from moso.tokens.store import StoredBatch, TokenStore
from moso.training.accumulation import split
from moso.training.objective import Rival
from moso.training.random import generator
from moso.training.sampler import Sample
from moso.training.world import Solo, World
from moso.transformer.config import LossConfig
from moso.transformer.filling import draw
from moso.transformer.masking import clip_mask, training_mask
from moso.transformer.model import MosoTransformer
from moso.transformer.sampling import evaluating
from moso.transformer.single import Content

CONTENT = ("scene", "object")


@dataclass(frozen=True)
class Given:
    """What clips are conditioned on; all mask tokens where nothing is given (unconditional generation, Sec. 4.2).

    Attributes:
        scene, object: the pseudo clip's tokens. A mask differs from every target token, so all weigh alike there.
        motion: the motion tokens of the leading frames whose pools lie wholly inside the given ones.
    """

    scene: Int[Tensor, "B hs ws"]
    object: Int[Tensor, "B ho wo"]
    motion: Int[Tensor, "B g hm wm"]


@dataclass(frozen=True)
class Part:
    """Some clips of a batch that is taken in parts (TrainingConfig.accumulation), or dealt to several workers.

    Attributes:
        batch: their tokens.
        weight: component -> the weights of the tokens that its cross-entropy counts, a clip, on average over the whole
            batch of all workers: the cross-entropy is a mean over tokens, of which some parts of a batch have more than
            others.
    """

    batch: StoredBatch
    weight: Mapping[str, float]


class TransformerObjective:
    """The three cross-entropies of Sec. 3.2 on the clips of a token store.

    Args:
        model: on the device to train on.
        store: of the same codebook and grids.
        loss: see LossConfig.
        seed: of masks and sampled tokens.
        validation_clips: how many clips of the validation split `validate` looks at, evenly spread over it.
        validation_batch: clips at a time there.

    Raises:
        MismatchError: the store holds tokens of another codebook, of other grids or for other given frames.
        ConfigError: the store has no training clip; or guidance_from is set for a model without TransformerG.
    """

    best_by: tuple[str, Literal["highest", "lowest"]] = ("motion_cross_entropy", "lowest")

    def __init__(
        self,
        model: MosoTransformer,
        store: TokenStore,
        loss: LossConfig,
        *,
        seed: int,
        validation_clips: int = 64,
        validation_batch: int = 16,
    ) -> None:
        check_store(model, store)
        self.single = model.config.wiring == "single"
        if self.single and loss.guidance_from != "true":
            rule = "wiring = 'single' has no TransformerG that could read them"
            raise ConfigError("guidance_from", loss.guidance_from, rule, 'set it to "true"')
        if loss.unconditional_share > 0 and not model.unconditional:
            raise ValueError("unconditional_share above 0 takes a MosoTransformer(unconditional=True)")
        self.present = [name for name in CONTENT if name in model.grids.components]
        self.module: nn.Module = model
        self.rivals: Sequence[Rival] = ()
        self.per_sample = {"tokens": sum(math.prod(model.grids.shape(name)) for name in model.grids.components)}
        self.model, self.store, self.config, self.seed = model, store, loss, seed
        self.rows = store.rows("train")
        self.size = len(self.rows)
        has_validation = bool((store.table["split"] == "validation").any())
        every = store.rows("validation").tolist() if has_validation else []
        count = min(validation_clips, len(every))
        self.validation_rows = [every[i * len(every) // count] for i in range(count)]
        self.validation_batch = validation_batch
        self._world: World = Solo()

    def sample_id(self, index: int) -> str:
        """The clip's id."""
        return str(self.store.table["clip_id"].iloc[int(self.rows[index])])

    def prepare(self, samples: Sequence[Sample]) -> StoredBatch:
        """The tokens of `samples`, on the CPU."""
        return self.store.batch([int(self.rows[sample.index]) for sample in samples])

    def parts(self, batch: StoredBatch, samples: Sequence[Sample], count: int) -> list[tuple[Part, Sequence[Sample]]]:
        """Clips by clips, with the weights that the whole batch has: see Part. Every worker calls it."""
        weight = self._weight_a_clip(batch, samples)
        parts = []
        for of in split(len(samples), count):
            some = StoredBatch(batch.target[of], batch.pseudo_scene[of], batch.pseudo_object[of])
            parts.append((Part(some, weight), samples[of]))
        return parts

    def _weight_a_clip(self, batch: StoredBatch, samples: Sequence[Sample]) -> dict[str, float]:
        """`Part.weight` of the batch whose part `batch` is this worker's."""
        nothing = [self.nothing_given(sample) for sample in samples]
        target, given = self._to(batch, nothing)
        masks = self._masks(nothing, self._random(samples))
        sums = [torch.tensor(float(len(samples)), dtype=torch.float64, device=self.model.device)]
        for name in self.model.grids.components:
            each = self._weights(name, target, given)
            sums.append((each[masks[name]] if name in masks else each).double().sum())
        clips, *weight = self._world.all_reduce_(torch.stack(sums)).tolist()
        return {name: total / clips for name, total in zip(self.model.grids.components, weight, strict=True)}

    def before_step(self, step: int, world: World) -> None:
        """Nothing precedes a step."""
        self._world = world

    def loss(self, batch: StoredBatch | Part, samples: Sequence[Sample], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean of the cross-entropies (nats a token) of scene, object and masked motion tokens.

        A component that is absent is left out of it. The mask and the drawn tokens of a clip, and whether anything is
        given, are functions of the seed and of its position in the training. Of several workers each divides by the
        weights of the whole batch's tokens, not of its own ones' (see Part): the workers' mean is the loss of one.
        """
        random = self._random(samples)
        nothing = [self.nothing_given(sample) for sample in samples]
        if isinstance(batch, Part):
            part = batch
        else:
            part = Part(batch, self._weight_a_clip(batch, samples) if self._world.size > 1 else {})
        target, given = self._to(part.batch, nothing)
        masks = self._masks(nothing, random)
        weight = {name: self._weights(name, target, given) for name in self.model.grids.components}
        totals = {name: mean * len(samples) for name, mean in part.weight.items()}
        if self.single:
            losses = self._single_losses(target, given, masks, weight, totals)
        else:
            losses = self._two_losses(target, given, masks["motion"], weight, totals, random)
        weights = {name: self.config.motion_weight if name == "motion" else 1.0 for name in losses}
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum() / sum(weights.values())
        return total, {f"{name}_loss": loss.detach() for name, loss in losses.items()}

    def nothing_given(self, sample: Sample) -> bool:
        """Whether this training sample is of unconditional generation; see LossConfig.unconditional_share."""
        if self.model.given_frames == 0:
            return True
        drawn = float(torch.rand((), generator=generator(self.seed, "unconditional", sample.position)))
        return drawn < self.config.unconditional_share

    def _to(self, batch: StoredBatch, nothing: Sequence[bool]) -> tuple[ClipTokens, Given]:
        """The target tokens, and what is given of each clip, on the model's device.

        Where `nothing` is given, what a store holds in the pseudo clip's place (zeros with K = 0) means nothing.
        """
        device, mask = self.model.device, self.model.mask
        target = batch.target.to(device)
        hide = torch.tensor(nothing, device=device)[:, None, None]
        scene, object = (part.to(device).masked_fill(hide, mask) for part in (batch.pseudo_scene, batch.pseudo_object))
        motion = target.motion[:, : self.model.given_motion_frames].masked_fill(hide[..., None], mask)
        return target, Given(scene, object, motion)

    def _random(self, samples: Sequence[Sample]) -> list[torch.Generator]:
        """Of each sample; masks are drawn from it first."""
        return [generator(self.seed, "masking", sample.position) for sample in samples]

    def _masks(self, nothing: Sequence[bool], random: Sequence[torch.Generator]) -> dict[str, Bool[Tensor, "B *grid"]]:
        """Component -> its masked tokens; motion's alone with TransformerSO, which predicts all of the others'."""
        model = self.model
        frames = [0 if none else model.given_motion_frames for none in nothing]
        if self.single:
            several = [clip_mask(model.grids, n, g) for n, g in zip(frames, random, strict=True)]
            stacked = (torch.stack(masks).to(model.device) for masks in zip(*several, strict=True))
            return dict(zip((*CONTENT, "motion"), stacked, strict=True))
        drawn = [
            training_mask(model.grids.frames, model.grids.motion, n, g) for n, g in zip(frames, random, strict=True)
        ]
        return {"motion": torch.stack(drawn).to(model.device)}

    def _weights(self, name: str, target: ClipTokens, given: Given) -> Float[Tensor, "B *grid"]:
        """What each token of a component counts in its cross-entropy; see LossConfig."""
        if name != "motion":
            pseudo, config = getattr(given, name), self.config
            return weights(getattr(target, name), pseudo, config.changed_weight, config.unchanged_weight)
        before = torch.cat([target.motion[:, :1], target.motion[:, :-1]], dim=1)
        return weights(target.motion, before, self.config.moving_weight, 1.0)

    def _two_losses(
        self,
        target: ClipTokens,
        given: Given,
        mask: Bool[Tensor, "B T h w"],
        weight: Mapping[str, Tensor],
        totals: Mapping[str, float],
        random: Sequence[torch.Generator],
    ) -> dict[str, Tensor]:
        """TransformerSO's two and TransformerM's; `totals`: what each is divided by, the sum of its weights by
        default."""
        model = self.model
        table = model.vocabulary.table()
        answers = model.scene_object_logits(given.scene, given.object, given.motion, table)
        logits = dict(zip(CONTENT, answers, strict=True))
        losses = {
            name: self._cross_entropy(
                logits[name].flatten(0, 2), getattr(target, name).flatten(), weight[name].flatten(), totals.get(name)
            )
            for name in self.present
        }
        read = [self._read_by_guidance(logits[name].detach(), getattr(target, name), random) for name in CONTENT]
        guidance = model.guidance(read[0], read[1], given.scene, given.object, given.motion, table)
        motion = model.motion_logits(target.motion.masked_fill(mask, model.mask), guidance, mask, table)
        found = self._cross_entropy(motion, target.motion[mask], weight["motion"][mask], totals.get("motion"))
        return losses | {"motion": found}

    def _single_losses(
        self,
        target: ClipTokens,
        given: Given,
        masks: Mapping[str, Tensor],
        weight: Mapping[str, Tensor],
        totals: Mapping[str, float],
    ) -> dict[str, Tensor]:
        """The single network's, on the masked tokens of each component."""
        model = self.model
        hidden = {name: getattr(target, name).masked_fill(mask, model.mask) for name, mask in masks.items()}
        asked = {name: masks[name].flatten().nonzero().squeeze(1) for name in model.grids.components}
        content = Content(hidden["scene"], hidden["object"], given.scene, given.object)
        logits = model.clip_logits(content, hidden["motion"], asked)
        losses = {}
        for name in (*self.present, "motion"):
            true, counts = getattr(target, name)[masks[name]], weight[name][masks[name]]
            losses[name] = self._cross_entropy(logits[name], true, counts, totals.get(name))
        return losses

    def _cross_entropy(
        self, logits: Float[Tensor, "n N"], true: Int[Tensor, " n"], weight: Float[Tensor, " n"], total: float | None
    ) -> Tensor:
        each = F.cross_entropy(logits.float(), true, reduction="none", label_smoothing=self.config.label_smoothing)
        return (each * weight).sum() / (weight.sum() if total is None else total)

    def _read_by_guidance(
        self, logits: Float[Tensor, "B h w N"], true: Int[Tensor, "B h w"], random: Sequence[torch.Generator]
    ) -> Int[Tensor, "B h w"]:
        """The tokens of one component that TransformerG reads: see LossConfig.guidance_from."""
        if self.config.guidance_from == "true" or not true.numel():
            return true
        if self.config.guidance_from == "argmax":
            return logits.argmax(dim=-1)
        uniform = torch.stack([torch.rand(true.shape[1:], generator=g) for g in random]).to(true.device)
        return draw(logits.flatten(0, 2).float(), uniform.flatten(), 1.0).view_as(true)

    def after_step(self, step: int, world: World) -> dict[str, float]:
        """Nothing follows a step."""
        return {}

    def validate(self, step: int) -> dict[str, float]:
        """Cross-entropies (nats, unweighted) and accuracies on the validation clips, with the same masks each time.

        scene_object_*: over all tokens, and accuracy over the changed ones alone. motion_*: TransformerM with masks as
        in training. start_*: every generated motion token masked and TransformerG fed SO's likeliest tokens, which is
        where sampling starts. The single network answers the same questions. unconditional_*: the same with nothing
        given, where some of the training is so.
        """
        sums: dict[str, list[float]] = {}
        share = self.config.unconditional_share if self.model.given_frames else 0.0
        with evaluating(self.model):
            for first in range(0, len(self.validation_rows), self.validation_batch):
                numbers = range(first, min(first + self.validation_batch, len(self.validation_rows)))
                if share < 1:
                    self._validate_batch(numbers, self.model.given_frames == 0, "", sums)
                if share > 0:
                    self._validate_batch(numbers, True, "unconditional_", sums)
        return {name: total / max(count, 1) for name, (total, count) in sums.items()}

    def _validate_batch(self, numbers: range, nothing: bool, prefix: str, sums: dict[str, list[float]]) -> None:
        model = self.model
        batch = self.store.batch([self.validation_rows[i] for i in numbers])
        target, given = self._to(batch, [nothing] * len(numbers))
        given_frames, motion = 0 if nothing else model.given_motion_frames, target.motion
        logits = dict(zip(CONTENT, model.scene_object_logits(given.scene, given.object, given.motion), strict=True))
        for name in self.present:
            flat, answer = logits[name].flatten(0, 2), getattr(target, name).flatten()
            _add(sums, f"{prefix}scene_object", flat, answer)
            changed = answer != getattr(given, name).flatten()
            hits = (flat.argmax(dim=-1) == answer)[changed]
            _count(sums, f"{prefix}scene_object_changed_accuracy", float(hits.sum()), int(changed.sum()))

        masks = [training_mask(model.grids.frames, model.grids.motion, given_frames, self._fixed(i)) for i in numbers]
        mask = torch.stack(masks).to(model.device)
        guidance = model.guidance(target.scene, target.object, given.scene, given.object, given.motion)
        answers = model.motion_logits(motion.masked_fill(mask, model.mask), guidance, mask)
        _add(sums, f"{prefix}motion", answers, motion[mask])

        start = torch.zeros_like(mask)
        start[:, given_frames:] = True
        scene, object = (logits[name].argmax(dim=-1) for name in CONTENT)
        guidance = model.guidance(scene, object, given.scene, given.object, given.motion)
        answers = model.motion_logits(motion.masked_fill(start, model.mask), guidance, start)
        _add(sums, f"{prefix}start", answers, motion[start])

    def _fixed(self, number: int) -> torch.Generator:
        # Not keyed by the training's seed: figures of several seeds are compared.
        return generator(0, "validation masking", number)

    def state(self) -> dict[str, Any]:
        """All state is in the module."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """All state is in the module."""


def check_store(model: MosoTransformer, store: TokenStore) -> None:
    """Refuse a store whose tokens mean something else than the model's.

    Raises:
        MismatchError: another codebook, other grids or other given frames.
    """
    for name in ("codebook_digest", "grids", "given_frames", "given_motion_frames"):
        theirs, ours = getattr(store, name), getattr(model, name)
        if theirs != ours:
            raise MismatchError(f"{store.folder}: {name} is {theirs}, the model's is {ours}; rerun extract_tokens")


def weights(
    tokens: Int[Tensor, "*shape"], reference: Int[Tensor, "*shape"], changed: float, unchanged: float
) -> Float[Tensor, "*shape"]:
    """`changed` where the tokens differ from those of `reference`, `unchanged` elsewhere."""
    return torch.where(tokens == reference, unchanged, changed)


def _add(sums: dict[str, list[float]], name: str, logits: Float[Tensor, "n N"], true: Int[Tensor, " n"]) -> None:
    cross_entropy = F.cross_entropy(logits.float(), true, reduction="sum")
    _count(sums, f"{name}_cross_entropy", float(cross_entropy), len(true))
    _count(sums, f"{name}_accuracy", float((logits.argmax(dim=-1) == true).sum()), len(true))


def _count(sums: dict[str, list[float]], name: str, total: float, count: int) -> None:
    entry = sums.setdefault(name, [0.0, 0])
    entry[0] += total
    entry[1] += count
