"""train_vqvae of the tiny configuration on two hosts of a cluster of three, as a person starts it; hosts fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.cluster.hosts import Host, hosts, wait_until
from tests.cluster.ray_cluster import ENVIRONMENT, ROOT, Cluster

pytestmark = pytest.mark.cluster

# Long enough that a host can fail in the middle; the rest is the tiny configuration.
TRAINING = {"steps": 48, "checkpoint_every": 4, "log_every": 4}
WORKER = b"ray::RayTrainWorker"


def write_params(folder: Path) -> None:
    """The tiny configuration, longer."""
    params = {"dataset": "sim_push", "preset": "tiny", "seed": 0, "train_vqvae": {"training": TRAINING}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


class Training:
    """A training on a running cluster, whose driver is a process of the head."""

    def __init__(self, cluster: Cluster, frames: Path, folder: Path) -> None:
        folder.mkdir()
        self.cluster = cluster
        self.output, self.storage, self.log = folder / "vqvae", folder / "storage", folder / "training.log"
        write_params(folder)
        ray = {"workers": 2, "address": cluster.address, "storage": str(self.storage)}
        environment = {
            **ENVIRONMENT,
            "MOSO_RAY": json.dumps(ray),
            "MOSO_TRACKING": "off",
            "MOSO_WORK": str(cluster.hosts[0].disk / f"work-{folder.name}"),
        }
        command = [sys.executable, "-m", "components.train_vqvae.step", "--specs", str(ROOT / "data" / "specs")]
        command += ["--in", f"frames={frames}", "--out", f"vqvae={self.output}"]
        with self.log.open("wb") as log:
            self.driver = cluster.hosts[0].start(command, log, environment, folder)

    def wait_for_checkpoints(self, count: int) -> None:
        """Until so many checkpoints have been reported in all."""

        def there() -> bool:
            assert self.driver.poll() is None, self.said()[-6000:]
            numbers = {path.name for path in self.storage.glob("*/checkpoint_*")}
            seen.update(numbers)
            return len(seen) >= count

        seen: set[str] = set()
        wait_until(f"{count} checkpoints", there, 240)

    def at_work(self) -> list[Host]:
        """The hosts that have a worker, the head left out."""
        return [host for host in self.cluster.hosts[1:] if host.processes(WORKER)]

    def finish(self) -> None:
        """Wait for the end."""
        assert self.driver.wait(400) == 0, self.said()[-6000:]

    def said(self) -> str:
        """All that the driver printed."""
        return self.log.read_text()


@pytest.fixture(scope="module")
def cluster(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three hosts, one of them the head, a CPU each: one more than a training on two workers needs."""
    folder = tmp_path_factory.mktemp("cluster")
    with hosts(["moso-a", "moso-b", "moso-c"], folder) as three:
        made = Cluster(three, folder)
        made.start_head()
        yield made


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, frames: Path) -> Training:
    """What two hosts train when none fails."""
    cluster.complete()
    training = Training(cluster, frames, cluster.logs / "undisturbed")
    training.wait_for_checkpoints(1)
    assert len(training.at_work()) == 1, "one worker on the head, one on another host"
    training.finish()
    return training


def test_two_hosts_train_what_one_process_does(undisturbed: Training, frames: Path, tmp_path: Path) -> None:
    """To rounding until k-means starts the codebook (after step 8), where a rounding decides which token is taken."""
    write_params(tmp_path)
    command = [sys.executable, "-m", "components.train_vqvae.step", "--specs", str(ROOT / "data" / "specs")]
    command += ["--in", f"frames={frames}", "--out", "vqvae=vqvae"]
    environment = {**os.environ, **ENVIRONMENT, "MOSO_TRACKING": "off", "MOSO_DEVICE": "cpu"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    one, two = (
        pandas.read_csv(folder / "history.csv").set_index("step") for folder in (tmp_path / "vqvae", undisturbed.output)
    )
    assert list(one.index) == list(two.index)
    for name in ("loss", "psnr", "gradient_norm"):
        np.testing.assert_allclose(two.loc[[4, 8], name], one.loc[[4, 8], name], rtol=1e-5)


def test_training_goes_on_with_the_same_result_when_a_nodes_raylet_is_killed(
    undisturbed: Training, cluster: Cluster, frames: Path
) -> None:
    cluster.complete()
    training = Training(cluster, frames, cluster.logs / "killed")
    training.wait_for_checkpoints(3)
    (lost,) = training.at_work()
    (raylet,) = lost.processes(b"/raylet")
    os.kill(raylet, signal.SIGKILL)
    cluster.wait_for_nodes(2)
    training.finish()
    assert "goes on from step" in training.said()
    assert_equal(training, undisturbed)


def test_training_goes_on_with_the_same_result_when_a_host_is_cut_off(
    undisturbed: Training, cluster: Cluster, frames: Path
) -> None:
    cluster.complete()
    training = Training(cluster, frames, cluster.logs / "cut")
    training.wait_for_checkpoints(3)
    (lost,) = training.at_work()
    lost.cut()
    cluster.wait_for_nodes(2)
    training.finish()
    assert "goes on from step" in training.said()
    assert_equal(training, undisturbed)


def test_a_host_with_another_token_does_not_join(tmp_path: Path) -> None:
    with hosts(["moso-a", "moso-b"], tmp_path) as (head, stranger):
        made = Cluster([head, stranger], tmp_path)
        made.start_head()
        refused, _ = made.start_ray(stranger, f"--address={made.address}", token="another" * 8)
        assert refused.wait(120) != 0
        assert made.nodes() == 1


def assert_equal(one: Training, other: Training) -> None:
    ours, theirs = (load_file(training.output / "model.safetensors") for training in (one, other))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
