"""Videos as files: what is written is read back, and what cannot be read says why in one line."""

import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from moso.errors import ConfigError, DataError
from moso.video import read, write, write_array
from moso.video.containers import write_mp4
from moso.video.layout import GIVEN, MARGIN, PAPER, film, strip
from moso.video.packages import MissingPackage
from moso.video.pictures import natural

T, H, W = 12, 48, 64


@pytest.fixture
def video() -> np.ndarray:
    """A smooth picture with a square that moves over it: (12, 48, 64, 3)."""
    y, x, t = np.mgrid[0:H, 0:W, 0:T].astype(float)
    red, green, blue = 90 + x, 60 + 2 * y, 120 + 4 * t
    frames = np.stack([red, green, blue], axis=-1).transpose(2, 0, 1, 3)
    for i in range(T):
        frames[i, 10:26, 3 * i : 3 * i + 16] = (200, 80, 60)
    return frames.round().astype(np.uint8)


def error_of(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def refused(path, kind=DataError, **arguments) -> str:
    with pytest.raises(kind) as caught:
        read(path, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_mp4_comes_back_with_its_frames_and_rate(tmp_path, video):
    assert write(tmp_path / "a.mp4", video[None], 12.5) == ()
    frames, fps = read(tmp_path / "a.mp4")
    assert frames.shape == (1, T, H, W, 3)
    assert frames.dtype == np.uint8
    assert fps == 12.5
    assert error_of(frames[0], video) < 3
    # and each frame is itself, not its neighbour: neighbours differ by more than the coding does
    assert [min(range(T), key=lambda u: error_of(f, video[u])) for f in frames[0]] == list(range(T))


def test_the_colours_of_an_mp4_are_kept(tmp_path):
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]], dtype=np.uint8)
    frames = np.repeat(np.repeat(colours[:, None, None, :], 32, axis=1), 32, axis=2)
    write(tmp_path / "a.mp4", frames[None], 5)
    assert np.abs(read(tmp_path / "a.mp4").frames[0].astype(int) - frames).max() <= 4


def test_the_same_frames_give_the_same_mp4_bytes(tmp_path, video):
    # x264's rate control did not, on small pictures of some sizes: enough runs to notice
    found = set()
    for i in range(20):
        junk = [np.full(1000 * (i + j), i + j, dtype=np.uint8) for j in range(30)]  # other bytes where memory is free
        del junk
        write(tmp_path / "a.mp4", np.pad(video, ((0, 0), (0, 18), (0, 6), (0, 0)), mode="reflect")[None], 10)
        found.add((tmp_path / "a.mp4").read_bytes())
    assert len(found) == 1


def test_odd_sizes_of_an_mp4_are_padded_and_said(tmp_path, video):
    notes = write(tmp_path / "a.mp4", video[None, :, :47, :63], 10)
    assert notes == ("padded from 47 x 63 to 48 x 64 pixels",)
    frames = read(tmp_path / "a.mp4").frames[0]
    assert frames.shape == (T, 48, 64, 3)
    assert error_of(frames[:, :47, :63], video[:, :47, :63]) < 3


def test_without_an_h264_encoder_another_codec_is_taken_and_said(tmp_path, video):
    notes = write_mp4(tmp_path / "a.mp4", video, 10, codecs=("nothing_of_that_name", "mpeg4"))
    assert "MPEG-4 part 2" in notes[0]
    assert error_of(read(tmp_path / "a.mp4").frames[0], video) < 6


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.mov", "libx264", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.flv", "libx264", "yuv420p"),
        ("a.mpg", "mpeg2video", "yuv420p"),
        ("a.avi", "ffv1", "bgr0"),
    ],
)
def test_other_containers_and_codecs_are_read_whole_and_in_order(tmp_path, video, name, codec, pixels):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = H, W, pixels, 4_000_000
        for frame in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    frames, fps = read(tmp_path / name)
    assert frames.shape == (1, T, H, W, 3)
    assert fps == pytest.approx(25, rel=0.1)
    assert [min(range(T), key=lambda u: error_of(f, video[u])) for f in frames[0]] == list(range(T))


def test_a_window_of_a_video_is_the_same_window_of_the_whole(tmp_path, video):
    write(tmp_path / "a.mp4", video[None], 10)
    write(tmp_path / "a.gif", video[None], 10)
    write(tmp_path / "a.npy", video[None], 10)
    for name in ("a.mp4", "a.gif", "a.npy"):
        whole = read(tmp_path / name).frames
        np.testing.assert_array_equal(read(tmp_path / name, first=3, count=4).frames, whole[:, 3:7])
        assert read(tmp_path / name, first=10, count=4).frames.shape[1] == 2
        assert read(tmp_path / name, first=20, count=4).frames.shape == (1, 0, H, W, 3)


def test_a_video_that_is_marked_as_turned_is_turned(tmp_path, video):
    """Phones write portraits lying on their side."""
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = H, W, "yuv420p"
        stream.set_display_rotation(90)
        for frame in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    frames = read(tmp_path / "a.mp4").frames[0]
    assert frames.shape == (T, W, H, 3)
    counterclockwise = error_of(frames, np.rot90(video, 1, axes=(1, 2)))
    assert counterclockwise < 3 < error_of(frames, np.rot90(video, -1, axes=(1, 2)))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".gif", ".npy"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, video, suffix, share):
    noisy = video ^ np.random.default_rng(0).integers(
        0, 8, video.shape, dtype=np.uint8
    )  # so that every frame has bytes
    path = tmp_path / f"a{suffix}"
    if suffix == ".avi":
        av = pytest.importorskip("av")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mjpeg", rate=10)
            stream.height, stream.width, stream.pix_fmt = H, W, "yuvj420p"
            for frame in noisy:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    else:
        write(path, noisy[None], 10)
    assert read(path).frames.shape[1] == T
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert str(path) in refused(path)


def test_a_file_that_ends_where_a_frame_ends_is_refused_too(tmp_path, video):
    write(tmp_path / "a.mp4", video[None], 10)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: data.index(b"mdat") + 4])
    assert "cut off" in refused(tmp_path / "a.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".npy", ".mkv"])
def test_a_text_file_with_the_name_of_a_video_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_text("this is no video\n" * 100)
    assert str(path) in refused(path)
    path.write_text("")
    assert str(path) in refused(path)


def test_a_playlist_named_as_a_video_opens_nothing_else(tmp_path, video):
    write(tmp_path / "secret.mp4", video[None], 10)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "a.mp4").write_text(playlist)
    refused(tmp_path / "a.mp4")


def test_a_sound_file_holds_no_video(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    assert "holds no video" in refused(tmp_path / "a.wav")


def test_images_are_read_in_natural_order(tmp_path, video):
    for i, frame in enumerate(video):
        Image.fromarray(frame).save(tmp_path / f"frame{i}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._frame0.png").write_text("what a Mac leaves")
    frames, fps = read(tmp_path)
    np.testing.assert_array_equal(frames[0], video)
    assert fps is None
    np.testing.assert_array_equal(read(tmp_path, first=9, count=2).frames[0], video[9:11])


def test_natural_order_compares_numbers_as_numbers():
    names = ["b1", "a10", "a2", "a", "a02b", "10", "9", "a2b1"]
    assert sorted(names, key=natural) == ["9", "10", "a", "a2", "a02b", "a2b1", "a10", "b1"]


def test_an_image_of_another_size_is_named(tmp_path, video):
    for i in range(3):
        Image.fromarray(video[i] if i != 1 else video[i, :40]).save(tmp_path / f"{i}.png")
    message = refused(tmp_path)
    assert str(tmp_path / "1.png") in message
    assert "40 x 64" in message
    assert "48 x 64" in message


def test_a_folder_without_images_a_damaged_and_a_deep_one_are_refused(tmp_path, video):
    assert "no images" in refused(tmp_path)
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "0.png")
    assert "8 bits" in refused(tmp_path)
    Image.fromarray(video[0]).save(tmp_path / "0.png")
    data = (tmp_path / "0.png").read_bytes()
    (tmp_path / "0.png").write_bytes(data[: len(data) // 2])
    assert "0.png" in refused(tmp_path)
    assert "give its folder" in refused(tmp_path / "0.png")
    assert "no such file" in refused(tmp_path / "missing.mp4")


@pytest.mark.parametrize("fps", [5.0, 10.0, 30.0])
def test_a_gif_comes_back_with_its_frames_and_rate(tmp_path, video, fps):
    assert write(tmp_path / "a.gif", video[None], fps) == ()
    frames, found = read(tmp_path / "a.gif")
    assert frames.shape == (1, T, H, W, 3)
    assert found == pytest.approx(fps, rel=0.01)
    assert error_of(frames[0], video) < 6


def test_frames_of_a_gif_that_repeat_are_all_read(tmp_path, video):
    still = video[[0, 0, 0, 1, 2, 2]]
    write(tmp_path / "a.gif", still[None], 10)
    frames, fps = read(tmp_path / "a.gif")
    assert fps == pytest.approx(10)
    assert error_of(frames[0], still) < 6


def test_a_gif_that_cannot_be_so_fast_says_so(tmp_path, video):
    (note,) = write(tmp_path / "a.gif", video[None], 100)
    assert "50 frames a second" in note
    assert read(tmp_path / "a.gif").fps == pytest.approx(50)


def test_a_npy_of_one_video_or_of_several_is_exact(tmp_path, video):
    np.save(tmp_path / "one.npy", video)
    np.save(tmp_path / "two.npy", np.stack([video, video[::-1]]))
    np.testing.assert_array_equal(read(tmp_path / "one.npy").frames, video[None])
    np.testing.assert_array_equal(read(tmp_path / "two.npy").frames[1], video[::-1])


@pytest.mark.parametrize(
    "array", [np.zeros((2, 4, 4, 3)), np.zeros((4, 4, 3), np.uint8), np.zeros((2, 3, 4, 4), np.uint8)]
)
def test_an_array_that_is_no_video_says_what_it_is(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    message = refused(tmp_path / "a.npy")
    assert str(array.shape) in message
    assert "uint8 (T, H, W, 3)" in message


def test_no_pickle_is_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert str(tmp_path / "a.npy") in refused(tmp_path / "a.npy")


def test_a_grid_holds_every_clip_unpainted_and_marks_given_frames_by_their_margin(video):
    clips = np.stack([video, video[::-1], 255 - video])
    picture = film(clips, given=[0, 1])
    high, wide = H + 2 * MARGIN, W + 2 * MARGIN
    assert picture.shape == (T, 2 * high, 2 * wide, 3)
    for i, (row, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
        top, left = row * high + MARGIN, column * wide + MARGIN
        np.testing.assert_array_equal(picture[:, top : top + H, left : left + W], clips[i])
    assert [tuple(frame[0, 0]) for frame in picture] == [GIVEN] * 2 + [PAPER] * (T - 2)
    assert (picture[:, high:, wide:] == 255).all()  # the cell that no clip fills
    np.testing.assert_array_equal(film(video[None]), video)
    assert film(clips, columns=3).shape == (T, high, 3 * wide, 3)


def test_a_strip_has_a_row_a_clip_and_a_column_a_frame(tmp_path, video):
    clips = np.stack([video, video[::-1]])
    picture = strip(clips, given=[1])
    high, wide = H + 2 * MARGIN, W + 2 * MARGIN
    for i in range(2):
        for t in range(T):
            top, left = i * high + MARGIN, t * wide + MARGIN
            np.testing.assert_array_equal(picture[top : top + H, left : left + W], clips[i, t])
            assert tuple(picture[top - 1, left]) == (GIVEN if t == 1 else PAPER)
    write(tmp_path / "a.png", clips, 5, given=[1])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)


def test_another_suffix_and_no_rate_are_refused_before_anything_is_written(tmp_path, video):
    with pytest.raises(ConfigError, match=r"\.mp4, \.gif, \.png, \.npy"):
        write(tmp_path / "new" / "a.webm", video[None], 5)
    with pytest.raises(ConfigError, match="fps"):
        write(tmp_path / "new" / "a.gif", video[None], 0)
    assert not (tmp_path / "new").exists()


def test_a_write_that_fails_leaves_what_was_there(tmp_path, video, monkeypatch):
    path = tmp_path / "a.npy"
    write_array(path, video)
    before = path.read_bytes()
    monkeypatch.setattr(np, "save", lambda file, *rest, **more: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_array(path, video[::-1])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize(
    ("module", "name", "package"), [("av", "a.mp4", "PyAV"), ("PIL", "a.gif", "Pillow"), ("PIL", "a.png", "Pillow")]
)
def test_a_missing_package_is_a_line_that_says_what_to_install(tmp_path, video, monkeypatch, module, name, package):
    for loaded in [m for m in sys.modules if m.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)  # Python's own way of saying: cannot be imported
    with pytest.raises(MissingPackage, match=rf"{package}: pip install 'moso\[video\]'"):
        write(tmp_path / name, video[None], 5)
    assert not list(tmp_path.iterdir())


def test_a_name_with_odd_characters_is_a_file(tmp_path, video):
    path = tmp_path / "100%: a b.mp4"
    write(path, video[None], 10)
    shutil.copy(path, tmp_path / "pipe:0.mp4")
    assert read(path).frames.shape == read(tmp_path / "pipe:0.mp4").frames.shape == (1, T, H, W, 3)
