"""torch's global switches during a training: determinism, and the global random state, both as before afterwards."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
import torch.utils.deterministic


@contextlib.contextmanager
def torch_settings(device: torch.device, deterministic: bool) -> Iterator[None]:
    """Deterministic algorithms, or free choice; draws from the global generators inside leave no trace outside."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    benchmark = torch.backends.cudnn.benchmark
    cuda = device.type == "cuda"
    if cuda and deterministic:
        # cuBLAS is deterministic only with a workspace of fixed size; read when the process first uses it.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=cuda)
    # It would fill every new tensor with NaN, a help in finding reads of unwritten memory that costs a pass over each.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = cuda and not deterministic
    try:
        with torch.random.fork_rng(devices=[device] if cuda else []):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark
