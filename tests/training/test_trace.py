"""The profiler switch writes a trace of as many steps as it says, and changes no result."""

import json

import pytest
import torch


@pytest.mark.parametrize(("asked", "traced"), [(2, 2), (9, 3)])
def test_a_trace_has_the_steps_after_the_first_and_the_weights_are_the_same(run, toy, config, tmp_path, asked, traced):
    plain, profiled = toy.Toy(), toy.Toy()
    run(plain, config(), work="plain")
    run(profiled, config(profile_steps=asked), work="profiled")
    for name, value in plain.module.state_dict().items():
        assert torch.equal(profiled.module.state_dict()[name], value), name
    assert not (tmp_path / "plain" / "traces").exists()
    (path,) = (tmp_path / "profiled" / "traces").iterdir()
    names = [event.get("name") for event in json.loads(path.read_text())["traceEvents"]]
    assert sum(name == "autograd::engine::evaluate_function: MeanBackward0" for name in names) == traced  # the loss's
