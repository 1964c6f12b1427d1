"""Ask a service (`moso serve MODEL`) from Python, with numpy and the standard library alone.

    python examples/client.py http://127.0.0.1:8000 --output prediction.npy [frames.npy]

Without a file the given frames are noise, which shows the way and no more.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import numpy as np

TRIES = 5


class Client:
    """A service at an address."""

    def __init__(self, address: str, timeout_s: float = 120.0) -> None:
        self.address, self.timeout_s = address.rstrip("/"), timeout_s

    def model(self) -> dict[str, Any]:
        """Sizes, version and sampling settings of the model that serves."""
        return json.loads(self._ask(urllib.request.Request(f"{self.address}/v1/model")))

    def task(self, name: str, frames: np.ndarray | None = None, **parameters: Any) -> np.ndarray:
        """What task `name` makes of frames, uint8 (N, T, H, W, 3): `client.task("rollout", frames, length=40)`.

        Raises:
            ValueError: the service refused; the message says why.
        """
        content = b""
        if frames is not None:
            buffer = io.BytesIO()
            np.save(buffer, frames, allow_pickle=False)
            content = buffer.getvalue()
        query = urllib.parse.urlencode(parameters, doseq=True)
        request = urllib.request.Request(f"{self.address}/v1/{name}?{query}", data=content, method="POST")
        request.add_header("Content-Type", "application/x-npy")
        request.add_header("Accept", "application/x-npy")
        return np.load(io.BytesIO(self._ask(request)), allow_pickle=False)

    def _ask(self, request: urllib.request.Request) -> bytes:
        for attempt in range(TRIES):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                    return response.read()
            except urllib.error.HTTPError as error:
                if error.code == 503 and attempt + 1 < TRIES:  # full: wait as long as it says
                    time.sleep(float(error.headers.get("Retry-After", 1)))
                    continue
                raise ValueError(f"{error.code}: {json.loads(error.read())['detail']}") from None
        raise AssertionError("not reached")


def main() -> None:
    """Predict, and save what came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("frames", nargs="?", help=".npy, uint8 (N, K, H, W, 3)")
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    client = Client(options.address)
    model = client.model()
    shape = (1, model["given_frames"], model["height"], model["width"], 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    frames = np.load(options.frames, allow_pickle=False) if options.frames else noise
    predicted = client.task("predict", frames, seed=3, samples=2)
    np.save(options.output, predicted)
    print(f"{options.output}: uint8 {predicted.shape}, by version {model['version']} of {model['reference']}")


if __name__ == "__main__":
    main()
