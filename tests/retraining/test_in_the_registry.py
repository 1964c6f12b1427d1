"""A retraining's decision in a real registry: a refusal is filed; a champion leads back to first and new episodes."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from components.evaluate import step as evaluate
from components.promote.step import Config as Promote
from components.promote.step import run as promote
from moso.adapters.mlflow_decisions import DecisionLog
from moso.adapters.mlflow_registry import Registry
from moso.cli.lineage import command
from moso.cli.registry import command as registry_command
from moso.datasets.manifest import Manifest, Row
from moso.errors import MismatchError
from moso.frames.cache import FrameCache, FrameCacheWriter
from moso.provenance import digest_file, read_provenance
from moso.registry.policy import PromotionPolicy
from moso.retraining.subset import write_subset
from moso.step import Context
from moso.tasks.model import Model
from moso.transformer.model import load_transformer, save_transformer
from pipelines.retrain_decide import Asked, decide
from pipelines.retrain_settings import RetrainSettings
from pipelines.retrain_state import Places
from tests.serving.test_lineage_of_versions import EPISODES, build, evaluation, file_version, made, write_tokens
from tests.small_model import SIZE, T, smooth_clips

FIRST = [f"seed_{i:06d}" for i in range(sum(EPISODES.values()))]
NEW = [f"new_{i:06d}" for i in range(4)]
SPLITS = ["train"] * EPISODES["train"] + ["test"] * EPISODES["test"] + ["train", "test", "test", "test"]

BETTER = 1
"""A seed whose weights predict the new test episodes better than the champion's, which are drawn as well."""


def _extend(root: Path, run: Path) -> None:
    """Episodes and frames of a retraining: the first data's, and four more episodes."""
    first = FrameCache.open(root / "data/toy/frames")
    videos = [first.frames(name) for name in FIRST] + list(smooth_clips(10, 2 * T)[6:])
    rows = [
        Row(
            episode_id=name, split=split, recording=name, source=f"{name}.npz", sha256=f"{i:064d}", signals_sha256="",
            frames=2 * T, height=SIZE, width=SIZE, fps=10.0, actions=0,
        )
        for i, (name, split) in enumerate(zip(FIRST + NEW, SPLITS, strict=True))
    ]  # fmt: skip
    (run / "episodes").mkdir(parents=True)
    with FrameCacheWriter(run / "frames", height=SIZE, width=SIZE, fps=10.0) as writer:
        for row, video in zip(rows, videos, strict=True):
            writer.add(row["episode_id"], row["split"], video)
    for name in ("episodes", "frames"):
        Manifest.empty().append(rows).write(run / name / "manifest.parquet")
    made(run / "frames", "preprocess", episodes=made(run / "episodes", "ingest"))


def _fine_tune(root: Path, run: Path) -> dict[str, Path]:
    """The champion's Stage I, and its Stage II with other weights, on tokens of all frames."""
    champion, candidate = root / "models/toy", run / "candidate"
    model = Model.from_parts(champion / "vqvae", champion / "transformer", "cpu")
    write_tokens(run / "tokens", FrameCache.open(run / "frames"), model)
    frames, vqvae = (read_provenance(folder)["digest"] for folder in (run / "frames", champion / "vqvae"))
    tokens = made(run / "tokens", "extract_tokens", frames=frames, vqvae=vqvae)
    shutil.copytree(champion / "vqvae", candidate / "vqvae")
    shutil.copytree(champion / "transformer", candidate / "transformer")
    tuned = load_transformer(champion / "transformer")
    generator = torch.Generator().manual_seed(BETTER)
    with torch.no_grad():
        for weight in tuned.parameters():
            weight += torch.randn(weight.shape, generator=generator) / 4
    save_transformer(tuned, candidate / "transformer")
    parent = read_provenance(champion / "transformer")["digest"]
    made(candidate / "transformer", "train_transformer", tokens=tokens, parent=parent)
    return {name: candidate / name for name in ("vqvae", "transformer")}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A retraining before its decision: `decided` decides."""
    root = tmp_path_factory.mktemp("project")
    uri = f"sqlite:///{root / 'mlruns' / 'mlflow.db'}"
    patch = pytest.MonkeyPatch()
    patch.setenv("MLFLOW_TRACKING_URI", uri)
    patch.setenv("MOSO_CACHE", str(root / "cache"))
    patch.setenv("MOSO_TRACKING", "off")
    build(root)
    file_version(root, uri)
    state = root / ".retraining" / "toy"
    current = {"id": "0123456789abcdef", "name": "moso-toy", "champion": 1, "new": NEW}
    places = Places(state, root / "data/toy/episodes", root / "data/toy/frames")
    run = places.run(current)
    _extend(root, run)
    candidate = _fine_tune(root, run)
    write_subset(FrameCache.open(run / "frames"), NEW, run / "new_frames")
    champion = {part: root / "models/toy" / part for part in ("vqvae", "transformer")}
    models = {
        "candidate": {**candidate, "tokens": run / "tokens"},
        "champion": {**champion, "tokens": root / "data/toy/tokens"},
    }
    reports: dict[str, dict[str, Path]] = {"frozen": {}, "new": {}}
    for name, frames in (("frozen", root / "data/toy/frames"), ("new", run / "new_frames")):
        for who, model in models.items():
            reports[name][who] = root / "elsewhere" / name / who  # as on Kubeflow
            evaluate.run(
                evaluation(), {"frames": frames, **model}, {"report": reports[name][who]}, Context(root / "work")
            )
    asked = Asked(current, RetrainSettings(tolerance_db=0.5), Promote(policy=PromotionPolicy(require="gain")), {})
    registry = Registry(uri)

    def decided(**frozen: Path) -> SimpleNamespace:
        given = {**reports, "frozen": {**reports["frozen"], **frozen}}
        result = decide(places, asked, models, given)
        held = [registry.lookup(f"models:/moso-toy/{number}").tags for number in (1, 2)]
        history = DecisionLog(registry, "moso-toy").history()
        return SimpleNamespace(result=result, held=held, history=history, shown=_history())

    yield SimpleNamespace(root=root, run=run, reports=reports, models=models, registry=registry, decided=decided)
    patch.undo()


def _history() -> str:
    done = CliRunner().invoke(registry_command, ["history", "moso-toy"])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def refused(compared):
    """The decision where the candidate loses 5 dB on the frozen test set, asked for twice."""
    worse = compared.root / "worse"
    shutil.copytree(compared.reports["frozen"]["candidate"], worse)
    content = json.loads((worse / "metrics.json").read_text())
    champion = json.loads((compared.reports["frozen"]["champion"] / "metrics.json").read_text())
    content["prediction"]["psnr"] = champion["prediction"]["psnr"] - 5
    (worse / "metrics.json").write_text(json.dumps(content))
    return compared.decided(candidate=worse), compared.decided(candidate=worse)


@pytest.fixture(scope="module")
def retrained(compared, refused):
    """A project whose second champion was made by a retraining: the same candidate with the figures that it has."""
    result = compared.decided().result
    assert result["outcome"] == "promoted", result["text"]
    return compared


def test_a_candidate_beyond_the_tolerance_is_a_version_and_a_decision_of_the_chained_log(refused):
    first, _ = refused
    assert (first.result["outcome"], first.result["version"]) == ("refused", 2)
    assert first.result["reasons"][0] == "prediction.psnr on the frozen test set is worse by 5, 0.5 is tolerated"
    entry = first.history.chain.entries[-1]
    assert first.history.fault == ""
    assert (entry.action, entry.version, list(entry.reasons)) == ("refused", 2, first.result["reasons"])
    assert vars(first.history.aliases) == {"champion": 1, "challenger": 2, "previous": None}
    assert "version 2 refused" in first.shown
    assert "prediction.psnr on the frozen test set is worse by 5, 0.5 is tolerated" in first.shown


def test_the_same_refusal_is_filed_once(refused):
    first, again = refused
    assert again.result == first.result
    assert again.history == first.history


def test_after_a_refusal_the_registry_holds_both_models_figures_on_the_frozen_set(compared, refused):
    frozen = read_provenance(compared.reports["frozen"]["champion"])["digest"]
    assert refused[0].held[0]["moso.report_digest"] == frozen
    assert json.loads(refused[0].held[0]["moso.metrics"])["prediction.psnr"] == pytest.approx(
        json.loads(refused[0].held[1]["moso.metrics"])["prediction.psnr"] + 5
    )


def _lineage(root: Path, reference: str, *more: str) -> tuple[int, list[dict]]:
    found = CliRunner().invoke(command, [reference, "--project", str(root), "--json", *more])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.output
    return found.exit_code, json.loads(found.output)


def test_a_retrained_champion_leads_to_both_data_sets_and_every_digest_is_verified(retrained):
    status, links = _lineage(retrained.root, "models:/moso-toy@champion")
    assert [(link["what"], link["state"], link["note"]) for link in links if link["state"] != "verified"] == []
    assert status == 0
    kinds = [link["what"] for link in links]
    for kind in ("transformer", "tokens", "frames", "episodes", "manifest"):
        assert kinds.count(kind) == 2, kind  # the candidate's and its parent's
    assert kinds.count("vqvae") == kinds.count("report") == kinds.count("version") == 1


def test_the_manifests_at_the_end_name_the_first_episodes_and_the_new_ones_with_their_sha256(retrained):
    _, links = _lineage(retrained.root, "models:/moso-toy@champion")
    manifests = [link for link in links if link["what"] == "manifest"]
    found = {Path(link["folder"]).parent: pd.read_parquet(link["folder"]) for link in manifests}
    old, new = found[retrained.root / "data/toy/frames"], found[retrained.run / "frames"]
    assert list(old["episode_id"]) == FIRST
    assert list(new["episode_id"]) == FIRST + NEW
    assert list(new["sha256"]) == [f"{i:064d}" for i in range(9)]
    (note,) = [link["note"] for link in manifests if Path(link["folder"]).parent == retrained.run / "frames"]
    assert note.endswith("4 of them in no other manifest here: new_000000, new_000001, new_000002, new_000003")


def test_deep_reads_the_episodes_of_the_manifest_that_has_grown_and_none_twice(retrained):
    """There are no recordings here: what matters is whose rows are looked for."""
    _, links = _lineage(retrained.root, "models:/moso-toy@champion", "--deep")
    (recordings,) = [link for link in links if link["what"] == "recordings"]
    assert recordings["digest"] == digest_file(retrained.run / "episodes" / "manifest.parquet")


def test_the_parent_version_is_named_and_held_against_what_the_files_say(retrained):
    _, links = _lineage(retrained.root, "models:/moso-toy@champion")
    (parent,) = [link for link in links if link["what"] == "parent"]
    assert parent["note"] == "the transformer of models:/moso-toy/1, from which it was fine-tuned"
    assert parent["digest"] == read_provenance(retrained.models["champion"]["transformer"])["digest"]
    assert "parent" not in [link["what"] for link in _lineage(retrained.root, "models:/moso-toy/1")[1]]


def test_the_registered_data_digest_is_of_all_that_it_was_trained_on(retrained):
    tags = retrained.registry.lookup("models:/moso-toy/2").tags
    assert tags["moso.data_digest"] == read_provenance(retrained.run / "frames")["digest"]
    first = retrained.registry.lookup("models:/moso-toy/1").tags
    assert first["moso.data_digest"] == read_provenance(retrained.root / "data/toy/frames")["digest"]


def test_a_report_on_the_new_test_set_leads_through_it_to_the_episodes_it_is_some_of(retrained):
    status, links = _lineage(retrained.root, str(retrained.reports["new"]["candidate"]))
    assert status == 0, links
    of_new = [link for link in links if link["what"] == "manifest" and "new_frames" in link["folder"]]
    (manifest,) = of_new
    assert manifest["note"].startswith("4 episodes with their sha256, as in ")
    assert list(pd.read_parquet(manifest["folder"])["episode_id"]) == NEW


def test_the_test_set_of_new_episodes_holds_their_frames_and_their_rows(retrained):
    whole, part = FrameCache.open(retrained.run / "frames"), FrameCache.open(retrained.run / "new_frames")
    for name in NEW:
        assert np.array_equal(part.frames(name), whole.frames(name))
    rows = Manifest.read(retrained.run / "frames" / "manifest.parquet").table.tail(4).reset_index(drop=True)
    pd.testing.assert_frame_equal(Manifest.read(retrained.run / "new_frames" / "manifest.parquet").table, rows)


@pytest.mark.parametrize("spoiled", ["data/toy/frames", ".retraining/toy/runs/0123456789abcdef/frames"])
def test_a_manifest_that_was_changed_is_found_in_either_data_set(retrained, tmp_path, spoiled):
    shutil.copytree(retrained.root, tmp_path / "copy")
    path = tmp_path / "copy" / spoiled / "manifest.parquet"
    pd.read_parquet(path).assign(sha256="f" * 64).to_parquet(path, index=False)
    status, links = _lineage(tmp_path / "copy", "models:/moso-toy@champion")
    assert status == 1
    assert [link["state"] for link in links if link["what"] == "frames"].count("damaged") == 1


def test_tokens_that_the_model_was_not_trained_on_are_refused(retrained, tmp_path):
    parts = {**retrained.models["candidate"], "report": retrained.reports["new"]["candidate"]}
    other = {**parts, "tokens": retrained.models["champion"]["tokens"]}
    context = Context(tmp_path, options={"tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}"})
    with pytest.raises(MismatchError, match="name those tokens"):
        promote(Promote(), other, {"promotion": tmp_path / "promotion.json"}, context)
