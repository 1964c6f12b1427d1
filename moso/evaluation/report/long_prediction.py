"""Prediction beyond a clip: quality by frame, and whether the joints between clips show."""

from __future__ import annotations

from moso.evaluation.metrics import heading
from moso.evaluation.report.charts import Series, line_chart
from moso.evaluation.report.clips import CAPTIONS, moving
from moso.evaluation.report.evaluation import Evaluation
from moso.evaluation.report.films import ROLLOUT_ROWS, difference
from moso.evaluation.report.markup import Markup, tag
from moso.evaluation.report.words import axis_of, colour_of, name_of, show
from moso.evaluation.rollout import Rollout

CARRIED = {
    "tokens": "its scene and object tokens and the motion tokens of its last frames",
    "frames": "its last frames, decoded and encoded again",
}
SOURCES = {"prediction": "Prediction", "truth": "Truth", "unfaded": "Prediction, joints as they are"}


def rollout_section(e: Evaluation) -> Markup:
    """Quality by frame, the change at joints, and films of the first episodes."""
    r = e.rollout
    assert r is not None
    charts = [*_by_frame(r), _changes(r)]
    films = tag("div", _films(r), class_="films")
    return Markup(tag("p", _note(e, r)) + films + tag("div", charts, class_="charts"))


def _note(e: Evaluation, r: Rollout) -> str:
    figures, length = r.summary(), r.config.frames
    ends = ", ".join(str(r.given_frames + i + 1) for i in r.joints)
    ours, truth = figures["prediction"], figures["truth"]
    unfaded = ""
    if "unfaded" in figures:
        unfaded = f", {figures['unfaded']['joint_ratio']:.2f} where joints are left as they are"
    return (
        f"{length} frames from {r.given_frames}, clip after clip, on {len(r.clips)} {e.protocol.split} episodes; what "
        f"a clip passes on: {CARRIED[r.config.carry]}; a joint is {'' if r.config.fade else 'not '}"
        f"faded over two frames. A clip ends with frame {ends}. Mean change from one predicted frame to the next, in "
        f"grey levels: {ours['change_at_joints']:.2f} across these joints, {ours['change_elsewhere']:.2f} elsewhere, "
        f"a ratio of {ours['joint_ratio']:.2f}{unfaded}; the truth's is {truth['joint_ratio']:.2f}. "
        "A ratio well above the truth's would be a jump that shows."
    )


def _by_frame(r: Rollout) -> list[Markup]:
    frames = range(r.given_frames + 1, r.given_frames + r.config.frames + 1)
    return [
        line_chart(
            f"{heading(metric)} by predicted frame, long prediction",
            [Series(name_of(m), frames, values.mean(axis=0).tolist(), colour_of(m)) for m, values in of.items()],
            x_label="frame",
            y_label=axis_of(metric),
        )
        for metric, of in r.values.items()
    ]


def _changes(r: Rollout) -> Markup:
    frames = range(r.given_frames + 1, r.given_frames + r.config.frames + 1)
    lines = [
        Series(name, frames[1:], r.changes[of].mean(axis=0).tolist(), i, of == "truth")
        for i, (of, name) in enumerate(SOURCES.items())
        if of in r.changes
    ]
    at = [frames[i + 1] for i in r.joints]
    marks = Series("Prediction, across a joint", at, [r.changes["prediction"][:, i].mean() for i in r.joints], 5, True)
    label = "mean difference (grey levels)"
    return line_chart("Change from the frame before", [*lines, marks], x_label="frame", y_label=label)


def _films(r: Rollout) -> list[Markup]:
    panels = [(row, CAPTIONS[row]) for row in ("given", *ROLLOUT_ROWS)]
    cards = []
    for i, (clip, videos) in enumerate(zip(r.clips, r.shown, strict=False)):
        psnr, held = (r.values["psnr"][method][i] for method in ("prediction", "repeat_last"))
        figures = f"{show('psnr', psnr.mean())} (repeat last {show('psnr', held.mean())})"
        pairs = zip(psnr, held, strict=True)
        told = ["given"] * r.given_frames + [f"prediction {a:.1f} dB, repeat last {b:.1f} dB" for a, b in pairs]
        given = [True] * r.given_frames + [False] * len(psnr)
        rows = {**videos, "difference": difference(videos["truth"], videos["prediction"])}
        cards.append(moving(clip.id, "", figures, rows, ROLLOUT_ROWS, panels, given, told))
    return cards
