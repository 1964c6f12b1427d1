"""The data report: its figures are counted by hand on squares that move over an even background."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from moso.errors import ConfigError, DataError, FormatError
from moso.evaluation.data_report import FramesFolder, SampleConfig, data_figures, render_data_page
from moso.evaluation.data_report.figures import histogram
from moso.evaluation.data_report.sample import spread_pieces
from moso.evaluation.data_report.strips import strips
from moso.evaluation.data_report.thresholds import object_mask, threshold_effect
from moso.frames.clips import to_float
from moso.vqvae.decompose import decompose

SMALL = SampleConfig(clip_frames=4, clips=8, threshold_clips=4, strips=2)


@pytest.fixture(scope="module")
def folder(frames_folder: Path) -> FramesFolder:
    return FramesFolder.open(frames_folder)


@pytest.fixture(scope="module")
def report(folder: FramesFolder) -> dict:
    return data_figures(folder, SMALL)


@pytest.fixture(scope="module")
def page(folder: FramesFolder, report: dict) -> str:
    return render_data_page(report, {split: strips(folder, split, SMALL) for split in folder.splits})


def test_counts_durations_and_raw_sizes_are_the_manifests(report: dict) -> None:
    train = report["splits"]["train"]
    assert list(report["splits"]) == ["train", "validation", "test"]
    assert (train["episodes"], train["recordings"], train["frames"]) == (3, 2, 14)
    assert train["duration_s"] == pytest.approx(14 / 5)
    assert (train["episode_frames"]["min"], train["episode_frames"]["median"], train["episode_frames"]["max"]) == (
        4,
        4,
        6,
    )
    lengths = train["episode_frames"]["histogram"]
    assert dict(zip(lengths["edges"], lengths["counts"], strict=False)) == {4: 2, 5: 0, 6: 1}
    assert train["raw_sizes"] == [
        {"height": 16, "width": 16, "episodes": 2},
        {"height": 24, "width": 16, "episodes": 1},
    ]
    assert train["raw_fps"] == [{"fps": 5.0, "episodes": 3}]
    assert report["data"]["manifest_version"] == 2


def test_brightness_and_motion_are_in_grey_levels(report: dict) -> None:
    still = report["splits"]["validation"]
    assert still["brightness"]["mean"] == 200
    assert still["brightness"]["histogram"]["counts"][200 // 8] == 8  # two pieces of four frames
    assert (still["motion"]["mean"], still["motion"]["still_share"]) == (0, 1)
    # The square of 90 on 40: four of 64 pixels change by 50, so 3.125 grey levels a frame, in [2, 4).
    moving = report["splits"]["test"]["motion"]
    assert moving["mean"] == pytest.approx(4 * 50 / 64)
    counts = dict(zip(moving["histogram"]["edges"], moving["histogram"]["counts"], strict=False))
    assert {edge for edge, count in counts.items() if count} == {2}
    assert moving["still_share"] == 0


def test_the_thresholds_effect_is_counted_as_stage_i_decomposes(report: dict) -> None:
    """Of 4 x 64 pixels, three frames have four that change: by 50/255 = 0.196."""
    rows = {(r["low"], r["high"]): r for r in report["thresholds"]["splits"]["test"]}
    assert rows[0.1, 0.9]["object"] == pytest.approx(12 / 256)
    assert rows[0.1, 0.9]["still"] == pytest.approx(244 / 256)
    assert rows[0.1, 0.9]["flicker"] == 0
    assert rows[0.2, 0.9]["object"] == 0
    assert rows[0.2, 0.9]["still"] == 1


def test_a_change_above_the_high_threshold_is_flicker_and_all_shares_sum_to_one() -> None:
    frames = np.zeros((2, 1, 4, 3), dtype=np.uint8)
    frames[1, 0] = [[255, 0, 0], [128, 128, 128], [10, 0, 0], [0, 0, 0]]
    (row,) = threshold_effect([frames], [0.1], [0.9])
    assert row == {"low": 0.1, "high": 0.9, "object": 1 / 8, "still": 6 / 8, "flicker": 1 / 8}


def test_black_pixels_that_become_object_count_too() -> None:
    frames = np.zeros((2, 1, 2, 3), dtype=np.uint8)
    frames[0, 0, 0] = 128  # turns black: object, and the object video is black there like everywhere else
    assert object_mask(frames).tolist() == [[[False, False]], [[True, False]]]


def test_the_mask_is_that_of_decompose_on_noise() -> None:
    frames = np.random.default_rng(0).integers(1, 256, (5, 6, 7, 3), dtype=np.uint8)
    video = to_float(torch.from_numpy(frames)[None])
    expected = (decompose(video).object[0] > 0).all(dim=1).numpy()
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_array_equal(object_mask(frames), expected)


def test_duplicates_leaks_and_quarantine_are_told(report: dict) -> None:
    assert report["duplicates"] == {"episodes": 1, "groups": 1, "shown": [["b", "b_again"]]}
    assert report["leaks"] == {"episode_ids": 0, "recordings": 0, "frames": 0}
    assert report["quarantine"]["records"] == 2
    assert report["quarantine"]["share"] == pytest.approx(2 / 7)
    assert report["quarantine"]["shown"][1] == {"file": "bad.tfrecord", "offset": 741_626, "reason": "CRC <differs>"}


def test_signals_have_their_meaning_and_units(report: dict) -> None:
    actions = report["splits"]["train"]["actions"]
    assert (actions["names"], actions["units"], actions["meaning"]) == (["dx", "grip"], ["m", ""], "delta")
    assert actions["max"] == [5, 0]
    assert "states" not in report["splits"]["train"]


def test_checks_name_what_a_gate_should_stop_at(report: dict) -> None:
    failed = {c["id"]: c["found"] for c in report["checks"] if not c["ok"]}
    assert failed == {
        "quarantine_share": pytest.approx(2 / 7),
        "duplicate_share": pytest.approx(1 / 5),
        "still_share.validation": 1,
        "object_share.validation": 0,
        "actions_vary": ["grip"],
        "actions_in_range": ["dx (test)"],
    }
    passed = {c["id"] for c in report["checks"] if c["ok"]}
    assert {"splits_present", "splits_disjoint", "official_splits", "still_share.train", "object_share.test"} <= passed


def test_a_recording_in_two_splits_and_a_substitute_list_fail_their_checks(frames_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "frames"
    shutil.copytree(frames_folder, copy)
    manifest = pd.read_parquet(copy / "manifest.parquet")
    manifest.loc[manifest["episode_id"] == "d", "recording"] = "a"
    manifest.to_parquet(copy / "manifest.parquet")
    data = json.loads((copy / "data.json").read_text())
    data["splits"] = {"rule": "lists", "substitute": True}
    (copy / "data.json").write_text(json.dumps(data))
    ok = {c["id"]: c["ok"] for c in data_figures(FramesFolder.open(copy), SMALL)["checks"]}
    assert not ok["splits_disjoint"]
    assert not ok["official_splits"]


def test_the_report_is_plain_json_with_stable_keys(report: dict) -> None:
    assert json.loads(json.dumps(report)) == report
    assert set(report) == {
        "format", "version", "data", "sample", "splits", "thresholds", "duplicates", "leaks", "quarantine", "checks",
    }  # fmt: skip


def test_pieces_are_spread_over_all_windows_and_short_episodes_are_whole(folder: FramesFolder) -> None:
    pieces = spread_pieces(folder.cache, "train", 6, 100)
    assert [(p.episode_id, p.first, p.count) for p in pieces] == [("a", 0, 6), ("b", 0, 4), ("b_again", 0, 4)]
    pieces = spread_pieces(folder.cache, "train", 2, 3)  # of 5 + 3 + 3 starts, the centres of thirds
    assert [(p.episode_id, p.first) for p in pieces] == [("a", 1), ("b", 0), ("b_again", 1)]
    assert spread_pieces(folder.cache, "nowhere", 2, 3) == []


def test_a_histogram_holds_every_value(report: dict) -> None:
    assert histogram(np.array([-1.0, 0.0, 0.9, 1.0, 2.0, 7.0]), [0, 1, 2]) == {"edges": [0, 1, 2], "counts": [3, 3]}


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_asks_nothing_from_outside_and_shows_every_section(page: str) -> None:
    parsed = _Page()
    parsed.feed(page)
    assert parsed.open == []
    assert all(address.startswith(("#", "data:")) for address in parsed.addresses)
    assert "<script" not in page
    assert "url(http" not in page
    for name in ("checks", "counts", "samples", "looks", "thresholds", "signals", "duplicates", "quarantine"):
        assert f'<section id="{name}">' in page
    assert page.count('src="data:image/webp') == 3 * 2  # two strips a split


def test_text_of_the_data_is_escaped(page: str) -> None:
    assert "Squares &amp; more" in page
    assert "CRC &lt;differs&gt;" in page


def test_no_table_or_strip_is_wider_than_the_window_by_itself(page: str) -> None:
    """Wide things lie in boxes that scroll: nothing else on the page has a width in pixels."""
    assert len(re.findall(r"<table", page)) == len(re.findall(r'<div class="wide" tabindex="0"><table', page))
    assert len(re.findall(r"<img", page)) == len(re.findall(r'<div class="scroll" tabindex="0"><img', page))
    assert 'name="viewport"' in page


def test_a_strip_shows_the_frames_above_what_is_object(folder: FramesFolder) -> None:
    (strip,) = strips(folder, "test", SampleConfig(clip_frames=6, strips=1))
    assert strip.shown == (1, 2, 3, 4, 5)
    assert strip.picture.shape == (8 + 2 + 8, 5 * 8 + 4 * 2, 3)
    frames = folder.cache.frames("d")
    np.testing.assert_array_equal(strip.picture[:8, :8], frames[1])
    below = strip.picture[10:, :8]
    assert (below[2:4, 0] == 40).all()  # where the square was: background that appeared
    assert (below[2:4, 2] == 90).all()  # where it is now
    assert (below[5:] == 128).all()


def test_a_folder_that_preprocess_did_not_finish_is_refused(frames_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "frames"
    shutil.copytree(frames_folder, copy)
    (copy / "data.json").unlink()
    with pytest.raises(FormatError, match=r"no data\.json; the step 'preprocess' writes it"):
        FramesFolder.open(copy)
    with pytest.raises((FormatError, DataError)):
        FramesFolder.open(tmp_path / "nothing")


def test_a_sample_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="clip_frames = 1: must be at least 2"):
        SampleConfig(clip_frames=1)
