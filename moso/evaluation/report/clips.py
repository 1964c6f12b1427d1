"""Moving pictures on the page: the clips from best to worst, and recombinations of two clips."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from moso.evaluation.metrics import heading
from moso.evaluation.protocol import Protocol
from moso.evaluation.report.evaluation import Evaluation
from moso.evaluation.report.films import ROWS, Film, data_uri, median_rank, ranked_by, sheet, shown_size
from moso.evaluation.report.markup import Markup, tag
from moso.evaluation.report.recombinations import Recombination
from moso.evaluation.report.words import name_of, show
from moso.tokens.clip_tokens import COMPONENTS

# Panels of a film in reading order: row of the sheet, caption. "given" shows the last given frame up to the one shown.
CAPTIONS = {
    "given": "Given, then held",
    "truth": "Truth",
    "prediction": "Prediction",
    "interpolation": "Interpolation",
    "drawn": "Drawn",
    "difference": "Difference \u00d7 2",
    "motion": "Motion alone",
    "scene": "Scene alone",
    "object": "Object alone",
    "reconstruction": "Reconstruction",
}
OUTLINED = ("given", "truth", "prediction", "interpolation")
GIVES = ("prediction", "interpolation")  # tasks in which frames are given


def clips_section(e: Evaluation) -> Markup:
    """The films, with what they show and how they were chosen."""
    text = [_chosen(e)]
    if e.protocol.task in GIVES:
        text.append("An ochre outline marks the given frames.")
    if any(set(film.videos) & set(COMPONENTS) for film in e.films):
        alone = tag("em", "Motion, scene and object alone")
        text += [alone, "are what the decoder draws of the true clip from one component's codes, the other two being "
                 "zeros; it never saw such partial codes in training, so their colours mean nothing."]  # fmt: skip
    bar = tag(
        "div",
        tag("button", "Play", id="play", type="button"),
        tag("button", "Larger", id="size", type="button"),
        tag("span", "Drag a slider to step through a clip.", class_="note"),
        class_="bar",
    )
    spaced = [part for piece in text for part in (piece, " ")][:-1]
    return Markup(tag("p", spaced) + bar + tag("div", [_film(e, film) for film in e.films], class_="films"))


def _chosen(e: Evaluation) -> str:
    p, count = e.protocol, len(e.films)
    if e.comparison is None:
        return f"The first {count} of {p.videos_drawn or count:,} videos drawn: not a selection of good ones."
    metric = ranked_by(e.comparison.metrics)
    if metric is None:
        return f"{count} of {p.clips} clips, spread evenly over the test clips: not a selection of good ones."
    several = f" Of each clip's samples the sample that is best by {heading(metric)} is shown."
    return (
        f"{count} of {p.clips} clips, spread evenly by rank from the best {e.comparison.main} (by {heading(metric)}) "
        "over the median to the worst: not a selection of good ones."
    ) + (several if p.samples_per_video > 1 else "")


def place_of(rank: int, clips: int) -> str:
    """ "best", "median" or "worst" of a rank from 1 among so many clips; "" of any other."""
    places = {clips: "worst", median_rank(clips): "median", 1: "best"}
    return places.get(rank, "")


def _film(e: Evaluation, film: Film) -> Markup:
    p, c = e.protocol, e.comparison
    frames = len(next(iter(film.videos.values())))
    scored = [number - 1 for number in c.frames] if c is not None else []
    given = [p.task in GIVES and (f < p.given_frames if p.task == "prediction" else f not in scored)
             for f in range(frames)]  # fmt: skip
    baseline = next(iter(c.baselines), None) if c is not None else None
    told = ["given" if known else "" for known in given]
    for i, frame in enumerate(scored[: len(film.psnr)]):
        held = (
            f", {name_of(baseline).lower()} {film.baseline_psnr[i]:.1f} dB" if baseline and film.baseline_psnr else ""
        )
        told[frame] = f"{c.main if c else ''} {film.psnr[i]:.1f} dB{held}"
    rows = [row for row in ROWS if row in film.videos]
    order = ["given"] if any(given) else []
    order += [row for row in rows if row not in (*COMPONENTS, "reconstruction")]
    if p.task == "reconstruction":  # the main method: beside the truth
        order.insert(order.index("truth") + 1, "reconstruction")
    order += [row for row in (*COMPONENTS, "reconstruction") if row in rows and row not in order]
    captions = {**CAPTIONS, "given": "Given, held between"} if p.task == "interpolation" else CAPTIONS
    return moving(
        film.clip.id if film.clip.episode_id != "drawn" else f"video {film.clip.first_frame + 1}",
        place_of(film.rank, p.clips),
        _figures(film, p, baseline),
        film.videos,
        rows,
        [(row, captions[row]) for row in order],
        given,
        told,
    )


def _figures(film: Film, protocol: Protocol, baseline: str | None) -> str:
    parts = [f"rank {film.rank} of {protocol.clips}"] if film.rank else []
    for metric, (value, held) in film.figures.items():
        beside = f" ({name_of(baseline).lower()} {show(metric, held)})" if baseline and held == held else ""
        parts.append(f"{heading(metric)} {show(metric, value)}{beside}")
    return " \u00b7 ".join(parts)


def recombinations_section(e: Evaluation) -> Markup:
    """Components of two clips drawn together."""
    text = (
        "Each component of one clip drawn with the others of another clip of another episode. Where the split into "
        "components is clean, a scene brings its background, an object its look, and a motion what moves."
    )
    cards = [_recombination(recombination) for recombination in e.recombinations]
    return Markup(tag("p", text) + tag("div", cards, class_="films"))


def _recombination(r: Recombination) -> Markup:
    rows = list(r.videos)
    captions = {"first": "First clip", "second": "Second clip"}
    panels = [(row, captions.get(row, f"{row.capitalize()} of the first, rest of the second")) for row in rows]
    none = [False] * len(r.videos["first"])
    return moving(f"{r.first.id} + {r.second.id}", "", "", r.videos, rows, panels, none, [""] * len(none))


def moving(
    name: str,
    place: str,
    figures: str,
    videos: Mapping[str, np.ndarray],
    rows: Sequence[str],
    panels: Sequence[tuple[str, str]],
    given: Sequence[bool],
    told: Sequence[str],
) -> Markup:
    """A card of panels (row of the sheet, caption) that the page's script steps through, frame by frame.

    Args:
        name: of the clip.
        place: "best" …, in front of `figures`; "" for none.
        figures: of the clip, in words.
        videos: row -> uint8 (T, H, W, 3).
        rows: those in the sheet, from the top.
        panels: in reading order; "given" shows the truth's last given frame.
        given: whether each of the T frames is given; the film starts at the first that is not.
        told: what is said of each of the T frames.
    """
    frames, height, width, _ = videos[rows[0]].shape
    start = list(given).index(False) if not all(given) else 0
    held = [max([g for g in range(f + 1) if given[g]], default=f) for f in range(frames)]
    script = {"frames": frames, "start": start, "given": list(given), "last_given": held, "told": list(told)}
    shown = []
    for row, caption in panels:
        look = ["view", "held"] if row == "given" else ["view"]
        look += ["lead"] if row in OUTLINED else []
        line = rows.index("truth" if row == "given" else row)
        view = tag("div", class_=" ".join(look), style=f"--row:{line}", role="img", aria_label=caption)
        shown.append(tag("figure", view, tag("figcaption", caption), class_="panel"))
    slider = tag("input", type="range", min=0, max=frames - 1, value=start, aria_label=f"Frame of {name}")
    picture = data_uri(sheet(dict(videos), rows), shown_size(height, width)[0])
    said = [tag("span", place, class_="place"), " \u00b7 ", figures] if place else [figures]
    return tag(
        "article",
        tag("header", tag("h3", tag("code", name)), tag("span", said, class_="figures")),
        tag("div", shown, class_="panels"),
        tag("div", slider, tag("output"), class_="scrub"),
        class_="film",
        data_film=json.dumps(script),
        style=f"--frames:{frames};--rows:{len(rows)};--f:{start};--g:{held[start]};--sheet:url({picture})",
    )
