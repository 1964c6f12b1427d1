"""A case's work by a variant of the code.

Every piece works on random clips or tokens of the preset's sizes; untrained networks cost what trained ones do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from bench.cases import Case, Settings, Subject, Variant
from bench.stage_one import StageOne
from bench.stage_two import StageTwo


def make(case: Case, variant: Variant, device: torch.device) -> Subject:
    """The work of a case by a variant, ready to be called."""
    settings = Settings(case, variant, device)
    stage: StageOne | StageTwo = (
        StageTwo(settings) if case.row in ("transformer_train", "sampling", "many_samples") else StageOne(settings)
    )
    row = "train" if case.row.endswith("_train") else case.row
    made: Callable[[], Subject] = getattr(stage, f"plain_{row}" if variant == "plain" else row)
    return made()
