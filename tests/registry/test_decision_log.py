"""A chain of decisions: whatever was changed, removed or moved is named."""

import dataclasses
import hashlib
import json

import pytest

from moso.errors import DataError
from moso.registry.decision_log import (
    INDEXED,
    NOTHING,
    Aliases,
    Entry,
    Filed,
    after_decision,
    after_rollback,
    champion_before,
    parse,
    taken_back,
    walk,
)


def chain(*steps: tuple[str, int, Aliases]) -> list[Entry]:
    """(action, version, aliases afterwards) one after the other."""
    entries: list[Entry] = []
    for action, version, after in steps:
        entries.append(
            Entry(
                number=len(entries) + 1,
                previous=entries[-1].digest if entries else NOTHING,
                model="moso-toy",
                action=action,
                version=version,
                before=entries[-1].after if entries else Aliases(),
                after=after,
                reasons=("because",),
                at="2026-01-02T03:04:05+00:00",
                by="me@here",
                record={},
            )
        )
    return entries


FOUR = chain(
    ("promoted", 1, Aliases(1)),
    ("kept", 2, Aliases(1, 2)),
    ("promoted", 3, Aliases(3, 2, 1)),
    ("rolled_back", 3, Aliases(1, 3)),
)


def filed(entry: Entry, **changes) -> Filed:
    index = {name: str(getattr(entry, name)) for name in INDEXED}
    return dataclasses.replace(Filed(f"run {entry.number}", entry.payload(), entry.digest, index), **changes)


def test_a_whole_chain_is_read_in_any_order():
    found = walk([filed(entry) for entry in reversed(FOUR)], FOUR[-1].digest)
    assert (found.entries, found.fault, found.head) == (tuple(FOUR), "", FOUR[-1].digest)
    assert found.aliases == Aliases(1, 3)
    assert walk([], NOTHING).fault == ""


def test_the_digest_is_the_sha256_of_the_canonical_text():
    text = FOUR[0].payload()
    assert FOUR[0].digest == hashlib.sha256(text.encode()).hexdigest()
    assert json.loads(text)["after"] == {"champion": 1, "challenger": None, "previous": None}
    assert parse(text) == FOUR[0]
    with pytest.raises(DataError, match="canonical"):
        parse(text.replace('"by"', ' "by"'))
    with pytest.raises(DataError, match="no decision"):
        parse('{"format":"moso.decision","format_version":1}')


def rewritten(position: int, **changes) -> list[Filed]:
    """The chain with one entry replaced by another, its digest to match."""
    return [filed(dataclasses.replace(e, **changes) if e.number == position else e) for e in FOUR]


def swapped() -> list[Filed]:
    """Decisions 2 and 3 in each other's place, numbers and digests to match."""
    two = dataclasses.replace(FOUR[2], number=2, before=FOUR[1].before, after=FOUR[1].after)
    three = dataclasses.replace(FOUR[1], number=3, before=FOUR[2].before, after=FOUR[2].after)
    return [filed(e) for e in (FOUR[0], two, three, FOUR[3])]


def tags_swapped() -> list[Filed]:
    two, three = filed(FOUR[1]), filed(FOUR[2])
    return [filed(FOUR[0]), dataclasses.replace(two, index=three.index), three, filed(FOUR[3])]


ALL = [filed(entry) for entry in FOUR]
TAMPERED = {
    "a tag": ([filed(e, index={**filed(e).index, "action": "kept"}) if e.number == 3 else filed(e) for e in FOUR], 3),
    "tags of two": (tags_swapped(), 2),
    "the file": (
        [dataclasses.replace(f, payload=f.payload.replace("me@here", "you@her")) for f in ALL[:1]] + ALL[1:],
        1,
    ),
    "the file of one in the middle": ([*ALL[:1], dataclasses.replace(ALL[1], payload="{}"), *ALL[2:]], 2),
    "file gone": ([*ALL[:1], dataclasses.replace(ALL[1], payload=None), *ALL[2:]], 2),
    "deleted": ([*ALL[:2], dataclasses.replace(ALL[2], deleted=True), *ALL[3:]], 3),
    "removed": (ALL[:2] + ALL[3:], 3),
    "removed at the beginning": (ALL[1:], 1),
    "doubled": ([*ALL, dataclasses.replace(ALL[1], place="run 9")], 2),
    "swapped": (swapped(), 2),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_was_tampered_with_is_named_and_what_comes_before_is_kept(name):
    found, position = TAMPERED[name]
    after = walk(found, FOUR[-1].digest)
    assert f"decision {position}" in after.fault or f"decisions {position}:" in after.fault
    assert after.entries == tuple(FOUR[: position - 1])


def test_an_entry_rewritten_with_its_digest_breaks_the_link_to_the_next():
    found = walk(rewritten(2, reasons=("another",)), FOUR[-1].digest)
    assert "decision 3" in found.fault
    assert "the one before it, was changed" in found.fault


def test_the_last_entry_rewritten_or_cut_off_is_missed_by_the_head():
    for entries in (rewritten(4, reasons=("another",)), ALL[:3]):
        assert "is not the newest that was filed" in walk(entries, FOUR[-1].digest).fault
    assert "decision 1 is missing" in walk([], FOUR[-1].digest).fault
    assert "is not the newest" in walk(ALL, NOTHING).fault


def test_aliases_that_do_not_follow_each_other_are_a_fault():
    entries = chain(("promoted", 1, Aliases(1)))
    second = dataclasses.replace(
        chain(("promoted", 1, Aliases(1)), ("kept", 2, Aliases(1, 2)))[1], before=Aliases(7), after=Aliases(7, 2)
    )
    found = walk([filed(entries[0]), filed(second)], second.digest)
    assert "begins at other aliases" in found.fault


def test_aliases_after_a_decision():
    assert after_decision(Aliases(), 1, True) == Aliases(1)
    assert after_decision(Aliases(1), 2, True) == Aliases(2, None, 1)
    assert after_decision(Aliases(1), 2, False) == Aliases(1, 2)
    assert after_decision(Aliases(1, 2), 2, True) == Aliases(2, None, 1)
    assert after_decision(Aliases(1, 2), 1, False) == Aliases(1, 2)


def test_a_second_rollback_leads_further_back_and_never_to_the_one_taken_back():
    entries = chain(
        ("promoted", 1, Aliases(1)), ("promoted", 2, Aliases(2, None, 1)), ("promoted", 3, Aliases(3, None, 2))
    )
    once = after_rollback(entries, entries[-1].after)
    assert once == Aliases(2, 3, 1)
    again = after_rollback(entries, once)
    assert again == Aliases(1, 2, None)
    with pytest.raises(DataError, match="no previous champion"):
        after_rollback(entries, again)
    assert champion_before(entries, 2) == 1
    assert champion_before(entries, 9) is None


def test_an_alias_that_was_found_elsewhere_makes_no_champion_of_the_one_that_was_it_before():
    entries = chain(
        ("promoted", 1, Aliases(1)),
        ("promoted", 2, Aliases(2, None, 1)),
        ("kept", 3, Aliases(2, 3, 1)),
        ("moved_outside", 2, Aliases(2, None, 1)),  # version 3 was deleted, and its alias with it
        ("promoted", 4, Aliases(4, None, 2)),
    )
    assert champion_before(entries, 2) == 1
    assert after_rollback(entries, entries[-1].after) == Aliases(2, 4, 1)


def test_a_version_taken_back_stays_so_until_somebody_promotes_it_on_purpose():
    assert taken_back(FOUR, 3) == FOUR[3]
    assert taken_back(FOUR, 1) is None
    assert (
        taken_back(chain(*[(e.action, e.version, e.after) for e in FOUR], ("promoted_by_hand", 3, Aliases(3))), 3)
        is None
    )
