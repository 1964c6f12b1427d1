"""Number format of the forward pass: float32, or bf16 or fp16 by autocast; weights and optimizer stay float32."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import torch

from moso.errors import ConfigError

# As /proc/cpuinfo names them: x86 (AVX-512, AMX), Arm.
_BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class Precision:
    """The format that a run takes.

    Attributes:
        name: "float32", "bf16" or "fp16".
        reason: why, for the log.
    """

    name: str
    reason: str

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        """The context of the forward pass."""
        if self.name == "float32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(device.type, dtype=dtype)

    def scaler(self, device: torch.device) -> torch.amp.GradScaler | None:
        """Loss scaling, which fp16 needs: its smallest numbers are larger than many gradients."""
        return torch.amp.GradScaler(device.type) if self.name == "fp16" else None


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; False where it cannot be asked."""
    if not cpuinfo.exists():
        return False
    lines = (line for line in cpuinfo.read_text().splitlines() if line.startswith(("flags", "Features")))
    return bool(_BF16_INSTRUCTIONS & set(next(lines, "").split()))


def choose(setting: str, device: torch.device) -> Precision:
    """The precision for a setting of TrainingConfig on a device.

    Raises:
        ConfigError: bf16 on a CPU without its instructions (a convolution is 9 times, a matrix product 90 times slower
            there than in float32), or fp16 on a CPU.
    """
    cpu = device.type == "cpu"
    if setting == "auto":
        name = "float32" if cpu else "bf16"
        reason = f"{name}, the default on {device.type}"
        if cpu and cpu_has_bf16():
            reason += " (it has bfloat16 instructions, which precision bf16 would use, with other bits)"
        return Precision(name, reason)
    if setting == "fastest":
        has = cpu_has_bf16() if cpu else torch.cuda.is_bf16_supported(including_emulation=False)
        name = "bf16" if has else "float32"
        return Precision(name, f"{name}, as this {device.type} has {'' if has else 'no '}bfloat16 instructions")
    if setting == "bf16" and cpu and not cpu_has_bf16():
        raise ConfigError("precision", setting, "this CPU has no bfloat16 instructions", "take float32 or auto")
    if setting == "fp16" and cpu:
        raise ConfigError("precision", setting, "is for GPUs", "take float32, bf16 or auto")
    return Precision(setting, f"{setting}, as the settings say, on {device.type}")
