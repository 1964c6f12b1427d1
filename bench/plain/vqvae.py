"""Stage I, plainly: three encoders, the one-hot quantiser, a decoder that works frame by frame.

B batch, T frames, C channels, H W pixels, h w token grid, D code dimension.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from bench.plain.quantizer import OneHotQuantizer
from moso.vqvae.config import VQVAEConfig

Tokens = tuple[Int[Tensor, "B hs ws"], Int[Tensor, "B ho wo"], Int[Tensor, "B T hm wm"]]


def downsample(inputs: int, config: VQVAEConfig, kernel: int) -> nn.Sequential:
    """A layer that halves height and width."""
    channels, groups = config.channels, config.channels // config.norm_group
    return nn.Sequential(
        nn.Conv2d(inputs, channels, kernel, stride=2, padding=(kernel - 1) // 2),
        nn.GroupNorm(groups, channels),
        nn.GELU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.GroupNorm(groups, channels),
        nn.GELU(),
        nn.ReLU(),
    )


def stem(config: VQVAEConfig, factor: int) -> nn.Sequential:
    """Downsample layers from pixels to the grid of `factor`."""
    count = factor.bit_length() - 1
    return nn.Sequential(
        *(downsample(3 if i == 0 else config.channels, config, config.stem_kernel) for i in range(count))
    )


class Residual(nn.Module):
    """h + GELU(norm(conv1x1(GELU(norm(conv3x3(h))))))."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        channels, hidden, group = config.channels, config.residual_channels, config.norm_group
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1, bias=False),
            nn.GroupNorm(hidden // group, hidden),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.GroupNorm(channels // group, channels),
            nn.GELU(),
        )

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.layers(h)
        return out


class StillEncoder(nn.Module):
    """Scene or object: all frames side by side, compressed to one grid."""

    def __init__(self, config: VQVAEConfig, factor: int) -> None:
        super().__init__()
        channels, kernel = config.channels, config.compress_kernel
        self.stem = stem(config, factor)
        self.compress = nn.Sequential(
            nn.Conv2d(config.frames * channels, channels, kernel, padding=kernel // 2),
            nn.GroupNorm(channels // config.norm_group, channels),
            nn.GELU(),
        )
        self.residuals = nn.Sequential(*(Residual(config) for _ in range(config.encoder_blocks)))
        self.to_code = nn.Conv2d(channels, config.code_dimension, 1)

    def forward(self, video: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B D h w"]:
        frames = self.stem(rearrange(video, "b t c h w -> (b t) c h w"))
        x = self.compress(rearrange(frames, "(b t) c h w -> b (t c) h w", b=len(video)))
        out: Tensor = self.to_code(self.residuals(x))
        return out


class MotionEncoder(nn.Module):
    """Motion: a grid a frame, with attention among the frames of each pool at every place."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        channels = config.channels
        self.pool_frames, self.heads = config.pool_frames, config.attention_heads
        self.stem = stem(config, config.motion_factor)
        self.queries_keys_values = nn.Linear(channels, 3 * channels, bias=False)
        self.join = nn.Linear(channels, channels, bias=False)
        self.norm = nn.LayerNorm(channels)
        self.residuals = nn.Sequential(*(Residual(config) for _ in range(config.encoder_blocks)))
        self.to_code = nn.Conv2d(channels, config.code_dimension, 1)

    def forward(self, motion: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B T D h w"]:
        batch = len(motion)
        x = self.stem(rearrange(motion, "b t c h w -> (b t) c h w"))
        height = x.shape[2]
        x = rearrange(x, "(p t) c h w -> (p h w) t c", t=self.pool_frames)
        heads = "n t (three head d) -> three n head t d"
        q, k, v = rearrange(self.queries_keys_values(x), heads, three=3, head=self.heads)
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
        x = self.norm(x + self.join(rearrange(weights @ v, "n head t d -> n t (head d)")))
        pools = batch * motion.shape[1] // self.pool_frames
        x = rearrange(x, "(p h w) t c -> (p t) c h w", p=pools, h=height)
        return rearrange(self.to_code(self.residuals(x)), "(b t) d h w -> b t d h w", b=batch)


class Decoder(nn.Module):
    """Eqs. 3 to 8 and the way to pixels, for each frame by itself."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        channels = config.channels
        self.factors = {"motion": config.motion_factor, "scene": config.scene_factor, "object": config.object_factor}
        self.scales = [config.scene_factor * 2**i for i in range(3)]
        self.from_code = nn.ModuleDict(
            {name: nn.Conv2d(config.code_dimension, channels, 1) for name in ("scene", "object", "motion")}
        )
        self.downs = nn.ModuleList(
            nn.ModuleDict({name: self._down(config, factor, scale) for name, factor in self.factors.items()})
            for scale in self.scales
        )
        self.mixes = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3 * channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, channels, 1))
            for _ in self.scales
        )
        self.weigh = nn.Conv2d(channels, channels, 1)
        self.residuals = nn.Sequential(*(Residual(config) for _ in range(config.decoder_blocks)))
        layers: list[nn.Module] = []
        for _ in range(config.scene_factor.bit_length() - 2):
            layers += [
                nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1),
                nn.GroupNorm(channels // config.norm_group, channels),
                nn.GELU(),
            ]
        self.ups = nn.Sequential(*layers, nn.ConvTranspose2d(channels, 3, 4, stride=2, padding=1))

    @staticmethod
    def _down(config: VQVAEConfig, factor: int, scale: int) -> nn.Sequential:
        count = max(0, (scale // factor).bit_length() - 1)
        return nn.Sequential(*(downsample(config.channels, config, config.merge_kernel) for _ in range(count)))

    def forward(
        self, scene: Float[Tensor, "B D h w"], object: Float[Tensor, "B D a b"], motion: Float[Tensor, "B T D c d"]
    ) -> Float[Tensor, "B T 3 H W"]:
        frames = motion.shape[1]
        every_frame = "b d h w -> (b t) d h w"
        codes = {
            "motion": rearrange(motion, "b t d h w -> (b t) d h w"),
            "scene": repeat(scene, every_frame, t=frames),
            "object": repeat(object, every_frame, t=frames),
        }
        features = {name: self.from_code[name](code) for name, code in codes.items()}

        def mixed(i: int) -> Tensor:
            downs = self.downs[i]
            assert isinstance(downs, nn.ModuleDict)
            size = features["scene"].shape[-1] // 2**i, features["scene"].shape[-2] // 2**i
            brought = [enlarge(downs[name](x), size[1], size[0]) for name, x in features.items()]
            out: Tensor = self.mixes[i](torch.cat(brought, dim=1))
            return out

        height, width = features["scene"].shape[-2:]
        joined = mixed(1) + enlarge(mixed(2), height // 2, width // 2)
        share = torch.sigmoid(self.weigh(mixed(0) + enlarge(joined, height, width)))
        x = share * features["scene"] + (1 - share) * enlarge(features["object"], height, width)
        return rearrange(self.ups(self.residuals(x)), "(b t) c h w -> b t c h w", t=frames)


class PlainVQVAE(nn.Module):
    """Stage I of the paper's presets."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.scene_encoder = StillEncoder(config, config.scene_factor)
        self.object_encoder = StillEncoder(config, config.object_factor)
        self.motion_encoder = MotionEncoder(config)
        self.decoder = Decoder(config)
        self.quantizer = OneHotQuantizer(config.codebook_size, config.code_dimension)

    def features(self, frames: Float[Tensor, "B T 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        """Scene, object and motion features of raw frames in [0, 1]."""
        motion = torch.cat([torch.zeros_like(frames[:, :1]), frames[:, 1:] - frames[:, :-1]], dim=1)
        return self.scene_encoder(frames), self.object_encoder(frames), self.motion_encoder(motion)

    def forward(
        self, frames: Float[Tensor, "B T 3 H W"]
    ) -> tuple[Float[Tensor, "B T 3 H W"], Float[Tensor, ""], Tokens]:
        """Reconstruction, commitment summed over the components, tokens; in training three EMA updates."""
        scene, object, motion = self.features(frames)
        zs, ts, cs = self.quantizer(scene)
        zo, to, co = self.quantizer(object)
        zm, tm, cm = self.quantizer(rearrange(motion, "b t d h w -> (b t) d h w"))
        batch = len(frames)
        zm, tm = (x.unflatten(0, (batch, -1)) for x in (zm, tm))
        return self.decoder(zs, zo, zm), cs + co + cm, (ts, to, tm)

    @torch.no_grad()
    def encode(self, frames: Float[Tensor, "B T 3 H W"]) -> Tokens:
        """Tokens of scene, object and motion."""
        found = [
            self.quantizer.search(z.movedim(-3, -1).reshape(-1, z.shape[-3])).view(*z.shape[:-3], *z.shape[-2:])
            for z in self.features(frames)
        ]
        return found[0], found[1], found[2]

    @torch.no_grad()
    def decode(self, tokens: Tokens) -> Float[Tensor, "B T 3 H W"]:
        """Frames of tokens."""
        out: Tensor = self.decoder(*(self.quantizer.codebook[part].movedim(-1, -3) for part in tokens))
        return out


def enlarge(x: Float[Tensor, "n C h w"], height: int, width: int) -> Float[Tensor, "n C H W"]:
    """Bilinear interpolation."""
    return x if x.shape[-2:] == (height, width) else F.interpolate(x, (height, width), mode="bilinear")
