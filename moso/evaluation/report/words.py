"""How the page names methods and metrics and writes their figures."""

from __future__ import annotations

from moso.evaluation.metrics import heading, higher_is_better
from moso.evaluation.protocol import Protocol

# Method -> its name, what it is, and its colour in the style sheet: the same in every chart of a page.
METHODS = {
    "prediction": ("Prediction", "", 0),
    "interpolation": ("Interpolation", "", 0),
    "repeat_last": ("Repeat last", "the last given frame, held", 1),
    "hold": ("Hold", "the last given frame before, held", 1),
    "blend": ("Blend", "the given frames on both sides, mixed by their distance", 2),
    "mean_given": ("Mean of the given", "the mean of the given frames", 5),
    "linear": ("Linear", "the change between the last two given frames, continued in pixels", 6),
    "hedge": ("Hedge", "0.85 \u00d7 last given frame + 0.15 \u00d7 mean training image", 2),
    "reconstruction": ("Reconstruction", "the true frames through Stage I: the ceiling", 3),
    "motion_frozen": (
        "Motion frozen",
        "reconstruction with every frame's motion tokens replaced by the first frame's",
        4,
    ),
}
# Decimals and unit of a figure; another metric gets four decimals.
UNITS = {"psnr": (2, "\u00a0dB"), "ssim": (4, ""), "fvd": (1, ""), "fid": (2, "")}


def name_of(method: str) -> str:
    """A method as tables and legends name it: "repeat_last" -> "Repeat last"."""
    return METHODS[method][0] if method in METHODS else method.replace("_", " ").capitalize()


def meaning_of(method: str, protocol: Protocol) -> str:
    """What a method is; of what is sampled, how its samples count."""
    if method in ("prediction", "interpolation"):
        return samples_in_words(protocol)
    if method == protocol.task == "reconstruction":
        return "the true frames through Stage I"
    return METHODS[method][1] if method in METHODS else ""


def colour_of(method: str) -> int:
    """Number of the style sheet's colour."""
    return METHODS[method][2] if method in METHODS else 7


def samples_in_words(protocol: Protocol) -> str:
    """How many samples a clip, and which of them counts."""
    count = protocol.samples_per_video
    if count == 1:
        return "one sample a clip"
    if protocol.best_of == "none":
        return f"the mean over {count} samples a clip"
    return f"the best of {count} samples a clip, for each metric on its own"


def show(metric: str, value: float, sign: bool = False) -> str:
    """A figure with its unit: ("psnr", 19.334) -> '19.33 dB'; one that is no number is a dash."""
    if value != value:
        return "\u2013"
    decimals, unit = UNITS.get(metric, (4, ""))
    return f"{value:{'+' if sign else ''}.{decimals}f}{unit}".replace("-", "\u2212")


def with_direction(metric: str) -> str:
    """A metric and where better lies: "PSNR ↑"."""
    return f"{heading(metric)} " + ("\u2191" if higher_is_better(metric) else "\u2193")


def axis_of(metric: str) -> str:
    """The label of a chart's axis."""
    return f"{heading(metric)} (dB)" if metric == "psnr" else heading(metric)
