"""A whole evaluation: protocol and Fréchet distances held against scipy, with a stand-in network that is no metric."""

import dataclasses

import numpy as np
import pytest
import scipy.linalg
import torch

from moso.config import build
from moso.errors import ConfigError, DataError
from moso.evaluation import measure as measuring
from moso.evaluation.asked import made_for, title_of
from moso.evaluation.measure import measure
from moso.evaluation.measures import Measures, conventions, measures_of, networks_of
from moso.evaluation.protocol_file import ProtocolFile, load_protocol
from moso.evaluation.seeds import sampling_seed

K, T, SIZE = 2, 4, 16


class MeanColour:
    """Stand-in of a network: the mean colour of a video."""

    name, sha256, dimension, minimum_frames, by_frame = "colour", "0" * 64, 3, 1, False

    def __call__(self, videos):
        return videos.float().mean(dim=(1, 2, 3))


def asked(**changes):
    fields = {**made_for("squares", K, T, SIZE, SIZE), "metrics": ["psnr", "fvd"], **changes}
    return build(ProtocolFile, {"title": title_of(fields), **fields})


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    def measures(metrics, frames, device):
        return Measures(measures_of(["psnr"], frames, device).scores, {"fvd": MeanColour()}, ())

    monkeypatch.setattr(measuring, "measures_of", measures)


def colours(videos):
    return torch.from_numpy(np.ascontiguousarray(videos)).float().mean(dim=(1, 2, 3)).double().numpy()


def distance(ours, truth):
    """The Fréchet distance by scipy's matrix root."""
    first, second = (np.cov(rows, rowvar=False, ddof=0) for rows in (ours, truth))  # StyleGAN-V's code divides by N
    root = scipy.linalg.sqrtm(first @ second).real
    step = ours.mean(axis=0) - truth.mean(axis=0)
    return step @ step + np.trace(first + second - 2 * root)


def test_fvd_is_of_the_predicted_frames_alone_and_says_how_many_videos_it_rests_on(model, cache, tmp_path):
    found = measure(model, cache, asked(), work=tmp_path)
    whole = found.clips.batch(range(len(found.clips))).numpy()
    seeds = [sampling_seed(0, clip) for clip in found.clips.clips]
    expected = distance(colours(model.predict(whole[:, :K], seed=seeds)), colours(whole[:, K:]))
    assert found.frechet["fvd"].value == pytest.approx(expected, rel=1e-4)
    assert (found.frechet["fvd"].drawn, found.frechet["fvd"].reference) == (6, 6)


def test_fvd_of_several_samples_is_the_mean_over_batches_of_one_sample_each(model, cache, tmp_path):
    found = measure(
        model, cache, asked(samples_per_video=2, fvd={"batch": 4, "reference": "same_clips"}), work=tmp_path
    )
    whole = found.clips.batch(range(4)).numpy()
    truth, expected = colours(whole[:, K:]), []
    for sample in range(2):
        seeds = [sampling_seed(0, clip) + sample for clip in found.clips.clips[:4]]
        expected.append(distance(colours(model.predict(whole[:, :K], seed=seeds)), truth))
    assert found.frechet["fvd"].value == pytest.approx(np.mean(expected), rel=1e-4)
    assert found.frechet["fvd"].left_out == 2 * 2  # of six clips, four fill the one batch, with two samples each


def test_too_few_clips_for_a_batch_leave_fvd_out_with_the_reason(model, cache, tmp_path):
    found = measure(model, cache, asked(fvd={"batch": 256}), work=tmp_path)
    assert found.frechet == {}
    assert [(entry.metric, entry.reason) for entry in found.not_computed] == [
        ("fvd", "6 videos do not fill one batch of 256")
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fvd": {"reference": "all_test_clips"}}, "for unconditional videos alone"),
        ({"task": "reconstruction", "given_frames": 0, "samples_per_video": 2}, "reconstruction draws one video"),
        ({"task": "interpolation", "given_frames_count": True}, "for predictions alone"),
    ],
)
def test_settings_that_would_be_read_by_nothing_are_refused(changes, told):
    with pytest.raises(ConfigError, match=told):
        asked(**changes)


def test_nothing_is_drawn_where_no_figure_of_a_clip_could_be_computed(model, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "measures_of", measures_of)
    with pytest.raises(DataError, match=r"no figure of single clips.*fvd: file i3d_torchscript\.pt missing"):
        measure(model, cache, asked(metrics=["fvd"]), work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_protocol_names_the_networks_and_conventions_of_all_asked_metrics_there_or_not(model, cache, tmp_path):
    protocol = measure(model, cache, asked(metrics=["psnr", "lpips_alex", "fvd"]), work=tmp_path).protocol
    assert set(protocol.metrics) == {"frames", "psnr", "lpips_alex", "fvd"}
    assert protocol.networks["i3d_torchscript.pt"].startswith("bec6519f")
    assert protocol.networks["alexnet-owt-7be5be79.pth"].startswith("7be5be79")
    other = dataclasses.replace(protocol, metrics=conventions(["psnr"]), networks=networks_of(["psnr"]))
    assert other.digest != protocol.digest


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"clip_frames": 6, "predicted_frames": 4}, r"clip_frames = 6: the model has 4"),
        ({"height": 32}, r"height = 32: the model has 16"),
        ({"given_frames": 1, "predicted_frames": 3}, r"given_frames = 1: the model has 2"),
        ({"carry": 1, "predicted_frames": 6}, r"carry = 1: a rollout carries K = 2 frames"),
        ({"task": "interpolation", "given_frames": 3, "predicted_frames": 1}, r"every second of 4 frames is given"),
    ],
)
def test_a_protocol_of_other_sizes_is_refused_with_the_field(model, cache, tmp_path, changes, told):
    with pytest.raises(ConfigError, match=told):
        measure(model, cache, asked(**changes), work=tmp_path)


def test_a_protocol_of_one_hundred_samples_is_another_one_than_of_one():
    assert load_protocol("bair/magvit").digest != load_protocol("bair/64").digest
