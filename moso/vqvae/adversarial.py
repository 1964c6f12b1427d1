"""Stage I's adversarial terms: each discriminator as the loop's Rival, and what the generator's loss asks of it.

Within a step: the objective's loss adds `fool` of each discriminator, whose parameters take no part in that gradient;
the VQVAE is updated; then the loop calls each discriminator's `loss` on the same true and drawn frames, the latter cut
off from the VQVAE, and updates the discriminator. So neither is ever moved by the other's loss (the released code also
trains the discriminator in the generator's step, towards taking drawn clips for true ones).

B clips, n drawn frames of each (all T for the video discriminator), H W pixels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moso.training.random import key_seed
from moso.training.world import World
from moso.vqvae.config import VQVAEConfig
from moso.vqvae.discriminators import AdversarialConfig, PatchDiscriminator, hinge_fool, hinge_real_or_drawn

LARGEST_RATIO = 1e4
"""VQGAN's bound of the adaptive weight; its guard against a division by zero is 1e-4."""
GUARD = 1e-4


class Discriminator:
    """One discriminator in its training (a moso.training.objective.Rival).

    Args:
        kind: what it looks at: clips, their frames stacked along channels, or frames.
        module: on the VQVAE's device.
        weight: of its term in the generator's loss.
    """

    def __init__(
        self, kind: Literal["video", "image"], module: PatchDiscriminator, config: AdversarialConfig, weight: float
    ) -> None:
        self.kind, self.weight = kind, weight
        self.module: nn.Module = module
        self.name = f"{kind}_discriminator"
        self.optimizer, self.from_step = config.optimizer, config.from_step
        self._seen: list[tuple[Tensor, Tensor]] = []

    def fool(self, drawn: Float[Tensor, "B n 3 H W"], frames: Float[Tensor, "B n 3 H W"]) -> Float[Tensor, ""]:
        """The generator's term: low where drawn frames pass for true ones. Keeps both for `loss`."""
        self._seen.append((frames, drawn.detach()))
        with _frozen(self.module):
            return hinge_fool(self.module(self._pictures(drawn)))

    def loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The discriminator's own hinge loss on what `fool` saw in this step, and the mean logit of true and drawn
        patches; called again, on what the next call of `fool` saw."""
        assert self._seen, "fool() comes first"
        frames, drawn = self._seen.pop(0)
        real, fake = self.module(self._pictures(frames)), self.module(self._pictures(drawn))
        return hinge_real_or_drawn(real, fake), {"real": real.detach().mean(), "drawn": fake.detach().mean()}

    def forget(self) -> None:
        """Drop what `fool` saw, before a step."""
        self._seen.clear()

    def _pictures(self, video: Float[Tensor, "B n 3 H W"]) -> Float[Tensor, "m C H W"]:
        return video.flatten(1, 2) if self.kind == "video" else video.flatten(0, 1)


def discriminators(
    config: AdversarialConfig, model: VQVAEConfig, seed: int, device: torch.device
) -> list[Discriminator]:
    """The discriminators whose weight is not 0, their start values a function of the seed."""
    found = []
    kinds: tuple[tuple[Literal["video", "image"], float, int], ...] = (
        ("video", config.video, model.frames * 3),
        ("image", config.image, 3),
    )
    for kind, weight, inputs in kinds:
        if weight:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(key_seed(seed, "start values", f"{kind}_discriminator"))
                module = PatchDiscriminator(inputs, config.channels, config.layers, (model.height, model.width))
            found.append(Discriminator(kind, module.to(device), config, weight))
    return found


def adversarial_terms(
    active: Sequence[Discriminator],
    how: Literal["fixed", "adaptive"],
    drawn: Float[Tensor, "B n 3 H W"],
    frames: Float[Tensor, "B n 3 H W"],
    *,
    reconstruction: Float[Tensor, ""],
    last_layer: Tensor,
    share: float,
    world: World,
) -> dict[str, tuple[float | Tensor, Tensor]]:
    """name -> (weight, term) of the generator's side of each discriminator; the rest as in `gradient_ratio`."""
    terms: dict[str, tuple[float | Tensor, Tensor]] = {}
    for discriminator in active:
        term, weight = discriminator.fool(drawn, frames), discriminator.weight
        if how == "adaptive":
            ratio = gradient_ratio(reconstruction, term, last_layer, share=share, world=world)
            terms[f"{discriminator.kind}_adversarial"] = weight * ratio, term
        else:
            terms[f"{discriminator.kind}_adversarial"] = weight, term
    return terms


def gradient_ratio(
    reconstruction: Float[Tensor, ""],
    term: Float[Tensor, ""],
    last_layer: Tensor,
    *,
    share: float,
    world: World,
) -> Float[Tensor, ""]:
    """VQGAN's adaptive weight: |d reconstruction / d last layer| / |d term / d last layer|, at most 1e4.

    Args:
        share: this worker's share of the batch: the gradients are those of the whole batch, so that the ratio does not
            depend on the number of workers.
    """
    both = [torch.autograd.grad(loss, last_layer, retain_graph=True)[0] for loss in (reconstruction, term)]
    ours, theirs = world.all_reduce_(torch.stack(both).float() * share).flatten(1).norm(dim=1)
    return (ours / (theirs + GUARD)).clamp(0, LARGEST_RATIO)


@contextlib.contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """What is computed inside gives no gradient to the module's parameters, whenever it is differentiated."""
    parameters: Sequence[nn.Parameter] = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
