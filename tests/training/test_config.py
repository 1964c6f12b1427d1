import pytest

from moso.config import build, to_dict
from moso.errors import ConfigError
from moso.training.config import OptimizerConfig, TrainingConfig


def test_a_config_survives_plain_data():
    config = TrainingConfig(5, 2, OptimizerConfig("muon", adamw_parameters=("head.*",)), schedule="cosine", warmup=0.03)
    assert build(TrainingConfig, to_dict(config)) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("batch", 0),
        ("warmup", 1.0),
        ("ema_decay", 1.0),
        ("gradient_clip", -1.0),
        ("gradient_clip", float("nan")),
        ("keep_checkpoints", 0),
        ("schedule", "linear"),
        ("precision", "double"),
        ("prefetch", -1),
    ],
)
def test_a_setting_that_breaks_its_rule_is_named(field, value):
    with pytest.raises(ConfigError, match=field):
        build(TrainingConfig, {"steps": 1, "batch": 1, field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("name", "sgd"), ("learning_rate", 0), ("betas", (0.9, 1.0)), ("iterations", 0)]
)
def test_an_optimizer_setting_that_breaks_its_rule_is_named(field, value):
    with pytest.raises(ConfigError, match=field):
        build(OptimizerConfig, {field: value})


def test_the_path_of_a_nested_setting_is_in_the_message():
    with pytest.raises(ConfigError, match=r"training\.optimizer\.momentum"):
        build(TrainingConfig, {"steps": 1, "batch": 1, "optimizer": {"momentum": 2}}, "training")
