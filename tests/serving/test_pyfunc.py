"""The MLflow model folder, loaded in this process; test_promote.py loads it in another, outside the repository."""

import dataclasses
import json
import shutil
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pytest
import yaml
from mlflow.exceptions import MlflowException

from moso.adapters import mlflow_model
from moso.errors import DataError
from moso.tasks.checks import InputError
from moso.tasks.model import Model
from moso.tasks.request import PARAMETERS, TASKS


@pytest.fixture(scope="module")
def saved(first, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    model = Model.from_parts(first.vqvae, first.transformer, "cpu")
    mlflow_model.save(folder, model, first.vqvae, first.transformer, np.load(first.report / "example.npy"))
    return folder


@pytest.fixture(scope="module")
def loaded(saved):
    return mlflow.pyfunc.load_model(str(saved))


@pytest.fixture(scope="module")
def facade(first) -> Model:
    return Model.from_parts(first.vqvae, first.transformer, "cpu")


def test_it_predicts_what_the_facade_predicts(loaded, facade, frames):
    assert np.array_equal(loaded.predict(frames), facade.predict(frames, seed=0))


def test_params_choose_the_seed_and_the_sampling_steps(loaded, facade, frames):
    one_step = dataclasses.replace(facade.sampling, steps=1)
    expected = facade.predict(frames, seed=7, sampling=one_step)
    assert np.array_equal(loaded.predict(frames, params={"seed": 7, "steps": 1}), expected)
    assert not np.array_equal(expected, loaded.predict(frames))


def test_another_task_is_asked_for_by_name(loaded, facade, frames):
    longer = loaded.predict(frames, params={"task": "rollout", "length": 5, "carry": "frames"})
    assert np.array_equal(longer, facade.rollout(frames, 5, carry="frames"))
    with pytest.raises(InputError, match=r"task: expected one of predict, rollout, generate, .*, got 'paint'"):
        loaded.predict(frames, params={"task": "paint"})


def test_videos_of_nothing_are_as_many_as_the_empty_clips(loaded, facade):
    videos = loaded.predict(np.zeros((3, 0, 16, 16, 3), np.uint8), params={"task": "generate", "seed": 7})
    assert np.array_equal(videos, next(facade.generate(3, seed=7)))


@pytest.mark.parametrize("params", [{"given": 3}, {"seed": "three"}, {"length": 2.5}, {"parts": "scene"}])
def test_parameters_of_another_type_are_refused_by_the_signature(loaded, frames, params):
    with pytest.raises(MlflowException, match=next(iter(params))):
        loaded.predict(frames, params=params)


def test_the_signature_names_shapes_types_and_defaults(loaded):
    signature = loaded.metadata.signature
    assert [(s.type, s.shape) for s in signature.inputs.inputs] == [(np.dtype("uint8"), (-1, -1, 16, 16, 3))]
    assert [(s.type, s.shape) for s in signature.outputs.inputs] == [(np.dtype("uint8"), (-1, -1, 16, 16, 3))]
    defaults = {p.name: p.default for p in signature.params.params}
    assert defaults == {name: parameter.absent for name, parameter in PARAMETERS.items()}
    assert (defaults["task"], defaults["seed"], defaults["steps"], defaults["given"]) == ("predict", 0, None, [])


def test_the_output_is_what_the_signature_promises(loaded, frames):
    predicted = loaded.predict(frames)
    assert (predicted.dtype, predicted.shape) == (np.dtype("uint8"), (2, 2, 16, 16, 3))


def test_another_moso_imported_before_the_models_own_is_said(saved, tmp_path, capsys):
    other = tmp_path / "model"
    shutil.copytree(saved, other)
    mlflow.pyfunc.load_model(str(other))
    assert "brings other code" not in capsys.readouterr().err
    with (other / "code" / "moso" / "errors.py").open("a") as file:
        file.write("# another version")
    mlflow.pyfunc.load_model(str(other))
    assert "brings other code" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((1, 2, 8, 8, 3), np.uint8), np.zeros((1, 2, 16, 16, 3)), np.zeros((2, 16, 16, 3), np.uint8)],
    ids=["another size", "floats", "no axis for the clips"],
)
def test_frames_that_do_not_fit_the_signature_are_refused(loaded, wrong):
    with pytest.raises(MlflowException):
        loaded.predict(wrong)


def test_too_many_frames_are_refused_by_the_task(loaded):
    with pytest.raises(InputError, match=r"this model takes 2 frames here, not 3"):
        loaded.predict(np.zeros((1, 3, 16, 16, 3), np.uint8))


def test_the_input_example_is_the_test_clip_and_the_model_takes_it(loaded, saved, first):
    example = loaded.metadata.load_input_example(str(saved))
    assert np.array_equal(np.asarray(example), np.load(first.report / "example.npy"))
    assert loaded.predict(np.asarray(example, dtype=np.uint8)).shape == (1, 2, 16, 16, 3)


def test_nothing_in_it_is_pickled(saved):
    names = [path.name for path in saved.rglob("*") if path.is_file()]
    assert [n for n in names if n.endswith((".pkl", ".pickle", ".pt", ".pth", ".npy", ".npz", ".joblib"))] == []
    flavor = yaml.safe_load((saved / "MLmodel").read_text())["flavors"]["python_function"]
    assert flavor["loader_module"] == "mlflow.pyfunc.loaders.code_model"
    assert "python_model" not in flavor
    # A pickle of protocol 2 or later begins with PROTO, whatever its name.
    assert [
        p for p in saved.rglob("*") if p.is_file() and p.read_bytes()[:1] == b"\x80" and p.suffix != ".safetensors"
    ] == []


def test_it_asks_for_what_the_model_needs_and_no_more(saved):
    asked = {line.split("==")[0] for line in (saved / "requirements.txt").read_text().split()}
    assert asked == set(mlflow_model.REQUIREMENTS)  # test_promote.py compares these with what the code imports
    assert "+" not in (saved / "requirements.txt").read_text()


def test_no_path_of_this_machine_is_in_it(saved, first):
    text = (saved / "MLmodel").read_text() + (saved / "conda.yaml").read_text()
    for place in (first.vqvae, first.transformer):
        assert str(place) not in text


def test_an_example_of_another_size_is_refused(facade, first, tmp_path):
    with pytest.raises(DataError, match=r"expected uint8 \(n, 2, 16, 16, 3\), got uint8 \(1, 2, 8, 8, 3\)"):
        mlflow_model.save(
            tmp_path / "m", facade, first.vqvae, first.transformer, np.zeros((1, 2, 8, 8, 3), dtype=np.uint8)
        )


def test_the_parts_keep_their_provenance(saved, first):
    for name in ("vqvae", "transformer"):
        kept = json.loads((saved / "artifacts" / name / "provenance.json").read_text())
        assert kept == json.loads((getattr(first, name) / "provenance.json").read_text())


def test_the_documented_signature_is_the_models():
    """docs/registry.md: every parameter with its type, what it is where not given, and the tasks that read it."""
    text = (Path(__file__).parents[2] / "docs" / "registry.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 5]
    rows = [line.strip("| ").split(" | ") for line in lines]
    stated = {name.strip("`"): tuple(rest) for name, *rest in rows}
    expected = {}
    for name, parameter in PARAMETERS.items():
        kind = f"list of {parameter.type.__name__}" if parameter.many else parameter.type.__name__
        absent = "none" if parameter.many or parameter.default is None else f"`{parameter.default}`"
        expected[name] = (kind, absent, "all" if parameter.tasks == TASKS else ", ".join(parameter.tasks))
    assert stated == expected
