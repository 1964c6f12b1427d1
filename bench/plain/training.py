"""The losses of both stages, plainly. B batch, T frames, H W pixels, h w token grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bench.plain.transformer import PlainTransformer
from bench.plain.vqvae import PlainVQVAE, Tokens


def vqvae_loss(
    model: PlainVQVAE, frames: Float[Tensor, "B T 3 H W"], commitment: float, ssim_weight: float
) -> Float[Tensor, ""]:
    """L2, commitment and negative SSIM; in training the codebook is updated meanwhile."""
    drawn, commit, _ = model(frames)
    loss = F.mse_loss(drawn, frames) + commitment * commit
    if ssim_weight:
        loss = loss + ssim_weight * (1 - ssim(drawn.flatten(0, 1), frames.flatten(0, 1)))
    return loss


def ssim(a: Float[Tensor, "n 3 H W"], b: Float[Tensor, "n 3 H W"]) -> Float[Tensor, ""]:
    """Mean structural similarity of images in [0, 1]: five depthwise convolutions, the window only inside the image."""
    places = torch.arange(11, device=a.device, dtype=a.dtype) - 5
    line = torch.exp(-places.pow(2) / (2 * 1.5**2))
    line = line / line.sum()
    window = (line[:, None] * line[None]).expand(3, 1, 11, 11)

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(x, window, groups=3)

    mean_a, mean_b = blur(a), blur(b)
    spread_a, spread_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    together = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * together + c2)
    return (top / ((mean_a**2 + mean_b**2 + c1) * (spread_a + spread_b + c2))).mean()


def transformer_loss(
    model: PlainTransformer,
    target: Tokens,
    pseudo_scene: Int[Tensor, "B hs ws"],
    pseudo_object: Int[Tensor, "B ho wo"],
    mask: Bool[Tensor, "B T hm wm"],
    changed_weight: float,
    unchanged_weight: float,
) -> Float[Tensor, ""]:
    """Mean of three cross-entropies; the motion's is computed at every position and kept at the masked ones."""
    scene, object, motion = target
    losses = []
    for logits, true, pseudo in zip(
        model.scene_object_logits(pseudo_scene, pseudo_object),
        (scene, object),
        (pseudo_scene, pseudo_object),
        strict=True,
    ):
        weight = torch.where(true == pseudo, unchanged_weight, changed_weight)
        losses.append(_weighted(logits, true, weight))
    logits = model.motion_logits(motion.masked_fill(mask, model.mask), model.guidance(scene, object))
    losses.append(_weighted(logits, motion, mask.float()))
    return torch.stack(losses).mean()


def _weighted(
    logits: Float[Tensor, "*shape N"], true: Int[Tensor, "*shape"], weight: Float[Tensor, "*shape"]
) -> Tensor:
    each = F.cross_entropy(logits.flatten(0, -2), true.flatten(), reduction="none")
    return (each * weight.flatten()).sum() / weight.sum()
