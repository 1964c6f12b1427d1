"""`moso simulate` as a user types it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from moso.cli.simulate import command, parse_seeds, parse_settings
from moso.errors import ConfigError


def test_seed_ranges_leave_out_their_end_and_are_joined_by_commas() -> None:
    assert parse_seeds("0:3,10:12,7") == [0, 1, 2, 10, 11, 7]


@pytest.mark.parametrize("text", ["", "a:b", "3:3", "5:2", "1:2:3", "0:3,"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="seeds = "):
        parse_seeds(text)


def test_settings_are_nested_by_their_dots_and_read_as_yaml() -> None:
    settings = parse_settings(["camera.pan=0.2", "camera.target=[0, 0, 0.1]", "height=32", "objects.shapes=[box]"])
    assert settings == {"camera": {"pan": 0.2, "target": [0, 0, 0.1]}, "height": 32, "objects": {"shapes": ["box"]}}
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_settings(["height"])


def test_the_command_writes_what_is_asked_for_and_says_so(tmp_path: Path) -> None:
    out = str(tmp_path / "raw")
    arguments = ["--out", out, "--seeds", "0:2", "--workers", "1", "--set", "frames=3", "--set", "height=16"]
    first = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "2 episodes written, 0 were there" in first.output
    again = CliRunner().invoke(command, [*arguments[:3], "0:3", *arguments[4:]], catch_exceptions=False)
    assert "1 episodes written, 2 were there" in again.output


def test_an_unknown_setting_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--out", str(tmp_path), "--seeds", "0:1", "--set", "camera.pam=1"])
    assert isinstance(result.exception, ConfigError)
    assert "did you mean 'pan'" in str(result.exception)
