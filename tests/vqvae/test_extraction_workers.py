"""extract_tokens on several workers, processes of torch.distributed: the store of one, byte for byte, whatever comes.

18 clips in 9 batches of 2, in shards of 4.
"""

import json
from pathlib import Path

import pytest
import torch

import components.extract_tokens.step as extract
from moso.provenance import write_provenance
from moso.tokens.clip_tokens import ClipTokens, TokenGrids
from moso.tokens.rows import from_rows, row_length, to_rows
from moso.vqvae.model import FORMAT, VERSION, save_vqvae
from tests.step_workers import KILLED, STOPPED, Run, call, start

SECTION = {"given_frames": 2, "starts_per_episode": 3, "batch": 2}
FEW = {**SECTION, "splits": ["validation"], "batch": 5}
SHARD_CLIPS = 4


@pytest.fixture(scope="module")
def inputs(build, frames_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained") / "vqvae"
    folder.mkdir()
    save_vqvae(build(), folder)
    write_provenance(folder, format=FORMAT, version=VERSION, step="train_vqvae", config={}, inputs={})
    return {"frames": str(frames_folder), "vqvae": str(folder)}


@pytest.fixture(scope="module")
def run(inputs, tmp_path_factory):
    """Make a Run: run(name, section, work=name, **signals); its store is run.folder / name."""
    folder = tmp_path_factory.mktemp("stores")

    def make(name, section=SECTION, work=None, **signals):
        constants = {"SHARD_CLIPS": SHARD_CLIPS}
        outputs, work = {"tokens": str(folder / name)}, str(folder / "work" / (work or name))
        return Run("extract_tokens", section, inputs, outputs, work, constants=constants, **signals)

    make.folder = folder
    return make


@pytest.fixture(scope="module")
def alone(run):
    """The store of one worker, and that of few clips: name -> files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract, "SHARD_CLIPS", SHARD_CLIPS)
        for name, section in (("alone", SECTION), ("few_alone", FEW)):
            call(run(name, section))
    return {name: _files(run.folder / name) for name in ("alone", "few_alone")}


@pytest.fixture(scope="module")
def interrupted(run):
    """Exit code and stderr of two workers: in one extraction the second is asked to stop, in the next the first is
    killed. What they leave lies in the work folders "stopped" and "killed"."""
    ended = start(
        [run("never", work="stopped", stop={"1": 1}), run("never", work="killed", kill={"0": 2})], 2, run.folder
    )
    assert not (run.folder / "never").exists()
    return ended


@pytest.fixture(scope="module")
def on_three(run, interrupted):
    """Stores that three workers wrote, from nothing or from what an interrupted extraction had left."""
    again = [run(f"{name}_again", work=name) for name in ("stopped", "killed")]
    for code, errors in start([run("whole"), run("few", FEW), *again], 3, run.folder):
        assert code == 0, errors
    return run.folder


def _files(folder: Path) -> dict[str, bytes]:
    """Content by name; of the provenance all but which code wrote it, which an edit meanwhile would change."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    provenance = json.loads(files["provenance.json"])
    for name in ("code_digest", "git_commit"):
        del provenance[name]
    return files | {"provenance.json": json.dumps(provenance).encode()}


def test_three_workers_write_the_store_of_one_byte_for_byte(alone, on_three):
    assert len([name for name in alone["alone"] if name.endswith("motion.npy")]) == 5
    assert _files(on_three / "whole") == alone["alone"]


def test_workers_without_a_batch_are_no_hindrance(alone, on_three):
    """Two batches of 5, the second filled up, for three workers."""
    assert _files(on_three / "few") == alone["few_alone"]


def test_a_stop_of_one_worker_ends_all_and_no_worker_outlives_a_killed_one(interrupted):
    for _, errors in interrupted:
        assert f"{STOPPED}extract_tokens: whole shards are kept" in errors
    (killed, _), (told, errors) = interrupted
    assert killed == KILLED
    assert told not in (0, KILLED), errors


@pytest.mark.parametrize("name", ["stopped", "killed"])
def test_another_number_of_workers_goes_on_to_the_same_bytes(alone, on_three, name):
    assert _files(on_three / f"{name}_again") == alone["alone"]


def test_rank_0_alone_has_a_work_folder(on_three):
    assert {path.name for path in (on_three / "work").glob("*/*")} == {"0"}


def test_rows_hold_all_tokens_but_the_pseudo_clips_motion():
    grids = TokenGrids(2, (1, 2), (0, 0), (1, 1))
    target = ClipTokens(torch.tensor([[[1, 2]]]), torch.zeros(1, 0, 0).long(), torch.tensor([[[[3]], [[4]]]]))
    pseudo = ClipTokens(torch.tensor([[[5, 6]]]), torch.zeros(1, 0, 0).long(), target.motion)
    rows = to_rows(target, pseudo)
    assert rows.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert row_length(grids) == 6
    for before, after in zip((target, pseudo), from_rows(rows, grids), strict=True):
        assert after.grids == grids
        for name in ("scene", "object", "motion"):
            assert torch.equal(getattr(after, name), getattr(before, name))
