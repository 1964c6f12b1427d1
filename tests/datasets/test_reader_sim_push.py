import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.ingest import read_source
from moso.datasets.readers import FORMATS, reader, sim_push
from moso.datasets.spec import DatasetSpec, SignalSpec
from moso.datasets.splits import Splits
from moso.errors import ConfigError

Write = Callable[..., str]


def only(root: Path, source: str, spec: DatasetSpec) -> Episode | Rejected:
    (record,) = sim_push.read(root, Source(source), spec)
    return record


def reason(root: Path, source: str, spec: DatasetSpec) -> str:
    record = only(root, source, spec)
    assert isinstance(record, Rejected)
    assert (record.file, record.offset) == (source, 0)
    return record.reason


def test_every_format_has_a_reader_and_no_other_name_has_one() -> None:
    for name in FORMATS:
        assert callable(reader(name).read)
        assert callable(reader(name).sources)
    with pytest.raises(ConfigError, match=r"known: .*sim_push"):
        reader("os")


def test_what_is_read_is_what_was_written(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    frames = np.arange(5 * 2 * 3 * 3, dtype=np.uint8).reshape(5, 2, 3, 3)
    actions = np.arange(10, dtype=np.float32).reshape(5, 2)
    states = -np.arange(5, dtype=np.float32).reshape(5, 1)
    episode = only(tmp_path, write_raw(7, frames=frames, actions=actions, states=states), spec)
    assert isinstance(episode, Episode)
    assert (episode.episode_id, episode.source, episode.fps) == ("seed_000007", "episodes/seed_000007.npz", 10.0)
    assert episode.actions is not None
    assert episode.states is not None
    for read, written in ((episode.load(), frames), (episode.actions, actions), (episode.states, states)):
        assert read.dtype == written.dtype
        assert np.array_equal(read, written)


def test_sources_are_the_episodes_in_order_of_their_seeds(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    for seed in (200, 3, 100000):
        write_raw(seed)
    (tmp_path / "episodes" / ".seed_000004.npz.tmp").touch()
    (tmp_path / "simulation.json").write_text("{}")
    assert sim_push.sources(tmp_path, spec) == [Source(sim_push.source_of(s)) for s in (3, 200, 100000)]


ZEROS = np.zeros((5, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"frames": ZEROS.astype(np.float32)}, "frames are float32, expected uint8"),
        ({"frames": ZEROS[..., 0]}, r"frames have shape (5, 4, 4)"),
        ({"frames": np.moveaxis(ZEROS, -1, 1)}, r"frames have shape (5, 3, 4, 4)"),
        ({"frames": ZEROS[:, :0]}, r"frames have shape (5, 0, 4, 3)"),
        ({"frames": ZEROS[:4]}, "actions have 5 rows, there are 4 frames"),
        ({"actions": np.zeros((5, 3))}, "actions are float64, expected float32"),
        ({"states": np.full((5, 2), np.nan, np.float32)}, "states hold numbers that are not finite"),
        ({"states": None}, "states"),
        ({"frames": None}, "frames"),
    ],
)  # fmt: skip
def test_wrong_content_is_rejected_with_what_is_wrong(
    arrays: dict[str, np.ndarray | None], said: str, tmp_path: Path, spec: DatasetSpec, write_raw: Write
) -> None:
    assert said in reason(tmp_path, write_raw(1, **arrays), spec)


def test_an_episode_of_another_length_than_the_spec_says_is_set_aside_by_ingest(
    tmp_path: Path, spec: DatasetSpec, write_raw: Write
) -> None:
    short = {"actions": np.zeros((4, 3), np.float32), "states": np.zeros((4, 2), np.float32)}
    source = write_raw(1, frames=ZEROS[:4], **short)
    _, rows, bad = read_source(tmp_path, spec, Splits.of(spec), Source(source))
    assert rows == []
    assert bad == [Rejected(source, 0, "seed_000001: 4 frames, the spec says 5", source)]


def test_a_truncated_file_is_rejected_wherever_it_ends(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    source = write_raw(1)
    whole = (tmp_path / source).read_bytes()
    for length in [0, 1, 4, *range(10, len(whole), 97), len(whole) - 1]:
        (tmp_path / source).write_bytes(whole[:length])
        assert reason(tmp_path, source, spec)
    (tmp_path / source).write_bytes(b"")
    assert reason(tmp_path, source, spec) == "the file is empty"


def test_a_flipped_bit_never_passes_as_other_frames(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    source = write_raw(1)
    whole = (tmp_path / source).read_bytes()
    good = only(tmp_path, source, spec)
    assert isinstance(good, Episode)
    rejected = 0
    for at in range(0, len(whole), 13):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        (tmp_path / source).write_bytes(damaged)
        record = only(tmp_path, source, spec)
        if isinstance(record, Rejected):
            rejected += 1
        else:  # a byte without meaning (a date, say)
            assert np.array_equal(record.load(), good.load())
            assert np.array_equal(record.actions, good.actions)  # type: ignore[arg-type]
    assert rejected > 20


def test_objects_that_need_pickle_are_rejected_unopened(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    source = write_raw(1, actions=np.array([{"a": 1}] * 5, dtype=object))
    assert "allow_pickle" in reason(tmp_path, source, spec)


def test_a_header_that_claims_an_absurd_size_is_rejected(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    source = write_raw(1)
    with zipfile.ZipFile(tmp_path / source, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": (10**15, 64, 64, 3)}
        )
        archive.writestr("frames.npy", header.getvalue())
    assert reason(tmp_path, source, spec)


def test_a_plain_npy_and_a_missing_file_are_rejected(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    source = write_raw(1)
    with (tmp_path / source).open("wb") as file:
        np.save(file, ZEROS)
    assert "no .npz archive" in reason(tmp_path, source, spec)
    (tmp_path / source).unlink()
    assert "FileNotFoundError" in reason(tmp_path, source, spec)


def test_dimensions_must_be_those_that_the_spec_names(tmp_path: Path, spec: DatasetSpec, write_raw: Write) -> None:
    three = SignalSpec(("x", "y", "z"), "delta", "end_effector", ("m", "m", "m"))
    source = write_raw(1)
    assert isinstance(only(tmp_path, source, replace(spec, actions=three)), Episode)
    assert reason(tmp_path, source, replace(spec, states=three)) == "states have 2 dimensions, the spec names 3"
