"""The paper's layout: ours beside published rows of one protocol, blanks said."""

import dataclasses
import math

import pytest

from moso.config import to_dict
from moso.errors import MismatchError
from moso.evaluation.benchmark_table import CEILING, OURS, benchmark_table, differences, table_of
from moso.evaluation.protocol_file import load_protocol
from moso.evaluation.windows import in_words


def test_ours_stands_beside_the_published_row_with_ssim_in_percent_and_blanks_are_said():
    missing = {"lpips_alex": "file alexnet-owt-7be5be79.pth missing"}
    table = benchmark_table(
        "kth/64", {"ours <1>": {"psnr": 24.16, "ssim": 0.751}}, load_protocol("kth/64"), not_computed=missing
    )
    assert table.frame["origin"].tolist() == ["published", "ours"]
    assert table.frame["ssim"].tolist() == pytest.approx([82.2, 75.1])
    assert math.isnan(table.frame["lpips"][1])
    assert "| ours <1> | ours | 24.2 | 75.1 |  |" in table.markdown
    assert "LPIPS (alex) not computed: file alexnet-owt-7be5be79.pth missing." in table.markdown
    assert '<tr class="ours"><th scope="row">ours &lt;1&gt;</th>' in table.html


def test_lpips_of_another_backbone_never_fills_the_column():
    table = benchmark_table("kth/64", {"m": {"lpips_vgg": 0.3}}, load_protocol("kth/64"))
    assert math.isnan(table.frame["lpips"][1])


def test_a_table_that_the_source_lost_is_said_to_be_lost():
    table = benchmark_table("kitti/64", {"m": {"psnr": 20.0}}, load_protocol("kitti/64"))
    assert table.frame["origin"].tolist() == ["ours"]
    assert "Not in our source: every row." in table.markdown


def test_figures_of_another_protocol_are_refused_with_the_field():
    other = dataclasses.replace(load_protocol("bair/magvit"))
    with pytest.raises(MismatchError, match=r"samples_per_video: 1 \| 100"):
        benchmark_table("bair/64", {"m": {"fvd": 62.0}}, other)


def realised(name, **changes):
    """A protocol as a run states it: flat, the windows in words."""
    asked = to_dict(load_protocol(name))
    windows = in_words(
        load_protocol(name).windows, max(asked["clip_frames"], asked["given_frames"] + asked["predicted_frames"])
    )
    splits = {"rule": "lists", "lists": asked.pop("split_lists")}
    return {**asked, "clip_rule": windows, "clips": 256, "episodes": 128, "splits": splits, **changes}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"samples_per_video": 1, "best_of": "none"},
         ["best_of: each_metric_over_video_mean | none", "samples_per_video: 100 | 1"]),
        ({"task": "reconstruction"}, ["task: prediction | reconstruction"]),
        ({"carry": None}, ["carry: 10 | None"]),
        ({"metrics": {"psnr": "in words"}}, []),
        ({"seed": 7}, ["seed: 0 | 7"]),
        ({"fade": True}, ["fade: False | True"]),
        ({"resize": "the largest centred square, area means"},
         ["resize: the whole frame, antialiased (triangle filter) | the largest centred square, area means"]),
        ({"splits": {"rule": "patterns"}}, ["split_lists.kth_mcnet_test.txt: 3ad055328011 | (not used)"]),
        ({"splits": {"lists": {"kth_mcnet_test.txt": "ab" * 32}}},
         ["split_lists.kth_mcnet_test.txt: 3ad055328011 | abababababab"]),
        ({"splits": {"substitute": True}}, ["splits: the published list | a seeded hash that stands in for it"]),
    ],
)  # fmt: skip
def test_differences_name_the_field_with_what_was_asked_and_what_was_measured(changes, told):
    assert differences("kth/64", realised("kth/64", **changes)) == told


def test_other_windows_and_fewer_videos_are_another_protocol():
    (windows,) = differences("bair/64", realised("bair/64", clip_rule="every window"))
    assert (
        windows
        == "windows: the first window of 16 frames of every episode, in the order of the episodes' names | every window"
    )
    (videos,) = differences("bair/magvit", realised("bair/magvit", clips=64))
    assert videos == "videos: 256 | 64"
    assert differences("ucf101/unconditional", realised("ucf101/unconditional", clips=3000, videos_drawn=2048)) == []


def test_a_run_of_another_protocol_stands_alone_with_the_reason():
    ours = {"prediction": {"psnr": 24.0}}
    asked = dataclasses.replace(load_protocol("kth/64"), samples_per_video=1, best_of="none")
    measured = realised("kth/64", samples_per_video=1)
    table = table_of(asked, ours, measured, main="prediction")
    assert table.frame["origin"].tolist() == ["ours"]
    assert table.title == "KTH 64, 10 -> 40, changed"
    assert "Ours: 256 clips of 128 episodes." in table.notes
    assert table.notes[0] == (
        "Not measured as kth/64 asks (asked | measured): samples_per_video: 100 | 1. Published rows are left out."
    )


def test_a_run_stands_in_the_table_under_the_project_s_name_beside_its_baselines():
    ours = {"prediction": {"psnr": 24.0}, "repeat_last": {"psnr": 20.0}}
    table = table_of(load_protocol("kth/64"), ours, realised("kth/64"), main="prediction")
    rows = table.frame.set_index("method")
    assert rows.loc[OURS][["origin", "psnr"]].tolist() == ["ours", 24.0]
    assert rows.loc["repeat last"][["origin", "psnr"]].tolist() == ["baseline", 20.0]
    assert (rows["origin"] == "published").sum() == len(rows) - 2 >= 1


def test_the_ceiling_is_a_row_and_what_only_ours_has_is_said():
    ours = {
        "prediction": {"psnr": 24.0, "ssim": 0.8, "fvd": 91.25, "fvd_extrapolated": 70.04},
        "repeat_last": {"psnr": 20.0, "ssim": 0.7},
        "reconstruction": {"psnr": 30.0, "ssim": 0.9},
    }
    measured = realised("kitti/64", clips=1405, episodes=632)
    table = table_of(load_protocol("kitti/64"), ours, measured, main="prediction")
    rows = table.frame.set_index("method")
    assert rows["origin"].to_dict() == {OURS: "ours", "repeat last": "baseline", CEILING: "ceiling"}
    assert rows.loc[CEILING, "psnr"] == 30.0
    assert "FVD of baselines and the ceiling is not computed." in table.notes
    assert not any(note.startswith(("PSNR", "SSIM")) for note in table.notes)
    assert "LPIPS (alex) not computed: not part of this run." in table.notes
    assert "Ours: 1,405 clips of 632 episodes." in table.notes
    (extrapolated,) = (note for note in table.notes if "infinitely" in note)
    assert extrapolated.startswith(f"FVD of {OURS} extrapolated to infinitely many videos: 70.0.")


def test_of_a_reconstruction_the_reconstruction_is_ours_and_no_ceiling():
    ours = {"reconstruction": {"psnr": 35.0}, "motion_frozen": {"psnr": 20.0}}
    table = table_of(load_protocol("bair/reconstruction"), ours, realised("bair/reconstruction"), main="reconstruction")
    assert table.frame.set_index("method")["origin"].to_dict() == {
        "MOSO-VQVAE": "published", OURS: "ours", "motion frozen": "baseline"
    }  # fmt: skip


def test_videos_drawn_from_nothing_are_counted_beside_their_reference():
    measured = realised("ucf101/unconditional", clips=3783, episodes=3783, videos_drawn=2048)
    table = table_of(load_protocol("ucf101/unconditional"), {"generation": {"fvd": 300.0}}, measured, main="generation")
    assert "Ours: 2,048 videos drawn, against 3,783 clips of 3,783 episodes." in table.notes


def test_a_run_without_a_named_protocol_stands_alone_with_each_lpips_once():
    asked = dataclasses.replace(load_protocol("kth/64"), name="", metrics=("psnr", "lpips_vgg", "lpips_alex"))
    table = table_of(
        asked, {"prediction": {"psnr": 24.0, "lpips_vgg": 0.3, "lpips_alex": 0.1}}, asked, main="prediction"
    )
    assert list(table.frame.columns) == ["method", "origin", "psnr", "lpips", "lpips_alex"]
    assert table.frame["lpips_alex"].tolist() == [0.1]
    assert table.frame["lpips"].tolist() == [0.3]
    assert "No published figures of this protocol in our source." in table.notes
    assert any("LPIPS (vgg)" in note for note in table.notes)


def test_what_is_asked_beside_the_published_columns_has_columns_of_its_own_and_another_backbone_never_shares_one():
    asked = dataclasses.replace(load_protocol("robonet/64"), metrics=("psnr", "lpips_vgg", "fid"))
    table = table_of(asked, {"prediction": {"psnr": 24.0, "lpips_vgg": 0.3}}, realised("robonet/64"), main="prediction")
    assert list(table.frame.columns) == ["method", "origin", "fvd", "psnr", "ssim", "lpips", "lpips_vgg", "fid"]
    ours = table.frame.set_index("method").loc[OURS]
    assert ours["lpips_vgg"] == 0.3
    assert math.isnan(ours["lpips"])
    assert "FID not computed: not part of this run." in table.notes
    assert table.frame[table.frame["origin"] == "published"]["lpips_vgg"].isna().all()
