"""The log of decisions about a registered model: each entry holds the digest of the one before, so that none can be
changed, left out or moved without a trace.

Pure: where entries lie, and who may append, is the adapter's business. An entry's digest is the sha256 of its canonical
JSON. The registered model names the newest entry (the head), so that an entry cut off at the end is missed too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moso.errors import ConfigError, DataError
from moso.provenance import digest_bytes

FORMAT, FORMAT_VERSION = "moso.decision", 1
NOTHING = "0" * 64  # what the first entry names as the one before
# What became of a version. The first four are `decide`'s outcomes; the others are a person's.
ACTIONS = ("promoted", "kept", "refused", "already_champion", "promoted_by_hand", "rolled_back", "moved_outside")
MAKES_CHAMPION = ("promoted", "promoted_by_hand", "moved_outside")
# Fields that a store repeats beside the payload, where a search finds them; they must agree with it.
INDEXED = ("number", "previous", "model", "action", "version")


@dataclass(frozen=True)
class Aliases:
    """Which version each alias stands for; None: none.

    Attributes:
        champion: what consumers load.
        challenger: the last version that was decided about and is not the champion.
        previous: the champion before this one: where a rollback leads.
    """

    champion: int | None = None
    challenger: int | None = None
    previous: int | None = None


@dataclass(frozen=True)
class Entry:
    """A decision and what it did.

    Attributes:
        number: from 1, without gaps.
        previous: digest of the entry before; NOTHING for the first.
        model: the registered model's name.
        action: one of ACTIONS.
        version: that was decided about.
        before: the aliases as they were.
        after: the aliases as the decision leaves them.
        reasons: for a reader, the most important first.
        at: when, UTC, ISO 8601.
        by: user and host.
        record: promotion.json's content where a policy decided; else {}.
    """

    number: int
    previous: str
    model: str
    action: str
    version: int
    before: Aliases
    after: Aliases
    reasons: tuple[str, ...]
    at: str
    by: str
    record: Mapping[str, Any]

    def payload(self) -> str:
        """Canonical JSON: keys sorted, no spaces, ASCII."""
        values = {**vars(self), "before": vars(self.before), "after": vars(self.after), "reasons": list(self.reasons)}
        values |= {"format": FORMAT, "format_version": FORMAT_VERSION}
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def digest(self) -> str:
        """Hexadecimal sha256 of the payload: the next entry's `previous`."""
        return digest_bytes(self.payload().encode())


@dataclass(frozen=True)
class Filed:
    """An entry as it was found in the store.

    Attributes:
        place: where, for messages ("run 0123…").
        payload: its text; None where it is gone.
        digest: that the store keeps beside it.
        index: INDEXED, as text, as the store keeps them.
        deleted: the store marks it as deleted.
    """

    place: str
    payload: str | None
    digest: str
    index: Mapping[str, str]
    deleted: bool = False


@dataclass(frozen=True)
class Chain:
    """The log as far as it can be trusted.

    Attributes:
        entries: in order, up to the first fault.
        fault: the first link that is not what was filed, and how; "" where the chain is whole.
    """

    entries: tuple[Entry, ...] = ()
    fault: str = ""

    @property
    def head(self) -> str:
        """Digest of the newest entry; NOTHING where there is none."""
        return self.entries[-1].digest if self.entries else NOTHING

    @property
    def aliases(self) -> Aliases:
        """What the newest entry leaves."""
        return self.entries[-1].after if self.entries else Aliases()


def parse(text: str) -> Entry:
    """The entry whose payload is `text`.

    Raises:
        DataError: it is no canonical payload of this format.
    """
    try:
        values = json.loads(text)
        if (values.pop("format"), values.pop("format_version")) != (FORMAT, FORMAT_VERSION):
            raise DataError("not of this format and version")
        for key in ("before", "after"):
            values[key] = Aliases(**values[key])
        entry = Entry(**{**values, "reasons": tuple(values["reasons"])})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"no decision can be read from it ({error})") from None
    if entry.payload() != text:
        raise DataError("not in the canonical form")
    return entry


def walk(filed: Sequence[Filed], head: str) -> Chain:
    """Read the chain from its first entry, and stop at the first that is not what was filed.

    Args:
        filed: the entries as found, in any order.
        head: digest of the newest entry, which the registered model names; NOTHING for an empty log.
    """
    entries: list[Entry] = []
    places: dict[str, list[Filed]] = {}
    for one in filed:
        places.setdefault(_position(one), []).append(one)
    while entries or filed or head != NOTHING:
        number, previous = len(entries) + 1, entries[-1].digest if entries else NOTHING
        here = places.pop(str(number), [])
        if not here:
            break
        entry, fault = _checked(here, number, previous)
        if entry is None or fault:
            return Chain(tuple(entries), fault)
        if entries and entry.before != entries[-1].after:
            return Chain(
                tuple(entries),
                f"decision {number} begins at other aliases than decision {number - 1} left: {entry.before}",
            )
        entries.append(entry)
    number = len(entries) + 1
    if places:
        later = ", ".join(sorted(places, key=lambda text: (len(text), text)))
        return Chain(tuple(entries), f"decision {number} is missing: after {number - 1} come {later}")
    found = entries[-1].digest if entries else NOTHING
    if found != head:
        # Changed with a digest to match, or cut off: the model's own word about its newest decision tells.
        return Chain(
            tuple(entries[:-1]),
            f"decision {number - 1} is not the newest that was filed ({head[:12]}): it was changed, or decision "
            f"{number} and what came after it was removed"
            if entries
            else f"decision 1 is missing: the newest that was filed is {head[:12]}",
        )
    return Chain(tuple(entries))


def champion_before(entries: Sequence[Entry], version: int | None) -> int | None:
    """The champion whose place `version` took when it last became champion; None where the log knows none."""
    for entry in reversed(entries):
        # An entry that only found another alias moved leaves the champion where it was.
        if entry.action in MAKES_CHAMPION and entry.after.champion == version != entry.before.champion:
            return entry.before.champion
    return None


def taken_back(entries: Sequence[Entry], version: int) -> Entry | None:
    """The rollback that took `version` back, where nobody has made it champion on purpose since."""
    for entry in reversed(entries):
        if entry.action == "rolled_back" and entry.version == version:
            return entry
        if entry.action in ("promoted_by_hand", "moved_outside") and entry.after.champion == version:
            return None
    return None


def after_decision(before: Aliases, version: int, promote: bool) -> Aliases:
    """The aliases once `version` was decided about."""
    if version == before.champion:
        return before
    if not promote:
        return Aliases(before.champion, version, before.previous)
    challenger = None if before.challenger == version else before.challenger
    return Aliases(version, challenger, before.champion)


def after_rollback(entries: Sequence[Entry], before: Aliases) -> Aliases:
    """The aliases once the champion's place goes to `previous`; a second rollback leads one champion further back.

    Raises:
        DataError: there is no version to go back to.
    """
    if before.champion is None or before.previous is None:
        raise DataError("there is no previous champion to go back to; `moso registry promote` names a version")
    further = champion_before(entries, before.previous)
    return Aliases(before.previous, before.champion, further if further != before.champion else None)


def check_alias(alias: str) -> None:
    """Whether `alias` can be that of a champion.

    Raises:
        ConfigError: MLflow does not take it, or moso moves it with the champion.
    """
    if not re.fullmatch(r"[\w-]+", alias) or alias == "latest" or re.fullmatch(r"[vV]\d+", alias):
        raise ConfigError("alias", alias, "is no alias that MLflow takes", "use champion, say")
    if alias in ("challenger", "previous"):
        raise ConfigError("alias", alias, "moves with the champion", "use champion, say")


def _position(one: Filed) -> str:
    """The number under which an entry takes its place: its payload's, or its index's where that cannot be read."""
    try:
        return str(parse(one.payload).number) if one.payload is not None else one.index.get("number", "?")
    except DataError:
        return one.index.get("number", "?")


def _checked(here: Sequence[Filed], number: int, previous: str) -> tuple[Entry | None, str]:
    what = f"decision {number} ({here[0].place})"
    if len(here) > 1:
        return None, f"there are {len(here)} decisions {number}: {', '.join(sorted(one.place for one in here))}"
    (one,) = here
    if one.deleted:
        return None, f"{what} was deleted"
    if one.payload is None:
        return None, f"{what} has lost its file decision.json"
    if digest_bytes(one.payload.encode()) != one.digest:
        return None, f"{what}: its file is not the one whose digest was filed ({one.digest[:12]})"
    try:
        entry = parse(one.payload)
    except DataError as error:
        return None, f"{what}: {error}"
    for name in INDEXED:
        if one.index.get(name) != str(getattr(entry, name)):
            return None, f"{what}: its tag {name} says {one.index.get(name)!r}, its file {getattr(entry, name)!r}"
    if entry.previous != previous:
        before = f"decision {number - 1}" if number > 1 else "the beginning"
        return None, (
            f"{what} follows {entry.previous[:12]}, and {before} is {previous[:12]}: decision {number}, or the one "
            f"before it, was changed or moved"
        )
    return entry, ""
