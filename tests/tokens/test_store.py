import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from moso.errors import ConfigError, DataError, FormatError, MismatchError
from moso.frames.clips import Clip
from moso.tokens.clip_tokens import ClipTokens, TokenGrids
from moso.tokens.store import TokenStore, codebook_digest, token_dtype, usage
from moso.tokens.writer import TokenStoreWriter
from moso.training.random import generator

GRIDS = TokenGrids(frames=3, scene=(2, 2), object=(1, 2), motion=(2, 1))
N = 300
CODEBOOK = torch.randn(N, 4, generator=generator(0, "codebook"))


def clips(first, count):
    return [Clip(f"seed_{i:06d}", i % 5) for i in range(first, first + count)]


def tokens(first, count, kind="target"):
    """Tokens of the clips first … first + count - 1, a function of the clip's number alone."""

    def draw(component, number):
        return torch.randint(0, N, GRIDS.shape(component), generator=generator(1, kind, component, number))

    numbers = range(first, first + count)
    return ClipTokens(*(torch.stack([draw(c, n) for n in numbers]) for c in ("scene", "object", "motion")))


def writer(folder, codebook=CODEBOOK, grids=GRIDS, given_frames=2, given_motion_frames=2, shard_clips=4):
    return TokenStoreWriter(folder, grids, codebook, given_frames, given_motion_frames, shard_clips)


def add(store, first, count, split="train"):
    store.add(clips(first, count), split, tokens(first, count), tokens(first, count, "pseudo"))


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def folder(tmp_path):
    with writer(tmp_path / "store") as store:
        add(store, 0, 3)
        add(store, 3, 7)
        add(store, 10, 3, "validation")
    return tmp_path / "store"


def test_what_was_added_is_read_in_any_order(folder):
    store = TokenStore.open(folder)
    assert len(store) == 13
    rows = [11, 0, 4, 11]
    batch = store.batch(rows)
    target, pseudo = tokens(0, 13), tokens(0, 13, "pseudo")
    assert torch.equal(batch.target.scene, target.scene[rows])
    assert torch.equal(batch.target.object, target.object[rows])
    assert torch.equal(batch.target.motion, target.motion[rows])
    assert torch.equal(batch.pseudo_scene, pseudo.scene[rows])
    assert torch.equal(batch.pseudo_object, pseudo.object[rows])
    assert batch.target.scene.dtype == batch.pseudo_scene.dtype == torch.int64


def test_the_store_knows_what_its_clips_have_in_common(folder):
    store = TokenStore.open(folder)
    assert store.grids == GRIDS
    assert torch.equal(store.codebook, CODEBOOK)
    assert store.codebook_digest == codebook_digest(CODEBOOK)
    assert (store.codebook_size, store.given_frames, store.given_motion_frames) == (N, 2, 2)
    row = store.table.iloc[6]
    assert (row.clip_id, row.episode_id, row.first_frame) == ("seed_000006@00001", "seed_000006", 1)
    assert (row.split, row.shard, row.row) == ("train", 1, 2)


def test_rows_are_those_of_the_split_in_the_order_they_were_added(folder):
    store = TokenStore.open(folder)
    assert store.rows("train").tolist() == list(range(10))
    assert store.rows("validation").tolist() == [10, 11, 12]
    with pytest.raises(ConfigError, match=r"'tset'.*train, validation"):
        store.rows("tset")


@pytest.mark.parametrize(
    ("size", "dtype"), [(2, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")]
)
def test_tokens_are_kept_in_the_smallest_type_that_holds_them(size, dtype):
    assert token_dtype(size) == np.dtype(dtype)


def test_the_largest_token_survives_and_larger_ones_are_refused(tmp_path):
    for size in (256, 257):
        codebook = torch.zeros(size, 1)
        largest = ClipTokens(*(torch.full((1, *GRIDS.shape(c)), size - 1) for c in ("scene", "object", "motion")))
        with writer(tmp_path / str(size), codebook) as store:
            store.add(clips(0, 1), "train", largest, largest)
        assert int(TokenStore.open(tmp_path / str(size)).batch([0]).target.motion.min()) == size - 1
        beyond = ClipTokens(largest.scene, largest.object + 1, largest.motion)
        with pytest.raises(DataError, match="object tokens"):
            writer(tmp_path / f"beyond {size}", codebook).add(clips(0, 1), "train", beyond, largest)


def test_arrays_are_memory_maps(folder):
    array = TokenStore.open(folder).array(0, "motion")
    assert isinstance(array, np.memmap)
    assert (array.shape, array.dtype) == ((4, 3, 2, 1), np.uint16)


def test_extending_appends_shards_and_touches_no_old_one(folder):
    before = contents(folder / "shards")
    times = {p: p.stat().st_mtime_ns for p in (folder / "shards").rglob("*.npy")}
    with writer(folder) as store:
        assert len(store.clip_ids) == 13
        add(store, 13, 2, "validation")
        assert len(TokenStore.open(folder)) == 13  # nothing is seen before it is whole
    after = contents(folder / "shards")
    assert {name: after[name] for name in before} == before
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    store = TokenStore.open(folder)
    assert store.rows("validation").tolist() == [10, 11, 12, 13, 14]
    assert torch.equal(store.batch([14, 2]).target.motion, tokens(0, 15).motion[[14, 2]])


def test_an_extension_killed_between_index_and_record_is_not_seen_and_can_go_on(folder):
    record = (folder / "store.json").read_bytes()
    with writer(folder) as store:
        add(store, 13, 2)
    (folder / "store.json").write_bytes(record)
    assert len(TokenStore.open(folder)) == 13
    with writer(folder) as store:
        assert clips(13, 1)[0].id in store.clip_ids
    assert len(TokenStore.open(folder)) == 15


def test_a_clip_is_taken_once(folder):
    with pytest.raises(DataError, match="seed_000003@00003 already"):
        add(writer(folder), 3, 1)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"codebook": CODEBOOK + 1}, "codebook_digest"),
        ({"given_frames": 1, "given_motion_frames": 1}, "given_frames"),
        ({"given_motion_frames": 0}, "given_motion_frames"),
        ({"grids": TokenGrids(3, (2, 2), (1, 2), (1, 1))}, "grids"),
    ],
)
def test_a_writer_of_another_codebook_or_other_clips_is_refused(folder, change, name):
    before = contents(folder)
    with pytest.raises(MismatchError, match=name):
        writer(folder, **change)
    assert contents(folder) == before


def test_a_model_of_another_codebook_is_refused(folder):
    store = TokenStore.open(folder)
    store.require_codebook(codebook_digest(CODEBOOK.clone()))
    with pytest.raises(MismatchError, match="VQVAE"):
        store.require_codebook(codebook_digest(CODEBOOK + 1e-6))


def test_the_codebooks_digest_is_of_its_float32_bytes_whatever_their_layout():
    import hashlib

    expected = hashlib.sha256(np.ascontiguousarray(CODEBOOK.numpy()).tobytes()).hexdigest()
    assert codebook_digest(CODEBOOK) == codebook_digest(CODEBOOK.T.contiguous().T) == expected
    assert codebook_digest(CODEBOOK.numpy()) == expected


@pytest.mark.parametrize(("given", "motion"), [(3, 2), (1, 2)])
def test_given_frames_must_be_fewer_than_the_clips(tmp_path, given, motion):
    with pytest.raises(ConfigError, match="given_frames"):
        writer(tmp_path, given_frames=given, given_motion_frames=motion)


def test_tokens_of_another_grid_are_refused(tmp_path):
    wrong = tokens(0, 1)
    wrong = ClipTokens(wrong.scene, wrong.object, wrong.motion[:, :2])
    with pytest.raises(DataError, match=r"motion.*\(2, 2, 1\)"):
        writer(tmp_path).add(clips(0, 1), "train", wrong, tokens(0, 1))


@pytest.mark.parametrize("file", ["shards/00001/motion.npy", "codebook.npy"])
def test_a_flipped_bit_is_found(folder, file):
    data = bytearray((folder / file).read_bytes())
    data[-1] ^= 1
    (folder / file).write_bytes(data)
    with pytest.raises(DataError, match=Path(file).name):
        TokenStore.open(folder)


def test_missing_files_and_other_formats_are_named(folder, tmp_path):
    with pytest.raises(FormatError, match=r"no store\.json"):
        TokenStore.open(tmp_path)
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "shards" / "00000" / "scene.npy").unlink()
    with pytest.raises(DataError, match=r"scene\.npy is missing"):
        TokenStore.open(tmp_path / "copy")
    record = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps({**record, "format_version": 2}))
    with pytest.raises(FormatError, match="version 2"):
        TokenStore.open(folder)


def test_a_store_that_was_never_finished_is_refused(tmp_path):
    store = writer(tmp_path)
    add(store, 0, 5)
    with pytest.raises(DataError, match="never finished"):
        TokenStore.open(tmp_path)


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from test_store import *

folder, kill_after = Path(sys.argv[1]), int(sys.argv[2])
with writer(folder) as store:
    for first in range(0, 14, 2):
        if not {{clip.id for clip in clips(first, 2)}} <= store.clip_ids:
            add(store, first, 2)
            if first == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_extraction_goes_on_to_the_same_bytes(tmp_path):
    command = [sys.executable, "-c", SCRIPT.format(here=str(Path(__file__).parent)), str(tmp_path / "killed"), "8"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    assert subprocess.run(command, env=environment).returncode == -signal.SIGKILL
    # A shard that was being written when the kill came.
    partial = tmp_path / "killed" / "shards" / ".00002.partial"
    partial.mkdir()
    (partial / "scene.npy").write_bytes(b"half")
    with writer(tmp_path / "killed") as store:
        assert len(store.clip_ids) == 8  # two whole shards; the clips that waited are gone
        for first in range(8, 14, 2):
            add(store, first, 2)
    with writer(tmp_path / "whole") as store:
        for first in range(0, 14, 2):
            add(store, first, 2)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_damaged_shard_is_found_before_an_extraction_goes_on(folder):
    (folder / "shards" / "00000" / "object.npy").write_bytes(b"")
    with pytest.raises(DataError, match="object"):
        writer(folder)


def test_usage_counts_every_target_token_once(folder):
    store = TokenStore.open(folder)
    target = tokens(0, 13)
    got = usage(store)
    for name in ("scene", "object", "motion"):
        values, counts = np.unique(getattr(target, name).numpy(), return_counts=True)
        assert got[name].shape == (N,)
        assert got[name][values].tolist() == counts.tolist()
        assert got[name].sum() == getattr(target, name).numel()
    part = usage(store, "validation")
    assert part["motion"].tolist() == np.bincount(target.motion[10:].numpy().ravel(), minlength=N).tolist()


def test_the_index_is_a_plain_table(folder):
    table = pd.read_parquet(folder / "clips.parquet")
    assert list(table.columns) == ["clip_id", "episode_id", "first_frame", "split", "shard", "row"]
    assert table["clip_id"].is_unique


# stores without a scene or an object (ablations)


@pytest.fixture(params=[((2, 2), (0, 0)), ((0, 0), (0, 0))], ids=["no object", "motion alone"])
def bare(request, tmp_path):
    """Folder of a store without some components, its grids, and the tokens of its 7 clips."""
    scene, object = request.param
    grids = TokenGrids(3, scene, object, (2, 1))

    def draw(kind):
        return ClipTokens(
            *(
                torch.randint(0, N, (7, *grids.shape(name)), generator=generator(2, kind, name))
                for name in ("scene", "object", "motion")
            )
        )

    target, pseudo = draw("target"), draw("pseudo")
    with writer(tmp_path / "bare", grids=grids) as store:
        store.add(clips(0, 5), "train", target[:5], pseudo[:5])
        store.add(clips(5, 2), "validation", target[5:], pseudo[5:])
    return tmp_path / "bare", grids, target, pseudo


def test_a_store_without_a_component_gives_back_the_rest_and_empty_tensors(bare):
    folder, grids, target, pseudo = bare
    store = TokenStore.open(folder)
    assert store.grids == grids
    batch = store.batch([6, 0, 3])
    for name in ("scene", "object", "motion"):
        assert torch.equal(getattr(batch.target, name), getattr(target, name)[[6, 0, 3]])
    assert torch.equal(batch.pseudo_scene, pseudo.scene[[6, 0, 3]])
    assert batch.pseudo_object.shape == (3, 0, 0)
    assert batch.to("cpu").target.grids == grids


def test_absent_components_have_no_files_and_no_usage(bare):
    folder, grids, target, _ = bare
    names = {path.name for path in (folder / "shards" / "00000").glob("*.npy")}
    still = {"scene.npy", "pseudo_scene.npy"} if "scene" in grids.components else set()
    assert names == {"motion.npy"} | still
    counts = usage(TokenStore.open(folder))
    assert list(counts) == list(grids.components)
    assert counts["motion"].sum() == target.motion.numel()


def test_a_store_without_a_component_can_be_extended_and_refuses_clips_that_have_it(bare):
    folder, grids, target, pseudo = bare
    with writer(folder, grids=grids) as store:
        store.add(clips(7, 2), "train", target[:2], pseudo[:2])
    assert torch.equal(TokenStore.open(folder).batch([8]).target.motion, target.motion[[1]])
    with pytest.raises(DataError, match=r"object tokens of a clip have the shape \(1, 2\), the store's \(0, 0\)"):
        writer(folder, grids=grids).add(
            clips(20, 1), "train", dataclasses.replace(target[:1], object=torch.zeros(1, 1, 2, dtype=torch.int64)),
            pseudo[:1],
        )  # fmt: skip
    with pytest.raises(MismatchError, match="grids"):
        writer(folder)
