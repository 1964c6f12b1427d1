import pytest
import torch
from torch import nn

from moso.errors import CheckpointError, ConfigError
from moso.training.config import OptimizerConfig
from moso.training.optimizer import ModuleOptimizer, mark_for, muon_names


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.positions = nn.Parameter(torch.ones(3, 4))
        self.linear = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.conv = nn.Conv2d(4, 6, 3)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6)
        self.up = nn.ConvTranspose2d(6, 4, 2)
        self.output = nn.Linear(4, 5, bias=False)
        self.own = nn.Parameter(torch.ones(4, 4))


def test_muon_takes_maps_and_leaves_vectors_tables_and_depthwise_kernels():
    assert muon_names(Net()) == {"linear.weight", "conv.weight", "up.weight", "output.weight"}


def test_marks_patterns_and_tied_embeddings_overrule_the_layer():
    net = Net()
    mark_for(net.own, "muon")
    mark_for(net.conv.weight, "adamw")
    net.output.weight = net.embedding.weight
    assert muon_names(net, ("up.*",)) == {"linear.weight", "own"}


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"outptu\.\*"):
        muon_names(Net(), ("outptu.*",))


def gradients_(net, seed):
    torch.manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)


@pytest.mark.parametrize("name", ["adamw", "adam", "muon"])
def test_a_restored_optimizer_goes_on_bit_for_bit(name):
    config = OptimizerConfig(name, learning_rate=0.01, weight_decay=0.1)
    whole, halves = (Net().to(memory_format=torch.channels_last) for _ in range(2))
    halves.load_state_dict(whole.state_dict())
    optimizer, first = ModuleOptimizer(whole, config), ModuleOptimizer(halves, config)
    for seed in range(4):
        gradients_(whole, seed)
        optimizer.step()
    for seed in range(2):
        gradients_(halves, seed)
        first.step()
    # As a checkpoint keeps it: contiguous.
    state = {key: value.clone(memory_format=torch.contiguous_format) for key, value in first.state().items()}
    second = ModuleOptimizer(halves, config)
    second.load_state(state)
    for seed in range(2, 4):
        gradients_(halves, seed)
        second.step()
    for key, value in whole.state_dict().items():
        assert torch.equal(value, halves.state_dict()[key]), key
    assert second.state().keys() == optimizer.state().keys()


@pytest.mark.parametrize(("name", "reference"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_adam_equals_torchs_plain_loop_on_kernels_whose_gradient_has_another_layout(name, reference):
    conv = nn.Conv2d(6, 8, 3, bias=False).to(memory_format=torch.channels_last)
    copy = nn.Parameter(conv.weight.detach().clone(memory_format=torch.contiguous_format))
    optimizer = ModuleOptimizer(conv, OptimizerConfig(name, learning_rate=0.01, weight_decay=0.1))
    plain = reference([copy], lr=0.01, weight_decay=0.1, foreach=False, fused=False)
    for seed in range(3):
        torch.manual_seed(seed)
        copy.grad = torch.randn(8, 6, 3, 3)
        conv.weight.grad = copy.grad.clone()  # contiguous, where the parameter is not
        optimizer.step()
        plain.step()
    torch.testing.assert_close(conv.weight.contiguous(), copy)


def test_vectors_are_not_decayed():
    net = nn.Linear(3, 3)
    with torch.no_grad():
        net.bias.fill_(1.0)
        net.weight.fill_(1.0)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    ModuleOptimizer(net, OptimizerConfig(learning_rate=0.1, weight_decay=0.5)).step()
    assert torch.equal(net.bias, torch.ones(3))
    torch.testing.assert_close(net.weight, torch.full((3, 3), 0.95))


def test_each_part_of_muon_has_its_own_peak_rate():
    optimizer = ModuleOptimizer(Net(), OptimizerConfig("muon", learning_rate=0.02, adamw_learning_rate=0.002))
    assert optimizer.set_rate(0.5) == 0.01
    assert {type(p).__name__: [g["lr"] for g in p.param_groups] for p in optimizer.parts} == {
        "Muon": [0.01],
        "AdamW": [0.001, 0.001],
    }


def test_state_of_an_unknown_parameter_or_another_shape_is_refused():
    optimizer = ModuleOptimizer(nn.Linear(2, 2), OptimizerConfig())
    for key, value in (("other/exp_avg", torch.zeros(2)), ("weight/exp_avg", torch.zeros(3, 3))):
        with pytest.raises(CheckpointError, match=key):
            optimizer.load_state({key: value})


def test_a_module_without_trainable_parameters_is_refused():
    with pytest.raises(ConfigError, match="no parameter"):
        ModuleOptimizer(nn.Linear(2, 2).requires_grad_(False), OptimizerConfig())


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_the_fused_update_is_the_one_written_out(name):
    from dataclasses import replace

    found = []
    config = OptimizerConfig(name, learning_rate=0.02, weight_decay=0.1)
    for fused in (True, False):
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
        optimizer = ModuleOptimizer(module, replace(config, fused=fused))
        for _ in range(3):
            optimizer.zero_grad()
            module(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()
        found.append([p.detach() for p in module.parameters()])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)
