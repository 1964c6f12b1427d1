"""The registered model's code: MLflow runs this very file when it loads the model (models from code, nothing pickled).

    model = mlflow.pyfunc.load_model("models:/moso-sim_push@champion")
    predicted = model.predict(frames, params={"seed": 3, "steps": 8})
    longer = model.predict(frames, params={"task": "rollout", "length": 40})

frames: uint8 (N, K, H, W, 3), [0, 255]; predicted: uint8 (N, T-K, H, W, 3). "task" chooses another of the facade's
tasks; moso.tasks.request lists them and every parameter. MLflow passes arrays and plain parameters only, hence three
choices:

- generate and decode read no frame: hand over N clips without frames, np.zeros((N, 0, H, W, 3), np.uint8) (through
  JSON, which has no empty clips, any frame will do). generate gives N videos.
- recombine takes all clips in one array, and of each component the numbers of the clips that it comes from:
  {"task": "recombine", "scene": [0], "object": [1], "motion": [1]}.
- encode gives int64 (N, L), a row a clip; decode takes them as one list: {"task": "decode", "tokens": tokens.ravel()}.

MLflow passes over a parameter that it does not know, with a warning. The moso package beside it (code/moso in the
model's folder) comes first on the path, so the model behaves as it did when it was registered.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class MosoModel(PythonModel):  # type: ignore[misc]
    """The Model facade behind MLflow's interface."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the networks that the model's folder carries."""
        from moso.tasks.model import Model

        _warn_of_other_code(context)
        self.model = Model.from_parts(context.artifacts["vqvae"], context.artifacts["transformer"])

    # MLflow calls the first argument by its name: it must be `context`.
    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: Mapping[str, Any] | None = None
    ) -> Any:
        """What a task makes of the frames; the frames that follow them where none is named.

        Args:
            context: MLflow's.
            model_input: frames, uint8 (N, n, H, W, 3).
            params: see the module.

        Returns:
            Videos, uint8 (N, T-K, H, W, 3) where no task is named; see `answer` for the others.

        Raises:
            InputError: an unknown task, or what does not fit.
        """
        from moso.tasks.request import answer

        return answer(self.model, model_input, params or {})


def _warn_of_other_code(context: PythonModelContext) -> None:
    """Say so when another moso was imported before this model put its own on the path: its numbers may differ."""
    own = Path(context.artifacts["vqvae"]).parents[1] / "code" / "moso"
    used = Path(sys.modules["moso"].__file__ or "").parent
    if own.is_dir() and _sources(own) != _sources(used):
        print(f"moso: this model brings other code than {used}, which was imported before it", file=sys.stderr)


def _sources(package: Path) -> dict[str, bytes]:
    return {path.relative_to(package).as_posix(): path.read_bytes() for path in package.rglob("*.py")}


set_model(MosoModel())
