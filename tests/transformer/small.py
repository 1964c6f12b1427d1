"""Small transformers in every form (wirings, deviations, absent components), and a small token store."""

from collections.abc import Callable
from pathlib import Path

import torch

from moso.frames.clips import Clip
from moso.provenance import write_provenance
from moso.tokens.clip_tokens import ClipTokens, TokenGrids
from moso.tokens.store import TokenStore, codebook_digest
from moso.tokens.writer import TokenStoreWriter
from moso.transformer.config import TransformerConfig
from moso.transformer.model import MosoTransformer

N, FRAMES, GIVEN = 11, 5, 2
EQUAL = TokenGrids(FRAMES, (4, 4), (4, 4), (2, 2))
UNEQUAL = TokenGrids(FRAMES, (4, 4), (2, 2), (1, 1))
NO_OBJECT = TokenGrids(FRAMES, (4, 4), (0, 0), (2, 2))  # decomposition: motion_content
MOTION_ALONE = TokenGrids(FRAMES, (0, 0), (0, 0), (2, 2))  # decomposition: none
SMALL = {"embedding": 8, "hidden": 16, "mlp": 24, "heads": 2, "scene_object_blocks": 2, "motion_blocks": 2}
FLAGS = (
    "qk_norm", "depthwise", "temporal_depthwise", "code_embedding", "copy_bias", "motion_copy_bias",
    "show_given_motion", "show_codes", "show_guidance_map", "show_nearest",
)  # fmt: skip
DEVIATIONS = {**dict.fromkeys(FLAGS, True), "positions": "learned", "activation": "relu2"}

SINGLE = {"wiring": "single", "single_blocks": 2}
# What the single network can have of them.
SINGLE_DEVIATIONS = {**SINGLE, **{name: on for name, on in DEVIATIONS.items() if not name.startswith("show_")}}


def build(
    grids: TokenGrids = EQUAL, given: int = GIVEN, unconditional: bool = False, **settings: object
) -> MosoTransformer:
    """A transformer whose branches are not zero, so that everything in it has an effect."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codes = torch.randn(N, 6)
        config = TransformerConfig(**{**SMALL, **settings})
        model = MosoTransformer(config, grids, N, codes, given, given, codebook_digest(codes), unconditional)
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval()


TWO: dict[str, Callable[[], MosoTransformer]] = {
    "paper": build,
    "unequal grids": lambda: build(UNEQUAL),
    "merged": lambda: build(merged_scene_object=True, **DEVIATIONS),
    "deviations, unequal grids": lambda: build(UNEQUAL, **DEVIATIONS),
    "no object": lambda: build(NO_OBJECT, **DEVIATIONS),
    "motion alone": lambda: build(MOTION_ALONE),
}
ONE: dict[str, Callable[[], MosoTransformer]] = {
    "single": lambda: build(**SINGLE),
    "single, deviations, unequal grids": lambda: build(UNEQUAL, **SINGLE_DEVIATIONS),
    "single, merged": lambda: build(merged_scene_object=True, **SINGLE_DEVIATIONS),
    "single, no object": lambda: build(NO_OBJECT, **SINGLE_DEVIATIONS),
    "single, motion alone": lambda: build(MOTION_ALONE, **SINGLE),
}
FORMS = TWO | ONE


def tokens(grids: TokenGrids, clips: int, seed: int = 0) -> ClipTokens:
    random = torch.Generator().manual_seed(seed)
    shapes = [grids.shape(name) for name in ("scene", "object", "motion")]
    return ClipTokens(*(torch.randint(0, N, (clips, *shape), generator=random) for shape in shapes))


def write_store(
    folder: Path, grids: TokenGrids = EQUAL, train: int = 4, validation: int = 3, given: int = GIVEN
) -> TokenStore:
    """Random tokens; with given = 0 zeros for pseudo tokens, as extract_tokens writes them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codes = torch.randn(N, 6)
    with TokenStoreWriter(folder, grids, codes, given, given, shard_clips=4) as writer:
        for split, count, seed in (("train", train, 1), ("validation", validation, 2)):
            if count:
                clips = [Clip(f"{split}_{i}", 0) for i in range(count)]
                pseudo = tokens(grids, count, seed + 10)
                if not given:
                    pseudo = ClipTokens(torch.zeros_like(pseudo.scene), torch.zeros_like(pseudo.object), pseudo.motion)
                writer.add(clips, split, tokens(grids, count, seed), pseudo)
    write_provenance(folder, format="moso.tokens", version=1, step="extract_tokens", config={}, inputs={})
    return TokenStore.open(folder)
