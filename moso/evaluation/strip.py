"""A still picture of predictions, for a README: truth above prediction, a column a frame.

    python -m moso.evaluation.strip --cache data/sim_push/frames --model models/sim_push --report reports \\
        --output docs/prediction.png

It shows clips of the report, spread over the middle of the ranking (with three clips: those that three quarters, half
and a quarter of all clips fall below), with the samples that were scored.

Legend: N clips, T frames, K given frames, H W pixels.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from moso.config import build
from moso.evaluation.seeds import sampling_seed
from moso.frames.cache import FrameCache
from moso.frames.clips import Clip, Clips
from moso.tasks.model import Model
from moso.transformer.config import SamplingConfig

GAP = 2
MARGIN, HEADER, LETTERS = 84, 20, 13
GIVEN = (197, 139, 0)
INK = (60, 66, 74)


def prediction_strip(
    truth: UInt8[np.ndarray, "N T H W 3"],
    prediction: UInt8[np.ndarray, "N T H W 3"],
    given_frames: int,
    path: Path,
    *,
    scale: int = 1,
) -> None:
    """Write the picture.

    Args:
        truth: the clips.
        prediction: the same clips with their predicted frames in place; the first `given_frames` are the truth's.
        given_frames: K; their columns are marked in ochre.
        path: of the PNG.
        scale: whole factor that pixels are enlarged by.
    """
    from PIL import Image, ImageDraw, ImageFont

    clips, frames, height, width, _ = truth.shape
    cell_h, cell_w = height * scale + GAP, width * scale + GAP
    block = 2 * cell_h + 3 * GAP
    picture = Image.new("RGB", (MARGIN + frames * cell_w, HEADER + clips * block), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(LETTERS)
    for t in range(frames):
        given, centre = t < given_frames, MARGIN + t * cell_w + width * scale / 2
        label = f"given {t + 1}" if given else f"{t + 1}"
        draw.text((centre, HEADER / 2 - 1), label, fill=GIVEN if given else INK, font=font, anchor="mm")
    for i in range(clips):
        for row, (name, videos) in enumerate((("truth", truth), ("prediction", prediction))):
            top = HEADER + i * block + row * cell_h
            middle = top + height * scale / 2
            draw.text((MARGIN - 8, middle), name, fill=INK, font=font, anchor="rm")
            for t in range(frames):
                frame = np.repeat(np.repeat(videos[i, t], scale, axis=0), scale, axis=1)
                left = MARGIN + t * cell_w
                picture.paste(Image.fromarray(frame), (left, top))
                if t < given_frames:
                    draw.rectangle((left, top, left + width * scale - 1, top + height * scale - 1), outline=GIVEN)
    picture.save(path, optimize=True)


def middle_clips(report: Path, count: int) -> list[Clip]:
    """`count` clips of a report at even steps of its ranking, best and worst left out."""
    rows = pd.read_parquet(report / "per_clip.parquet")
    ranked = rows[rows["method"] == "prediction"].sort_values("psnr", ascending=False, kind="stable")
    places = np.rint(np.linspace(0, len(ranked) - 1, count + 2)[1:-1]).astype(int)
    return [Clip.parse(str(clip)) for clip in ranked["clip_id"].iloc[places]]


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m moso.evaluation.strip", description="Picture of predictions.")
    parser.add_argument("--cache", type=Path, required=True, help="frame cache")
    parser.add_argument("--model", required=True, help="folder or models:/ address")
    parser.add_argument("--report", type=Path, required=True, help="what evaluate wrote about this model")
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--scale", type=int, default=1, help="enlarge pixels by")
    asked = parser.parse_args()
    model, cache = Model.load(asked.model), FrameCache.open(asked.cache)
    metrics = json.loads((asked.report / "metrics.json").read_text())
    clips = middle_clips(asked.report, asked.clips)
    truth = Clips(cache, clips, model.clip_frames).batch(range(len(clips))).numpy()
    given = truth[:, : model.given_frames]
    predicted = model.predict(
        given,
        seed=[sampling_seed(metrics["protocol"]["seed"], clip) for clip in clips],
        sampling=build(SamplingConfig, metrics["sampling"]),
    )
    prediction_strip(
        truth, np.concatenate([given, predicted], axis=1), model.given_frames, asked.output, scale=asked.scale
    )
    print(f"{asked.output}: {', '.join(clip.id for clip in clips)}")


if __name__ == "__main__":
    main()
