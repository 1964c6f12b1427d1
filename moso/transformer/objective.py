"""Stage II's training as the loop sees it: batches from the token store, masks, the loss, the validation's figures.

B batch, T frames, N codebook size, h w token grid (s scene, o object, m motion).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moso.errors import MismatchError
from moso.tokens.clip_tokens import ClipTokens
from moso.tokens.store import StoredBatch, TokenStore
from moso.training.objective import Rival
from moso.training.random import generator
from moso.training.sampler import Sample
from moso.training.world import World
from moso.transformer.config import LossConfig
from moso.transformer.masking import training_mask
from moso.transformer.model import MosoTransformer
from moso.transformer.sampling import draw, evaluating


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
        ConfigError: the store has no training clip.
    """

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
        self.module: nn.Module = model
        self.rivals: Sequence[Rival] = ()
        self.model, self.store, self.config, self.seed = model, store, loss, seed
        self.rows = store.rows("train")
        self.size = len(self.rows)
        has_validation = bool((store.table["split"] == "validation").any())
        every = store.rows("validation").tolist() if has_validation else []
        count = min(validation_clips, len(every))
        self.validation_rows = [every[i * len(every) // count] for i in range(count)]
        self.validation_batch = validation_batch

    def sample_id(self, index: int) -> str:
        """The clip's id."""
        return str(self.store.table["clip_id"].iloc[int(self.rows[index])])

    def prepare(self, samples: Sequence[Sample]) -> StoredBatch:
        """The tokens of `samples`, on the CPU."""
        return self.store.batch([int(self.rows[sample.index]) for sample in samples])

    def before_step(self, step: int, world: World) -> None:
        """Nothing precedes a step."""

    def loss(self, batch: StoredBatch, samples: Sequence[Sample], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean of the cross-entropies (nats a token) of scene, object and masked motion tokens.

        The mask and the drawn tokens of a clip are functions of the seed and of its position in the training.
        """
        model = self.model
        target, scene, object = self._to(batch)
        random = [generator(self.seed, "masking", sample.position) for sample in samples]
        masks = [training_mask(model.grids.frames, model.grids.motion, model.given_motion_frames, g) for g in random]
        mask = torch.stack(masks).to(model.device)
        given = target.motion[:, : model.given_motion_frames]

        scene_logits, object_logits = model.scene_object_logits(scene, object, given)
        scene_loss = self._scene_object_loss(scene_logits, target.scene, scene)
        object_loss = self._scene_object_loss(object_logits, target.object, object)
        read = [
            self._read_by_guidance(logits.detach(), true, random)
            for logits, true in ((scene_logits, target.scene), (object_logits, target.object))
        ]
        guidance = model.guidance(read[0], read[1], scene, object, given)
        logits = model.motion_logits(target.motion.masked_fill(mask, model.mask), guidance, mask)
        motion_loss = self._motion_loss(logits, target.motion, mask)
        weight = self.config.motion_weight
        total = (scene_loss + object_loss + weight * motion_loss) / (2 + weight)
        figures = {"scene_loss": scene_loss, "object_loss": object_loss, "motion_loss": motion_loss}
        return total, {name: value.detach() for name, value in figures.items()}

    def _to(self, batch: StoredBatch) -> tuple[ClipTokens, Int[Tensor, "B h w"], Int[Tensor, "B a b"]]:
        """Target tokens, pseudo scene and pseudo object tokens on the model's device.

        With K = 0 nothing is given, and the pseudo clip's are all the mask token, as in sampling (unconditional
        generation); what a store holds in their place (zeros) means nothing. The mask differs from every target token,
        so all tokens weigh alike.
        """
        device = self.model.device
        target, scene, object = batch.target.to(device), batch.pseudo_scene.to(device), batch.pseudo_object.to(device)
        if self.model.given_frames == 0:
            scene, object = (torch.full_like(part, self.model.mask) for part in (scene, object))
        return target, scene, object

    def _scene_object_loss(
        self, logits: Float[Tensor, "B h w N"], true: Int[Tensor, "B h w"], pseudo: Int[Tensor, "B h w"]
    ) -> Tensor:
        changed, unchanged = self.config.changed_weight, self.config.unchanged_weight
        return self._cross_entropy(
            logits.flatten(0, 2), true.flatten(), weights(true, pseudo, changed, unchanged).flatten()
        )

    def _motion_loss(
        self, logits: Float[Tensor, "n N"], motion: Int[Tensor, "B T h w"], mask: Bool[Tensor, "B T h w"]
    ) -> Tensor:
        before = torch.cat([motion[:, :1], motion[:, :-1]], dim=1)
        return self._cross_entropy(logits, motion[mask], weights(motion, before, self.config.moving_weight, 1.0)[mask])

    def _cross_entropy(
        self, logits: Float[Tensor, "n N"], true: Int[Tensor, " n"], weight: Float[Tensor, " n"]
    ) -> Tensor:
        each = F.cross_entropy(logits.float(), true, reduction="none", label_smoothing=self.config.label_smoothing)
        return (each * weight).sum() / weight.sum()

    def _read_by_guidance(
        self, logits: Float[Tensor, "B h w N"], true: Int[Tensor, "B h w"], random: Sequence[torch.Generator]
    ) -> Int[Tensor, "B h w"]:
        """The tokens of one component that TransformerG reads: see LossConfig.guidance_from."""
        if self.config.guidance_from == "true":
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
        in training. start_*: every generated motion token masked and TransformerG fed SO's likeliest
        tokens, which is where sampling starts.
        """
        sums: dict[str, list[float]] = {}
        with evaluating(self.model):
            for first in range(0, len(self.validation_rows), self.validation_batch):
                self._validate_batch(first, sums)
        return {name: total / max(count, 1) for name, (total, count) in sums.items()}

    def _validate_batch(self, first: int, sums: dict[str, list[float]]) -> None:
        model = self.model
        numbers = range(first, min(first + self.validation_batch, len(self.validation_rows)))
        target, scene, object = self._to(self.store.batch([self.validation_rows[i] for i in numbers]))
        given_frames, motion = model.given_motion_frames, target.motion
        given = motion[:, :given_frames]
        logits = model.scene_object_logits(scene, object, given)
        for part, true, pseudo in zip(logits, (target.scene, target.object), (scene, object), strict=True):
            flat, answer = part.flatten(0, 2), true.flatten()
            _add(sums, "scene_object", flat, answer)
            changed = (true != pseudo).flatten()
            hits = (flat.argmax(dim=-1) == answer)[changed]
            _count(sums, "scene_object_changed_accuracy", float(hits.sum()), int(changed.sum()))

        masks = [training_mask(model.grids.frames, model.grids.motion, given_frames, self._fixed(i)) for i in numbers]
        mask = torch.stack(masks).to(model.device)
        guidance = model.guidance(target.scene, target.object, scene, object, given)
        _add(sums, "motion", model.motion_logits(motion.masked_fill(mask, model.mask), guidance, mask), motion[mask])

        start = torch.zeros_like(mask)
        start[:, given_frames:] = True
        guidance = model.guidance(logits[0].argmax(dim=-1), logits[1].argmax(dim=-1), scene, object, given)
        _add(sums, "start", model.motion_logits(motion.masked_fill(start, model.mask), guidance, start), motion[start])

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
