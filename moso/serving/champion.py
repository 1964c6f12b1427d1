"""Which model is served: the one that a reference stands for now.

An alias such as models:/moso-sim_push@champion is looked up every few seconds. When it stands for another version, that
one is loaded beside the one that serves, tried, and put in its place; requests that began with the old one end with it.
Whatever fails on the way, the old one goes on serving and the next look tries again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from moso.adapters.mlflow_registry import REFERENCE, Registry
from moso.serving.errors import BusyError
from moso.tasks.loading import scheme
from moso.tasks.model import Model

POLL_S = 5.0
log = logging.getLogger("moso.serving")


@dataclass(frozen=True)
class Served:
    """A loaded model and what it is known by.

    Attributes:
        model: the facade.
        reference: what was asked for: a folder, or an address.
        version: in the registry; None for a folder.
        loaded_at: seconds since 1970.
    """

    model: Model
    reference: str
    version: int | None = None
    loaded_at: float = field(default_factory=time.time)


class Champion:
    """The model that a reference stands for, kept up to date.

    Args:
        reference: a folder, or an address such as "models:/moso-sim_push@champion".
        device: as `Model.load` takes it.
        batch: clips worked on at a time.
        poll_s: seconds between two looks at an alias.

    Attributes:
        current: what serves; None before `load`.
        changes: how often another version was put in place.
        failures: how often a look or a load failed.
        looked_at: when the registry last answered, seconds since 1970; 0 where it was not asked.
    """

    def __init__(self, reference: str, device: str = "auto", batch: int | None = None, poll_s: float = POLL_S) -> None:
        self.reference, self.device, self.batch, self.poll_s = reference, device, batch, poll_s
        self.current: Served | None = None
        self.changes = self.failures = 0
        self.looked_at = 0.0
        self._registry: Registry | None = None
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def moves(self) -> bool:
        """Whether the reference may stand for another version later: an alias does."""
        found = REFERENCE.fullmatch(self.reference)
        return found is not None and found["alias"] is not None

    def get(self) -> Served:
        """What serves.

        Raises:
            BusyError: nothing is loaded yet.
        """
        if self.current is None:
            raise BusyError("the model is being loaded; try again")
        return self.current

    def load(self) -> None:
        """Load what the reference stands for now, and put it in place.

        Raises:
            MosoError: no such model.
        """
        if scheme(self.reference) == "models":
            self._put(self._version())
        else:
            self.current = self._ready(Served(Model.load(self.reference, self.device), self.reference))

    def refresh(self) -> bool:
        """Look at the alias once; whether another version was put in place.

        Raises:
            MosoError: the registry cannot be asked, or the new version cannot be loaded; the old one serves on.
        """
        version = self._version()
        if self.current is not None and self.current.version == version:
            return False
        before = self.current.version if self.current is not None else None
        self._put(version)
        self.changes += 1
        log.info("%s: version %s in place of %s", self.reference, version, before)
        return True

    def watch(self, on_change: Callable[[], None] = lambda: None) -> None:
        """Begin to look at the alias, in a thread of its own; nothing where the reference cannot move."""
        if not self.moves or self._watcher is not None:
            return
        self._watcher = threading.Thread(target=self._watch, args=(on_change,), name="moso-champion", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()

    def _watch(self, on_change: Callable[[], None]) -> None:
        while not self._ended.wait(self.poll_s):
            try:
                if self.refresh():
                    on_change()
            except Exception as error:  # whatever it is: the model that serves must go on serving
                self.failures += 1
                self._registry = None  # the next look connects anew
                log.warning("%s: %s; serving on with version %s", self.reference, error, self._serving())

    def _serving(self) -> int | None:
        return self.current.version if self.current is not None else None

    def _version(self) -> int:
        if self._registry is None:
            self._registry = Registry()
        version = self._registry.lookup(self.reference).number
        self.looked_at = time.time()
        return version

    def _put(self, version: int) -> None:
        name = (REFERENCE.fullmatch(self.reference) or {"name": ""})["name"]
        # By its number, not by the alias, which may have moved on meanwhile.
        model = Model.load(f"models:/{name}/{version}", self.device)
        self.current = self._ready(Served(model, self.reference, version))

    def _ready(self, served: Served) -> Served:
        """Try it once, so that no caller pays for the first call or meets a model that cannot work."""
        model = served.model
        if self.batch is not None:
            model.batch = self.batch
        clip = np.zeros((1, model.clip_frames, model.height, model.width, 3), np.uint8)
        model.reconstruct(clip)
        if model.given_frames:  # else it was trained to generate alone
            model.predict(clip[:, : model.given_frames])
        return served
