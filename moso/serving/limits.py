"""What one request may ask for and bring, so that none takes the machine from the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moso.errors import ConfigError
from moso.serving.errors import TooLargeError
from moso.tasks.model import Model

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """No default has a source: they suit models of 64 to 256 pixels on one machine.

    Attributes:
        body_bytes: of a request; more is refused before it is read.
        body_seconds: in which the body must have come.
        files: in a request; images of a clip count singly.
        frame_pixels: of a frame in a file, looked at before it is decoded.
        decoded_bytes: of all frames of a request together, as RGB.
        first_frame: the furthest frame of a video that a clip may begin at: what lies before is decoded too.
        clips: N.
        frames: that a request may have drawn, all clips and samples together.
        steps: of sampling.
        seconds: from arrival to answer.
        workers: requests that are worked on at once. One uses all cores; more share them.
        waiting: requests that may wait for that; another is refused at once.
    """

    body_bytes: int = 64 * MIB
    body_seconds: float = 30.0
    files: int = 1024
    frame_pixels: int = 4096 * 4096
    decoded_bytes: int = 512 * MIB
    first_frame: int = 10_000
    clips: int = 64
    frames: int = 4096
    steps: int = 256
    seconds: float = 60.0
    workers: int = 1
    waiting: int = 16

    def __post_init__(self) -> None:
        """Raises:
        ConfigError: a limit that would refuse everything.
        """
        for name, value in vars(self).items():
            least = 0 if name in ("waiting", "first_frame") else 1
            if value < least:
                raise ConfigError(f"limits.{name}", value, f"must be at least {least}")

    def check_work(self, model: Model, task: str, clips: int, frames: int, wanted: Mapping[str, Any]) -> None:
        """Nothing when the task may be done.

        Args:
            model: that would do it.
            task: its name.
            clips: N.
            frames: of each clip that was brought.
            wanted: the parameters that were given.

        Raises:
            TooLargeError: more than a request may ask for; the message names the limit.
        """
        self.check("clips", clips, self.clips)
        if isinstance(steps := wanted.get("steps"), int):
            self.check("steps", steps, self.steps)
        drawn = clips * _frames_of_a_clip(model, task, frames, wanted)
        self.check("frames to draw, all clips and samples together", drawn, self.frames)

    @staticmethod
    def check(name: str, value: int, most: int) -> None:
        """Nothing when `value` is at most `most`.

        Raises:
            TooLargeError: it is more.
        """
        if value > most:
            raise TooLargeError(f"{name}: {value}, this service takes at most {most}")


def _frames_of_a_clip(model: Model, task: str, frames: int, wanted: Mapping[str, Any]) -> int:
    """How many frames the task draws of each clip; wrong values are for the task itself to refuse."""

    def number(name: str, otherwise: int) -> int:
        value = wanted.get(name)
        return otherwise if value is None else max(0, int(value))

    if task == "predict":
        return model.predicted_frames * number("samples", 1)
    if task == "rollout":
        return number("length", 0)
    if task == "decode":
        return len(wanted.get("frames") or range(model.clip_frames))
    if task == "decompose":
        return model.clip_frames * len(wanted.get("parts") or range(len(model.components) + 1))
    return 3 * frames if task == "preprocess" else model.clip_frames
