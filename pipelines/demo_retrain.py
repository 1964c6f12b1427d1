"""`make demo-retrain`: the life after training in a few minutes, on the tiny configuration, each step printed.

A first model is trained and becomes the champion, and is served. Recordings arrive from the simulator under another
light and with other objects. A candidate that was trained badly is refused, one that was trained well is promoted, the
service takes it up, and a rollback brings the old champion back. Nothing here is decided beforehand: the demo fails
where the gate decides otherwise.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from components.config import STEPS, resolve_all
from moso.adapters.mlflow_client import default_tracking_uri
from moso.adapters.mlflow_registry import Registry
from moso.errors import MosoError
from moso.sim import SimulationConfig, simulate
from moso.sim.config import LightConfig, ObjectsConfig
from pipelines.retrain_state import run_step

NAME = "moso-sim_push-tiny"
BASE = SimulationConfig(frames=12, height=32, width=32)
# Dusk, a warm lamp from the other side, and balls of other colours in place of boxes.
OTHER = SimulationConfig(
    frames=12,
    height=32,
    width=32,
    light=LightConfig(position=(-0.6, 0.3, 0.9), ambient=0.12, warmth=0.3),
    objects=ObjectsConfig(count=(2, 3), shapes=("ellipsoid",), hue=(0.5, 0.7), brightness=(0.3, 0.5)),
)
TRAIN, VALIDATION, TEST = 0, 100_000, 200_000
EDGES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "ingest": ((), "episodes"),
    "preprocess": (("episodes",), "frames"),
    "train_vqvae": (("frames",), "vqvae"),
    "extract_tokens": (("frames", "vqvae"), "tokens"),
    "train_transformer": (("tokens",), "transformer"),
    "evaluate": (("frames", "vqvae", "tokens", "transformer"), "report"),
    "promote": (("vqvae", "transformer", "report"), "promotion"),
}
# Stage I stays, although it draws the new data badly, and Stage II is torn apart by its learning rate.
BAD = {
    "vqvae_bound_db": 100.0,
    "train_transformer": {"training": {"steps": 40, "optimizer": {"name": "adamw", "learning_rate": 1.0}}},
}
# Stage I may draw new data a decibel worse than what it was trained on; beyond that it is retrained, and Stage II anew.
# With few steps it forgets the old light, and the frozen test set refuses it.
GOOD = {
    "vqvae_bound_db": 1.0,
    "train_vqvae": {"training": {"steps": 600}},
    "train_transformer": {"training": {"steps": 80}},
}


def params_of(raw: Path) -> dict[str, Any]:
    """params.yaml of the demo: the tiny preset on recordings in a folder, and a gate that asks 0.05 dB with confidence.

    Six test episodes are the fewest that can show anything at 95 %.
    """
    return {
        "dataset": "sim_push",
        "preset": "tiny",
        "seed": 0,
        "ingest": {"spec": {"source": {"kind": "folder", "path": str(raw)}}},
        "train_vqvae": {"training": {"steps": 120}},  # the preset's 16 draw nothing that could be told apart
        "promote": {"policy": {"margin": 0.05}},
    }


def arrive(raw: Path, config: SimulationConfig, seeds: Sequence[int]) -> None:
    """Simulate `seeds`, and put their recordings into the folder `raw`, as a recorder would."""
    (raw / "episodes").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="moso-recorder-", dir=raw.parent) as temporary:
        simulate(config, seeds, Path(temporary), workers=1, progress=False)  # processes cost more here
        for path in sorted(Path(temporary, "episodes").glob("*.npz")):
            shutil.move(path, raw / "episodes" / path.name)


def first_run(params: Mapping[str, Any], folder: Path) -> None:
    """The pipeline's seven steps, their outputs in folders of `folder`."""
    configs = resolve_all(params)
    for step in STEPS:
        inputs, output = EDGES[step]
        if not (folder / output).exists():
            run_step(step, configs[step], {name: folder / name for name in inputs}, {output: folder / output})


def seeds_of(first: int, train: int, validation: int, test: int) -> list[int]:
    """So many seeds of each split, from the `first` of its range on."""
    return [
        start + first + i
        for start, count in ((TRAIN, train), (VALIDATION, validation), (TEST, test))
        for i in range(count)
    ]


def write_settings(folder: Path, **settings: Any) -> Path:
    """A retraining.yaml of the demo."""
    path = folder / "retraining.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def moso(*arguments: str) -> str:
    """Run `moso` as a person would; its output, which is shown too.

    Raises:
        MosoError: it failed.
    """
    print(f"$ moso {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-u", "-m", "moso.cli", *arguments]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:  # as it happens
            lines.append(line)
            print(f"    {line}", end="", flush=True)
    if process.returncode:
        raise MosoError(f"`moso {' '.join(arguments)}` ended with {process.returncode}")
    return "".join(lines)


@contextlib.contextmanager
def served() -> Iterator[str]:
    """`moso serve` of the champion, ready; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "moso.cli",
        "serve",
        f"models:/{NAME}@champion",
        "--port",
        str(port),
        "--poll",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def served_version(address: str, wanted: int | None = None, patience_s: float = 60.0) -> int:
    """The version that serves; waits for the service to begin, and for `wanted` where it is given.

    Raises:
        MosoError: it did not come in time.
    """
    found, until = None, time.monotonic() + patience_s
    while time.monotonic() < until:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            with urllib.request.urlopen(f"{address}/v1/model", timeout=10) as answer:
                found = int(json.load(answer)["version"])
            if wanted in (None, found):
                return found
        time.sleep(0.5)
    raise MosoError(f"{address} serves version {found}, and not {wanted}, after {patience_s:g} s")


def champion() -> int:
    """The champion's version."""
    found = Registry(default_tracking_uri(Path.cwd())).by_alias(NAME, "champion")
    if found is None:
        raise MosoError(f"{NAME} has no champion")
    return found.number


def say(number: int, text: str) -> None:
    """A step of the demo."""
    print(f"\n== {number}. {text}", flush=True)


def expect(what: str, *, holds: bool) -> None:
    """Say that it holds.

    Raises:
        MosoError: it does not.
    """
    if not holds:
        raise MosoError(f"this does not hold: {what}")
    print(f"   holds: {what}", flush=True)


def run(folder: Path) -> None:
    """The demo, in `folder`; its registry and work folders lie there too."""
    raw, outputs, state = folder / "raw", folder / "outputs", folder / "state"
    params_file = folder / "params.yaml"
    params_file.write_text(yaml.safe_dump(params_of(raw)))

    def retrain(**settings: Any) -> dict[str, Any]:
        file = write_settings(folder, **settings)
        paths = ["--params", str(params_file), "--settings", str(file), "--data", str(outputs), "--state", str(state)]
        moso("retrain", *paths)
        results = sorted((state / "runs").glob("*/result.json"), key=lambda path: path.stat().st_mtime)
        return dict(json.loads(results[-1].read_text())) if results else {}

    say(1, "a first model becomes the champion (14 episodes, a training of seconds)")
    arrive(raw, BASE, seeds_of(0, 8, 2, 6))
    first_run(params_of(raw), outputs)
    first = champion()
    expect(f"version {first} is the champion", holds=first == 1)

    with served() as address:
        say(2, "it is served")
        expect("the service answers with version 1", holds=served_version(address, first) == first)

        say(3, "without new recordings a retraining has nothing to do")
        expect("nothing was trained", holds=not retrain())

        say(4, "recordings arrive: another light, other objects; the candidate is trained badly (a rate far too high)")
        arrive(raw, OTHER, seeds_of(1000, 8, 2, 6))
        bad = retrain(**BAD)
        drift = bad["drift"]["brightness"]["shift"]
        expect(f"the drift shows: brightness shifted by {drift:.1f} standard deviations", holds=abs(drift) > 2)
        expect(f"it is {bad['outcome']}: {'; '.join(bad['reasons'][:3])}", holds=bad["outcome"] in ("kept", "refused"))
        expect("the champion is what it was, and serves", holds=champion() == served_version(address) == first)

        say(5, "more recordings of that kind; this time the candidate is trained well")
        arrive(raw, OTHER, seeds_of(2000, 4, 1, 6))
        good = retrain(**GOOD)
        expect(f"it is {good['outcome']}: {'; '.join(good['reasons'][:3])}", holds=good["outcome"] == "promoted")
        expect("the registry's champion is the new version", holds=champion() == good["version"] != first)
        expect("the service takes it up", holds=served_version(address, good["version"]) == good["version"])

        say(6, "a rollback brings the old champion back")
        moso("registry", "rollback", NAME, "--reason", "the demo takes it back")
        expect("the registry's champion is version 1", holds=champion() == first)
        expect("the service takes it up", holds=served_version(address, first) == first)
        moso("registry", "history", NAME)
    print(f"\nDone. The drift reports and decisions lie in {state / 'runs'}.", flush=True)


def main() -> int:
    """Run the demo in build/demo-retrain, anew."""
    folder = Path("build/demo-retrain").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ |= {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}",
        "MOSO_WORK": str(folder / "work"),
        "MOSO_CACHE": str(folder / "cache"),
    }
    try:
        run(folder)
    except MosoError as error:
        print(f"demo-retrain: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
