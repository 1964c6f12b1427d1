"""The only place that names a container image."""

from __future__ import annotations

import os

from moso import __version__

# Kubeflow pulls this for every step; it holds moso, components, pipelines and kfp (components/Dockerfile: a later
# issue). MOSO_IMAGE names another one where the pipeline is compiled for another registry.
STEP = os.environ.get("MOSO_IMAGE", f"moso-pipeline:{__version__}")
