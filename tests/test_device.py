"""Names of devices."""

import pytest
import torch

from moso.device import device_of
from moso.errors import ConfigError


def test_auto_takes_a_gpu_where_there_is_one():
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_of("cpu") == torch.device("cpu")
    assert device_of(torch.device("meta")) == torch.device("meta")


@pytest.mark.parametrize(("name", "rule"), [("gpu", "is no device"), ("cuda:63", "torch finds")])
def test_a_device_that_is_not_there_is_refused_before_anything_runs(name, rule):
    with pytest.raises(ConfigError, match=rf"device = '{name}': {rule}"):
        device_of(name)


@pytest.mark.parametrize(
    ("found", "cuda", "remedy"),
    [
        (0, None, "an image of the variant cuda"),
        (0, "13.0", "docker run --gpus all"),
        (2, "13.0", "'cuda:0' to 'cuda:1' are there"),
    ],
)
def test_a_gpu_that_is_not_seen_says_what_to_do(found, cuda, remedy, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    with pytest.raises(ConfigError, match=remedy) as caught:
        device_of("cuda:5")
    assert "\n" not in str(caught.value)
