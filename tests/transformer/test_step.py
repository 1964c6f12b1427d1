import json

import pytest
from small_transformers import SMALL

from components.train_transformer.step import Config, run
from moso.config import build, load_preset
from moso.errors import ConfigError
from moso.provenance import read_provenance
from moso.step import Context
from moso.transformer.config import SamplingConfig
from moso.transformer.model import load_transformer

SECTION = {
    "model": {**SMALL, "dropout": 0.1},
    "sampling": {"steps": 3},
    "training": {"steps": 3, "batch": 2, "validate_every": 3, "log_every": 1},
    "validation_clips": 2,
}


def _run(store, folder, **settings):
    config = build(Config, {**SECTION, **settings})
    run(config, {"tokens": store.folder}, {"transformer": folder}, Context(work=folder.parent / "work", device="cpu"))
    return read_provenance(folder, format="moso.transformer", version=1)


def test_the_step_writes_a_loadable_model_its_sampling_and_its_curve(store, tmp_path):
    record = _run(store, tmp_path / "transformer")
    model = load_transformer(tmp_path / "transformer", codebook_digest=store.codebook_digest)
    assert (model.grids, model.given_frames) == (store.grids, store.given_frames)
    sampling = json.loads((tmp_path / "transformer" / "sampling.json").read_text())
    assert build(SamplingConfig, sampling) == SamplingConfig(steps=3)
    header, *lines = (tmp_path / "transformer" / "history.csv").read_text().splitlines()
    assert header.startswith("step,")
    assert [line.split(",")[0] for line in lines] == ["1", "2", "3"]
    assert record["inputs"] == {"tokens": read_provenance(store.folder)["digest"]}


def test_one_seed_one_result(store, tmp_path):
    one, two, other = (_run(store, tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert one["digest"] == two["digest"] != other["digest"]


@pytest.mark.parametrize("preset", ["sim_push", "tiny"])
def test_the_presets_sections_are_valid(preset):
    config = build(Config, load_preset(preset)["train_transformer"])
    assert config.model.merged_scene_object


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'depthwise'"):
        build(Config, {**SECTION, "model": {"deptwise": True}})
