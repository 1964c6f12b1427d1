"""`make bench-serve`: latency and throughput of the HTTP service, with real requests to a real server.

    python -m bench.serving [--model models/sim_push] [--requests 40] [--output build/bench-serving.json]

The server runs in a process of its own (`moso serve`), the callers are threads here. A row is a task, the clips of a
request, the form of the answer and how many callers ask at once, each as soon as it was answered. docs/serving.md has
figures and says what they mean.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.machine import busy, describe
from bench.pictures import video
from moso.provenance import write_json

FORMAT, VERSION = "moso.bench-serving", 1
OUTPUT = Path("build/bench-serving.json")
START_S = 300.0
HEAD = "| task | clips | callers | answer | p50 ms | p95 ms | requests/s | clips/s |\n" + "|---" * 8 + "|"


@dataclass(frozen=True)
class Row:
    """What is measured.

    Attributes:
        task: asked for.
        clips: of a request.
        callers: at once.
        form: of the answer.
        query: further parameters.
    """

    task: str
    clips: int = 1
    callers: int = 1
    form: str = "npy"
    query: str = ""


ROWS = (
    Row("predict"),
    Row("predict", callers=4),
    Row("predict", clips=4),
    Row("predict", clips=16),
    Row("predict", form="json"),
    Row("predict", form="mp4"),
    Row("rollout", query="&length=28"),
    Row("reconstruct"),
    Row("encode"),
)


def main() -> None:
    """Measure every row, print a table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/sim_push")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    machine = describe(torch.device("cpu"))
    with served(options.model) as address:
        model = json_of(f"{address}/v1/model")
        print(HEAD)
        rows = []
        for row in ROWS:
            rows.append(measure(address, model, row, options.requests))
            print(line(rows[-1]), flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        options.output,
        {
            "format": FORMAT,
            "version": VERSION,
            "machine": machine,
            "busy": busy(machine["load"]),
            "model": model,
            "rows": rows,
        },
    )
    print(f"{options.output}; {machine['device']}, {machine['cores']} cores, commit {machine['commit']}")
    if busy(machine["load"]):
        print("others use this machine: the figures are not to be trusted", file=sys.stderr)


@contextmanager
def served(model: str) -> Iterator[str]:
    """The address of a server of its own."""
    with tempfile.TemporaryDirectory(prefix="moso-bench-") as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "moso.cli", "serve", model, "--port", "0", "--waiting", "64"]
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            process.wait(90)


def measure(address: str, model: dict[str, Any], row: Row, requests: int) -> dict[str, Any]:
    """Latencies of at least `requests` requests, all callers together, and how many were answered a second."""
    given = row.task in ("predict", "rollout")
    frames = model["given_frames"] if given else model["clip_frames"]
    pixels = max(model["height"], model["width"])
    clips = [video(n, frames, pixels)[:, : model["height"], : model["width"]] for n in range(row.clips)]
    buffer = io.BytesIO()
    np.save(buffer, np.stack(clips), allow_pickle=False)
    url, content = f"{address}/v1/{row.task}?format={row.form}{row.query}", buffer.getvalue()
    ask(url, content)
    seconds: list[list[float]] = [[] for _ in range(row.callers)]

    def call(own: list[float]) -> None:
        for _ in range(-(-requests // row.callers)):
            begun = time.perf_counter()
            ask(url, content)
            own.append(time.perf_counter() - begun)

    callers = [threading.Thread(target=call, args=(own,)) for own in seconds]
    begun = time.perf_counter()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return summary(row, [s for own in seconds for s in own], time.perf_counter() - begun)


def summary(row: Row, seconds: list[float], wall_s: float) -> dict[str, Any]:
    """The row with its figures.

    Args:
        row: that was measured.
        seconds: from question to answer, one a request.
        wall_s: of all together.
    """
    p50, p95 = np.percentile(seconds, [50, 95])
    rate = len(seconds) / wall_s
    figures = {"requests": len(seconds), "p50_s": float(p50), "p95_s": float(p95), "requests_per_s": rate}
    return {**vars(row), **figures, "clips_per_s": rate * row.clips}


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    task = row["task"] + (f" ({row['query'][1:]})" if row["query"] else "")
    cells = [
        task,
        row["clips"],
        row["callers"],
        row["form"],
        f"{1000 * row['p50_s']:.0f}",
        f"{1000 * row['p95_s']:.0f}",
    ]
    return f"| {' | '.join(map(str, cells))} | {row['requests_per_s']:.2f} | {row['clips_per_s']:.2f} |"


def ask(url: str, content: bytes) -> bytes:
    """One request."""
    request = urllib.request.Request(url, data=content, headers={"Content-Type": "application/x-npy"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return bytes(response.read())


def json_of(url: str) -> dict[str, Any]:
    """A JSON address."""
    with urllib.request.urlopen(url, timeout=60) as response:
        return dict(json.load(response))


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        for text in log.read_text().splitlines():
            if "running on http" in text:
                return "http" + text.partition("http")[2].split()[0]
        time.sleep(0.1)
    raise SystemExit(log.read_text())


if __name__ == "__main__":
    main()
