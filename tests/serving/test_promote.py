"""components/promote with real models, a real sqlite registry, and a real process outside the repository."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
import yaml

from components.promote.step import Config, run
from moso.adapters.mlflow_client import TrackingError, connect, default_tracking_uri
from moso.adapters.mlflow_decisions import DecisionLog
from moso.adapters.mlflow_model import REQUIREMENTS
from moso.adapters.mlflow_registry import Registry, resolve
from moso.config import resolve_section
from moso.errors import ConfigError, DataError, FormatError, MismatchError, MosoError
from moso.provenance import code_digest, digest_json, git_commit, read_provenance, write_provenance
from moso.registry.decision_log import ACTIONS, Aliases
from moso.registry.policy import PromotionPolicy
from moso.step import Context
from moso.tasks.model import Model
from moso.tasks.request import PARAMETERS, TASKS, flat_tokens
from tests.small_model import smooth_clips

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """An empty store; making its tables costs seconds, copying it none."""
    database = tmp_path_factory.mktemp("template") / "mlflow.db"
    connect(f"sqlite:///{database}")
    return database


@pytest.fixture
def uri(template, tmp_path) -> str:
    place = tmp_path / "mlruns" / "mlflow.db"
    place.parent.mkdir()
    shutil.copyfile(template, place)
    return f"sqlite:///{place}"


def promote(trained, uri: str, folder: Path, **config: object) -> bytes:
    target = folder / "promotion.json"
    context = Context(work=folder / "work", options={"tracking_uri": uri})
    run(Config(**config), trained.inputs(), {"promotion": target}, context)
    return target.read_bytes()


def state(uri: str, name: str = "moso-toy") -> dict:
    """All that a promotion could change."""
    client = connect(uri)
    versions = client.search_model_versions(f"name = '{name}'")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return {
        "champion": client.get_model_version_by_alias(name, "champion").version,
        "versions": {v.version: (v.tags, v.description, v.last_updated_timestamp) for v in versions},
        "runs": len(runs),
    }


def test_the_first_model_is_registered_and_becomes_champion(first, uri, tmp_path):
    record = json.loads(promote(first, uri, tmp_path))
    assert (record["model"], record["version"], record["alias"], record["alias_moved"]) == (
        "moso-toy",
        1,
        "champion",
        True,
    )
    assert record["decision"]["outcome"] == "promoted"
    assert record["champion"] is None
    assert record["candidate"]["metrics"]["prediction.psnr"] == 21.0
    assert state(uri)["champion"] == 1


def test_doing_it_twice_changes_nothing(first, uri, tmp_path):
    once = promote(first, uri, tmp_path)
    before = state(uri)
    assert promote(first, uri, tmp_path) == once
    assert state(uri) == before
    assert list(before["versions"]) == [1]


def test_a_better_model_moves_the_champion_and_a_worse_one_does_not(first, second, uri, tmp_path):
    promote(first, uri, tmp_path)
    record = json.loads(promote(second, uri, tmp_path))
    assert (record["version"], record["alias_moved"], record["decision"]["gain"]) == (2, True, 1.0)
    assert (record["champion"]["version"], record["champion"]["metrics"]["prediction.psnr"]) == (1, 21.0)
    assert state(uri)["champion"] == 2

    back = promote(first, uri, tmp_path)
    assert json.loads(back)["decision"]["outcome"] == "kept"
    assert json.loads(back)["decision"]["gain"] == -1.0
    assert state(uri)["champion"] == 2
    assert sorted(state(uri)["versions"]) == [1, 2]
    assert promote(first, uri, tmp_path) == back


@pytest.mark.parametrize("moved", ["by hand", "removed"])
def test_what_promotion_json_says_is_so_where_the_alias_was_moved_in_between(first, second, uri, tmp_path, moved):
    promote(first, uri, tmp_path)
    if moved == "removed":
        connect(uri).delete_registered_model_alias("moso-toy", "champion")
        record, champion = json.loads(promote(first, uri, tmp_path)), 1
    else:
        promote(second, uri, tmp_path)
        registry = Registry(uri)
        DecisionLog(registry, "moso-toy").promote(registry.lookup("models:/moso-toy/1"), "as it was")
        record, champion = json.loads(promote(second, uri, tmp_path)), 2
    assert (record["decision"]["outcome"], record["alias_moved"]) == ("promoted", True)
    assert state(uri)["champion"] == champion
    history = DecisionLog(Registry(uri), "moso-toy").history()
    assert history.fault == ""
    assert history.chain.entries[-1].digest == record["log"]["digest"]


def test_a_gain_below_the_margin_keeps_the_champion(first, second, uri, tmp_path):
    promote(first, uri, tmp_path)
    record = json.loads(promote(second, uri, tmp_path, policy=PromotionPolicy(margin=1.5)))
    assert (record["decision"]["outcome"], record["alias_moved"], state(uri)["champion"]) == ("kept", False, 1)


def test_a_figure_that_is_no_number_never_becomes_champion(first, uri, tmp_path, reevaluate):
    broken = dataclasses.replace(first, report=tmp_path / "nan")
    reevaluate(broken, float("nan"))
    record = json.loads(promote(broken, uri, tmp_path), parse_constant=pytest.fail)  # NaN would be no JSON
    assert (record["decision"]["outcome"], record["alias_moved"]) == ("refused", False)
    assert record["candidate"]["metrics"]["prediction.psnr"] is None
    assert Registry(uri).by_alias("moso-toy", "champion") is None


def test_another_protocol_is_refused_until_the_champion_is_evaluated_under_it(first, second, uri, tmp_path, reevaluate):
    promote(first, uri, tmp_path)
    other = reevaluate(dataclasses.replace(second, report=tmp_path / "other"), 22.0, clips=8)
    record = json.loads(promote(other, uri, tmp_path))
    assert record["decision"]["outcome"] == "refused"
    assert "protocol.clips: candidate 8, champion 16" in record["decision"]["reasons"]
    assert state(uri)["champion"] == 1

    again = reevaluate(dataclasses.replace(first, report=tmp_path / "again"), 21.5, clips=8)
    assert json.loads(promote(again, uri, tmp_path))["decision"]["outcome"] == "already_champion"
    assert json.loads(promote(other, uri, tmp_path))["decision"]["gain"] == 0.5
    assert state(uri)["champion"] == 2


def test_a_refusal_ends_with_the_command_that_moves_the_alias_on_purpose(first, second, uri, tmp_path, reevaluate):
    promote(first, uri, tmp_path)
    other = reevaluate(dataclasses.replace(second, report=tmp_path / "other"), 22.0, clips=8)
    refused = json.loads(promote(other, uri, tmp_path))["decision"]
    assert refused["outcome"] == "refused"
    command = refused["reasons"][-1].removeprefix("to make it the champion all the same: ")
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert state(uri)["champion"] == 2

    # The refusal does not outlive it, and the new record is as steady as any.
    once = promote(other, uri, tmp_path)
    assert json.loads(once)["decision"]["outcome"] == "already_champion"
    assert promote(other, uri, tmp_path) == once


def test_a_figure_that_is_no_number_comes_with_no_advice_to_promote_it(first, second, uri, tmp_path, reevaluate):
    promote(first, uri, tmp_path)
    broken = reevaluate(dataclasses.replace(second, report=tmp_path / "nan"), float("nan"))
    decision = json.loads(promote(broken, uri, tmp_path))["decision"]
    assert decision["outcome"] == "refused"
    assert "all the same" not in " ".join(decision["reasons"])


def test_the_progress_counts_every_part(first, uri, tmp_path, capsys):
    promote(first, uri, tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("promote")]
    assert lines[0] == "promote: 4 part"
    assert "100% 4/4" in lines[-1]
    assert "version 1: promoted" in lines[-1]


def test_a_version_carries_what_the_policy_promises(first, uri, tmp_path):
    promote(first, uri, tmp_path)
    client = connect(uri)
    version = client.get_model_version("moso-toy", "1")
    policy = yaml.safe_load((ROOT / "mlflow" / "registry-policy.yaml").read_text())
    assert set(policy["version_tags"]) == set(version.tags)
    assert version.tags["moso.model_digest"] == Model.from_parts(first.vqvae, first.transformer, "cpu").digest
    assert version.tags["moso.data_digest"] == "f" * 64
    assert "| **prediction** | 21.00 | 0.8000 |" in version.description

    run_of_it = client.get_run(version.run_id)
    assert run_of_it.info.status == "FINISHED"
    assert run_of_it.data.metrics["prediction.psnr"] == 21.0
    assert run_of_it.data.params["train_transformer.model.hidden"] == "16"
    assert {item.path for item in client.list_artifacts(version.run_id)} == {
        "index.html",
        "model_card.md",
        "per_clip",
    }
    (logged,) = client.search_logged_models([run_of_it.info.experiment_id])
    assert (logged.status, logged.source_run_id) == ("READY", version.run_id)
    assert [output.model_id for output in run_of_it.outputs.model_outputs] == [logged.model_id]


def fine_tuned(trained, of: str, digest: str) -> None:
    """Let the part `of` ("transformer", "vqvae") say that it began with the weights of another one."""
    folder = getattr(trained, of)
    told = read_provenance(folder)
    named = {key: told[key] for key in ("step", "config")} | {"inputs": {**told["inputs"], "parent": digest}}
    write_provenance(folder, format=f"moso.{of}", version=1, **named)


def test_a_version_carries_all_that_a_reader_needs_to_trust_and_to_use_it(
    first, uri, tmp_path, monkeypatch, retrain, reevaluate
):
    """Parameters, figures with their protocol, digests, commit, image, parent, page, card, signature, example."""
    monkeypatch.setenv("MOSO_IMAGE", "registry.example.org/moso-serve:0.1.0")
    promote(first, uri, tmp_path)
    tuned = retrain(tmp_path / "tuned", seed=7)
    fine_tuned(tuned, "transformer", read_provenance(first.transformer)["digest"])
    promote(reevaluate(tuned, 22.0), uri, tmp_path)

    client = connect(uri)
    version = client.get_model_version("moso-toy", "2")
    told = {part: read_provenance(getattr(tuned, part)) for part in ("vqvae", "transformer", "report")}
    figures = json.loads((tuned.report / "metrics.json").read_text())
    tags = {name.removeprefix("moso."): value for name, value in version.tags.items()}
    assert json.loads(tags["protocol"]) == figures["protocol"]
    assert tags["protocol_digest"] == digest_json(figures["protocol"]) == figures["protocol_digest"]
    assert json.loads(tags["metrics"])["prediction.psnr"] == figures["prediction"]["psnr"]
    assert tags["data_digest"] == told["report"]["inputs"]["frames"]
    configs = {told[part]["step"]: told[part]["config"] for part in ("vqvae", "transformer")}
    assert tags["config_digest"] == digest_json(configs)
    assert (tags["code_digest"], tags["git_commit"]) == (code_digest(), git_commit())
    assert tags["image"] == "registry.example.org/moso-serve:0.1.0"
    assert tags["parent_version"] == "models:/moso-toy/1"
    assert client.get_model_version("moso-toy", "1").tags["moso.parent_version"] == "none"

    run_of_it = client.get_run(version.run_id)
    assert run_of_it.data.params["train_vqvae.seed"] == run_of_it.data.params["train_transformer.seed"] == "7"
    assert run_of_it.data.metrics["prediction.ssim"] == figures["prediction"]["ssim"]
    page = filed(uri, 2, "index.html", tmp_path / "kept").read_text()
    assert page.startswith("<!doctype html><title>report</title>")
    card = filed(uri, 2, "model_card.md", tmp_path / "kept").read_text()
    assert (version.description, "$" in card) == (card, False)
    assert "| fine-tuned from | models:/moso-toy/1 |" in card

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    model = mlflow.pyfunc.load_model("models:/moso-toy@champion")
    assert model.metadata.signature.inputs.input_types() == [np.dtype(np.uint8)]
    assert {spec.name for spec in model.metadata.signature.params} == set(PARAMETERS)
    example = np.asarray(model.input_example)
    np.testing.assert_array_equal(example, np.load(tuned.report / "example.npy"))


def test_a_parent_that_no_version_has_is_said_and_a_vqvae_s_parent_counts_where_the_transformer_has_none(
    first, uri, tmp_path, retrain, reevaluate
):
    promote(first, uri, tmp_path)
    tuned, strange = retrain(tmp_path / "tuned", seed=7), retrain(tmp_path / "strange", seed=8)
    fine_tuned(tuned, "vqvae", read_provenance(first.vqvae)["digest"])
    fine_tuned(strange, "transformer", "a" * 64)
    promote(reevaluate(tuned, 20.0), uri, tmp_path)
    promote(reevaluate(strange, 20.0), uri, tmp_path)
    parents = [connect(uri).get_model_version("moso-toy", number).tags["moso.parent_version"] for number in "23"]
    assert parents == ["models:/moso-toy/1", f"not registered: transformer {'a' * 64}"]


def filed(uri: str, number: int, name: str, folder: Path) -> Path:
    """A file of the run of moso-toy's version `number`."""
    client = connect(uri)
    run_id = client.get_model_version("moso-toy", str(number)).run_id
    folder.mkdir(exist_ok=True)
    return Path(client.download_artifacts(run_id, name, str(folder)))


def filed_table(uri: str, number: int, folder: Path) -> Path:
    digest = connect(uri).get_model_version("moso-toy", str(number)).tags["moso.per_clip_digest"]
    return filed(uri, number, f"per_clip/{digest}/per_clip.parquet", folder)


def test_a_version_keeps_its_figures_clip_by_clip(first, uri, tmp_path):
    promote(first, uri, tmp_path)
    kept = filed_table(uri, 1, tmp_path / "kept")
    assert kept.read_bytes() == (first.report / "per_clip.parquet").read_bytes()


def test_promotion_json_holds_the_comparison_over_the_same_clips_of_every_metric(first, second, uri, tmp_path):
    promote(first, uri, tmp_path)
    once = promote(second, uri, tmp_path)
    record = json.loads(once)
    # Each of 8 episodes is 1 dB better, or 0.25 more or less: their mean is off by 0.25 / sqrt(8).
    psnr, ssim = record["comparison"]["prediction.psnr"], record["comparison"]["prediction.ssim"]
    assert (psnr["mean"], psnr["clips"], psnr["episodes"]) == (pytest.approx(1), 16, 8)
    assert psnr["detectable"] == pytest.approx(2.8016 * 0.25 / 8**0.5, rel=0.05)
    assert (psnr["low"], psnr["high"]) == pytest.approx((0.83, 1.17), abs=0.03)
    assert (ssim["mean"], ssim["low"], ssim["high"], ssim["detectable"]) == pytest.approx((0, 0, 0, 0), abs=1e-12)
    decision = record["decision"]
    assert (decision["gain_low"], decision["gain_high"]) == (psnr["low"], psnr["high"])
    assert decision["reasons"][0] == "better with 95 % confidence"
    assert "over the same 16 clips of 8 episodes: mean gain +1, 95 % interval" in decision["reasons"][2]
    assert promote(second, uri, tmp_path) == once


def test_a_gain_that_the_test_set_cannot_show_keeps_the_champion(first, second, uri, tmp_path, reevaluate):
    promote(first, uri, tmp_path)
    unsure = reevaluate(dataclasses.replace(second, report=tmp_path / "unsure"), 21.5, wobble=3.0)
    kept = promote(unsure, uri, tmp_path)
    decision = json.loads(kept)["decision"]
    assert (decision["outcome"], decision["gain"]) == ("kept", 0.5)
    assert decision["reasons"][0] == "better, but not with 95 % confidence"
    assert promote(unsure, uri, tmp_path) == kept
    by_gain = json.loads(promote(unsure, uri, tmp_path, policy=PromotionPolicy(require="gain")))
    assert by_gain["decision"]["outcome"] == "promoted"
    assert by_gain["comparison"] == json.loads(kept)["comparison"]


def test_a_champion_of_before_tables_were_filed_is_compared_by_the_gain_and_gets_its_table_when_promoted_again(
    first, second, uri, tmp_path
):
    promote(first, uri, tmp_path)
    connect(uri).delete_model_version_tag("moso-toy", "1", "moso.per_clip_digest")
    record = json.loads(promote(second, uri, tmp_path))
    assert (record["decision"]["outcome"], record["comparison"]) == ("promoted", {})
    assert "no interval could be had, the gain alone decided" in record["decision"]["reasons"][-1]
    promote(first, uri, tmp_path)
    assert filed_table(uri, 1, tmp_path / "kept").exists()


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_champion_whose_table_is_not_the_one_filed_is_refused_with_the_way_out(first, second, uri, tmp_path, damage):
    promote(first, uri, tmp_path)
    (table,) = (tmp_path / "mlruns" / "artifacts").rglob("per_clip.parquet")
    if damage == "gone":
        table.unlink()
    else:
        table.write_bytes((second.report / "per_clip.parquet").read_bytes())
    decision = json.loads(promote(second, uri, tmp_path))["decision"]
    assert decision["outcome"] == "refused"
    expected = {"gone": "is not in the registry any more", "changed": "not the one that was filed"}
    assert expected[damage] in decision["reasons"][0]
    assert "to make it the champion all the same" in decision["reasons"][-1]


def test_another_evaluation_of_a_version_replaces_its_table_its_page_and_its_reports_digest(
    first, uri, tmp_path, reevaluate
):
    promote(first, uri, tmp_path)
    again = reevaluate(dataclasses.replace(first, report=tmp_path / "again"), 21.5, clips=8)
    (again.report / "index.html").write_text("<title>again</title>")
    promote(again, uri, tmp_path)
    tags = connect(uri).get_model_version("moso-toy", "1").tags
    assert tags["moso.report_digest"] == read_provenance(again.report)["digest"]
    assert json.loads(tags["moso.metrics"])["prediction.psnr"] == 21.5
    kept = filed_table(uri, 1, tmp_path / "kept")
    assert kept.read_bytes() == (again.report / "per_clip.parquet").read_bytes()
    assert filed(uri, 1, "index.html", tmp_path / "kept").read_text() == "<title>again</title>"  # no place for a name


def test_the_filed_page_says_which_version_it_is_of_and_the_reports_own_stays(first, second, uri, tmp_path):
    promote(first, uri, tmp_path)
    promote(second, uri, tmp_path)
    for number in (1, 2):
        page = filed(uri, number, "index.html", tmp_path / "kept").read_text()
        assert f'<dd id="model-version">models:/moso-toy/{number}</dd>' in page
    assert "not registered when this page was written" in (first.report / "index.html").read_text()


def test_a_promotion_that_was_cut_off_after_registering_files_the_rest_the_next_time(first, uri, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            promote(first, uri, tmp_path)
    assert Registry(uri).by_alias("moso-toy", "champion") is None
    record = json.loads(promote(first, uri, tmp_path))
    assert (record["version"], record["decision"]["outcome"]) == (1, "promoted")
    assert filed_table(uri, 1, tmp_path / "kept").exists()
    assert filed(uri, 1, "index.html", tmp_path / "kept").exists()


def test_a_candidate_without_figures_clip_by_clip_is_refused_where_the_champion_has_them(
    first, second, uri, tmp_path, reevaluate
):
    promote(first, uri, tmp_path)
    bare = reevaluate(dataclasses.replace(second, report=tmp_path / "bare"), 25.0)
    (bare.report / "per_clip.parquet").unlink()
    decision = json.loads(promote(bare, uri, tmp_path))["decision"]
    assert decision["outcome"] == "refused"
    assert "the candidate has none: rerun evaluate" in decision["reasons"][0]


def test_a_tiny_run_never_takes_the_place_of_the_real_model():
    real, tiny = (resolve_section(Config, "promote", {"preset": name, "promote": {}}) for name in ("default", "tiny"))
    assert (real.model, tiny.model) == (None, "moso-sim_push-tiny")


def test_the_policy_file_says_what_the_code_does():
    policy = yaml.safe_load((ROOT / "mlflow" / "registry-policy.yaml").read_text())
    stated = {key: value for key, value in policy["promotion"].items() if not isinstance(value, list)}
    assert stated == dataclasses.asdict(PromotionPolicy())
    assert list(policy["aliases"]) == [field.name for field in dataclasses.fields(Aliases)]
    assert next(iter(policy["aliases"])) == Config().alias
    assert tuple(policy["decisions"]) == ACTIONS


REQUESTS = {
    "plain": ["given", {"seed": 3}],
    "predict": ["given", {"task": "predict", "seed": 3, "steps": 2, "samples": 2}],
    "rollout": ["given", {"task": "rollout", "length": 5, "seed": 3}],
    "generate": ["nothing", {"task": "generate", "seed": 3}],
    "interpolate": ["whole", {"task": "interpolate", "given": [0, 3], "seed": 3}],
    "recombine": ["whole", {"task": "recombine", "scene": [0], "object": [1], "motion": [1]}],
    "decompose": ["whole", {"task": "decompose"}],
    "preprocess": ["whole", {"task": "preprocess", "low": 0.02}],
    "reconstruct": ["whole", {"task": "reconstruct"}],
    "encode": ["whole", {"task": "encode"}],
    "decode": ["nothing", {"task": "decode", "frames": [1]}],  # the test adds the tokens
}


def by_the_facade(model: Model, given: np.ndarray, whole: np.ndarray) -> dict[str, np.ndarray]:
    """What the answers to REQUESTS are to be, by the methods behind them."""
    two_steps = dataclasses.replace(model.sampling, steps=2)
    named = {"decompose": model.decompose(whole), "preprocess": model.preprocess(whole, 0.02)}
    return {
        "plain": model.predict(given, seed=3),
        "predict": model.predict(given, seed=3, samples=2, sampling=two_steps),
        "rollout": model.rollout(given, 5, seed=3),
        "generate": next(model.generate(2, seed=3)),
        "interpolate": model.interpolate(whole, [0, 3], seed=3),
        "recombine": model.recombine(scene=whole[:1], object=whole[1:], motion=whole[1:]),
        "reconstruct": model.reconstruct(whole),
        "encode": flat_tokens(model.encode(whole)),
        "decode": model.reconstruct(whole)[:, [1]],
        **{f"{task}.{part}": video for task, videos in named.items() for part, video in videos.items()},
    }


def asked_outside(python: Path, trained, uri: str, away: Path) -> tuple[dict, str]:
    """Let `python` load the champion in the folder `away` and answer REQUESTS there; what it said, and its stderr.

    Every answer is that of the facade here.
    """
    away.mkdir()
    model, whole = Model.from_parts(trained.vqvae, trained.transformer, "cpu"), smooth_clips(2)
    frames = {"given": whole[:, : model.given_frames], "whole": whole, "nothing": whole[:, :0]}
    for name, value in frames.items():
        np.save(away / f"{name}.npy", value)
    requests = json.loads(json.dumps(REQUESTS))
    requests["decode"][1]["tokens"] = flat_tokens(model.encode(whole)).ravel().tolist()
    (away / "requests.json").write_text(json.dumps(requests))
    shutil.copy(Path(__file__).with_name("outside.py"), away)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MLFLOW"))}
    result = subprocess.run(
        [python, "-I", "outside.py", uri, "models:/moso-toy@champion", str(ROOT)],
        cwd=away,
        env={**kept, "OMP_NUM_THREADS": str(torch.get_num_threads()), "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    expected = by_the_facade(model, frames["given"], whole)
    written = {path.stem for path in away.glob("*.npy")} - set(frames)
    assert written == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(np.load(away / f"{name}.npy"), value, err_msg=name)
    return json.loads(result.stdout.splitlines()[-1]), result.stderr


def test_it_does_every_task_in_a_fresh_process_outside_the_repository_with_the_code_it_brings(first, uri, tmp_path):
    promote(first, uri, tmp_path)
    assert {request[1].get("task", "predict") for request in REQUESTS.values()} == set(TASKS)
    said, stderr = asked_outside(Path(sys.executable), first, uri, tmp_path / "away")
    assert Path(said["moso"]).is_relative_to(tmp_path / "mlruns" / "artifacts")
    distributions = {"yaml": "pyyaml"}
    assert {distributions.get(name, name) for name in said["imported"]} | {"mlflow"} == set(REQUIREMENTS)
    assert "brings other code" not in stderr


@pytest.mark.slow
def test_it_does_every_task_in_an_environment_that_has_only_what_the_model_requires(first, uri, tmp_path):
    """Its requirements.txt, installed into an empty environment: no moso, no DVC, no kfp, no Ray."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("uv is not in this environment (make setup puts it there)")
    promote(first, uri, tmp_path)
    (required,) = (tmp_path / "mlruns" / "artifacts").rglob("requirements.txt")
    wheels = {"UV_FIND_LINKS": os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS", "")}
    environment = {k: v for k, v in {**os.environ, **wheels}.items() if v}
    python = tmp_path / "alone" / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, python.parents[1]], env=environment, check=True)
    subprocess.run([uv, "pip", "install", "-q", "-p", python, "-r", required], env=environment, check=True)
    listed = subprocess.run([uv, "pip", "list", "-q", "-p", python], capture_output=True, text=True, check=True).stdout
    assert {"torch", "mlflow"} <= (names := {line.split()[0] for line in listed.splitlines()[2:]})
    assert names & {"moso", "dvc", "kfp", "ray", "lpips", "torchvision"} == set()
    said, _ = asked_outside(python, first, uri, tmp_path / "away")
    assert Path(said["moso"]).is_relative_to(tmp_path / "mlruns" / "artifacts")


def test_the_card_shows_every_task(first, uri, tmp_path):
    promote(first, uri, tmp_path)
    card = connect(uri).get_model_version("moso-toy", "1").description
    assert set(re.findall(r'"task": "(\w+)"', card)) | {"predict"} == set(TASKS)
    assert "uint8 (N, 4, 16, 16, 3)" in card


def test_a_reference_resolves_to_a_folder_that_the_facade_loads(first, uri, tmp_path, monkeypatch, frames):
    promote(first, uri, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MOSO_CACHE", str(tmp_path / "cache"))
    folder = resolve("models:/moso-toy@champion")
    assert resolve("models:/moso-toy/1") == folder
    model, original = Model.load(folder, "cpu"), Model.from_parts(first.vqvae, first.transformer, "cpu")
    assert model.digest == original.digest
    assert np.array_equal(model.predict(frames), original.predict(frames))
    assert folder.is_relative_to(tmp_path / "cache")


def test_a_reference_resolves_in_the_projects_folder_with_no_address_set(first, uri, tmp_path, monkeypatch):
    promote(first, uri, tmp_path)
    assert uri == default_tracking_uri(tmp_path)  # where the steps keep their records
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MOSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert (resolve("models:/moso-toy@champion") / "vqvae" / "config.json").is_file()
    assert not (tmp_path / "mlflow.db").exists()


def test_files_that_are_not_those_registered_are_refused(first, uri, tmp_path, monkeypatch):
    promote(first, uri, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MOSO_CACHE", str(tmp_path / "cache"))
    folder = resolve("models:/moso-toy@champion")
    # A damaged download is fetched again; a damaged source is refused.
    (folder / "vqvae" / "config.json").write_text("{}")
    assert (resolve("models:/moso-toy@champion") / "vqvae" / "config.json").read_text() != "{}"
    (source,) = (tmp_path / "mlruns" / "artifacts").rglob("artifacts/vqvae/config.json")
    source.write_text("{}")
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="not those that were registered"):
        resolve("models:/moso-toy@champion")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("models:/moso-toy@nobody", "no such model or alias"),
        ("models:/nothing@champion", "no such model or alias"),
        ("models:/moso-toy/9", "is not in sqlite"),
        ("models:/moso-toy", "write models:/<name>@<alias>"),
        ("models:/../x@champion", "write models:/<name>@<alias>"),
    ],
)
def test_a_reference_to_nothing_is_one_line(first, uri, tmp_path, monkeypatch, reference, message):
    Registry(uri)._ensure("moso-toy")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(MosoError, match=message) as error:
        resolve(reference)
    assert "\n" not in str(error.value)


def test_resolving_makes_no_registry_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(TrackingError, match="no registry at"):
        resolve("models:/moso-toy@champion")
    assert list(tmp_path.iterdir()) == []


def test_a_registry_that_is_away_is_one_line_and_leaves_no_file(first, tmp_path):
    with pytest.raises(TrackingError) as error:
        promote(first, "http://127.0.0.1:9", tmp_path)
    assert "cannot be used" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "promotion.json").exists()


def test_a_report_of_another_model_is_refused(first, second, uri, tmp_path):
    mixed = dataclasses.replace(first, report=second.report)
    with pytest.raises(MismatchError, match="rerun evaluate"):
        promote(mixed, uri, tmp_path)


@pytest.mark.parametrize("name", ["example.npy", "metrics.json"])
def test_a_report_with_a_part_missing_is_refused_by_name(first, uri, tmp_path, reevaluate, name):
    partial = reevaluate(dataclasses.replace(first, report=tmp_path / "partial"), 21.0)
    (partial.report / name).unlink()
    with pytest.raises(FormatError, match=name):
        promote(partial, uri, tmp_path)
    assert connect(uri).search_registered_models() == []


def test_promoting_does_not_move_mlflows_own_address(first, uri, tmp_path):
    before = mlflow.get_tracking_uri()
    promote(first, uri, tmp_path)
    assert mlflow.get_tracking_uri() == before


@pytest.mark.parametrize("settings", [{"alias": "latest"}, {"alias": "v3"}, {"alias": "a b"}, {"model": "a/b"}])
def test_names_that_the_registry_would_refuse_are_refused_at_once(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Config(**settings)
