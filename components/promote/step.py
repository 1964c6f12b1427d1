"""Register the trained model and make it the champion when it is better: decided first, carried out after.

Doing it twice changes nothing: a version is found again by the model's digest, the alias stays, and promotion.json is
the same file, because the decision that made a version champion is kept with the version.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.promote import evaluation
from moso.adapters import mlflow_model, mlflow_registry
from moso.adapters.mlflow_client import default_tracking_uri
from moso.adapters.mlflow_decisions import DecisionLog
from moso.adapters.mlflow_registry import Registration, Registry, Version
from moso.errors import ConfigError, FormatError, MismatchError
from moso.progress import Progress
from moso.provenance import code_digest, digest_json, finite, read_provenance, write_json
from moso.registry import card
from moso.registry.decide import decide, to_record
from moso.registry.decision_log import Entry, check_alias, taken_back
from moso.registry.policy import PromotionPolicy
from moso.step import Context, Paths
from moso.tasks.model import Model


@dataclass(frozen=True)
class Config:
    """Section `promote`.

    Attributes:
        model: the registered model's name; None takes moso-<dataset>, the data set being the evaluation protocol's.
        alias: moves to the better model.
        policy: when it moves.
    """

    model: str | None = None
    alias: str = "champion"
    policy: PromotionPolicy = field(default_factory=PromotionPolicy)

    def __post_init__(self) -> None:
        if self.model is not None and not re.fullmatch(r"[\w.-]+", self.model):
            raise ConfigError("model", self.model, "may hold letters, digits, '_', '-' and '.' only")
        check_alias(self.alias)


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> None:
    """Register, decide, move the alias, write promotion.json.

    Inputs vqvae, transformer, report; output promotion (a file). A retraining gives two more: tokens, for its report is
    of other frames than the training's, and objections (a JSON list of reasons), what it found against the candidate
    elsewhere: one is enough to refuse it. The registry is at context.options["tracking_uri"], or
    `default_tracking_uri` of the current folder. Its run is recorded by the registry itself, whatever the tracker.

    Raises:
        MismatchError: the report is of another model, or the tokens are not those that it was trained on.
        FormatError: a report without figures, protocol or example.
        TrackingError: the registry cannot be reached.
    """
    vqvae, transformer, report = inputs["vqvae"], inputs["transformer"], inputs["report"]
    with Progress("promote", 4, "part") as progress:
        parts = _checked_parts(vqvae, transformer, report)
        model = Model.from_parts(vqvae, transformer, "cpu")
        candidate = evaluation.read(report, model.digest)
        name = config.model or f"moso-{candidate['protocol']['data_set']}"
        progress.advance(note=f"looking for {name}")
        registry = Registry(context.options.get("tracking_uri") or default_tracking_uri(Path.cwd()))
        log = DecisionLog(registry, name, config.alias)
        # Under the lock from the search on: two that promote the same model at once file it once.
        with log.hold():
            version = registry.find(name, model.digest)
            if version is None:
                progress.advance(0, note=f"filing {name}")
                version = _register(registry, name, model, candidate, inputs, parts)
            progress.advance(note=f"version {version.number}: deciding")
            record = _decide(registry, log, config, version, candidate, parts, inputs)
        progress.advance(note=f"version {version.number}: {record['decision']['outcome']}")
        progress.advance()

    outputs["promotion"].parent.mkdir(parents=True, exist_ok=True)
    write_json(outputs["promotion"], record)
    decision = record["decision"]
    print(f"promote: models:/{name}/{version.number} {decision['outcome']}: {'; '.join(decision['reasons'])}")


def _decide(
    registry: Registry,
    log: DecisionLog,
    config: Config,
    version: Version,
    candidate: Mapping[str, Any],
    parts: Mapping[str, Any],
    inputs: Paths,
) -> dict[str, Any]:
    """Decide, and keep the decision in the log, which moves the aliases: the content of promotion.json."""
    report, champion = inputs["report"], registry.by_alias(version.name, config.alias)
    objections = tuple(json.loads(inputs["objections"].read_text())) if "objections" in inputs else ()
    # The same model, figures and policy as when it became champion: that decision stands, word for word.
    asked = {"candidate": finite(candidate), "policy": config.policy, "alias": config.alias}
    question = digest_json({**asked, "objections": objections} if objections else asked)
    held = next((e for e in reversed(log.entries()) if e.version == version.number and e.record), None)
    told = evaluation.keep(registry, version, report, candidate)
    if held is not None and champion is not None and champion.number == version.number:
        # A refusal does not stand: someone has moved the alias by hand since.
        stands = held.record["decision"]["outcome"] in ("promoted", "already_champion")
        if held.record["question"] == question and stands:
            return _filed(registry, version, told, held)

    before = champion.record() if champion is not None else None
    pairs = evaluation.compare(registry, champion, candidate, report, config.policy)
    decision = decide(candidate, before, config.policy, pairs)
    back = taken_back(log.entries(), version.number)
    if back is not None and decision.promote:
        why = f"it was champion and was taken back (decision {back.number}, {back.at}): {'; '.join(back.reasons)}"
        decision = replace(decision, promote=False, outcome="refused", reasons=(why, *decision.reasons))
    if decision.outcome == "refused" and decision.candidate_value is not None:
        # The champion cannot be compared with any candidate of this protocol: without a way out it would stay for good.
        way_out = f"to make it the champion all the same: {registry.command_to_promote(config.alias, version)}"
        decision = replace(decision, reasons=(*decision.reasons, way_out))
    if objections and decision.outcome != "already_champion":
        reasons = (*objections, *decision.reasons)
        decision = replace(decision, promote=False, outcome="refused", reasons=reasons)
    record = {
        "format": "moso.promotion",
        "format_version": 1,
        "question": question,
        "model": version.name,
        "version": version.number,
        "reference": f"models:/{version.name}@{config.alias}",
        "alias": config.alias,
        "alias_moved": decision.promote,
        "decision": to_record(decision),
        # Candidate minus champion, each metric in its own unit.
        "comparison": pairs.record() if pairs else {},
        "not_compared": dict(pairs.without) if pairs else {},
        "candidate": {"version": version.number, **candidate},
        "champion": before,
        "inputs": {step: part["digest"] for step, part in parts.items()},
    }
    record = json.loads(evaluation.plain_json(finite(record)))
    # What was decided before and is decided again, about the same two, is no news for the log. A promotion always is:
    # the alias stands elsewhere now, or there would be nothing to promote.
    if decision.promote or held is None or held.record != record:
        held = log.decided(decision.outcome, version, decision.promote, decision.reasons, record)
    return _filed(registry, version, told, held)


def _filed(registry: Registry, version: Version, told: Mapping[str, str], entry: Entry) -> dict[str, Any]:
    """The content of promotion.json, which the version keeps, too.

    An evaluation under a new protocol replaces the version's figures, or no later candidate could be compared with it.
    """
    place = {"number": entry.number, "digest": entry.digest, "previous": entry.previous}
    record = {**entry.record, "log": place}
    registry.tag(version, {**told, mlflow_registry.PROMOTION: evaluation.plain_json(record)})
    return record


def _register(
    registry: Registry, name: str, model: Model, candidate: Mapping[str, Any], inputs: Paths, parts: Mapping[str, Any]
) -> Version:
    example = _example(inputs["report"])
    mlflow_model.check_example(example, model)
    configs = {parts[key]["step"]: parts[key]["config"] for key in ("vqvae", "transformer")}
    trained = parts["transformer"]
    origin = {
        "data_digest": _data_digest(inputs, parts),
        "config_digest": digest_json(configs),
        "code_digest": trained["code_digest"],
        "git_commit": trained["git_commit"],
        "package_version": trained["package_version"],
        "seed": trained["seed"],
        "image": os.environ.get("MOSO_IMAGE") or "none",
        "parent_version": _parent(registry, name, parts),
    }
    tags = {
        mlflow_registry.MODEL_DIGEST: model.digest,
        **{f"moso.{key}_digest": part["digest"] for key, part in parts.items()},
        **{f"moso.{key}": str(value) for key, value in origin.items()},
        "moso.packaged_code_digest": code_digest(),
        **evaluation.tags(candidate, parts["report"]["digest"]),
    }
    sizes = {key: getattr(model, key) for key in ("given_frames", "clip_frames", "height", "width")}
    text = card.fill(
        card.TEMPLATE.read_text(),
        card.values(
            name=name,
            dataset=candidate["protocol"]["data_set"],
            model={**sizes, "steps": model.sampling.steps},
            candidate=candidate,
            provenance=origin,
            protocol_name=_protocol_name(parts["report"]["config"]),
        ),
    )

    def save(folder: Path, entry: Any) -> None:
        mlflow_model.save(folder, model, inputs["vqvae"], inputs["transformer"], example, entry)

    with tempfile.TemporaryDirectory(prefix="moso-card-") as temporary:
        card_file = Path(temporary) / "model_card.md"
        card_file.write_text(text)
        return registry.register(name, save, Registration(tags, configs, candidate["metrics"], text, [card_file]))


def _data_digest(inputs: Paths, parts: Mapping[str, Any]) -> str:
    """Digest of the frames that the model was trained on: its tokens', or the report's where no tokens are given."""
    if "tokens" not in inputs:
        return str(parts["report"]["inputs"].get("frames", "not recorded"))
    tokens, trained = read_provenance(inputs["tokens"]), parts["transformer"]["inputs"].get("tokens")
    if tokens["digest"] != trained:
        ours, theirs = tokens["digest"][:12], str(trained)[:12]
        raise MismatchError(f"{inputs['tokens']} is {ours}, the transformer was trained on {theirs}; name those tokens")
    return str(tokens["inputs"].get("frames", "not recorded"))


def _parent(registry: Registry, name: str, parts: Mapping[str, Any]) -> str:
    """The version that this model was fine-tuned from, "none", or a digest where no version has it.

    Its transformer's parent, else its VQVAE's; the first version that brought those weights.
    """
    for part in ("transformer", "vqvae"):
        digest = parts[part]["inputs"].get("parent")
        if digest:
            parent = registry.found_by(name, f"moso.{part}_digest", digest)
            return f"models:/{name}/{parent.number}" if parent else f"not registered: {part} {digest}"
    return "none"


def _checked_parts(vqvae: Path, transformer: Path, report: Path) -> dict[str, Any]:
    """Provenance of the three inputs, which must belong together."""
    parts = {
        "vqvae": read_provenance(vqvae, format="moso.vqvae", version=1),
        "transformer": read_provenance(transformer, format="moso.transformer", version=1),
        "report": read_provenance(report, format="moso.report", version=1),
    }
    for key in ("vqvae", "transformer"):
        evaluated = parts["report"]["inputs"].get(key)
        if evaluated != parts[key]["digest"]:
            ours, theirs = parts[key]["digest"][:12], str(evaluated)[:12]
            raise MismatchError(f"{report} evaluates the {key} {theirs}, this one is {ours}; rerun evaluate")
    return parts


def _protocol_name(config: Mapping[str, Any]) -> str:
    """The named protocol that evaluate was asked for; "" where it made one of the model's sizes."""
    protocol = config.get("protocol")
    return str(protocol.get("name", "")) if isinstance(protocol, Mapping) else ""


def _example(report: Path) -> np.ndarray:
    path = report / "example.npy"
    if not path.exists():
        raise FormatError(
            f"{path} is missing (the given frames of a test clip, the model's input example); rerun evaluate"
        )
    frames: np.ndarray = np.load(path, allow_pickle=False)
    return frames


if __name__ == "__main__":
    from components.main import main

    main("promote", Config, run)
