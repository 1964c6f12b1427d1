"""Every data set by changing one parameter: its official files, its own spec and preset, the same two steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.config import load_params, resolve_all
from components.ingest import step as ingest
from components.preprocess import step as preprocess
from moso.frames.cache import FrameCache
from moso.frames.clips import windows
from moso.step import Context

ROOT = Path(__file__).parents[2]
loose, bair_files, robonet_files, lerobot_files = (
    pytest.importorskip(f"formats.{name}") for name in ("loose_files", "bair", "robonet", "lerobot")
)


def bair(root: Path) -> None:
    # SAVP's validation file goes by its name, which promises 256 trajectories of 742 kB: two will do here.
    for number, name in enumerate(("train/traj_0_to_1", "train/traj_256_to_511", "test/traj_0_to_1")):
        trajectories = [bair_files.trajectory(10 * number + i) for i in range(2)]
        bair_files.write(root / "softmotion30_44k" / f"{name}.tfrecords", trajectories)


def robonet(root: Path) -> None:
    for number in (0, 1, 33, 2):  # by hash: training, training, validation, test
        video = loose.coloured(12, 24, 32, seed=number)
        robonet_files.write(root / "hdf5" / f"berkeley_sawyer_traj{number}.hdf5", [video], encoding="jpg")


def kth(root: Path) -> None:
    lines = []
    for person in (1, 15, 17):
        name = f"person{person:02d}_boxing_d1"
        loose.video(root / f"{name}_uncomp.avi", loose.moving(44, 120, 160, seed=person), codec="mpeg4")
        lines.append(f"{name}\t\tframes\t1-22, 23-44")
    (root / "00sequences.txt").write_text("\n".join(lines) + "\n")


def kitti(root: Path) -> None:
    for drive in ("0001", "0005", "0070"):
        folder = root / "2011_09_26" / f"2011_09_26_drive_{drive}_sync" / "image_03" / "data"
        for frame, picture in enumerate(loose.coloured(20, 37, 124, seed=int(drive))):
            loose.png(folder / f"{frame:010d}.png", picture)


def ucf101(root: Path) -> None:
    names: dict[str, list[str]] = {"trainlist01": [], "testlist01": []}
    for group in range(1, 41):
        name = f"Archery/v_Archery_g{group:02d}_c01.avi"
        loose.video(root / "UCF-101" / name, loose.coloured(12, 24, 32, seed=group), codec="mpeg4")
        names["testlist01" if group <= 2 else "trainlist01"].append(name)
    (root / "ucfTrainTestlist").mkdir()
    for file, listed in names.items():
        (root / "ucfTrainTestlist" / f"{file}.txt").write_text("".join(f"{name} 1\n" for name in listed))


def lerobot(root: Path) -> None:
    lerobot_files.write(root, "v3.0", lengths=[13] * 30, fps=30)


def videos(root: Path) -> None:
    for number in range(60):
        loose.video(root / f"day_{number % 3}" / f"take{number}.mp4", loose.coloured(12, seed=number), codec="libx264")


def images(root: Path) -> None:
    for number in range(60):
        for frame, picture in enumerate(loose.coloured(12, seed=number)):
            loose.png(root / f"clip{number}" / f"{frame}.png", picture)


@pytest.mark.parametrize(
    "write", [bair, robonet, kth, kitti, ucf101, lerobot, videos, images], ids=lambda write: write.__name__
)
def test_a_data_set_in_its_official_format_becomes_clips_by_naming_it(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSO_LISTS", str(tmp_path / "no_lists"))
    raw = tmp_path / "data" / write.__name__ / "raw"  # where it is looked for by default
    raw.mkdir(parents=True)
    write(raw)
    monkeypatch.chdir(tmp_path)

    params = {**load_params(ROOT / "params.yaml"), "dataset": write.__name__}
    missing = 254 if write is bair else 0
    if missing:
        params["ingest"] = {**params["ingest"], "quarantine_share": 1.0}
    if write is kth:  # MCnet's ranges, which the spec takes, are of lists that are not shipped
        params["ingest"] = {**params["ingest"], "spec": {"options": {"ranges": "sequences"}}}
    configs = resolve_all(params, ROOT / "data" / "specs")
    episodes, frames = tmp_path / "episodes", tmp_path / "frames"
    ingest.run(configs["ingest"], {}, {"episodes": episodes}, Context(work=tmp_path / "work" / "ingest"))
    context = Context(work=tmp_path / "work" / "preprocess")
    preprocess.run(configs["preprocess"], {"episodes": episodes}, {"frames": frames}, context)

    assert len(pd.read_parquet(frames / "quarantine.parquet")) == missing
    cache = FrameCache.open(frames)
    cache.verify()
    model = configs["train_vqvae"].model
    assert (cache.height, cache.width) == (model.height, model.width)
    for split in ("train", "validation", "test"):
        assert windows(cache, split, model.frames), split
    label = json.loads((frames / "data.json").read_text())["splits"]
    assert label.get("substitute", False) == (write is robonet)  # whose list cannot be had here
    # Pictures, and not what a wrong order of bytes makes of them: each frame resembles the one before it, but in BAIR's
    # noise.
    episode = str(cache.episodes["episode_id"].iloc[0])
    video = cache.frames(episode).astype(float)
    if write not in (bair, lerobot):
        assert np.abs(np.diff(video, axis=0)).mean() < 40
