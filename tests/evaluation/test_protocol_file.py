"""Protocols as data: every file is whole, and two that differ are told apart."""

import dataclasses
from pathlib import Path

import pytest

from moso.config import build, load_yaml
from moso.datasets.spec import DatasetSpec
from moso.errors import ConfigError, MismatchError
from moso.evaluation.pixels import resize_in_words
from moso.evaluation.protocol_file import (
    ProtocolFile,
    WindowRule,
    load_data,
    load_protocol,
    protocol_differences,
    protocol_names,
    require_same_protocol,
)

SPECS = Path(__file__).parents[2] / "data" / "specs"


def test_every_protocol_file_is_valid_and_no_two_measure_the_same():
    digests = {load_protocol(name).digest for name in protocol_names()}
    assert len(digests) == len(protocol_names()) == 28


def test_magvits_bair_is_another_protocol_than_mosos_and_the_refusal_says_where():
    moso, magvit = load_protocol("bair/64"), load_protocol("bair/magvit")
    assert moso.samples_per_video == 1
    assert (magvit.videos, magvit.samples_per_video) == (256, 100)
    with pytest.raises(MismatchError, match=r"samples_per_video: 1 \| 100") as refused:
        require_same_protocol(moso, magvit)
    assert "videos: None | 256" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "given", "predicted", "samples"),
    [("kth/64", 10, 40, 100), ("kitti/256", 5, 25, 100), ("robonet/64", 2, 10, 100), ("bair/64", 1, 15, 1)],
)
def test_given_and_predicted_frames_and_samples_are_the_papers(name, given, predicted, samples):
    protocol = load_protocol(name)
    assert (protocol.given_frames, protocol.predicted_frames, protocol.samples_per_video) == (given, predicted, samples)


def test_the_title_is_no_part_of_what_is_measured_but_the_seed_is():
    protocol = load_protocol("kth/64")
    assert dataclasses.replace(protocol, title="x").digest == protocol.digest
    seeded = dataclasses.replace(protocol, seed=7)
    assert seeded.digest != protocol.digest
    assert protocol_differences(protocol, seeded) == ["seed: 0 | 7"]


def test_a_nested_difference_is_named_by_its_dotted_name():
    a, b = {"fvd": {"batch": None}, "seed": 0}, {"fvd": {"batch": 256}}
    assert protocol_differences(a, b) == ["fvd.batch: None | 256", "seed: 0 | (not stated)"]


@pytest.mark.parametrize(
    "change",
    [
        {"given_frames": 20},
        {"samples_per_video": 1},
        {"metrics": ("psnr", "psnr")},
        {"task": "unconditional"},
    ],
)
def test_a_protocol_that_contradicts_itself_is_refused(change):
    with pytest.raises(ConfigError):
        dataclasses.replace(load_protocol("kth/64"), **change)


def test_an_unknown_protocol_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="kth/64"):
        load_protocol("kth/65")


def test_a_protocol_knows_its_files_name_and_the_name_is_no_part_of_what_is_measured():
    assert load_protocol("bair/magvit").name == "bair/magvit"
    protocol = load_protocol("kth/64")
    assert dataclasses.replace(protocol, name="mine").digest == protocol.digest


def test_overrides_laid_over_a_files_data_give_another_protocol():
    asked = build(ProtocolFile, {**load_data("bair/magvit"), "videos": 64})
    assert (asked.name, asked.videos) == ("bair/magvit", 64)
    assert protocol_differences(load_protocol("bair/magvit"), asked) == ["videos: 256 | 64"]


@pytest.mark.parametrize("name", protocol_names())
def test_frames_are_brought_to_their_size_as_the_data_sets_spec_says(name):
    protocol = load_protocol(name)
    spec = build(DatasetSpec, load_yaml(SPECS / f"{protocol.data_set}.yaml"))
    assert protocol.resize == resize_in_words({"crop": spec.crop, "resize": spec.resize})


def test_a_cache_that_does_not_say_its_resize_gets_no_words():
    assert resize_in_words({}) == ""


@pytest.mark.parametrize("name", [name for name in protocol_names() if "reconstruction" in name])
def test_a_reconstruction_scores_all_t_frames(name):
    protocol = load_protocol(name)
    assert (protocol.task, protocol.given_frames, protocol.samples_per_video) == ("reconstruction", 0, 1)
    assert protocol.predicted_frames == protocol.clip_frames


@pytest.mark.parametrize("settings", [{"start": -1}, {"skip_end": -2}, {"stride": 0}, {"per_episode": {"*": 0}}])
def test_a_window_rule_that_means_nothing_is_refused(settings):
    with pytest.raises(ConfigError):
        WindowRule(**settings)


def test_ucf101_from_nothing_is_2048_videos_of_16_frames_against_every_test_video():
    protocol = load_protocol("ucf101/unconditional")
    assert (protocol.task, protocol.given_frames, protocol.predicted_frames) == ("unconditional", 0, 16)
    assert (protocol.videos, protocol.fvd.batch, protocol.fvd.reference) == (2048, None, "all_test_clips")
    assert protocol.metrics == ("fvd",)
