"""How long to wait for an S3 server, and how often to ask again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from moso.errors import ConfigError


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to ask again.

    Attributes:
        attempts: requests in a row without an answer of use before giving up.
        pause_s: seconds before the second of them; doubled for each further one.
        longest_pause_s: where doubling ends.
        timeout_s: seconds without a byte after which a connection counts as broken.
        window_s: seconds that an answer may take (its head, or the whole of a list's page), however it drips in; and
            over which a body's pace is taken.
        least_bytes_per_s: a body that comes slower counts as broken. (No source: a line that is slower for each of
            eight objects at once takes a week for 25 GB.)
    """

    attempts: int = 8
    pause_s: float = 0.5
    longest_pause_s: float = 20.0
    timeout_s: float = 20.0
    window_s: float = 60.0
    least_bytes_per_s: float = 5000.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ConfigError("attempts", self.attempts, "must be at least 1")
        for name in ("pause_s", "longest_pause_s", "timeout_s", "window_s", "least_bytes_per_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "must be positive")

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, at least one.

        Drawn between half and the whole, so that workers that failed together do not come back together; no part of
        any result.
        """
        longest = min(self.pause_s * 2.0 ** min(failures - 1, 60), self.longest_pause_s)
        return longest * random.uniform(0.5, 1.0)


PATIENCE = Patience()
