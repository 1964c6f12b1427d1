"""The page as a whole, for every task: what it shows, how it judges, and what it leaves out."""

import getpass
import json
import platform
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from moso.evaluation.benchmark_table import table_of
from moso.evaluation.comparison import Comparison
from moso.evaluation.frechet_metric import FrechetFigure
from moso.evaluation.protocol import NotComputed, Protocol
from moso.evaluation.protocol_file import load_protocol
from moso.evaluation.report import Evaluation, render_page
from moso.evaluation.report.elements import margin
from moso.evaluation.report.environment import environment
from moso.evaluation.report.films import Film, draw_videos, drawn_films, make_films
from moso.evaluation.report.lineage import lineage_rows
from moso.evaluation.report.recombinations import draw_recombinations, recombination_pairs
from moso.evaluation.statistics import Interval, paired_bootstrap
from moso.frames.clips import Clip, Clips, windows
from moso.tasks import Model
from tests.small_model import write_model

K, T, SIZE = 2, 4, 16
CLIPS = [Clip(f"episode_{i}", 0) for i in range(5)]
BASELINES = {"prediction": ("repeat_last", "hedge"), "interpolation": ("hold", "blend"), "reconstruction": ()}
FRAMES = {"prediction": (3, 4), "interpolation": (2, 4), "reconstruction": (1, 2, 3, 4)}


def comparison(main="prediction", metrics=("psnr", "ssim", "lpips_alex")):
    """Five clips; the main method is the better, the later the clip."""
    random, frames = np.random.default_rng(0), FRAMES[main]
    methods = (main, *BASELINES[main], *(("reconstruction",) if main != "reconstruction" else ()), "motion_frozen")
    rise = np.arange(5.0)[:, None]

    def of(metric, method):
        noise = random.random((5, len(frames))) * 0.01
        good = method == main
        if metric == "psnr":
            return 20 + good * 2 + rise + noise
        if metric == "ssim":
            return 0.5 + good * 0.1 + rise / 50 + noise
        return 0.4 - good * 0.1 - rise / 50 + noise

    values = {metric: {method: of(metric, method) for method in methods} for metric in metrics}
    samples = {metric: values[metric][main].mean(axis=1, keepdims=True) for metric in metrics}
    return Comparison(CLIPS, K, main, frames, BASELINES[main], values, samples)


def protocol(task="prediction", **changes):
    given = 0 if task in ("reconstruction", "unconditional") else K
    fields = {
        "data_set": "squares", "split": "test", "clips_digest": "ab" * 32, "clips": 5, "episodes": 5,
        "clip_rule": "none overlap", "height": SIZE, "width": SIZE, "given_frames": given, "clip_frames": T,
        "predicted_frames": T - given, "samples_per_video": 1, "seed": 0, "task": task,
    }  # fmt: skip
    return Protocol(**{**fields, **changes})


def video(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (T, SIZE, SIZE, 3), dtype=np.uint8)


def evaluation(main="prediction", **changes):
    c = comparison(main)
    intervals = {
        baseline: {m: paired_bootstrap(c.of_clips(m, main), c.of_clips(m, baseline), c.episodes, resamples=200)
                   for m in c.metrics}
        for baseline in c.baselines
    }  # fmt: skip
    films = [
        Film(clip, rank, {"truth": video(), main: video(1), "difference": video(2)}, figures={"psnr": (20.0, 18.0)})
        for rank, clip in zip((1, 3, 5), CLIPS[::2], strict=True)
    ]
    fields = {
        "comparison": c, "intervals": intervals, "protocol": protocol(main), "films": films, "curves": [], "usage": {},
        "not_computed": [], "provenance": {},
    }  # fmt: skip
    return Evaluation(**{**fields, **changes})


def unconditional(**changes):
    fields = {
        "comparison": None, "intervals": {},
        "protocol": protocol("unconditional", videos_drawn=2048, metrics={"fid": "of frames"}),
        "films": drawn_films([video(), video(1)]), "curves": [], "usage": {}, "provenance": {},
        "not_computed": [NotComputed("fid", "file pt_inception missing", "moso weights fetch inception")],
    }  # fmt: skip
    return Evaluation(**{**fields, **changes})


class Balance(HTMLParser):
    """Complains of an element that is closed out of order."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_startendtag(self, name, attributes):
        pass

    def handle_starttag(self, name, attributes):
        self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name


def sections(page):
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    return re.findall(r'<section id="(\w+)">', page)


def text(page):
    return unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S)))


def scripts(page):
    return [json.loads(unescape(found)) for found in re.findall(r'data-film="([^"]*)"', page)]


@pytest.mark.parametrize("main", ["prediction", "interpolation", "reconstruction"])
def test_each_task_names_its_own_method_and_only_its_own_baselines(main):
    page = render_page(evaluation(main))
    assert sections(page) == ["clips", "figures", "protocol", "lineage"]
    assert f"PSNR ↑ of the {main}" in page
    assert ("Repeat last" in page) == (main == "prediction")
    assert ("against hold" in page) == (main == "interpolation")
    assert ("Given, " in page) == (main != "reconstruction")
    rows = re.findall(r'<tr class="ours"><th scope="row">(\w+)', page)
    assert rows == [main.capitalize()]


def test_frames_that_are_given_are_told_apart_from_those_scored():
    prediction, between, whole = (
        scripts(render_page(evaluation(main)))[0] for main in ("prediction", "interpolation", "reconstruction")
    )
    assert (prediction["given"], prediction["start"]) == ([True, True, False, False], 2)
    assert prediction["last_given"] == [0, 1, 1, 1]
    assert (between["given"], between["start"]) == ([True, False, True, False], 1)
    assert between["last_given"] == [0, 0, 2, 2]
    assert (whole["given"], whole["start"]) == ([False] * 4, 0)


@pytest.mark.parametrize(
    ("metric", "low", "high", "judged"),
    [
        ("psnr", 0.1, 0.3, 'class="good"'),
        ("psnr", -0.3, -0.1, 'class="bad"'),
        ("lpips_alex", -0.3, -0.1, 'class="good"'),
        ("lpips_alex", 0.1, 0.3, 'class="bad"'),
        ("ssim", -0.1, 0.3, ""),
    ],
)
def test_a_difference_is_judged_by_the_metrics_direction_and_only_where_its_interval_is_sure(metric, low, high, judged):
    shown, ends = margin(metric, Interval((low + high) / 2, low, high, 0.95, 5, 5, 0.1))
    assert judged in shown
    assert ("class=" in shown) == bool(judged)
    assert " to " in ends


def test_films_are_ranked_by_lpips_and_say_which_is_best_median_and_worst():
    page = render_page(evaluation())
    assert re.findall(r'<span class="place">(\w+)</span>', page) == ["best", "median", "worst"]
    assert "from the best prediction (by LPIPS (alex))" in page


def test_bands_lie_around_the_curves_they_belong_to():
    c = comparison()
    curve = c.of_frames("psnr", "prediction")
    page = render_page(evaluation(bands={"psnr": {"prediction": (curve - 1, curve + 1)}}))
    assert page.count('class="band c0"') == 1
    assert "Shaded" in page
    assert "Shaded" not in render_page(evaluation())


def test_the_benchmark_s_table_is_the_first_section_and_its_text_is_escaped():
    asked = load_protocol("kth/64")
    table = table_of(asked, {"prediction": {"psnr": 24.0}}, asked, main="prediction", not_computed={"ssim": "<b>"})
    page = render_page(evaluation(table=table, asked=asked))
    assert sections(page)[0] == "benchmark"
    assert "&lt;b&gt;" in page
    assert "kth/64: KTH 64, 10 -> 40" in text(page)


def test_without_a_truth_there_are_films_protocol_and_what_was_not_computed():
    page = render_page(unconditional())
    assert sections(page) == ["clips", "figures", "protocol", "lineage"]
    assert "2,048 videos of 4 frames drawn from nothing, against 5 test clips" in page
    assert "The first 2 of 2,048 videos drawn" in page
    assert "not computed: file pt_inception missing" in text(page)
    assert "moso weights fetch inception" in page
    assert "PSNR" not in text(page)
    assert [film["given"] for film in scripts(page)] == [[False] * 4] * 2


def test_a_frechet_distance_stands_beside_the_numbers_it_rests_on():
    figures = {
        "fvd": FrechetFigure(412.34, 2048, 3783, extrapolated=399.96),
        "fid": FrechetFigure(17.251, 32768, 60528, reason="too few frames"),
    }
    shown = text(render_page(unconditional(frechet=figures)))
    assert "2,048 drawn, 3,783 true videos; extrapolated 400.0" in shown
    assert "32,768 drawn, 60,528 true frames" in shown
    assert "412.3" in shown
    assert "17.25" in shown
    assert "no value at infinitely many frames: too few frames" in shown


def test_an_empty_page_has_no_film_and_still_its_protocol():
    page = render_page(unconditional(films=[], not_computed=[]))
    assert sections(page) == ["protocol", "lineage"]


def test_the_registered_version_has_an_element_that_promotion_can_fill():
    page = render_page(
        evaluation(provenance=lineage_rows({"git_commit": "c0", "model": "m0"}, {"vqvae": "v", "frames": "f"}))
    )
    assert page.count('<dd id="model-version">not registered when this page was written</dd>') == 1
    assert "moso lineage reports" in page
    names = re.findall(r"<dt>([^<]+)</dt>", page.partition('id="lineage"')[2])
    assert names == ["Model version", "Git commit", "Model", "Input: frames", "Input: vqvae"]


def test_the_best_of_several_samples_is_said_in_words():
    page = render_page(evaluation(protocol=protocol(samples_per_video=100, best_of="each_metric_over_video_mean")))
    assert "the best of 100 samples a clip, for each metric on its own" in page
    assert "one sample" not in page
    assert "the sample that is best by LPIPS (alex) is shown" in page


def test_the_environment_names_machine_and_versions_and_no_person_host_or_path():
    found = environment("cpu")
    assert found["Device"] == "cpu"
    assert platform.python_version() in found["Python"]
    assert f"numpy {np.__version__}" in found["Packages"]
    assert re.match(r"\d+\.\d GiB$|unknown$", found["Memory"])
    words = re.split(r"[\s,()]+", " ".join(found.values()))
    assert not {getpass.getuser(), platform.node()} & set(words) - {"root"}
    assert str(Path.home()) not in " ".join(found.values())
    assert "Environment" in text(render_page(evaluation(environment=found)))


def test_recombinations_take_one_component_of_the_first_clip_and_the_rest_of_the_second(model, cache):
    clips = Clips(cache, windows(cache, "test", T, T), T)
    ((pair),) = recombination_pairs(clips.clips, 1)
    (found,) = draw_recombinations(model, clips, [pair])
    a, b = (clips.batch([i]).numpy() for i in pair)
    assert found.first.episode_id != found.second.episode_id
    assert list(found.videos) == ["first", "second", *model.components]
    np.testing.assert_array_equal(found.videos["scene"], model.recombine(scene=a, object=b, motion=b)[0])
    np.testing.assert_array_equal(found.videos["motion"], model.recombine(scene=b, object=b, motion=a)[0])
    page = render_page(evaluation(recombinations=[found]))
    assert "recombinations" in sections(page)
    assert "Scene of the first, rest of the second" in page


@pytest.mark.parametrize(("decomposition", "mixed"), [("none", None), ("motion_content", {"motion"})])
def test_only_components_that_the_model_has_are_recombined(decomposition, mixed, cache, tmp_path):
    model = Model.load(str(write_model(tmp_path / "model", 0, vqvae={"decomposition": decomposition})), device="cpu")
    clips = Clips(cache, windows(cache, "test", T, T), T)
    found = draw_recombinations(model, clips, recombination_pairs(clips.clips))
    if mixed is None:
        assert found == []
    else:
        assert set(found[0].videos) == {"first", "second", *model.components}
        assert mixed < set(model.components)
        assert len(model.components) == 2


def test_pairs_are_of_two_episodes_each_and_none_where_there_is_one():
    clips = [Clip(f"e{i // 2}", 4 * (i % 2)) for i in range(10)]
    pairs = recombination_pairs(clips)
    assert len(pairs) == 2  # five episodes make two pairs
    assert len({clips[i].episode_id for pair in pairs for i in pair}) == 4
    assert recombination_pairs(clips[:2]) == []


def test_films_of_clips_longer_than_the_models_window_are_decoded_window_by_window(model, cache):
    clips = Clips(cache, windows(cache, "test", 6, 6), 6)
    drawn = np.zeros((len(clips.clips), 4, SIZE, SIZE, 3), np.uint8)
    (videos,) = draw_videos(model, clips, [1], drawn, frames=[3, 4, 5, 6])
    truth = clips.batch([1]).numpy()
    assert {name: len(frames) for name, frames in videos.items()} == dict.fromkeys(videos, 6)
    np.testing.assert_array_equal(videos["reconstruction"][:4], model.reconstruct(truth[:, :4])[0])
    # The last window ends with the clip and gives only what is missing.
    np.testing.assert_array_equal(videos["reconstruction"][4:], model.reconstruct(truth[:, 2:])[0, 2:])
    np.testing.assert_array_equal(videos["prediction"][:2], truth[0, :2])
    assert not videos["prediction"][2:].any()


def test_films_of_a_shorter_prediction_end_with_it(model, cache):
    clips = Clips(cache, windows(cache, "test", T, T), T)
    drawn = np.zeros((len(clips.clips), 1, SIZE, SIZE, 3), np.uint8)
    (videos,) = draw_videos(model, clips, [0], drawn, frames=[3])
    assert {len(frames) for frames in videos.values()} == {3}


def test_films_of_interpolation_show_the_given_frames_where_they_are(model, cache):
    clips = Clips(cache, windows(cache, "test", T, T)[:5], T)
    drawn = np.zeros((5, 2, SIZE, SIZE, 3), np.uint8)
    films = make_films(model, clips, comparison("interpolation"), drawn, 3)
    assert [film.rank for film in films] == [1, 3, 5]
    assert films[0].clip == clips.clips[4]  # the last one has the lowest LPIPS
    shown, truth = films[0].videos["interpolation"], clips.batch([4]).numpy()[0]
    np.testing.assert_array_equal(shown[[0, 2]], truth[[0, 2]])
    assert not shown[[1, 3]].any()
    assert films[0].figures["psnr"] == pytest.approx((26.0, 24.0), abs=0.02)
