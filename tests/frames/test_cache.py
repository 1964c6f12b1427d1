import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moso.errors import DataError, FormatError
from moso.frames.cache import FrameCache, FrameCacheWriter
from moso.provenance import write_provenance

Write = Callable[..., None]


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_episode_reads_back_as_it_was_written(cache: FrameCache, videos: list[Any]) -> None:
    assert (cache.height, cache.width, cache.fps) == (4, 6, 10.0)
    for video in videos:
        assert np.array_equal(cache.frames(video.episode_id), video.frames)
        assert np.array_equal(cache.actions(video.episode_id), video.actions)  # type: ignore[arg-type]
        assert np.array_equal(cache.states(video.episode_id, 0, 1), video.states[:1])  # type: ignore[arg-type]
        assert np.array_equal(cache.frames(video.episode_id, len(video.frames) - 1), video.frames[-1:])


def test_shards_close_before_they_would_grow_too_large_and_a_longer_episode_has_its_own(cache: FrameCache) -> None:
    # lengths 5 4 | 3 7 | 1 | 12 | 2 with at most 10 frames a shard; the episode of 12 stays whole
    assert list(cache.episodes["shard"]) == [0, 0, 1, 1, 2, 3, 4]
    assert list(cache.episodes["first_frame"]) == [0, 5, 0, 3, 0, 0, 0]
    assert list(cache.episodes["frames"]) == [5, 4, 3, 7, 1, 12, 2]
    assert list(cache.episodes.columns) == ["episode_id", "split", "shard", "first_frame", "frames"]


def test_shards_are_plain_npy_files_that_numpy_reads(cache: FrameCache, videos: list[Any]) -> None:
    array = np.load(cache.folder / "shards/00000/frames.npy")
    assert array.dtype == np.uint8
    assert np.array_equal(array, np.concatenate([videos[0].frames, videos[1].frames]))


def test_frames_are_read_only_views_of_the_file(cache: FrameCache) -> None:
    frames = cache.frames("e_3", 2, 3)
    assert np.shares_memory(frames, cache.shard(1))
    with pytest.raises(ValueError, match="read-only"):
        frames[0] = 0


@pytest.mark.parametrize(("first", "count"), [(0, 6), (-1, 2), (6, None), (4, 2), (3, -1)])
def test_frames_outside_the_episode_are_an_error_never_the_neighbours(
    first: int, count: int | None, cache: FrameCache
) -> None:
    with pytest.raises(DataError, match="e_0 has 5 frames"):
        cache.frames("e_0", first, count)
    with pytest.raises(DataError, match="no episode 'e_99'"):
        cache.frames("e_99")


def test_a_cache_without_actions_says_so(tmp_path: Path, videos: list[Any]) -> None:
    with FrameCacheWriter(tmp_path, height=4, width=6, fps=5.0) as writer:
        writer.add("e", "train", videos[0].frames, videos[0].actions)
    cache = FrameCache.open(tmp_path)
    assert cache.actions("e") is None
    assert cache.states("e") is None
    assert not (tmp_path / "shards/00000/actions.npy").exists()


def test_checksums_in_the_index_are_those_of_the_files(cache: FrameCache) -> None:
    for number, shard in enumerate(cache.index["shards"]):
        for name, entry in shard["files"].items():
            data = (cache.folder / f"shards/{number:05d}/{name}").read_bytes()
            assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_a_missing_or_shortened_file_is_found_on_opening(cache: FrameCache) -> None:
    path = cache.folder / "shards/00001/frames.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=f"has {len(whole) - 1} bytes, the index says {len(whole)}"):
        FrameCache.open(cache.folder)
    path.unlink()
    with pytest.raises(DataError, match="is missing"):
        FrameCache.open(cache.folder)


def test_a_flipped_bit_is_found_by_verify(cache: FrameCache) -> None:
    FrameCache.open(cache.folder).verify()
    path = cache.folder / "shards/00001/actions.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    opened = FrameCache.open(cache.folder)
    with pytest.raises(DataError, match=r"00001/actions\.npy is damaged"):
        opened.verify()


def test_extending_touches_no_old_file_but_the_index(
    cache: FrameCache, videos: list[Any], make: Callable[..., Any], write: Write
) -> None:
    before = content(cache.folder)
    more = [make(20, 3), make(21, 6, "test")]
    write(cache.folder, more)
    after = content(cache.folder)
    assert {name for name, data in before.items() if after[name] != data} == {"index.json"}
    assert not cache.folder.joinpath("shards/00004/frames.npy").samefile(cache.folder / "shards/00005/frames.npy")
    extended = FrameCache.open(cache.folder)
    extended.verify()
    assert list(extended.episodes["shard"]) == [0, 0, 1, 1, 2, 3, 4, 5, 5]  # never into the half-full shard 4
    for video in [*videos, *more]:
        assert np.array_equal(extended.frames(video.episode_id), video.frames)
    assert np.array_equal(cache.frames("e_5"), videos[5].frames)  # a reader that had it open goes on


def test_an_interrupted_writer_goes_on_to_the_same_bytes(tmp_path: Path, videos: list[Any], write: Write) -> None:
    write(tmp_path / "whole", videos)
    for stop in range(len(videos)):
        folder = tmp_path / f"interrupted_{stop}"

        def until(stop: int = stop) -> Any:
            yield from videos[:stop]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write(folder, until())
        with pytest.raises(FormatError, match="no finished frame cache"):
            FrameCache.open(folder)
        write(folder, videos)
        assert content(folder) == content(tmp_path / "whole")


def test_what_a_killed_writer_left_unfinished_is_dropped(tmp_path: Path, videos: list[Any], write: Write) -> None:
    write(tmp_path / "whole", videos)
    folder = tmp_path / "killed"
    writer = FrameCacheWriter(
        folder, height=4, width=6, fps=10.0, actions=2, states=1, shard_bytes=10 * 4 * 6 * 3
    )  # never closed, as after SIGKILL
    for video in videos[:3]:
        writer.add(video.episode_id, video.split, video.frames, video.actions, video.states)
    assert (folder / "shards/.00001.partial").exists()
    write(folder, videos)
    assert content(folder) == content(tmp_path / "whole")


def test_what_does_not_fit_the_cache_is_refused(tmp_path: Path, videos: list[Any]) -> None:
    good = videos[0]
    settings: dict[str, Any] = {"height": 4, "width": 6, "fps": 10.0, "actions": 2}
    with FrameCacheWriter(tmp_path, **settings) as writer:
        writer.add("a", "train", good.frames, good.actions)
        with pytest.raises(DataError, match="in the cache already"):
            writer.add("a", "train", good.frames, good.actions)
        for frames, actions in [
            (good.frames[:, :3], good.actions),
            (good.frames.astype(np.float32), good.actions),
            (good.frames, None),
            (good.frames, good.actions[:4]),
            (good.frames, good.actions.astype(np.float64)),
        ]:
            with pytest.raises(DataError, match="expected"):
                writer.add("b", "train", frames, actions)
    with pytest.raises(FormatError, match="asked for"):
        FrameCacheWriter(tmp_path, **(settings | {"width": 8}))
    assert np.array_equal(FrameCache.open(tmp_path).frames("a"), good.frames)


def test_another_format_version_is_refused_by_name(cache: FrameCache) -> None:
    path = cache.folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(FormatError, match=r"version 2, this code reads moso\.frames version 1"):
        FrameCache.open(cache.folder)


def test_the_digest_is_that_of_provenance_and_absent_while_the_cache_is_written(cache: FrameCache) -> None:
    with pytest.raises(FormatError, match=r"no provenance\.json"):
        _ = cache.digest
    record = write_provenance(cache.folder, format="moso.frames", version=1, step="preprocess", config={}, inputs={})
    assert cache.digest == record["digest"]


def test_threads_may_read_at_once(cache: FrameCache, videos: list[Any]) -> None:
    wanted = videos * 20
    fresh = FrameCache.open(cache.folder)
    with ThreadPoolExecutor(8) as pool:
        for video, frames in zip(wanted, pool.map(lambda v: fresh.frames(v.episode_id), wanted), strict=True):
            assert np.array_equal(frames, video.frames)
