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
