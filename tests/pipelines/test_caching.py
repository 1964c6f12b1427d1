"""Cache keys by content: they change with what a step computes from, and with nothing else."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import SPECS, STEPS, load_params, resolve_all
from pipelines.caching import cache_keys, raw_digest_of
from pipelines.cluster import ROOT
from pipelines.training import arguments, compiled

CACHED = [step for step in STEPS if step != "promote"]
PARAMS = {**load_params(ROOT / "params.yaml"), "preset": "tiny"}


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    return arguments(PARAMS)


def changed(given: dict[str, Any], **others: Any) -> list[str]:
    """The steps whose key is another one, where `others` is laid over the arguments (raw: the raw data's digest)."""
    raw = others.pop("raw", "raw")
    root = others.pop("root", ROOT)
    before, after = cache_keys(given, "raw"), cache_keys({**given, **others}, raw, root)
    assert list(before) == list(after) == CACHED
    return [step for step in CACHED if before[step] != after[step]]


def test_other_raw_data_changes_every_key_and_the_same_changes_none(given: dict[str, Any]) -> None:
    assert changed(given) == []
    assert changed(given, raw="other") == CACHED


def test_a_setting_changes_its_own_step_s_key_and_those_behind_it(given: dict[str, Any]) -> None:
    transformer = copy.deepcopy(given["train_transformer"])
    transformer["training"]["steps"] += 1
    assert changed(given, train_transformer=transformer) == ["train_transformer", "evaluate"]


def test_the_number_of_workers_changes_no_key(given: dict[str, Any]) -> None:
    assert changed(given, ray={**given["ray"], "workers": 8}) == []


def test_code_changes_the_keys_of_the_stages_that_dvc_would_run_again(given: dict[str, Any], tmp_path: Path) -> None:
    for name in ("moso", "components"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "moso" / "transformer" / "layers.py").open("a").write("# changed\n")
    assert changed(given, root=tmp_path) == ["train_transformer", "evaluate"]


def test_the_raw_data_of_a_simulation_is_known_and_that_of_recordings_is_not(tmp_path: Path) -> None:
    ingest = resolve_all(PARAMS, SPECS)["ingest"]
    assert raw_digest_of(ingest) == "simulated"
    recorded = resolve_all({**PARAMS, "ingest": {"raw": str(tmp_path)}}, SPECS)["ingest"]
    assert raw_digest_of(recorded) is None
    assert raw_digest_of(recorded, "sha256:ab") == "sha256:ab"
    assert cache_keys({}, None) == {}


def caching(keys: dict[str, str]) -> dict[str, Any]:
    spec = yaml.safe_load(compiled(None, keys))
    return {name.replace("-", "_"): task["cachingOptions"] for name, task in spec["root"]["dag"]["tasks"].items()}


def test_without_a_digest_changed_raw_data_is_never_served_from_the_cache() -> None:
    options = caching({})
    assert options["ingest"] == options["promote"] == {}
    assert options["preprocess"] == {"enableCache": True}


def test_with_keys_every_step_but_promote_is_cached_by_its_own(given: dict[str, Any]) -> None:
    keys = cache_keys(given, "raw")
    options = caching(keys)
    assert options.pop("promote") == {}
    assert options == {step: {"enableCache": True, "cacheKey": keys[step]} for step in CACHED}
    assert len(set(keys.values())) == len(CACHED)
