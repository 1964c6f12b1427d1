"""The registered model's code: MLflow runs this very file when it loads the model (models from code, nothing pickled).

    model = mlflow.pyfunc.load_model("models:/moso-sim_push@champion")
    predicted = model.predict(frames, params={"seed": 3, "steps": 8})

frames: uint8 (N, K, H, W, 3), [0, 255]; predicted: uint8 (N, T-K, H, W, 3). The moso package beside it (code/moso in
the model's folder) comes first on the path, so the model behaves as it did when it was registered.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class MosoModel(PythonModel):  # type: ignore[misc]
    """The Model facade's `predict` behind MLflow's interface."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the networks that the model's folder carries."""
        from moso.tasks.model import Model

        _warn_of_other_code(context)
        self.model = Model.from_parts(context.artifacts["vqvae"], context.artifacts["transformer"])

    # MLflow calls the first argument by its name: it must be `context`.
    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """The frames that follow.

        Args:
            context: MLflow's.
            model_input: given frames, uint8 (N, K, H, W, 3).
            params: "seed" (0 where not given) and "steps", the sampling steps (the model's own where not given).

        Returns:
            uint8 (N, T-K, H, W, 3).
        """
        wanted = {"seed": 0, "steps": self.model.sampling.steps, **(params or {})}
        sampling = dataclasses.replace(self.model.sampling, steps=int(wanted["steps"]))
        return self.model.predict(model_input, seed=int(wanted["seed"]), sampling=sampling)


def _warn_of_other_code(context: PythonModelContext) -> None:
    """Say so when another moso was imported before this model put its own on the path: its numbers may differ."""
    own = Path(context.artifacts["vqvae"]).parents[1] / "code" / "moso"
    used = Path(sys.modules["moso"].__file__ or "").parent
    if own.is_dir() and _sources(own) != _sources(used):
        print(f"moso: this model brings other code than {used}, which was imported before it", file=sys.stderr)


def _sources(package: Path) -> dict[str, bytes]:
    return {path.relative_to(package).as_posix(): path.read_bytes() for path in package.rglob("*.py")}


set_model(MosoModel())
