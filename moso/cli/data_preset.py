"""The settings of a preset, fitted to recordings: clips that fit into them, no more test clips than there are."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import yaml

from moso.cli.data_look import Look
from moso.config import build
from moso.errors import DataError
from moso.vqvae.config import VQVAEConfig

SECTIONS = (
    "ingest", "preprocess", "train_vqvae", "extract_tokens", "train_transformer", "evaluate", "promote",
)  # fmt: skip
SIMULATED = ("episodes", "simulation")
"""Settings of ingest that only a simulated data set has."""


def fitted(like: Mapping[str, Any], look: Look, counts: Mapping[str, int]) -> dict[str, Any]:
    """All sections of a preset for the data.

    Args:
        like: the plain data of the preset whose settings are taken.
        look: into the data.
        counts: split -> episodes, of those looked at.

    Raises:
        DataError: the episodes are too short for any clip.
    """
    preset = {section: copy.deepcopy(like.get(section) or {}) for section in SECTIONS}
    for name in SIMULATED:
        preset["ingest"].pop(name, None)
    preset["promote"].pop("model", None)  # a name of its own: moso-<dataset>
    model = preset["train_vqvae"]["model"]
    shortest = look.length_of_most()
    if model["frames"] > shortest:
        together = model["frames"] // model["pools"]  # frames a pool
        model["pools"] = shortest // together
        model["frames"] = model["pools"] * together
        if model["pools"] < 1 or model["frames"] < 2:
            raise DataError(f"episodes of {shortest} frames are too short for clips of {together} frames a pool")
        objective = preset["train_vqvae"].get("objective") or {}
        if (objective.get("decode_pools") or 0) > model["pools"]:
            objective["decode_pools"] = model["pools"]
    build(VQVAEConfig, model, "train_vqvae.model")
    preset["preprocess"] |= {"height": model["height"], "width": model["width"]}

    tokens = preset["extract_tokens"]
    tokens["given_frames"] = min(tokens.get("given_frames", 1), model["frames"] - 1)
    evaluate = preset["evaluate"]
    too_short = sum(length < model["frames"] for length in look.lengths)
    # Another data set's protocol is none of this one's; what is left of it is made of the model's sizes.
    kept = {key: value for key, value in (evaluate.get("protocol") or {}).items() if key in ("split", "videos")}
    evaluate["protocol"] = kept
    test = max(1, counts.get(kept.get("split", "test"), 0) - too_short)
    if look.complete:
        evaluate["min_clips"] = min(evaluate.get("min_clips", 256), test)
        evaluate["min_episodes"] = min(evaluate.get("min_episodes", 128), test)
        if kept.get("videos") is not None:
            kept["videos"] = max(kept["videos"], evaluate["min_clips"])
    if rollout := evaluate.get("rollout"):
        frames = min(rollout["frames"], min(look.lengths) - tokens["given_frames"])
        joints = frames > model["frames"] - tokens["given_frames"]
        evaluate["rollout"] = {**rollout, "frames": frames} if joints else None
    return preset


def preset_text(preset: Mapping[str, Any], name: str, like: str) -> str:
    """The preset's file."""
    head = (
        f"# {name}: written by `moso data init` from the settings of {like}, which were chosen for another data set;\n"
        "# yours to change. What a setting means stands beside it in the code: docs/architecture.md says where.\n\n"
        "base: null      # a preset that this one is laid over; DVC follows `paper` alone\n"
    )
    body = "".join(
        "\n" + yaml.safe_dump({section: preset[section]}, sort_keys=False, default_flow_style=None, width=110)
        for section in SECTIONS
    )
    return head + body
