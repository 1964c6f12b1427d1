"""Streaming: the same frames as decoded at once, by number and by time stamp, from a path and from bytes."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from moso.errors import DataError
from moso.video import probe, read, stream, stream_timed

av = pytest.importorskip("av")
fmt = pytest.importorskip("formats.loose_files")


T = 40
TIMED = [
    ("a.mp4", "libx264", {"g": "10"}),
    ("a.mp4", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    ("a.mp4", "libsvtav1", {"g": "2", "preset": "12"}),
    ("a.mkv", "libx264", {"g": "10"}),
    ("a.ts", "libx264", {"g": "10"}),
    ("a.avi", "mpeg4", {}),
]


def whole(video: Path | bytes) -> np.ndarray:
    return np.concatenate(list(stream(video)))


def test_chunks_are_the_frames_that_were_written_from_a_path_and_from_bytes(tmp_path):
    frames = fmt.coloured(11)
    path = fmt.video(tmp_path / "a.avi", frames, codec="huffyuv")
    chunks = list(stream(path, chunk=4))
    assert [len(c) for c in chunks] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(chunks), frames)
    np.testing.assert_array_equal(whole(path.read_bytes()), frames)
    np.testing.assert_array_equal(np.concatenate(list(stream(str(path), first=3, count=5))), frames[3:8])
    assert [len(c) for c in stream(path, first=9, count=5)] == [2]
    assert not list(stream(path, first=11))


def test_what_a_file_says_of_itself_is_known_before_a_frame_is_decoded(tmp_path):
    facts = probe(fmt.video(tmp_path / "a.avi", fmt.moving(6), fps=29.97))
    assert (facts.height, facts.width, facts.frames, facts.pixel_format) == (16, 24, 6, "gray")
    assert facts.fps == pytest.approx(29.97, abs=1e-3)


@pytest.mark.parametrize(("name", "codec", "options"), TIMED, ids=[f"{n}-{c}-{i}" for i, (n, c, _) in enumerate(TIMED)])
def test_a_stretch_of_time_is_the_frames_with_those_time_stamps(tmp_path, name, codec, options):
    path = fmt.video(tmp_path / name, fmt.coloured(T, 64, 64), 30, codec, **options)
    frames = whole(path)
    timed = list(stream_timed(path, 0, 1e9))
    stamps = [seconds for seconds, _ in timed]
    np.testing.assert_allclose(stamps, np.arange(T) / 30, atol=6e-4)  # Matroska counts milliseconds
    np.testing.assert_array_equal(np.stack([frame for _, frame in timed]), frames)
    for first in (0, 1, 9, 10, 11, 23, 37, 39):
        last = min(first + 4, T - 1)
        found = list(stream_timed(path, stamps[first] - 1 / 60, stamps[last] + 1 / 60))
        assert [seconds for seconds, _ in found] == stamps[first : last + 1]
        np.testing.assert_array_equal(np.stack([frame for _, frame in found]), frames[first : last + 1])
    assert not list(stream_timed(path, 100, 200))
    in_memory = list(stream_timed(path.read_bytes(), stamps[30], stamps[31]))
    np.testing.assert_array_equal(in_memory[0][1], frames[30])


def test_a_stretch_begins_with_its_first_frame_not_with_the_key_frame(tmp_path):
    path = fmt.video(tmp_path / "a.mp4", fmt.coloured(T, 64, 64), 10, "libx264", g="40")
    ((seconds, frame),) = stream_timed(path, 3.0, 3.1)
    assert seconds == 3.0
    np.testing.assert_array_equal(frame, whole(path)[30])


def test_a_long_video_is_not_held_in_memory(tmp_path):
    path = fmt.video(tmp_path / "a.mp4", np.zeros((600, 64, 64, 3), np.uint8), 30, "libx264")
    for chunk in stream(path, chunk=8):  # warm: what libraries keep
        del chunk
    tracemalloc.start()
    count = sum(len(chunk) for chunk in stream(path, chunk=8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 600
    assert peak < 1_000_000  # all frames are 7.4 MB


def test_a_frame_that_an_avi_only_repeats_counts(tmp_path):
    """Lists of frame ranges count it; FFmpeg passes over it."""
    frames = fmt.coloured(9)
    path = fmt.video(tmp_path / "a.avi", frames, codec="mjpeg", pixels="yuvj420p")
    good = whole(path)
    path.write_bytes(fmt.empty_chunk(path.read_bytes(), 5))
    np.testing.assert_array_equal(whole(path), good[[0, 1, 2, 3, 4, 4, 6, 7, 8]])
    np.testing.assert_array_equal(read(path, first=5, count=2).frames[0], good[[4, 6]])
    path.write_bytes(fmt.empty_chunk(fmt.video(tmp_path / "b.avi", frames, codec="mpeg4").read_bytes(), 8))
    assert len(whole(path)) == 9  # the last one, too


def test_a_chunk_that_ffmpeg_cannot_make_out_is_damage_not_a_repeat(tmp_path):
    data = bytearray(fmt.video(tmp_path / "a.avi", fmt.coloured(9), codec="mjpeg", pixels="yuvj420p").read_bytes())
    places = [i for i in range(data.index(b"movi"), data.index(b"idx1")) if data[i : i + 4] == b"00dc"]
    data[places[4] : places[4] + 8] = bytes(8)
    index = data.index(b"idx1")
    data[index : index + 4] = b"JUNK"
    with pytest.raises(DataError, match=r"holds \d of 9 frames"):
        whole(bytes(data))


@pytest.mark.parametrize("codec", ["ffv1", "mpeg4", "mjpeg"])
@pytest.mark.parametrize("cut", [1, 40, 300])
def test_an_avi_that_lacks_its_last_bytes_is_refused(tmp_path, codec, cut):
    pixels = {"mjpeg": "yuvj420p"}.get(codec, "")
    data = fmt.video(tmp_path / "a.avi", fmt.coloured(9), codec=codec, pixels=pixels).read_bytes()
    with pytest.raises(DataError, match="cut off"):
        whole(data[:-cut])


def test_an_avi_from_a_pipe_says_no_length_and_is_read(tmp_path):
    frames = fmt.coloured(9)
    data = bytearray(fmt.video(tmp_path / "a.avi", frames, codec="huffyuv").read_bytes())
    data[4:8] = b"\xff" * 4
    np.testing.assert_array_equal(whole(bytes(data)), frames)


def test_what_is_no_video_is_refused_in_one_line(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    for video in (tmp_path / "a.mp4", tmp_path / "missing.mp4", tmp_path, b"", b"\0" * 100, b"RIFF" + b"\xff" * 60):
        with pytest.raises(DataError) as caught:
            whole(video)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"^env/cam0: "):
        list(stream(b"nothing", name="env/cam0"))


def test_a_playlist_in_memory_opens_no_file(tmp_path):
    path = fmt.video(tmp_path / "secret.ts", fmt.coloured(9, 64, 64), codec="libx264")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{path}\n#EXT-X-ENDLIST\n".encode()
    with pytest.raises(DataError):
        whole(playlist)
    with pytest.raises(DataError):
        whole(f"ffconcat version 1.0\nfile '{path}'\n".encode())


@pytest.mark.parametrize("text", ["hls", "ffconcat"])
def test_a_playlist_that_is_named_as_a_video_opens_no_other_file(tmp_path, text):
    fmt.video(tmp_path / "secret.ts", fmt.coloured(9, 64, 64), codec="libx264")
    fmt.video(tmp_path / "secret.mp4", fmt.coloured(9, 64, 64), codec="libx264")
    playlists = {
        "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nsecret.ts\n#EXT-X-ENDLIST\n",
        "ffconcat": "ffconcat version 1.0\nfile secret.mp4\n",
    }
    for suffix in (".mp4", ".m3u8", ".ffconcat"):
        path = tmp_path / f"take1{suffix}"
        path.write_text(playlists[text])
        with pytest.raises(DataError):
            whole(path)
        with pytest.raises(DataError):
            probe(path)


MATROSKA = [("a.mkv", "ffv1"), ("a.mkv", "libx264"), ("a.mkv", "mjpeg"), ("a.webm", "libvpx-vp9")]


@pytest.mark.parametrize(("name", "codec"), MATROSKA)
@pytest.mark.parametrize("share", [0.5, 0.7, 0.8])
def test_a_matroska_file_that_is_cut_is_no_shorter_video(tmp_path, name, codec, share):
    frames, pixels = fmt.coloured(40, 64, 64), {"mjpeg": "yuvj420p"}.get(codec, "")
    options = {"g": "4"} if codec != "mjpeg" else {}
    path = fmt.video(tmp_path / name, frames, 25, codec, pixels, **options)
    assert len(whole(path)) == 40
    assert len(list(stream_timed(path, 1.0, 9.0))) == 15
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match="cut off"):
        whole(path)
    with pytest.raises(DataError, match="cut off"):
        list(stream_timed(path, 0.1, 9.0))


def _with_sound(path, frames, sound_s, begins=0, last_lasts=1):
    """A Matroska file of 25 frames a second; the first is shown at frame `begins`' time."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "bgr0"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono") if sound_s else None
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = begins + number + (last_lasts - 1) * (number == len(frames) - 1)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if sound is not None:
            noise = np.zeros((1, int(8000 * sound_s)), np.int16)
            piece = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
            piece.sample_rate = 8000
            container.mux(sound.encode(piece))
            container.mux(sound.encode())
    return path


def test_a_whole_matroska_file_is_read_however_long_its_sound_is_and_whenever_it_begins(tmp_path):
    frames = fmt.coloured(10)
    for number, changes in enumerate(({"sound_s": 3}, {"sound_s": 0, "begins": 50}, {"sound_s": 0, "last_lasts": 20})):
        path = _with_sound(tmp_path / f"{number}.mkv", frames, **changes)
        np.testing.assert_array_equal(whole(path), frames)
    # Where the video's own duration is not said, that of the whole file is not taken for it beside sound, ...
    path = _with_sound(tmp_path / "a.mkv", frames, sound_s=3)
    path.write_bytes(path.read_bytes().replace(b"DURATION", b"DURATIOX"))
    np.testing.assert_array_equal(whole(path), frames)
    # ... and is without.
    path = _with_sound(tmp_path / "b.mkv", frames, sound_s=0)
    data = path.read_bytes().replace(b"DURATION", b"DURATIOX")
    assert len(whole(data)) == 10
    with pytest.raises(DataError, match=r"its header says 0\.400 s"):
        whole(data[: int(0.7 * len(data))])


@pytest.mark.parametrize(
    ("name", "codec", "least"),
    # Of 60, about 22, 19, 3 and 2 are refused: a coding without checksums takes most bytes for some picture.
    [("a.mp4", "libx264", 15), ("a.mkv", "libx264", 12), ("a.avi", "mpeg4", 1), ("b.avi", "ffv1", 1)],
)
def test_damaged_bytes_anywhere_end_in_no_more_frames_or_a_data_error(tmp_path, name, codec, least):
    """Never in another exception, and never in more frames than there were."""
    rng = np.random.default_rng(0)
    data = fmt.video(tmp_path / name, fmt.coloured(8, 32, 32), 10, codec).read_bytes()
    refused = 0
    for _ in range(60):
        bad = bytearray(data)
        place = int(rng.integers(0, len(bad) - 8))
        bad[place : place + 8] = rng.bytes(8)
        try:
            found = whole(bytes(bad))
        except DataError:
            refused += 1
        else:
            assert found.dtype == np.uint8
            assert 1 <= len(found) <= 8
    assert refused >= least


def test_frames_of_two_sizes_are_refused(tmp_path):
    pictures = [fmt.png(tmp_path / f"{n}.jpg", fmt.coloured(1, n, 64)[0]) for n in (32, 32, 64)]
    (tmp_path / "a.mjpeg").write_bytes(b"".join(picture.read_bytes() for picture in pictures))
    with pytest.raises(DataError, match="frames of several sizes"):
        whole(tmp_path / "a.mjpeg")
