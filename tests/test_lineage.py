import json
import shutil

import pandas as pd
import pytest
from click.testing import CliRunner

from moso.cli.lineage import command
from moso.errors import FormatError
from moso.lineage import artefacts, roots, trace
from moso.provenance import digest_folder, write_provenance

HASHES = {"episode_id": ["a", "b"], "sha256": ["1" * 64, "2" * 64], "signals_sha256": ["", ""]}


def output(folder, format, inputs, files):
    """An output of a step: files, then provenance; returns its digest."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    if format in ("episodes", "frames"):
        pd.DataFrame(HASHES).to_parquet(folder / "manifest.parquet", index=False)
    record = write_provenance(folder, format=f"moso.{format}", version=1, step="s", config={}, inputs=inputs)
    return record["digest"]


@pytest.fixture
def project(tmp_path):
    """A whole chain, as the steps leave it, with a page and a promotion beside the report's figures."""
    data, models = tmp_path / "data" / "d", tmp_path / "models" / "d"
    episodes = output(data / "episodes", "episodes", {}, {"spec.json": "{}"})
    frames = output(data / "frames", "frames", {"episodes": episodes}, {"shard": "pixels"})
    vqvae = output(models / "vqvae", "vqvae", {"frames": frames}, {"weights": "v"})
    tokens = output(data / "tokens", "tokens", {"frames": frames, "vqvae": vqvae}, {"shard": "indices"})
    transformer = output(models / "transformer", "transformer", {"tokens": tokens}, {"weights": "t"})
    inputs = {"frames": frames, "vqvae": vqvae, "tokens": tokens, "transformer": transformer}
    output(tmp_path / "reports", "report", inputs, {"metrics.json": "{}"})
    (tmp_path / "reports" / "index.html").write_text("a page")
    (tmp_path / "reports" / "promotion.json").write_text("{}")
    return tmp_path


def states(project, reference):
    return {link.what: link.state for link in trace(roots(project / reference), project, (project / reference,))}


def test_whole_chain_of_a_report_is_verified_to_the_episodes_whatever_lies_beside_its_figures(project):
    kinds = ["report", "transformer", "tokens", "vqvae", "frames", "episodes", "manifest"]
    assert list(states(project, "reports").items()) == [(kind, "verified") for kind in kinds]
    assert list(states(project, "models/d")) == kinds[1:]


def test_a_fine_tuned_model_leads_to_its_parent_and_both_to_the_episodes(project):
    """The parent is of the model's own kind, and lies where the retraining left what it made."""
    parent = json.loads((project / "models/d/transformer/provenance.json").read_text())
    frames = json.loads((project / "data/d/frames/provenance.json").read_text())["digest"]
    vqvae = json.loads((project / "models/d/vqvae/provenance.json").read_text())["digest"]
    run = project / ".retraining" / "d" / "runs" / "0123456789abcdef"
    tokens = output(run / "tokens", "tokens", {"frames": frames, "vqvae": vqvae}, {"shard": "more indices"})
    inputs = {"tokens": tokens, "parent": parent["digest"]}
    child = output(run / "candidate" / "transformer", "transformer", inputs, {"weights": "t2"})
    links = trace({"transformer": child}, project)
    found = [(link.digest, link.needed_by) for link in links if link.what == "transformer"]
    assert found == [(child, "asked for"), (parent["digest"], "transformer")]
    assert {link.state for link in links} == {"verified"}
    assert {link.what for link in links} == {"transformer", "tokens", "vqvae", "frames", "episodes", "manifest"}


def test_a_retraining_s_reports_are_found_where_it_leaves_them(project):
    report = project / ".retraining" / "d" / "runs" / "0123456789abcdef" / "reports" / "new" / "candidate"
    output(report, "report", {}, {"metrics.json": "{}"})
    assert report in [found.folder for found in artefacts(project)]


def test_the_digest_of_a_report_is_that_of_its_figures(project):
    (project / "reports" / "metrics.json").write_text('{"psnr": 99}')
    assert states(project, "reports")["report"] == "damaged"


def test_another_report_put_aside_in_its_folder_is_no_file_of_a_report(project):
    shutil.copytree(project / "reports", project / "elsewhere")
    shutil.move(project / "elsewhere", project / "reports" / "old")
    assert states(project, "reports")["report"] == "verified"


def test_the_command_names_the_version_that_a_report_s_model_became(project):
    record = {"model": "moso-d", "version": 7, "decision": {"outcome": "promoted"}}
    (project / "reports" / "promotion.json").write_text(json.dumps(record))
    told = CliRunner().invoke(command, [str(project / "reports"), "--project", str(project)])
    assert told.exit_code == 0
    assert "registered as models:/moso-d/7 (promoted)" in told.output


@pytest.mark.parametrize("name", ["data/d/episodes", "data/d/tokens", "models/d/vqvae"])
def test_changed_bytes_behind_a_right_provenance_are_named_and_the_rest_stays_verified(project, name):
    (project / name / "shard").write_text("other")
    found = states(project, "models/d")
    kind = name.rpartition("/")[2]
    assert found.pop(kind) == "damaged"
    found.pop("manifest")
    assert set(found.values()) == {"verified"}


def test_missing_artefact_is_named_with_its_digest_and_who_needs_it(project):
    digest = digest_folder(project / "data/d/tokens")
    shutil.rmtree(project / "data/d/tokens")
    links = trace(roots(project / "models/d"), project)
    tokens = next(link for link in links if link.what == "tokens")
    assert (tokens.state, tokens.digest, tokens.needed_by) == ("missing", digest, "transformer")


def test_another_version_in_its_place_differs_and_both_digests_are_told(project):
    wanted = digest_folder(project / "data/d/frames")
    shutil.rmtree(project / "data/d/frames")
    there = output(project / "data/d/frames", "frames", {}, {"shard": "other pixels"})
    links = trace(roots(project / "models/d"), project)
    frames = next(link for link in links if link.what == "frames")
    assert (frames.state, frames.digest) == ("differs", wanted)
    assert there in frames.note


def test_frames_of_another_recording_of_an_episode_are_found_by_its_hash(project):
    # Both folders are as their provenance says; only the episode's own hash shows that they do not belong together.
    shutil.rmtree(project / "data/d/frames")
    episodes = digest_folder(project / "data/d/episodes")
    folder = project / "data/d/frames"
    folder.mkdir()
    pd.DataFrame({**HASHES, "sha256": ["1" * 64, "3" * 64]}).to_parquet(folder / "manifest.parquet", index=False)
    record = write_provenance(
        folder, format="moso.frames", version=1, step="s", config={}, inputs={"episodes": episodes}
    )
    *_, manifest = trace({"frames": record["digest"]}, project)
    assert (manifest.what, manifest.state) == ("manifest", "differs")
    assert manifest.note.endswith(": b")


def test_a_chain_that_does_not_close_has_a_link_for_each_digest(project):
    shutil.rmtree(project / "models/d/transformer")
    output(project / "models/d/transformer", "transformer", {"tokens": "0" * 64}, {"weights": "t"})
    links = trace({**roots(project / "reports"), **roots(project / "models/d")}, project)
    assert [link.state for link in links if link.what == "tokens"] == ["verified", "differs"]


def test_a_folder_that_no_step_wrote_has_no_lineage(tmp_path):
    with pytest.raises(FormatError, match=r"no provenance\.json"):
        roots(tmp_path)


def test_command_ends_with_1_and_names_what_is_not_whole(project):
    arguments = [str(project / "models/d"), "--project", str(project)]
    whole = CliRunner().invoke(command, arguments)
    assert whole.exit_code == 0
    assert "whole: 6 links" in whole.output
    shutil.rmtree(project / "data/d/episodes")
    broken = CliRunner().invoke(command, [*arguments, "--json"])
    assert broken.exit_code == 1
    rows = {row["what"]: row["state"] for row in json.loads(broken.output)}
    assert rows["episodes"] == "missing"
    assert rows["frames"] == "verified"
    text = CliRunner().invoke(command, arguments).output
    assert "not whole: episodes" in text
