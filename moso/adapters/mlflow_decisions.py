"""The log of decisions in MLflow, and the aliases that follow it: promote, refuse, roll back.

An entry is a run of the experiment `moso-decisions`: its file decision.json is the payload, tags repeat what a search
wants. The registered model's tag moso.decisions_head names the newest one. It is written in this order, under the
model's lock (mlflow_lock.py):

    1. the run, RUNNING, with tags and file         cut off here: it is no part of the log, the next entry leaves it out
    2. the head                                     from here on it is
    3. the aliases                                  cut off here: whoever holds the lock next moves them (`hold`)
    4. the run is FINISHED

Where an alias was moved outside of moso, that is an entry of its own before anything else is decided.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import getpass
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moso.adapters.mlflow_client import TrackingError, connect, experiment_id, reported
from moso.adapters.mlflow_lock import hold as hold_lock
from moso.adapters.mlflow_lock import owner
from moso.adapters.mlflow_registry import Registry, Version
from moso.adapters.redact import redact
from moso.errors import DataError, MosoError
from moso.registry.decision_log import (
    INDEXED,
    NOTHING,
    Aliases,
    Chain,
    Entry,
    Filed,
    after_decision,
    after_rollback,
    walk,
)

EXPERIMENT = "moso-decisions"
HEAD = "moso.decisions_head"  # tag of the registered model
TAG = "moso.decision."  # of a run, followed by a name of INDEXED, or digest
FILE = "decision.json"
PAGE = 1000


class TamperedError(MosoError):
    """The log of decisions is not the one that was filed."""


@dataclass(frozen=True)
class History:
    """A log and what the registry says now.

    Attributes:
        chain: the entries up to the first fault, and the fault.
        aliases: as they are.
    """

    chain: Chain
    aliases: Aliases

    @property
    def fault(self) -> str:
        """Why log and registry cannot be trusted; "" where the chain is whole and the aliases are as it left them."""
        if self.chain.fault:
            return self.chain.fault
        found, told = vars(self.aliases), vars(self.chain.aliases)
        moved = [
            f"{name} is {_shown(found[name])}, the log says {_shown(told[name])}"
            for name in found
            if found[name] != told[name]
        ]
        return f"moved outside of moso: {'; '.join(moved)}" if moved and self.chain.entries else ""


class DecisionLog:
    """The log of a registered model, and its aliases.

    Args:
        registry: where the model is.
        model: the registered model's name.
        champion: the alias that consumers load. `challenger` and `previous` belong to "champion"; another alias has
            its own (`staging-challenger`, `staging-previous`) and its own log.
    """

    def __init__(self, registry: Registry, model: str, champion: str = "champion") -> None:
        self.registry, self.model, self.champion = registry, model, champion
        self.subject = model if champion == "champion" else f"{model}@{champion}"
        prefix = "" if champion == "champion" else f"{champion}-"
        self.names = {"champion": champion, "challenger": f"{prefix}challenger", "previous": f"{prefix}previous"}
        self.head_tag = HEAD if champion == "champion" else f"{HEAD}.{champion}"
        self._uri = registry.tracking_uri
        self._client = connect(self._uri)
        self._failed = f"the log of decisions at {redact(self._uri)} refused"
        self._check: Callable[[], None] | None = None
        self._known: tuple[Entry, ...] | None = None  # while the lock is held nobody else appends

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only one who decides about this model; what a killed holder began is carried out first.

        Raises:
            TrackingError: the registry cannot be asked, or the lock was taken over.
        """
        with hold_lock(self._uri, self.model) as check:
            self._check = check
            try:
                self._carry_out_the_last()
                yield
            finally:
                self._check = self._known = None

    def history(self) -> History:
        """The log, each entry held against its digest, and the aliases now.

        Where a fault shows, both are read once more under the model's lock: a decision that was filed between two
        requests looks like one.
        """
        found = History(self._chain(), self.aliases())
        if found.fault:
            with hold_lock(self._uri, self.model):
                found = History(self._chain(), self.aliases())
        return found

    def aliases(self) -> Aliases:
        """What the aliases stand for."""
        found = {name: self.registry.by_alias(self.model, alias) for name, alias in self.names.items()}
        return Aliases(**{name: version.number if version else None for name, version in found.items()})

    def decided(
        self, outcome: str, version: Version, promote: bool, reasons: Sequence[str], record: Mapping[str, Any]
    ) -> Entry:
        """File a policy's decision and move the aliases as it says. Only under `hold`.

        Raises:
            TamperedError: the log is not the one that was filed.
        """
        entries, now = self._settled()
        return self._append(
            entries, outcome, version.number, after_decision(now, version.number, promote), reasons, record
        )

    def promote(self, version: Version, reason: str) -> Entry:
        """Make `version` champion because a person says so.

        Raises:
            TamperedError: the log is not the one that was filed.
            DataError: it is the champion already.
        """
        with self.hold():
            entries, now = self._settled()
            if now.champion == version.number:
                raise DataError(f"models:/{self.model}/{version.number} is the {self.champion} already")
            after = after_decision(now, version.number, True)
            return self._append(entries, "promoted_by_hand", version.number, after, (reason,), {})

    def rollback(self, reason: str) -> Entry:
        """Give the champion's place back to the one before it.

        Raises:
            TamperedError: the log is not the one that was filed.
            DataError: there is none before it.
        """
        with self.hold():
            entries, now = self._settled()
            after = after_rollback(entries, now)
            if after.previous is not None and not self.registry.exists(self.model, after.previous):
                after = dataclasses.replace(after, previous=None)
            assert now.champion is not None
            return self._append(entries, "rolled_back", now.champion, after, (reason,), {})

    def entries(self) -> tuple[Entry, ...]:
        """All entries.

        Raises:
            TamperedError: the log is not the one that was filed.
        """
        if self._known is not None:
            return self._known
        chain = self._chain()
        if chain.fault:
            raise TamperedError(
                f"the log of decisions about {self.subject} is not whole: {chain.fault}. Nothing is promoted before a "
                f"person has looked at it: moso registry history {self.model}"
            )
        if self._check is not None:
            self._known = chain.entries
        return chain.entries

    def _settled(self) -> tuple[tuple[Entry, ...], Aliases]:
        """The whole log and the aliases; where those were moved outside of moso, the log says so from now on."""
        entries, now = self.entries(), self.aliases()
        told = entries[-1].after if entries else Aliases()
        if now == told:
            return entries, now
        subject = now.champion or now.challenger or now.previous or (told.champion or 0)
        why = f"found at {now}, the log left {told}: somebody moved them without moso"
        entry = self._append(entries, "moved_outside", subject, now, (why,), {})
        return (*entries, entry), now

    def _append(
        self,
        entries: Sequence[Entry],
        action: str,
        version: int,
        after: Aliases,
        reasons: Sequence[str],
        record: Mapping[str, Any],
    ) -> Entry:
        if self._check is None:
            raise TrackingError("a decision is filed only while the model's lock is held")
        entry = Entry(
            number=len(entries) + 1,
            previous=entries[-1].digest if entries else NOTHING,
            model=self.subject,
            action=action,
            version=version,
            before=entries[-1].after if entries else Aliases(),
            after=after,
            reasons=tuple(redact(reason) for reason in reasons),
            at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            by=f"{_user()}@{owner()}",
            record=dict(record),
        )
        tags = {f"{TAG}{name}": str(getattr(entry, name)) for name in INDEXED} | {f"{TAG}digest": entry.digest}
        self._check()
        with reported(self._failed):
            title = f"{entry.number} {self.subject}/{version} {action}"
            experiment = experiment_id(self._client, self._uri, EXPERIMENT)
            run_id = self._client.create_run(experiment, run_name=title, tags=tags).info.run_id
            with tempfile.TemporaryDirectory(prefix="moso-decision-") as temporary:
                path = Path(temporary) / FILE
                path.write_text(entry.payload(), encoding="utf-8")
                self._client.log_artifact(run_id, str(path))
            self._check()
            self._client.set_registered_model_tag(self.model, self.head_tag, entry.digest)
        self._known = (*entries, entry)
        self._carry_out(entry, run_id)
        return entry

    def _carry_out(self, entry: Entry, run_id: str) -> None:
        now = vars(self.aliases())
        assert self._check is not None
        self._check()
        for name, number in vars(entry.after).items():
            # A version deleted since cannot be pointed at; that the alias is elsewhere, the next decision files.
            if number != now[name] and (number is None or self.registry.exists(self.model, number)):
                self.registry.point(self.names[name], self.model, number)
        with reported(self._failed):
            self._client.set_terminated(run_id, "FINISHED")

    def _carry_out_the_last(self) -> None:
        head = self._head()
        if head == NOTHING:
            return
        for run in self._runs(f"tags.`{TAG}digest` = '{head}'"):
            if run.info.status == "RUNNING":
                entry = next((e for e in self.entries() if e.digest == head), None)
                if entry is not None:
                    self._carry_out(entry, run.info.run_id)

    def _head(self) -> str:
        from mlflow.exceptions import MlflowException

        with reported(self._failed):
            try:
                return str(self._client.get_registered_model(self.model).tags.get(self.head_tag, NOTHING))
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return NOTHING
                raise

    def _chain(self) -> Chain:
        head = self._head()
        filed = []
        with reported(self._failed), tempfile.TemporaryDirectory(prefix="moso-decisions-") as temporary:
            for run in self._runs(f"tags.`{TAG}model` = '{self.subject}'"):
                tags, info = run.data.tags, run.info
                digest = tags.get(f"{TAG}digest", "")
                if info.status != "FINISHED" and digest != head:
                    continue  # cut off before it became part of the log
                folder = Path(temporary) / info.run_id
                folder.mkdir()
                path = self.registry.file_of(info.run_id, FILE, folder)
                filed.append(
                    Filed(
                        place=f"run {info.run_id}",
                        payload=path.read_text(encoding="utf-8") if path else None,
                        digest=digest,
                        index={name: tags.get(f"{TAG}{name}", "") for name in INDEXED},
                        deleted=info.lifecycle_stage == "deleted",
                    )
                )
        return walk(filed, head)

    def _runs(self, filter_string: str) -> list[Any]:
        from mlflow.entities import ViewType

        with reported(self._failed):
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                return []
            found: list[Any] = []
            token = None
            while True:
                page = self._client.search_runs(
                    [experiment.experiment_id], filter_string, ViewType.ALL, max_results=PAGE, page_token=token
                )
                found += page
                token = page.token
                if not token:
                    return found


def plain(entry: Entry) -> dict[str, Any]:
    """Plain data of an entry with its digest, for a person's program."""
    return {**dataclasses.asdict(entry), "reasons": list(entry.reasons), "digest": entry.digest}


def _shown(number: int | None) -> str:
    return "none" if number is None else f"version {number}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        return "unknown"
