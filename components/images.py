"""The only place that names a container image.

Three images by need (targets of components/Dockerfile): data has no torch, train has torch, ray and kfp, serve has
mlflow and torch.

Environment, read where a pipeline is compiled: MOSO_REGISTRY, a prefix of all three (registry.example.com/team);
MOSO_IMAGE_DATA, MOSO_IMAGE_TRAIN, MOSO_IMAGE_SERVE, each a whole reference that replaces the name.
"""

from __future__ import annotations

import os

from moso import __version__


def reference(target: str) -> str:
    """What a cluster pulls for a target of components/Dockerfile."""
    registry = os.environ.get("MOSO_REGISTRY", "").rstrip("/")
    name = f"moso-{target}:{__version__}"
    return os.environ.get(f"MOSO_IMAGE_{target.upper()}") or (f"{registry}/{name}" if registry else name)


DATA = reference("data")
TRAIN = reference("train")
SERVE = reference("serve")
