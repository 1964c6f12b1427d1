"""From a model or a report back to the episodes it was made of, each link checked against what lies on disk.

Every output names its inputs by digest (provenance.json). `trace` follows those digests through the folders of a
project and hashes what it finds, so that a folder whose provenance is right and whose files are others is found out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moso.errors import DataError
from moso.provenance import FILE, digest_bytes, digest_file, digest_folder, read_provenance

# What an artefact's provenance may name as its inputs, in the order they are shown.
ORDER = ("report", "transformer", "tokens", "vqvae", "frames", "episodes")
# Where a project keeps its outputs (dvc.yaml; `moso retrain`), and how many folders deep they lie there at most.
PLACES = {"models": 3, "data": 3, "reports": 3, ".retraining": 6}
# A report's identity are its figures: its page shows the commit, and promote's decision lies beside it.
BESIDE_FIGURES = frozenset({FILE, "index.html", "promotion.json"})
LISTED = 10  # episodes named in one list


@dataclass(frozen=True)
class Link:
    """One artefact of the chain.

    Attributes:
        what: "transformer", "frames", "manifest" …
        digest: sha256 that it must have.
        needed_by: the artefact that named it, or "asked for".
        state: "verified" (there, and its content has the digest), "missing" (nothing of its kind is there), "differs"
            (only others of its kind are there), "damaged" (it says it is, and its content is not).
        folder: where it, or what stands in its place, lies.
        note: what was found; for a verified one the step, commit and seed it came from.
    """

    what: str
    digest: str
    needed_by: str
    state: str
    folder: Path | None = None
    note: str = ""


@dataclass(frozen=True)
class Artefact:
    """A folder with provenance.json, as it describes itself."""

    folder: Path
    record: Mapping[str, Any]

    @property
    def what(self) -> str:
        """Kind: the format's last word, as in "moso.frames"."""
        return str(self.record.get("format", "")).rpartition(".")[2]

    @property
    def digest(self) -> str:
        """The digest it claims."""
        return str(self.record.get("digest", ""))


def content_digest(folder: Path, what: str) -> str:
    """sha256 of what lies in a folder now, by the rule of its kind (a report's are its figures)."""
    if what != "report":
        return digest_folder(folder)
    # A report is flat: a folder in it (another report that was put aside there) is none of its files.
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return digest_bytes(
        "".join(
            f"{name} {digest_file(folder / name)}\n"
            for name in names
            if name not in BESIDE_FIGURES and not name.startswith(".")
        ).encode()
    )


def artefacts(root: Path) -> list[Artefact]:
    """The finished outputs below a project's models/, data/ and reports/, and those of its retrainings.

    Raises:
        DataError: a provenance.json is no JSON.
    """
    found = []
    for place, deepest in PLACES.items():
        for depth in range(deepest + 1):
            for path in sorted((root / place).glob("/".join(["*"] * depth + [FILE]))):
                found.append(_artefact(path.parent))
    return found


def roots(reference: Path) -> dict[str, str]:
    """What a folder claims: digests to trace, by kind.

    Args:
        reference: a model (vqvae/ and transformer/ in it), a report, or any other output of a step.

    Raises:
        FormatError: no step's output and no model.
    """
    if all((reference / part / FILE).exists() for part in ("transformer", "vqvae")):
        return {part: read_provenance(reference / part)["digest"] for part in ("transformer", "vqvae")}
    read_provenance(reference)
    artefact = _artefact(reference)
    return {artefact.what: artefact.digest}


def trace(claims: Mapping[str, str], root: Path, extra: tuple[Path, ...] = ()) -> list[Link]:
    """The chain from some digests back to the episodes.

    Args:
        claims: kind -> digest, as `roots` gives them or a registered version's tags.
        root: the project whose folders are searched.
        extra: further folders to find artefacts in: the reference itself where it lies elsewhere.

    Returns:
        A link an artefact, what was made last first, then one for the manifest of each frames, with the episodes'
        hashes. Two outputs that name different inputs of one kind give two links: a fine-tuned model and its parent,
        say; otherwise a chain that does not close.
    """
    known = artefacts(root)
    seen = {a.folder.resolve() for a in known}
    for folder in extra:
        for place in (folder, folder / "vqvae", folder / "transformer"):
            if (place / FILE).exists() and place.resolve() not in seen:
                known.append(_artefact(place))
    links: dict[tuple[str, str], Link] = {}
    waiting = [(what, digest, "asked for") for what, digest in claims.items()]
    while waiting:
        what, digest, needed_by = waiting.pop(0)
        if (what, digest) in links:
            continue
        link, artefact = _find(what, digest, needed_by, known)
        links[what, digest] = link
        if artefact is not None:
            inputs = artefact.record.get("inputs") or {}
            # A fine-tuned model's parent is of its own kind.
            waiting += [(what if name == "parent" else str(name), str(value), what) for name, value in inputs.items()]
    rank = {what: i for i, what in enumerate(ORDER)}
    chain = sorted(links.values(), key=lambda link: rank.get(link.what, len(rank)))
    return [*chain, *_episodes(chain)]


def _find(what: str, digest: str, needed_by: str, known: list[Artefact]) -> tuple[Link, Artefact | None]:
    rivals = [a for a in known if a.what == what]
    damaged: list[tuple[Artefact, str]] = []
    for artefact in (a for a in rivals if a.digest == digest):
        found = content_digest(artefact.folder, what)
        if found == digest:
            # A registered version's own copy serves; one that was spoiled beside it is said all the same.
            others = "".join(f"; a damaged copy lies in {other.folder}" for other, _ in damaged)
            note = _origin(artefact.record) + others
            return Link(what, digest, needed_by, "verified", artefact.folder, note), artefact
        damaged.append((artefact, found))
    if damaged:
        artefact, found = damaged[0]
        note = f"its provenance says this digest, its files have {found}"
        return Link(what, digest, needed_by, "damaged", artefact.folder, note), artefact
    if not rivals:
        return Link(what, digest, needed_by, "missing", None, f"no {what} on this disk"), None
    other = rivals[0]
    places = ", ".join(f"{a.folder} is {a.digest}" for a in rivals)
    return Link(what, digest, needed_by, "differs", other.folder, places), None


def _episodes(chain: list[Link]) -> Iterator[Link]:
    """The manifest beside each frames against their episodes' own: every episode's hash, where both are there."""
    found = [link for link in chain if link.what == "frames" and link.state == "verified"]
    hashes = {link: _hashes(path) for link in found if (path := _manifest_of(link)).exists()}
    for link in found:
        path = _manifest_of(link)
        if link not in hashes:
            yield Link("manifest", link.digest, "frames", "missing", link.folder, f"no {path.name} beside the frames")
            continue
        state, note = _held_against(link, hashes[link], chain)
        others = [names for other, names in hashes.items() if other is not link]
        own = sorted(name for name in hashes[link] if not any(name in names for names in others))
        if others and own:
            note += f"; {len(own)} of them in no other manifest here: {_shown(own)}"
        yield Link("manifest", digest_file(path), "frames", state, path, note)


def _held_against(frames: Link, ours: Mapping[str, tuple[str, str]], chain: list[Link]) -> tuple[str, str]:
    """State and note of the manifest beside `frames`, whose rows are `ours`."""
    note = f"{len(ours)} episodes with their sha256"
    episodes, some = _episodes_of(frames, chain)
    if episodes is None:
        return "verified", f"{note}; the episodes themselves are not here"
    theirs = _hashes(_manifest_of(episodes))
    names = ours.keys() if some else ours.keys() | theirs.keys()
    wrong = sorted(name for name in names if ours.get(name) != theirs.get(name))
    if wrong:
        return "differs", f"other hashes in {episodes.folder}: {_shown(wrong)}"
    return "verified", f"{note}, as in {episodes.folder}"


def _episodes_of(frames: Link, chain: list[Link]) -> tuple[Link | None, bool]:
    """The verified episodes that frames were made of, and whether of some of them alone (moso.retraining.subset)."""

    def verified(what: str, digest: object) -> Link | None:
        found = (link for link in chain if (link.what, link.digest, link.state) == (what, digest, "verified"))
        return next(found, None)

    assert frames.folder is not None
    inputs = read_provenance(frames.folder).get("inputs") or {}
    whole = verified("frames", inputs.get("frames"))
    if whole is not None:
        return _episodes_of(whole, chain)[0], True
    return verified("episodes", inputs.get("episodes")), False


def _manifest_of(link: Link) -> Path:
    assert link.folder is not None
    return link.folder / "manifest.parquet"


def _shown(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _hashes(path: Path) -> dict[str, tuple[str, str]]:
    """episode_id -> sha256 of its frames and of its signals."""
    import pandas as pd

    table = pd.read_parquet(path)
    pairs = zip(table["sha256"].astype(str), table["signals_sha256"].astype(str), strict=True)
    return dict(zip(table["episode_id"].astype(str), pairs, strict=True))


def _artefact(folder: Path) -> Artefact:
    try:
        record = json.loads((folder / FILE).read_text())
    except json.JSONDecodeError as error:
        raise DataError(f"{folder / FILE} is no JSON ({error}); rerun the step that wrote it") from None
    return Artefact(folder, record)


def _origin(record: Mapping[str, Any]) -> str:
    seed = record.get("seed")
    parts = [f"step {record.get('step')}", f"commit {str(record.get('git_commit'))[:12]}"]
    return ", ".join([*parts, f"seed {seed}"] if seed is not None else parts)
