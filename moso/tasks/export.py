"""Encoder and decoder as programs of torch.export, for use without this package; checked for equal outputs.

    <folder>/encoder.pt2     float [0,1] (B, T, 3, H, W) -> int64 scene (B, h, w), object (B, h, w), motion (B, T, h, w)
    <folder>/decoder.pt2     these tokens -> float about [0,1] (B, T, 3, H, W), not clamped
    <folder>/export.json     sizes, the model's digest, the versions of torch and of the format

    scene, object, motion = torch.export.load("encoder.pt2").module()(video)

B is the number of clips that it was exported with, which export.json says (torch.export takes it for a constant: the
networks fold clips and frames into one axis). A component that the model does not have has an empty grid (0, 0).

Legend: B clips, T frames, H W pixels, h w token grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moso.errors import MismatchError
from moso.provenance import write_json
from moso.tasks.checks import check_count
from moso.tasks.chunks import inference
from moso.tasks.model import Model
from moso.tokens.clip_tokens import COMPONENTS, ClipTokens
from moso.vqvae.model import VQVAE

FORMAT, VERSION = "moso.export", 1
ENCODER, DECODER, FACTS = "encoder.pt2", "decoder.pt2", "export.json"
TOLERANCE = 1e-5  # of a decoded frame in [0, 1]: rounding; tokens must be equal


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from the model.

    Attributes:
        encoder, decoder: the files.
        difference: the largest of a decoded value, in [0, 1].
    """

    encoder: Path
    decoder: Path
    difference: float


class _Encoder(nn.Module):
    def __init__(self, vqvae: VQVAE) -> None:
        super().__init__()
        self.vqvae = vqvae

    def forward(
        self, frames: Float[Tensor, "B T 3 H W"]
    ) -> tuple[Int[Tensor, "B h1 w1"], Int[Tensor, "B h2 w2"], Int[Tensor, "B T h3 w3"]]:
        tokens = self.vqvae.encode(frames)
        return tokens.scene, tokens.object, tokens.motion


class _Decoder(nn.Module):
    def __init__(self, vqvae: VQVAE) -> None:
        super().__init__()
        self.vqvae = vqvae

    def forward(
        self, scene: Int[Tensor, "B h1 w1"], object: Int[Tensor, "B h2 w2"], motion: Int[Tensor, "B T h3 w3"]
    ) -> Float[Tensor, "B T 3 H W"]:
        return self.vqvae.decode(ClipTokens(scene, object, motion))


def export(model: Model, folder: Path, clips: int = 1) -> Exported:
    """Write encoder and decoder into `folder` (made), load them again, and compare them with the model.

    Args:
        model: its VQVAE is exported.
        folder: files of these names in it are replaced.
        clips: B.

    Raises:
        InputError: `clips` below 1.
        MismatchError: what was written gives other tokens, or frames that differ by more than rounding.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames, tokens = _examples(model, check_count("clips", clips))
    torch.export.save(_program(_Encoder(model.vqvae), (frames,)), folder / ENCODER)
    torch.export.save(_program(_Decoder(model.vqvae), tokens), folder / DECODER)
    difference = check(model, folder, clips)
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "model_digest": model.digest,
        "codebook_digest": model.codebook_digest,
        "frames": model.clip_frames,
        "height": model.height,
        "width": model.width,
        "clips": clips,
        "torch": torch.__version__,
        "largest_difference": difference,
    }
    write_json(folder / FACTS, facts)
    return Exported(folder / ENCODER, folder / DECODER, difference)


@inference
def check(model: Model, folder: Path, clips: int) -> float:
    """The largest difference of a decoded value between what lies in `folder` and the model.

    Args:
        model: that was exported.
        folder: where.
        clips: it was exported with.

    Raises:
        MismatchError: other tokens, or a difference beyond rounding.
    """
    encoder, decoder = (torch.export.load(folder / name).module() for name in (ENCODER, DECODER))
    frames, _ = _examples(model, clips, seed=1)  # others than those it was exported with
    wanted = model.vqvae.encode(frames)
    for name, found in zip(COMPONENTS, encoder(frames), strict=True):
        if not torch.equal(found, getattr(wanted, name)):
            raise MismatchError(f"{folder / ENCODER}: gives other {name} tokens than the model")
    drawn = model.vqvae.decode(wanted)
    difference = float((decoder(wanted.scene, wanted.object, wanted.motion) - drawn).abs().max())
    if not difference <= TOLERANCE:
        raise MismatchError(
            f"{folder / DECODER}: frames differ by {difference:.2e} from the model's, more than {TOLERANCE:g}"
        )
    return difference


@inference
def _examples(model: Model, clips: int, seed: int = 0) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Clips of noise, and their tokens."""
    generator = torch.Generator().manual_seed(seed)
    shape = (clips, model.clip_frames, 3, model.height, model.width)
    frames = torch.rand(shape, generator=generator).to(model.device)
    tokens = model.vqvae.encode(frames)
    return frames, (tokens.scene, tokens.object, tokens.motion)


def _program(module: nn.Module, example: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    with torch.no_grad():
        plain = tuple(value.clone() for value in example)  # no inference tensors
        return torch.export.export(module.eval(), plain, strict=False)
