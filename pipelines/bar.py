"""The embedded run's bar: the prediction beats the baselines, with confidence. Quality alone, never time.

python -m pipelines.bar [reports/metrics.json]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moso.errors import DataError, MosoError

CLIPS, EPISODES = 256, 128
"""The fewest that count (issue "From a clone to a trained model")."""
MOTION_DB = 3.0
"""Of reconstruction lost without motion; the embedded run loses 8. No source: far above chance, far below that."""
JOINT_EXCESS = 0.1
"""By how much a rollout's change at joints, over its ordinary change, may exceed the truth's. No source."""


def failures(metrics: Mapping[str, Any]) -> list[str]:
    """Why a metrics.json misses the bar; empty where it meets it.

    The bar: on at least 256 test clips of 128 episodes, the lower end of the 95% interval of the prediction's margin
    over repeating the last frame, and over the hedge, lies above zero in PSNR and in SSIM; and Stage I
    uses its motion tokens: with one frame's everywhere its reconstruction is wrecked. Where the clips of a long
    prediction meet, the picture changes by no more than from any frame to the next.

    Raises:
        DataError: the figures are not there.
    """
    try:
        protocol, margins = metrics["protocol"], metrics["margins"]
        found = [
            f"{protocol[name]} {name}, at least {least} are needed"
            for name, least in (("clips", CLIPS), ("episodes", EPISODES))
            if protocol[name] < least
        ]
        if protocol["split"] != "test":
            found.append(f"split is {protocol['split']}, the bar is for test")
        frozen = metrics["reconstruction"]["psnr"] - metrics["motion_frozen"]["psnr"]
        if not frozen >= MOTION_DB:
            found.append(
                f"freezing the motion tokens costs {frozen:.2f} dB, at least {MOTION_DB} show that they are used"
            )
        joint, true = (metrics["rollout"][of]["joint_ratio"] for of in ("prediction", "truth"))
        if not joint <= true + JOINT_EXCESS:
            found.append(f"rollouts jump at their joints: {joint:.2f} of the ordinary change, the truth {true:.2f}")
        for baseline in ("over_repeat_last", "over_hedge"):
            for metric in ("psnr", "ssim"):
                low = margins[baseline][metric]["low"]
                if not low > 0:  # also catches NaN
                    found.append(f"{metric} {baseline}: the 95% interval begins at {low:.4f}, not above 0")
    except KeyError as error:
        raise DataError(f"metrics.json: no {error}; write it with `dvc repro evaluate`") from None
    return found


def main(arguments: list[str]) -> int:
    """Print the verdict; 0 where the bar is met, else 1."""
    path = Path(arguments[0] if arguments else "reports/metrics.json")
    try:
        if not path.is_file():
            raise DataError(f"{path} does not exist; run `make repro` first")
        metrics = json.loads(path.read_text())
        missed = failures(metrics)
    except MosoError as error:
        print(f"bar: {error}", file=sys.stderr)
        return 1
    for reason in missed:
        print(f"bar missed: {reason}", file=sys.stderr)
    if not missed:
        psnr, ssim = (metrics["margins"]["over_repeat_last"][metric]["mean"] for metric in ("psnr", "ssim"))
        print(f"bar met: +{psnr:.2f} dB and +{ssim:.4f} SSIM over repeating the last frame")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
