"""MOSO-Transformer: TransformerSO, G and M with their shared vocabulary, or the single network in their place.

B batch, T frames, N codebook size, D code dimension, C width of the blocks, h w token grid (s scene, o object,
m motion), K given frames, g frames whose motion tokens are given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from moso.transformer.embedding import TokenTable, Vocabulary
from moso.transformer.layers import Pointwise, initialise
from moso.transformer.motion import MotionTransformer, around
from moso.transformer.scene_object import Guidance, SceneObjectTransformer
from moso.transformer.single import Content, SingleTransformer

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
        unconditional: it is trained to generate with nothing given as well (LossConfig.unconditional_share above 0);
            always so where given_frames is 0.

    Tokens are int64 in [0, N); N (`mask`) stands for a masked one and is allowed in every input. An absent component's
    tokens have the shape (B, 0, 0). All methods mean the same for both wirings, so that no caller tells them apart.

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
        unconditional: bool = False,
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
        self.unconditional = unconditional or given_frames == 0
        self.vocabulary = Vocabulary(config, codebook_size, code_vectors)
        if config.wiring == "single":
            self.single = SingleTransformer(config, grids)
        else:
            self._make_two(config, grids, given_motion_frames)
        initialise(self)

    def _make_two(self, config: TransformerConfig, grids: TokenGrids, given_motion_frames: int) -> None:
        """TransformerSO and G, TransformerM, and what shows M more than the paper's does."""
        self.scene_object = SceneObjectTransformer(config, grids, given_motion_frames)
        self.motion = MotionTransformer(config, grids)
        hidden, present = config.hidden, self.scene_object.present
        for name in ("show_codes", "show_guidance_map"):
            if getattr(config, name) and not present:
                raise ConfigError(name, True, "there are no scene and object tokens here", "set it to false")
        self.codes_shown = self.map_shown = None
        if config.show_codes:
            around_a_place = sum(_fold(getattr(grids, name), grids.motion) for name in present)
            self.codes_shown = Pointwise(2 * around_a_place * hidden, hidden)
        if config.show_guidance_map:
            around_a_place = sum(_fold(grid, grids.motion) for grid in self.scene_object.token_grids)
            self.map_shown = Pointwise(around_a_place * hidden, hidden)
        self.given_shown = Pointwise(given_motion_frames * hidden, hidden) if config.show_given_motion else None

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
        table: TokenTable | None = None,
    ) -> tuple[Float[Tensor, "B hs ws N"], Float[Tensor, "B ho wo N"]]:
        """TransformerSO, Eq. 11: logits of the target clip's scene and object tokens.

        `given_motion` is read with config.show_given_motion only, and by the single network, whose target tokens are
        all masked here. `table`: vocabulary.table(), where the caller has it.
        """
        table = self.vocabulary.table() if table is None else table
        if self.config.wiring == "two":
            return self.scene_object.predict(self.vocabulary, table, pseudo_scene, pseudo_object, given_motion)
        content = self._content(None, None, pseudo_scene, pseudo_object)
        motion = torch.full((len(pseudo_scene), *self.grids.shape("motion")), self.mask, device=self.device)
        if given_motion is not None:
            motion[:, : given_motion.shape[1]] = given_motion
        pseudo = {"scene": pseudo_scene, "object": pseudo_object}
        asked = {name: torch.arange(pseudo[name].numel(), device=self.device) for name in self.single.present}
        logits = self.single(self.vocabulary, table, content, motion, asked) if asked else {}
        nothing = self.vocabulary.output.weight.new_zeros((0, self.codebook_size))
        parts = [logits.get(name, nothing).view(*pseudo[name].shape, self.codebook_size) for name in pseudo]
        return parts[0], parts[1]

    def guidance(
        self,
        scene: Int[Tensor, "B hs ws"],
        object: Int[Tensor, "B ho wo"],
        pseudo_scene: Int[Tensor, "B hs ws"] | None = None,
        pseudo_object: Int[Tensor, "B ho wo"] | None = None,
        given_motion: Int[Tensor, "B g hm wm"] | None = None,
        table: TokenTable | None = None,
    ) -> Guidance | Content:
        """TransformerG: one guidance embedding a frame, from the target clip's scene and object tokens.

        The pseudo clip's tokens are read with config.show_codes only, the given motion tokens with
        config.show_given_motion only. The single network needs no guidance: it gets the tokens, and masks for a pseudo
        clip that is not named. `table`: vocabulary.table(), where the caller has it.
        """
        if self.config.wiring == "single":
            return self._content(scene, object, pseudo_scene, pseudo_object)
        table = self.vocabulary.table() if table is None else table
        frames, content = self.scene_object.guide(self.vocabulary, table, scene, object, given_motion)
        shown = []
        if self.codes_shown is not None:
            if pseudo_scene is None or pseudo_object is None:
                raise ValueError("show_codes needs the pseudo clip's tokens")
            tokens = [part for part in (pseudo_scene, pseudo_object, scene, object) if part.numel()]
            parts = [around(table.look_up(part), self.grids.motion) for part in tokens]
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
            shown.append(self.given_shown(rearrange(table.look_up(given_motion), "b g h w c -> b (h w) (g c)")))
        return Guidance(frames, sum(shown[1:], shown[0]) if shown else None)

    def motion_logits(
        self,
        motion: Int[Tensor, "B T hm wm"],
        guidance: Guidance | Content,
        where: Bool[Tensor, "B T hm wm"] | Int[Tensor, " n"] | None = None,
        table: TokenTable | None = None,
    ) -> Float[Tensor, "n N"]:
        """TransformerM, Eq. 13: logits at n positions.

        Args:
            motion: tokens in [0, N); N where masked.
            guidance: what `guidance` gave for the same clips.
            where: True at the positions asked for, which are answered in row-major order (default: the masked ones); or
                their indices into the flattened `motion`, which spares a GPU the wait for their number.
            table: vocabulary.table(), where the caller has it: it is the same in every step of sampling.
        """
        if where is None:
            where = motion == self.mask
        asked = where.flatten().nonzero().squeeze(1) if where.dtype == torch.bool else where
        table = self.vocabulary.table() if table is None else table
        if isinstance(guidance, Content):
            logits: dict[str, Tensor] = self.single(self.vocabulary, table, guidance, motion, {"motion": asked})
            return logits["motion"]
        out: Tensor = self.motion(self.vocabulary, table, motion, guidance, asked)
        return out

    def clip_logits(
        self,
        content: Content,
        motion: Int[Tensor, "B T hm wm"],
        asked: Mapping[str, Int[Tensor, " n"]],
        table: TokenTable | None = None,
    ) -> dict[str, Float[Tensor, "n N"]]:
        """The single network: logits of scene, object and motion tokens at once; see SingleTransformer.forward."""
        table = self.vocabulary.table() if table is None else table
        logits: dict[str, Tensor] = self.single(self.vocabulary, table, content, motion, asked)
        return logits

    def _content(
        self, scene: Tensor | None, object: Tensor | None, pseudo_scene: Tensor | None, pseudo_object: Tensor | None
    ) -> Content:
        """Masks in the place of what is None."""
        clips = len(next(part for part in (scene, object, pseudo_scene, pseudo_object) if part is not None))

        def known(part: Tensor | None, component: str) -> Tensor:
            if part is not None:
                return part
            return torch.full((clips, *self.grids.shape(component)), self.mask, device=self.device)

        return Content(
            known(scene, "scene"), known(object, "object"), known(pseudo_scene, "scene"), known(pseudo_object, "object")
        )


def _fold(grid: tuple[int, int], motion: tuple[int, int]) -> int:
    """Places of a scene or object grid that lie on one place of the motion grid.

    Whole by construction: every factor is a power of two and f_s <= f_o <= f_m.
    """
    return (grid[0] // motion[0]) * (grid[1] // motion[1])


def save_transformer(model: MosoTransformer, folder: Path) -> None:
    """Write model.safetensors and config.json into `folder`; inverse of `load_transformer`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    write_json(folder / CONFIG, described(model))


def described(model: MosoTransformer) -> dict[str, Any]:
    """The content of config.json: all that the weights' shapes and meaning depend on, as plain data."""
    codes = model.vocabulary.codes
    return {
        "model": to_dict(model.config),
        "grids": to_dict(model.grids),
        "codebook_size": model.codebook_size,
        "code_dimension": None if codes is None else codes.shape[1],
        "codebook_digest": model.codebook_digest,
        "given_frames": model.given_frames,
        "given_motion_frames": model.given_motion_frames,
        "unconditional": model.unconditional,
    }


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
            record.get("unconditional", False),  # models of before this field learnt it with K = 0 alone
        )
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise FormatError(f"{folder}: {error}") from error
    return model.to(device).eval()
