"""A loss of Stage II that is not finite stops the run and names the clips of the token store."""

import pytest
import torch
from small_transformers import SMALL

from components.train_transformer import step
from moso.config import build
from moso.step import Context
from moso.training.loop import NotFiniteError


def test_poisoned_weights_stop_the_run_with_step_clips_and_last_good_checkpoint(store, tmp_path, monkeypatch):
    training = {"steps": 4, "batch": 2, "checkpoint_every": 1}
    config = build(step.Config, {"model": {**SMALL}, "training": training})
    original = step.TransformerObjective.before_step

    def before_step(self, now, world):
        original(self, now, world)
        if now == 2:
            next(self.module.parameters()).data.fill_(torch.nan)

    monkeypatch.setattr(step.TransformerObjective, "before_step", before_step)
    context = Context(tmp_path / "work", device="cpu")
    with pytest.raises(NotFiniteError, match=r"train_transformer: step 2: loss nan, .*step_00000002;") as caught:
        step.run(config, {"tokens": store.folder}, {"transformer": tmp_path / "transformer"}, context)
    named = str(caught.value).split("on the clips ")[1].split(";")[0].split(", ")
    training_clips = store.table["clip_id"][store.table["split"] == "train"].tolist()
    assert len(named) == 2
    assert set(named) <= set(training_clips)
    assert not (tmp_path / "transformer").exists()
