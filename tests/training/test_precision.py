from itertools import pairwise

import pytest
import torch

from moso.errors import ConfigError
from moso.training import checkpoint, precision
from moso.training.config import OptimizerConfig

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_is_float32_on_a_cpu_and_bf16_on_cuda():
    assert precision.choose("auto", CPU).name == "float32"
    assert precision.choose("auto", CUDA).name == "bf16"


def test_bf16_is_asked_of_the_cpu(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu avx2 avx512f\n")
    assert not precision.cpu_has_bf16(cpuinfo)
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu avx2 avx512_bf16\n")
    assert precision.cpu_has_bf16(cpuinfo)
    assert not precision.cpu_has_bf16(tmp_path / "none")


def test_bf16_on_a_cpu_without_its_instructions_and_fp16_on_any_are_refused(monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    with pytest.raises(ConfigError, match="bfloat16"):
        precision.choose("bf16", CPU)
    with pytest.raises(ConfigError, match="GPU"):
        precision.choose("fp16", CPU)


def test_autocast_computes_in_the_chosen_format_and_float32_does_not_cast():
    layer = torch.nn.Linear(2, 2)
    with precision.Precision("bf16", "").autocast(CPU):
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
    with precision.Precision("float32", "").autocast(CPU):
        assert layer(torch.ones(1, 2)).dtype == torch.float32


def test_fastest_takes_bf16_where_the_cpu_has_it_and_says_why_while_auto_stays_with_float32(monkeypatch):
    for has, name, why in ((True, "bf16", "has bfloat16"), (False, "float32", "has no bfloat16")):
        monkeypatch.setattr(precision, "cpu_has_bf16", lambda has=has: has)
        chosen = precision.choose("fastest", CPU)
        assert chosen.name == name
        assert why in chosen.reason
        assert precision.choose("auto", CPU).name == "float32"
        assert ("bf16 would use" in precision.choose("auto", CPU).reason) == has


# fp16 is refused on a CPU because it is slow there; torch has it, and its GradScaler, so that all of it can be tested.
OVERFLOWS_AT = 2
FIRST_SCALE = 65536.0  # torch's first scale


@pytest.fixture
def fp16(monkeypatch):
    """Trainings on a CPU in fp16, with the scaler that fp16 has on a GPU."""
    monkeypatch.setattr(precision, "choose", lambda setting, device: precision.Precision("fp16", "a test"))


def scaled_toy(toy, factor, **arguments):
    """The toy with its loss times `factor(step)`."""

    class Scaled(toy.Toy):
        def loss(self, batch, samples, step):
            loss, extra = super().loss(batch, samples, step)
            return loss * factor(step), extra

    return Scaled(**arguments)


def overflowing(step):
    """Of a loss that is finite, its gradient of the last layer, which is fp16, is not (the largest is 65504)."""
    return 1e6 if step == OVERFLOWS_AT else 0.01


def kept(tmp_path, work="work"):
    """The checkpoints of a training, oldest first, and the scaler of each."""
    (folder,) = {path.parent for path in (tmp_path / work).rglob("step_0000*")}
    found = [checkpoint.load(path) for path in sorted(folder.iterdir())]
    return found, [one.state["scaler"] for one in found]


def test_gradients_that_fp16_would_lose_are_those_of_float32_by_the_scaler(run, toy, config, monkeypatch):
    """1e-8 of a loss: its gradient lies below the smallest number of fp16, 6e-8, until it is scaled."""
    settings = config(log_every=1, gradient_clip=0.0, steps=1)

    def norm(name, scaled=True):
        monkeypatch.setattr(precision, "choose", lambda setting, device: precision.Precision(name, "a test"))
        if not scaled:
            monkeypatch.setattr(precision.Precision, "scaler", lambda self, device: None)
        history = run(scaled_toy(toy, lambda step: 1e-8), settings, work=f"{name}_{scaled}")
        return history[0]["gradient_norm"]

    exact = norm("float32")
    assert norm("fp16") == pytest.approx(exact, rel=0.01)
    assert norm("fp16", scaled=False) < 0.5 * exact


def test_an_overflow_leaves_the_step_out_and_halves_the_scale_and_the_training_goes_on(
    run, toy, config, tmp_path, fp16
):
    settings = config(keep_checkpoints=9, ema_decay=0.0, log_every=1, optimizer=OptimizerConfig(learning_rate=0.02))
    history = run(scaled_toy(toy, overflowing), settings)
    found, scalers = kept(tmp_path)
    assert [one["scale"] for one in scalers] == [FIRST_SCALE, FIRST_SCALE, FIRST_SCALE / 2, FIRST_SCALE / 2]
    for step, (before, after) in enumerate(pairwise(found), start=1):
        for group in ("weights", "optimizer"):
            same = [
                torch.equal(value, before.tensors[group][name])
                for name, value in after.tensors[group].items()
                if name != "steps_seen"
            ]
            assert all(same) if step == OVERFLOWS_AT else not any(same), (step, group)
    # no norm is told of a gradient that is infinite; the loss is
    told = [row for row in history if "loss" in row]
    assert ["gradient_norm" in row for row in told] == [True, True, False, True]


@pytest.mark.parametrize("interrupted_at", [OVERFLOWS_AT, OVERFLOWS_AT + 1])
def test_a_training_in_fp16_that_is_killed_goes_on_with_its_scale_to_the_same_bits(
    run, toy, config, tmp_path, fp16, interrupted_at
):
    def interrupt(step):
        if step == interrupted_at:
            raise KeyboardInterrupt

    whole, resumed = scaled_toy(toy, overflowing), scaled_toy(toy, overflowing)
    history = run(whole, config(), work="whole")
    with pytest.raises(KeyboardInterrupt):
        run(scaled_toy(toy, overflowing, hook=interrupt), config(), work="halves")
    assert run(resumed, config(), work="halves") == history
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name
    assert kept(tmp_path, "halves")[1] == kept(tmp_path, "whole")[1]
    assert kept(tmp_path, "whole")[1][-1]["scale"] == FIRST_SCALE / 2
