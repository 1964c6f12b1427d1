"""SIGTERM during `moso retrain`: in a step, after a step's last look at its stop signal, and between two steps."""

import os
import signal
import sys
from types import ModuleType, SimpleNamespace

import pytest

from moso.errors import StopRequested
from moso.provenance import atomic_folder
from pipelines import retrain
from pipelines.retrain_state import run_step


@pytest.fixture
def step(monkeypatch, tmp_path):
    """Makes `run` the step "last_look"; its output is a folder."""
    monkeypatch.setenv("MOSO_TRACKING", "off")
    monkeypatch.setenv("MOSO_WORK", str(tmp_path / "work"))

    def make(run):
        module = ModuleType("components.last_look.step")
        module.run = run
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return lambda: run_step("last_look", None, {}, {"target": tmp_path / "target"})

    return make


@pytest.fixture
def own_handler():
    """A handler of the caller's; the numbers that came to it."""
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    yield came
    signal.signal(signal.SIGTERM, before)


def _write(config, inputs, outputs, context):
    with atomic_folder(outputs["target"]):
        pass
    assert not context.stop


def test_a_step_leaves_the_signals_to_the_caller(step, own_handler):
    step(_write)()
    os.kill(os.getpid(), signal.SIGTERM)
    assert own_handler == [signal.SIGTERM]


def test_a_signal_after_the_steps_last_look_ends_the_retraining_with_the_steps_output_whole(
    step, own_handler, tmp_path
):
    def run(*arguments):
        _write(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StopRequested, match="after last_look"):
        step(run)()
    assert (tmp_path / "target").is_dir()
    os.kill(os.getpid(), signal.SIGTERM)
    assert own_handler == [signal.SIGTERM]


def test_what_a_step_raises_comes_through_and_the_callers_handler_is_back(step, own_handler):
    def run(config, inputs, outputs, context):
        os.kill(os.getpid(), signal.SIGTERM)
        assert context.stop
        raise StopRequested("the step's own")

    with pytest.raises(StopRequested, match="the step's own"):
        step(run)()
    os.kill(os.getpid(), signal.SIGTERM)
    assert own_handler == [signal.SIGTERM]


def test_a_signal_between_two_steps_ends_the_retraining_before_the_next(own_handler):
    with retrain._listening() as stop:
        run = SimpleNamespace(lease=SimpleNamespace(lost=False), stop=stop)
        retrain._Run._may_go_on(run, "evaluate")
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopRequested, match="before evaluate"):
            retrain._Run._may_go_on(run, "evaluate")
    assert own_handler == []
    os.kill(os.getpid(), signal.SIGTERM)
    assert own_handler == [signal.SIGTERM]
