"""MOSO-Transformer: TransformerSO, G and M with their shared vocabulary.

B batch, T frames, N codebook size, D code dimension, C width of the blocks, h w token grid (s scene, o object,
m motion), K given frames, g frames whose motion tokens are given.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moso.config import build, to_dict
from moso.errors import ConfigError, FormatError, MismatchError
from moso.provenance import write_json
from moso.tokens.clip_tokens import TokenGrids
from moso.transformer.config import TransformerConfig
from moso.transformer.embedding import Vocabulary, look_up
from moso.transformer.layers import Pointwise, initialise
from moso.transformer.motion import MotionTransformer, around
from moso.transformer.scene_object import Guidance, SceneObjectTransformer

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class MosoTransformer(nn.Module):
    """Stage II for clips of one size and one codebook.

    Args:
        config: see TransformerConfig.
        grids: token grids of a clip.
        codebook_size: N.
        code_vectors: the codebook (N, D); needed with config.code_embedding only.
        given_frames: K; 0 for unconditional generation.
        given_motion_frames: leading frames whose motion tokens are given: those of the pools wholly inside the first K.
        codebook_digest: identity of the codebook that the tokens are indices of (moso.tokens.store.codebook_digest).

    Tokens are int64 in [0, N); N (`mask`) stands for a masked one and is allowed in every input.

    Raises:
        ConfigError: a setting that the grids or the given frames do not allow.
    """

    def __init__(
        self,
        config: TransformerConfig,
        grids: TokenGrids,
        codebook_size: int,
        code_vectors: Float[Tensor, "N D"] | None,
        given_frames: int,
        given_motion_frames: int,
        codebook_digest: str,
    ) -> None:
        super().__init__()
        if not 0 <= given_frames < grids.frames:
            raise ConfigError("given_frames", given_frames, f"must lie in [0, {grids.frames}), the frames of a clip")
        if not 0 <= given_motion_frames <= given_frames:
            raise ConfigError("given_motion_frames", given_motion_frames, f"must lie in [0, {given_frames}]")
        if config.show_given_motion and not given_motion_frames:
            raise ConfigError("show_given_motion", True, "no motion token is given here", "set it to false")
        self.config, self.grids, self.codebook_digest = config, grids, codebook_digest
        self.given_frames, self.given_motion_frames = given_frames, given_motion_frames
        self.vocabulary = Vocabulary(config, codebook_size, code_vectors)
        self.scene_object = SceneObjectTransformer(config, grids, given_motion_frames)
        self.motion = MotionTransformer(config, grids)

        hidden = config.hidden
        self.codes_shown = self.map_shown = None
        if config.show_codes:
            around_a_place = _fold(grids.scene, grids.motion) + _fold(grids.object, grids.motion)
            self.codes_shown = Pointwise(2 * around_a_place * hidden, hidden)
        if config.show_guidance_map:
            around_a_place = sum(_fold(grid, grids.motion) for grid in self.scene_object.token_grids)
            self.map_shown = Pointwise(around_a_place * hidden, hidden)
        self.given_shown = Pointwise(given_motion_frames * hidden, hidden) if config.show_given_motion else None
        initialise(self)

    @property
    def mask(self) -> int:
        """The mask token, N."""
        return self.vocabulary.mask

    @property
    def codebook_size(self) -> int:
        """N."""
        return self.vocabulary.size

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.vocabulary.embedding.weight.device

    def scene_object_logits(
        self,
        pseudo_scene: Int[Tensor, "B hs ws"],
        pseudo_object: Int[Tensor, "B ho wo"],
        given_motion: Int[Tensor, "B g hm wm"] | None = None,
    ) -> tuple[Float[Tensor, "B hs ws N"], Float[Tensor, "B ho wo N"]]:
        """TransformerSO, Eq. 11: logits of the target clip's scene and object tokens.

        `given_motion` is read with config.show_given_motion only.
        """
        table = self.vocabulary.table()
        return self.scene_object.predict(self.vocabulary, table, pseudo_scene, pseudo_object, given_motion)

    def guidance(
        self,
        scene: Int[Tensor, "B hs ws"],
        object: Int[Tensor, "B ho wo"],
        pseudo_scene: Int[Tensor, "B hs ws"] | None = None,
        pseudo_object: Int[Tensor, "B ho wo"] | None = None,
        given_motion: Int[Tensor, "B g hm wm"] | None = None,
    ) -> Guidance:
        """TransformerG: one guidance embedding a frame, from the target clip's scene and object tokens.

        The pseudo clip's tokens are read with config.show_codes only, the given motion tokens with
        config.show_given_motion only.
        """
        table = self.vocabulary.table()
        frames, content = self.scene_object.guide(self.vocabulary, table, scene, object, given_motion)
        shown = []
        if self.codes_shown is not None:
            if pseudo_scene is None or pseudo_object is None:
                raise ValueError("show_codes needs the pseudo clip's tokens")
            parts = [around(look_up(table, t), self.grids.motion) for t in (pseudo_scene, pseudo_object, scene, object)]
            shown.append(self.codes_shown(torch.cat(parts, dim=-1)))
        if self.map_shown is not None:
            parts, start = [], 0
            for height, width in self.scene_object.token_grids:
                part = content[:, start : start + height * width]
                parts.append(around(rearrange(part, "b (h w) c -> b h w c", h=height), self.grids.motion))
                start += height * width
            shown.append(self.map_shown(torch.cat(parts, dim=-1)))
        if self.given_shown is not None:
            assert given_motion is not None
            shown.append(self.given_shown(rearrange(look_up(table, given_motion), "b g h w c -> b (h w) (g c)")))
        return Guidance(frames, sum(shown[1:], shown[0]) if shown else None)

    def motion_logits(
        self,
        motion: Int[Tensor, "B T hm wm"],
        guidance: Guidance,
        where: Bool[Tensor, "B T hm wm"] | None = None,
    ) -> Float[Tensor, "n N"]:
        """TransformerM, Eq. 13: logits at the n positions `where` (default: the masked ones), in row-major order."""
        out: Tensor = self.motion(self.vocabulary, self.vocabulary.table(), motion, guidance, where)
        return out


def _fold(grid: tuple[int, int], motion: tuple[int, int]) -> int:
    """Places of a scene or object grid that lie on one place of the motion grid.

    Whole by construction: every factor is a power of two and f_s <= f_o <= f_m.
    """
    return (grid[0] // motion[0]) * (grid[1] // motion[1])


def save_transformer(model: MosoTransformer, folder: Path) -> None:
    """Write model.safetensors and config.json into `folder`; inverse of `load_transformer`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    codes = model.vocabulary.codes
    write_json(
        folder / CONFIG,
        {
            "model": to_dict(model.config),
            "grids": to_dict(model.grids),
            "codebook_size": model.codebook_size,
            "code_dimension": None if codes is None else codes.shape[1],
            "codebook_digest": model.codebook_digest,
            "given_frames": model.given_frames,
            "given_motion_frames": model.given_motion_frames,
        },
    )


def load_transformer(
    folder: Path, device: str | torch.device = "cpu", *, codebook_digest: str | None = None
) -> MosoTransformer:
    """The transformer that `save_transformer` wrote, in evaluation mode.

    Args:
        folder: holds model.safetensors and config.json.
        device: where to put it.
        codebook_digest: of the tokens or the VQVAE it is to work with; checked where given.

    Raises:
        FormatError: a file is missing, or the weights do not fit the config.
        MismatchError: it was trained on tokens of another codebook.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).exists():
            raise FormatError(f"{folder}: no {name}; this is no folder that train_transformer has finished writing")
    record = json.loads((folder / CONFIG).read_text())
    if codebook_digest is not None and record["codebook_digest"] != codebook_digest:
        raise MismatchError(
            f"{folder}: trained on tokens of codebook {record['codebook_digest'][:12]}, not of {codebook_digest[:12]}; "
            "take the VQVAE it was trained with, or rerun extract_tokens and train_transformer"
        )
    # The code vectors are a buffer among the weights; here only their shape is needed.
    size, dimension = record["codebook_size"], record["code_dimension"]
    # Start values are overwritten at once; the meta device would spare them, but its first use imports half of torch.
    with torch.random.fork_rng(devices=[]):
        model = MosoTransformer(
            build(TransformerConfig, record["model"]),
            build(TokenGrids, record["grids"]),
            size,
            None if dimension is None else torch.empty(size, dimension),
            record["given_frames"],
            record["given_motion_frames"],
            record["codebook_digest"],
        )
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise FormatError(f"{folder}: {error}") from error
    return model.to(device).eval()
