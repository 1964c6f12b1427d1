"""`moso info`."""

import pytest


def test_parameters_are_counted_for_the_presets_named(moso):
    done = moso("info", "--parameters", "sim_push/default", "bair/default")
    assert done.code == 0
    heading, *rows = done.out.splitlines()
    assert heading.split() == ["preset", "VQVAE", "transformer", "T", "K", "pixels", "tokens"]
    assert [row.split()[0] for row in rows] == ["sim_push/default", "bair/default"]
    # the paper's 265M, and Table 7's tokens of BAIR: 256 + 256 + 16 * 64
    assert rows[1].split() == ["bair/default", "53,062,915", "265,213,446", "16", "1", "64", "x", "64", "1,536"]


def test_an_unknown_preset_is_told_the_nearest(moso):
    done = moso("info", "--parameters", "bair/64")
    assert "did you mean 'bair/default'" in done.refusal
    assert not done.out


def test_a_preset_without_parameters_is_a_usage_error(moso):
    assert moso("info", "bair/default").code == 2


@pytest.mark.parametrize("word", ["torch", "python", "sim_push", "cpu"])
def test_info_says_what_there_is(moso, word):
    assert word in moso("info").out
