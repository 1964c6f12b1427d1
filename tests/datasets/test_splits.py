import pytest

from moso.datasets.spec import DatasetSpec
from moso.datasets.splits import split_of
from moso.errors import DataError


@pytest.mark.parametrize(
    ("episode_id", "split"),
    [
        ("seed_000000", "train"),
        ("seed_000099", "train"),
        ("seed_000100", "validation"),
        ("seed_000199", "validation"),
        ("seed_000200", "test"),
        ("robot2_run_299", "test"),
    ],
)
def test_the_split_follows_from_the_number_that_the_id_ends_in(episode_id: str, split: str, spec: DatasetSpec) -> None:
    assert split_of(episode_id, spec.splits) == split


@pytest.mark.parametrize(("episode_id", "said"), [("seed_000300", "no split"), ("run_b", "number"), ("7_x", "number")])
def test_an_id_without_a_split_is_an_error_not_a_guess(episode_id: str, said: str, spec: DatasetSpec) -> None:
    with pytest.raises(DataError, match=said):
        split_of(episode_id, spec.splits)
