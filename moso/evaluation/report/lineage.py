"""What the figures rest on: the protocol, the machine, and the digests that lead back to the data."""

from __future__ import annotations

from collections.abc import Mapping

from moso.evaluation import protocol as protocols
from moso.evaluation.metrics import heading
from moso.evaluation.report.elements import definitions
from moso.evaluation.report.evaluation import Evaluation
from moso.evaluation.report.markup import Markup, tag
from moso.evaluation.report.words import samples_in_words

UNREGISTERED = "not registered when this page was written"
VERSION_ID = "model-version"
"""Of the element that promotion fills in the copy of the page that it files."""
VERIFY = "moso lineage reports"
INPUTS = ("frames", "tokens", "vqvae", "transformer")


def protocol_section(e: Evaluation) -> Markup:
    """Everything that the figures depend on beside the model."""
    p = e.protocol
    rows: dict[str, object] = {}
    if e.asked is not None:
        named = f"{e.asked.name}: " if e.asked.name else ""
        rows["Asked for"] = f"{named}{e.asked.title} (source: {e.asked.source})"
    rows |= {
        "Task": p.task,
        "Data set, split": f"{p.data_set}, {p.split}",
        **({"Splits made": protocols.splits_in_words(p.splits)} if p.splits else {}),
        "Clips": f"{p.clips:,} from {p.episodes:,} episodes: {p.clip_rule}",
        **({"Videos drawn": f"{p.videos_drawn:,}"} if p.videos_drawn else {}),
        "Frames": f"{p.height} \u00d7 {p.width} pixels; {_frames(p)}",
        **({"Size": p.resize} if p.resize else {}),
        "Given frames count": "yes" if p.given_frames_count else "no",
        "Samples": f"{samples_in_words(p)}; seeds derived from {p.seed} and the clip's id",
        **({"A rollout carries": f"{p.carry} frames"} if p.carry else {}),
        **({"FVD": _fvd(p.fvd)} if p.fvd else {}),
        **{f"Convention: {heading(name)}": text for name, text in p.metrics.items()},
        **{f"Network: {file}": f"sha256 {digest}" for file, digest in p.networks.items()},
        "Digest of the clips": p.clips_digest,
        "Digest of the protocol": p.digest,
    }
    return Markup(tag("p", "Figures of different protocols are never to be compared.") + definitions(rows))


def _frames(p: protocols.Protocol) -> str:
    given = f"K = {p.given_frames} given, " if p.given_frames else ""
    done = {
        "prediction": "predicted",
        "interpolation": "filled in",
        "reconstruction": "reconstructed",
        "unconditional": "drawn from nothing",
    }
    return f"{given}T = {p.clip_frames}, {p.predicted_frames} {done[p.task]}"


def _fvd(rule: Mapping[str, object]) -> str:
    batch = f"mean over batches of {rule['batch']} videos" if rule.get("batch") else "all videos at once"
    references = {"same_clips": "the true frames of the same clips", "all_test_clips": "every clip of the split"}
    return f"{batch}, against {references.get(str(rule.get('reference')), rule.get('reference'))}"


def environment_section(e: Evaluation) -> Markup:
    """Where the figures were computed."""
    note = "Figures of one model may differ in the last digits from machine to machine: sums run in another order."
    return Markup(tag("p", note, class_="note") + definitions(e.environment))


def lineage_section(e: Evaluation) -> Markup:
    """Where model, data and code come from, and how to check it."""
    how = tag(
        "p",
        "Each digest is a sha256. ",
        tag("code", VERIFY),
        ", run in the project's folder, follows them back to the episodes and hashes what lies there.",
    )
    version = tag("dt", "Model version") + tag("dd", UNREGISTERED, id=VERSION_ID)
    rows = [tag("dt", name) + tag("dd", value) for name, value in e.provenance.items()]
    return Markup(how + tag("dl", Markup(version + "".join(rows))))


def lineage_rows(tags: Mapping[str, str], inputs: Mapping[str, str]) -> dict[str, str]:
    """The rows of the section.

    Args:
        tags: "git_commit", and the digests "model", "config", "code" and "report"; those that are missing are left out.
        inputs: name of an input of the step evaluate -> its digest.
    """
    named = {"model": "Model", "config": "Configuration", "code": "Code", "report": "Figures of this report"}
    order = [*(name for name in INPUTS if name in inputs), *(name for name in inputs if name not in INPUTS)]
    return {
        **({"Git commit": tags["git_commit"]} if "git_commit" in tags else {}),
        **{label: tags[name] for name, label in named.items() if name in tags},
        **{f"Input: {name}": inputs[name] for name in order},
    }
