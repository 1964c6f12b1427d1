"""Optimizers by name, over a module's named parameters: adamw, adam, muon (with AdamW for what Muon is not for)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn

from moso.errors import CheckpointError, ConfigError
from moso.training.config import OptimizerConfig
from moso.training.muon import Muon

_LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_MARK = "_moso_optimizer"


def mark_for(parameter: nn.Parameter, optimizer: Literal["muon", "adamw"]) -> None:
    """Say which part of "muon" trains `parameter`, where the rule of `muon_names` would choose wrongly.

    For an output table that is a linear layer ("adamw"), or a matrix in a module of one's own ("muon").
    """
    setattr(parameter, _MARK, optimizer)


def muon_names(module: nn.Module, patterns: tuple[str, ...] = ()) -> set[str]:
    """Names of the parameters that Muon trains; AdamW trains the rest.

    Weights of linear, convolution and attention projection layers, unless marked "adamw" or named by `patterns`, and
    what is marked "muon". Vectors, embeddings, learned positions and other tables are no maps from features to
    features, so their updates have no orthogonal form; depthwise kernels map each channel by itself.

    Raises:
        ConfigError: a pattern matches no parameter.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name, _ in module.named_parameters()):
            names = ", ".join(name for name, _ in list(module.named_parameters())[:8])
            raise ConfigError("adamw_parameters", pattern, "matches no parameter", f"names are like {names}")
    maps: set[int] = set()
    tables: set[int] = set()
    for layer in module.modules():
        if isinstance(layer, _LAYERS):
            maps.add(id(layer.weight))
        elif isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None:
            maps.add(id(layer.in_proj_weight))
        elif isinstance(layer, nn.Embedding):
            tables.add(id(layer.weight))  # also where a linear layer shares it
    chosen = set()
    for name, parameter in module.named_parameters():
        mark = getattr(parameter, _MARK, None)
        depthwise = parameter.ndim > 2 and parameter.shape[1] == 1
        by_rule = id(parameter) in maps - tables and not depthwise
        if parameter.ndim < 2 or any(fnmatchcase(name, pattern) for pattern in patterns):
            continue
        if mark == "muon" or (mark is None and by_rule):
            chosen.add(name)
    return chosen


class ModuleOptimizer:
    """The optimizer, or the two of "muon", of a module, with state by parameter name.

    Args:
        module: its parameters that require gradients are trained.
        config: names the optimizer and its rates.
    """

    def __init__(self, module: nn.Module, config: OptimizerConfig) -> None:
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ConfigError("module", type(module).__name__, "has no parameter that requires a gradient")
        self.parts: list[torch.optim.Optimizer] = []
        by_muon = muon_names(module, config.adamw_parameters) if config.name == "muon" else set()
        if matrices := [p for name, p in self.parameters.items() if name in by_muon]:
            rates = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
            self.parts.append(Muon(matrices, momentum=config.momentum, iterations=config.iterations, **rates))
        if rest := {name: p for name, p in self.parameters.items() if name not in by_muon}:
            kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
            groups = [
                {"params": [p for p in rest.values() if p.ndim >= 2], "weight_decay": config.weight_decay},
                {"params": [p for p in rest.values() if p.ndim < 2], "weight_decay": 0.0},
            ]
            rate = config.adamw_learning_rate if config.name == "muon" else config.learning_rate
            self.parts.append(
                kind(
                    [g for g in groups if g["params"]],
                    lr=rate,
                    betas=config.betas,
                    eps=config.epsilon,
                    fused=config.fused,
                )
            )
        self._peaks = [[group["lr"] for group in part.param_groups] for part in self.parts]

    def set_rate(self, factor: float) -> float:
        """Set every learning rate to `factor` times its peak; returns the first one, for the curves."""
        for part, peaks in zip(self.parts, self._peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
        return self._peaks[0][0] * factor

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self, scaler: torch.amp.GradScaler | None = None) -> None:
        """One update; with `scaler` (fp16) unscaled, and left out where a gradient is not finite."""
        for parameter in self.parameters.values():
            # The fused kernels walk the memory of parameter and gradient side by side.
            if parameter.grad is not None and parameter.grad.stride() != parameter.stride():
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)
        for part in self.parts:
            scaler.step(part) if scaler else part.step()

    def state(self) -> dict[str, Tensor]:
        """Moments and counters as tensors named <parameter>/<what>; hyperparameters are the config's."""
        return {
            f"{name}/{what}": value
            for name, parameter in self.parameters.items()
            for part in self.parts
            for what, value in part.state.get(parameter, {}).items()
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `state`.

        Raises:
            CheckpointError: a tensor of a parameter that the module does not have, or of another shape.
        """
        owners = {id(p): part for part in self.parts for group in part.param_groups for p in group["params"]}
        for key, value in tensors.items():
            name, _, what = key.rpartition("/")
            parameter = self.parameters.get(name)
            if parameter is None or (value.ndim and value.shape != parameter.shape):
                raise CheckpointError(f"optimizer state {key!r} of shape {tuple(value.shape)} fits no parameter")
            if value.ndim:
                # In the parameter's own memory layout (channels_last), which the file does not keep.
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            owners[id(parameter)].state[parameter][what] = value.clone().to(parameter.device)
