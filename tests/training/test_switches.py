"""Switches of a training act on the result by rounding alone, or not at all."""

import pytest
import torch
from torch import nn

from moso.errors import ConfigError
from moso.training.segment import Segment, SwitchedAttention, recomputing
from moso.training.switches import compiling, switch_


class Squash(Segment):
    """A segment that notes each of its passes, and whether it was computed again."""

    def __init__(self):
        super().__init__()
        self.layer, self.dropout, self.passes = nn.Linear(4, 4), nn.Dropout(0.5), []

    def forward(self, x):
        self.passes.append(recomputing())
        return self.dropout(self.layer(x).tanh())


def _gradients(module, seed=0):
    torch.manual_seed(seed)
    module.zero_grad()
    module(torch.ones(3, 4)).square().sum().backward()
    return [p.grad.clone() for p in module.parameters()]


def test_recomputed_segments_give_the_same_bits_with_dropout_and_say_when_they_are_computed_again(config):
    torch.manual_seed(0)
    module = nn.Sequential(Squash(), Squash())
    expected = _gradients(module)
    assert module[0].passes == [False]
    switch_(module, config(recompute=True))
    for mine, theirs in zip(expected, _gradients(module), strict=True):
        assert torch.equal(mine, theirs)
    assert module[0].passes == [False, False, True]
    module.eval()
    _gradients(module)
    assert module[0].passes == [False, False, True, False]  # outside of training nothing is computed twice


def test_recomputed_segments_can_be_gone_back_through_several_times(config):
    """As an adaptive adversarial weight does, which asks for single gradients before the backward pass."""
    torch.manual_seed(0)
    module, x = nn.Sequential(Squash(), Squash()), torch.ones(3, 4)
    expected = _gradients(module)
    switch_(module, config(recompute=True))
    torch.manual_seed(0)
    module.zero_grad()
    loss = module(x).square().sum()
    (first,) = torch.autograd.grad(loss, module[0].layer.weight, retain_graph=True)
    loss.backward()
    assert torch.equal(first, expected[0])
    for parameter, true in zip(module.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, true)
    assert not recomputing()


def test_the_attention_switch_reaches_every_layer(config):
    module = nn.Sequential(SwitchedAttention(), nn.Sequential(SwitchedAttention()))
    switch_(module, config(fused_attention=False))
    assert [part.fused for part in module.modules() if isinstance(part, SwitchedAttention)] == [False, False]
    switch_(module, config())
    assert [part.fused for part in module.modules() if isinstance(part, SwitchedAttention)] == [True, True]


class Own(nn.Linear):
    """A layer whose forward is no code of torch's, which torch.compile would pass over."""

    def forward(self, x):
        return (super().forward(x) * 2).sin()


def test_a_compiled_training_is_the_uncompiled_one_and_was_compiled(run, toy, config):
    from torch._dynamo.utils import counters

    plain, compiled = toy.Toy(dropout=0.0), toy.Toy(dropout=0.0)
    for objective in (plain, compiled):
        objective.module.append(squash := Squash())
        squash.layer, squash.dropout = nn.Linear(1, 1), nn.Identity()
        nn.init.ones_(squash.layer.weight)
        nn.init.zeros_(squash.layer.bias)
    run(plain, config(), work="plain")
    counters.clear()
    run(compiled, config(compile=True), work="compiled")
    assert counters["stats"]["unique_graphs"] > 0
    for name, value in plain.module.state_dict().items():
        torch.testing.assert_close(compiled.module.state_dict()[name], value, msg=name)


def test_a_module_that_torch_would_pass_over_is_refused(config):
    with pytest.raises(ConfigError, match=r"compile.*Linear has no segments"):
        switch_(nn.Linear(2, 2), config(compile=True))


def test_a_compilation_that_fails_names_the_setting():
    def backend(graph, inputs):
        raise RuntimeError("no compiler here")

    module = Own(2, 2)
    module.compile(backend=backend)
    with pytest.raises(ConfigError, match=r"compile.*set training.compile to false"), compiling(True):
        module(torch.ones(1, 2))


def test_giving_up_on_a_function_is_an_error_too():
    import torch._dynamo

    module = Own(2, 2)
    module.compile(backend="eager", dynamic=False)

    def call(sizes):
        with compiling(True), torch._dynamo.config.patch(recompile_limit=2):
            for size in sizes:
                module(torch.ones(size, 2))

    call([2, 3])
    with pytest.raises(ConfigError, match=r"compile.*set training.compile to false"):
        call([4, 5])
