"""The decoder of Stage I (Sec. 3.1.3), blind to time: a frame is drawn from the clip's scene and object codes and
its own motion codes. Codes of an absent component are empty tensors, and are not read.

B clips, n frames of each, D code dimension, H W pixels.
"""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from moso.vqvae.config import VQVAEConfig
from moso.vqvae.encoders import position_embedding
from moso.vqvae.layers import Upsample, fold, residual_stack
from moso.vqvae.merge import MergeModule, Sum

GREY = 0.5
"""Where the output's bias starts: the middle of [0, 1], so that training need not first find it."""


class Decoder(nn.Module):
    """1x1 convolutions from the code dimension, the merge module or a sum, a residual stack, upsample layers
    (transposed convolutions)."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        channels, group = config.channels, config.norm_group
        self.components = config.components
        for name in self.components:
            self.add_module(f"from_{name}", nn.Conv2d(config.code_dimension, channels, 1))
        full = config.decomposition == "motion_scene_object"
        self.merge = MergeModule(config) if full and config.merge == "module" else Sum(config)
        self.positions = position_embedding(channels, *config.grid(config.finest_factor)) if config.positions else None
        self.residuals = residual_stack(config.decoder_blocks, channels, config.residual_channels, group=group)
        layers = config.finest_factor.bit_length() - 1
        sizes = [channels, *[*config.upsample_channels, *[channels] * layers][: layers - 1], 3]
        self.ups = nn.Sequential(*(Upsample(a, b, group=group if b != 3 else None) for a, b in pairwise(sizes)))
        last = self._last()
        assert last.bias is not None
        nn.init.constant_(last.bias, GREY)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the layer that gives RGB, where an adaptive adversarial weight compares gradients."""
        return self._last().weight

    def _last(self) -> nn.ConvTranspose2d:
        last = self.ups[-1]
        assert isinstance(last, Upsample)
        return last.grow

    def forward(
        self, scene: Float[Tensor, "B D h w"], object: Float[Tensor, "B D a b"], motion: Float[Tensor, "B n D c d"]
    ) -> Float[Tensor, "B n 3 H W"]:
        """Frames, float about [0, 1], not clamped (a loss needs the gradient beyond)."""
        codes = {"scene": scene, "object": object, "motion": fold(motion)}
        x = self.merge(**{name: self.get_submodule(f"from_{name}")(codes[name]) for name in self.components})
        if self.positions is not None:
            x = x + self.positions
        return self.ups(self.residuals(x)).unflatten(0, (len(motion), -1))
