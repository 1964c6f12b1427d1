"""Builds the images of components/Dockerfile, with their labels, by Docker or by a container engine's script.

    python -m components.image_build                       data, train and serve (make images)
    python -m components.image_build data --base python:3.11-slim@sha256:…
    python -m components.image_build train --variant cuda

Docker is taken where a daemon answers; else the script that MOSO_CONTAINER_ENGINE names, or that lies in
../shared/tools/container-engine, which builds without Docker (docs/containers.md). Environment: MOSO_REGISTRY and
MOSO_IMAGE_<TARGET> name the images (components/images.py).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components import images
from components.image_requirements import TARGETS
from moso import __version__
from moso.errors import ConfigError, DataError, MosoError
from moso.provenance import git_commit

ROOT = Path(__file__).parents[1]
DOCKERFILE = "components/Dockerfile"
VARIANTS = ("cpu", "cuda")
SCRIPT = ROOT.parent / "shared" / "tools" / "container-engine"
STAND_IN_BASE = "localhost/python-base"
"""What the script makes in place of python:3.11-slim, which it cannot pull."""


@dataclass(frozen=True)
class Engine:
    """What builds images here.

    Attributes:
        script: the container engine's script; None: Docker itself.
        socket: what clients of the engine set as DOCKER_HOST; None: Docker's own default.
    """

    script: Path | None = None
    socket: str | None = None

    def reference(self, target: str) -> str:
        """The name that an image built here has."""
        return images.reference(target) if self.script is None else f"localhost/moso-{target}:{__version__}"

    def command(self, target: str, arguments: dict[str, str]) -> list[str]:
        """The command that builds `target` with the Dockerfile's `arguments`, to be run in the repository's root."""
        pairs = [f"{name}={value}" for name, value in arguments.items()]
        if self.script is not None:
            tag = self.reference(target).removeprefix("localhost/")
            # It knows no --target: the Dockerfile's last stage is the one that TARGET names.
            return [str(self.script), "build", ".", DOCKERFILE, tag, f"TARGET={target}", *pairs]
        options = [part for pair in pairs for part in ("--build-arg", pair)]
        return ["docker", "build", "--target", target, *options, "-t", self.reference(target), "-f", DOCKERFILE, "."]


def find_engine(*, start: bool = True) -> Engine:
    """The engine of this machine; the script's is set up where it is not (as root: minutes at the first time).

    Args:
        start: whether to set it up.

    Raises:
        DataError: neither a Docker daemon nor the script is here.
    """
    script = Path(os.environ.get("MOSO_CONTAINER_ENGINE", SCRIPT))
    if _docker_answers():
        return Engine()
    if not script.exists():
        raise DataError(
            f"no Docker daemon answers and {script} does not exist: start Docker, or name a script that builds without "
            "it by MOSO_CONTAINER_ENGINE"
        )
    if start:
        subprocess.run([str(script), "up"], check=True)
    text = subprocess.run([str(script), "env"], capture_output=True, text=True, check=True).stdout
    return Engine(script, text.strip().partition("DOCKER_HOST=")[2])


def _docker_answers() -> bool:
    """Whether Docker itself answers; Podman behind the same socket has no `docker build` of today's."""
    if not shutil.which("docker"):
        return False
    asked = ["docker", "version", "--format", "{{range .Server.Components}}{{.Name}} {{end}}"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.returncode == 0 and "Podman" not in answer.stdout


def build(target: str, engine: Engine, *, variant: str = "cpu", base: str | None = None, root: Path = ROOT) -> str:
    """Build one image and return its name.

    Args:
        target: of components/Dockerfile.
        engine: `find_engine`.
        variant: of torch, cpu or cuda.
        base: the base image; None takes the Dockerfile's own, or the script's stand-in for it.
        root: the tree that is built.

    Raises:
        ConfigError: no such target or variant.
        DataError: the build failed; its output went to the terminal.
    """
    if target not in TARGETS:
        raise ConfigError("target", target, f"is none of {DOCKERFILE}", f"known: {', '.join(TARGETS)}")
    if variant not in VARIANTS:
        raise ConfigError("variant", variant, "is none of torch", f"known: {', '.join(VARIANTS)}")
    arguments = {"VARIANT": variant, "COMMIT": git_commit(), "VERSION": __version__}
    if engine.script is not None:
        # pip's settings of this machine are mounted for the build and name the CPU wheel of torch.
        arguments |= {"TORCH_INDEX": "", "BASE_IMAGE": STAND_IN_BASE}
    if base is not None:
        arguments["BASE_IMAGE"] = base
    # Layers that did not change are taken from the last build, as Docker does by itself.
    environment = {**os.environ, "BUILDAH_LAYERS": "true"}
    command = engine.command(target, arguments)
    if subprocess.run(command, cwd=root, env=environment, check=False).returncode:
        raise DataError(f"building the image {target} failed; the lines above say where. Again: {' '.join(command)}")
    return engine.reference(target)


def main(given: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m components.image_build", description="Build the steps' images.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: {' '.join(TARGETS)}")
    parser.add_argument("--variant", default="cpu", help="of torch: cpu (default) or cuda")
    parser.add_argument("--base", help="base image; default: python:3.11-slim")
    parsed = parser.parse_args(given)
    try:
        engine = find_engine()
        for target in parsed.targets or TARGETS:
            begun = time.monotonic()
            name = build(target, engine, variant=parsed.variant, base=parsed.base)
            print(f"image {name}: built in {time.monotonic() - begun:.0f} s", flush=True)
        if engine.socket:
            print(f"to use them: export DOCKER_HOST={engine.socket} MOSO_REGISTRY=localhost")
    except MosoError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
