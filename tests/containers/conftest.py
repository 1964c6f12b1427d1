"""Real images, built and run: `make test-containers`, and only then (half an hour at the first time, minutes later).

Needs Docker, or root and the script of a container engine (components/image_build.py says where it looks).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.image_build import Engine, build, find_engine
from components.image_requirements import TARGETS
from moso.errors import DataError

ROOT = Path(__file__).parents[2]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "containers: builds and runs images; `make test-containers` runs them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "containers" in (config.getoption("markexpr") or ""):
        return
    out = [item for item in items if item.get_closest_marker("containers")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@dataclass(frozen=True)
class Done:
    """A container that has ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Containers:
    """The engine, its client, and the three images built from this tree."""

    engine: Engine
    client: Any
    names: dict[str, str]
    arguments: dict[str, Any]

    def run(self, target: str, *command: str, **more: Any) -> Done:
        """Run a command in a new container of an image; the container is gone afterwards."""
        container = self.client.containers.run(
            self.names[target], list(command), detach=True, **{**self.arguments, **more}
        )
        try:
            status = container.wait()["StatusCode"]
            out, err = (container.logs(stdout=o, stderr=not o).decode() for o in (True, False))
        finally:
            container.remove(force=True)
        return Done(status, out, err)

    def python(self, target: str, code: str, **more: Any) -> Any:
        """What `code` leaves in `found`, evaluated in an image; plain data."""
        done = self.run(target, "python", "-c", f"import json\n{code}\nprint(json.dumps(found))", **more)
        assert done.status == 0, done.err
        return json.loads(done.out.splitlines()[-1])


@pytest.fixture(scope="session")
def engine() -> Engine:
    try:
        return find_engine()
    except DataError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def containers(engine: Engine) -> Iterator[Containers]:
    import docker

    from pipelines.docker import engine_arguments

    names = {target: build(target, engine) for target in TARGETS}
    if engine.socket:
        os.environ["DOCKER_HOST"] = engine.socket
    client = docker.from_env(timeout=600)
    yield Containers(engine, client, names, engine_arguments())
    client.close()
