"""The ablations' step `reconstruct`: Stage I alone on the clips that evaluate takes (Tables 9 to 11)."""

from __future__ import annotations

from typing import Any

from moso.config import to_dict
from moso.device import device_of
from moso.evaluation.comparison import select_clips
from moso.evaluation.reconstruction import METRICS, reconstruct_clips
from moso.frames.cache import FrameCache
from moso.frames.clips import Clips
from moso.parameters import count_parameters
from moso.provenance import read_provenance, write_json
from moso.step import Context, Paths
from moso.vqvae.model import load_vqvae

LIMITS = ("min_clips", "min_episodes")


def run(config: Any, inputs: Paths, outputs: Paths, context: Context) -> None:
    """Write one JSON file: PSNR (dB), SSIM (fraction) and, where their networks are there, LPIPS, FID and FVD over all
    T frames (else null, and why), entries of the codebook in use,
    parameters, tokens of a clip, which clips, and the inputs' digests.

    Args:
        config: the section `evaluate`, whose split, limits and batch count.
        inputs: frames, vqvae.
        outputs: reconstruction, a file.
        context: as for every step.

    Raises:
        DataError: too few clips or episodes.
        StopRequested: the stop signal was raised; nothing was written.
    """
    digests = {name: read_provenance(inputs[name])["digest"] for name in ("frames", "vqvae")}
    model = load_vqvae(inputs["vqvae"], device_of(context.device))
    cache, length = FrameCache.open(inputs["frames"]), model.config.frames
    limits = {name: getattr(config, name) for name in LIMITS}
    chosen = select_clips(cache, config.split, length, videos=config.videos, **limits)
    clips = Clips(cache, chosen, length)
    found = reconstruct_clips(model, clips, batch=config.batch, stop=context.stop)
    target = outputs["reconstruction"]
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        target,
        {
            **{metric: found.mean(metric) for metric in METRICS},
            "not_computed": [to_dict(entry) for entry in found.not_computed],
            "codes_used": found.codes_used,
            "codebook_size": model.config.codebook_size,
            "parameters": count_parameters(model),
            "tokens": model.grids.tokens,
            "split": config.split,
            "clips": len(clips),
            "episodes": len({clip.episode_id for clip in clips.clips}),
            "inputs": digests,
        },
    )
