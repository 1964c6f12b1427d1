"""What every training logs, on the real networks of both stages."""

import pytest
import torch

from moso.planning.stages import Experiment, make_objective
from moso.step import Context
from moso.tracking import NullTracker
from moso.training.loop import train
from moso.training.work import WorkFolder

LOGGED = {
    "samples_per_s", "data_wait_s", "data_wait_share", "peak_memory_mb", "flops_per_step", "model_flops_utilisation",
}  # fmt: skip


class Recorder(NullTracker):
    def __init__(self):
        self.points = {}

    def metrics(self, values, step):
        self.points.setdefault(step, {}).update(values)


@pytest.mark.parametrize(
    ("stage", "rate", "count"), [("vqvae", "images_per_s", 6), ("transformer", "tokens_per_s", 224)]
)
def test_every_training_logs_rates_waiting_memory_and_utilisation_and_its_history_has_none_of_it(
    stage, rate, count, tmp_path
):
    experiment = Experiment.of_preset("sim_push/tiny").with_training(stage, steps=4, log_every=2, validate_every=0)
    tracker = Recorder()
    history = train(
        make_objective(experiment, stage, torch.device("cpu")),
        experiment.training[stage],
        seed=0,
        work=WorkFolder(tmp_path, "work"),
        context=Context(work=tmp_path, tracker=tracker),
        title=stage,
        identity={},
    )
    assert list(tracker.points) == [2, 4]
    for point in tracker.points.values():
        assert point.keys() >= LOGGED | {rate}
        assert point[rate] == pytest.approx(point["samples_per_s"] * count)
        assert 0 <= point["data_wait_share"] < 1
        assert 0 < point["model_flops_utilisation"] < 1.5  # of a peak measured beside other processes
        assert point["peak_memory_mb"] > 100
    for row in history:  # equal runs share it
        assert not row.keys() & (LOGGED | {rate})
        assert "loss" in row
