"""A trained model as an MLflow model folder: networks, the moso code they need, signature, example, requirements.

Nothing is pickled: weights are safetensors, settings JSON, the model itself is code (moso/serving/pyfunc.py).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import moso
from moso.adapters.mlflow_client import reported, require_mlflow
from moso.errors import DataError
from moso.tasks.model import Model
from moso.tasks.request import PARAMETERS

PACKAGE = Path(moso.__file__).parent
CODE = PACKAGE / "serving" / "pyfunc.py"
# What moso's code imports while a model is loaded and predicts (a test compares), and MLflow to load it with.
REQUIREMENTS = ("einops", "jaxtyping", "mlflow", "numpy", "pandas", "pyarrow", "pyyaml", "safetensors", "torch")


def requirements() -> list[str]:
    """`name==version` of what the model needs, as installed here; torch without its build tag (+cpu, +cu130)."""
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in REQUIREMENTS]


def signature(model: Model) -> Any:
    """MLflow's signature: uint8 (N, n, H, W, 3) -> the same (what most tasks give), and every parameter of a request.

    None as a default means that the model's own value, or the task's, is taken.
    """
    require_mlflow()
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    types = {int: DataType.long, float: DataType.double, str: DataType.string, bool: DataType.boolean}
    frames = Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, model.height, model.width, 3), name=None)])
    params = [
        ParamSpec(name, types[parameter.type], parameter.absent, (-1,) if parameter.many else None)
        for name, parameter in PARAMETERS.items()
    ]
    return ModelSignature(inputs=frames, outputs=frames, params=ParamSchema(params))


def check_example(example: np.ndarray, model: Model) -> None:
    """Nothing when `example` is uint8 (n, K, H, W, 3) of the model's sizes.

    Raises:
        DataError: it is not.
    """
    expected = (model.given_frames, model.height, model.width, 3)
    if example.dtype != np.uint8 or example.ndim != 5 or example.shape[1:] != expected:
        wanted = ", ".join(map(str, expected))
        raise DataError(f"input example: expected uint8 (n, {wanted}), got {example.dtype} {example.shape}")


def save(folder: Path, model: Model, vqvae: Path, transformer: Path, example: np.ndarray, entry: Any = None) -> None:
    """Write the MLflow model folder.

    Args:
        folder: written to; must not exist or be empty.
        model: the two parts loaded, for sizes and defaults.
        vqvae: output folder of train_vqvae.
        transformer: output folder of train_transformer.
        example: uint8 (n, K, H, W, 3), the given frames of real clips.
        entry: an mlflow.models.Model that carries the ids of run and logged model; a new one where None.

    Raises:
        DataError: the example does not fit.
        TrackingError: MLflow refuses.
    """
    require_mlflow()
    import mlflow.pyfunc

    check_example(example, model)
    with _named({"vqvae": vqvae, "transformer": transformer}) as parts, reported("MLflow could not save the model"):
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(CODE),
            artifacts={name: str(path) for name, path in parts.items()},
            code_paths=[str(PACKAGE)],
            signature=signature(model),
            input_example=example,
            pip_requirements=requirements(),
            mlflow_model=entry,
        )
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache)


@contextlib.contextmanager
def _named(folders: dict[str, Path]) -> Iterator[dict[str, Path]]:
    # MLflow names an artifact's folder after its source; Kubeflow's paths may be called anything.
    with tempfile.TemporaryDirectory(prefix="moso-model-") as temporary:
        copies = {name: Path(temporary) / name for name in folders}
        for name, copy in copies.items():
            shutil.copytree(folders[name], copy)
        yield copies
