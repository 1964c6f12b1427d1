"""The RoboNet reader against files of tests/datasets/formats/robonet.py (h5py, PyAV, Pillow)."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from moso.datasets.episode import Episode, Rejected, Source
from moso.datasets.ingest import ingest
from moso.datasets.readers import robonet
from moso.datasets.spec import DatasetSpec, SourceSpec, SplitSpec
from moso.datasets.splits import Splits
from moso.errors import ConfigError, DataError

fmt = pytest.importorskip("formats.robonet")

ROOT = Path(__file__).parents[2]
NAME = "hdf5/google_traj15809.hdf5"


SPLITS = SplitSpec("hash", validation_share=0.1, test_share=0.1)


def spec_of(**options: Any) -> DatasetSpec:
    return DatasetSpec("robonet", "robonet", SourceSpec("folder"), 10.0, SPLITS, options=options)


def read(root: Path, wanted: set[str] | None = None, **options: Any) -> list[Episode | Rejected]:
    return list(robonet.read(root, Source(NAME), spec_of(**options), wanted))


def one(root: Path, **options: Any) -> Episode:
    (episode,) = read(root, **options)
    assert isinstance(episode, Episode), episode
    return episode


def reason(root: Path, **options: Any) -> str:
    """Why the one episode is bad, whether it shows at the start or while its frames are read."""
    (record,) = read(root, **options)
    if isinstance(record, Rejected):
        assert (record.file, record.offset) == (NAME, 0)
        found = record.reason
    else:
        with pytest.raises(DataError) as caught:
            record.load()
        found = str(caught.value)
    assert "\n" not in found
    return found


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_every_frame_of_a_lossless_mp4_is_the_frame_written(tmp_path: Path, order: str) -> None:
    frames = fmt.video(0, frames=11)
    state, actions = fmt.write(tmp_path / NAME, [frames], order=order)
    episode = one(tmp_path)
    assert (episode.episode_id, episode.recording) == ("google_traj15809/cam0", "google_traj15809")
    np.testing.assert_array_equal(episode.load(), frames)
    np.testing.assert_array_equal(episode.states, np.pad(state, ((0, 0), (0, 1))))
    np.testing.assert_array_equal(episode.actions, np.pad(actions, ((0, 1), (0, 1))))


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_an_mp4_as_imageio_wrote_it_keeps_its_colours(tmp_path: Path, order: str) -> None:
    """4:2:0, lossy: a few grey levels off; red and blue taken for each other are 150 off."""
    frames = fmt.video(0)
    fmt.write(tmp_path / NAME, [frames], order=order, codec="libx264")
    assert np.abs(one(tmp_path).load().astype(int) - frames).mean() < 12


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_jpegs_are_read_in_the_order_that_opencv_wrote(tmp_path: Path, order: str) -> None:
    """Exactly what a decoder gives of the bytes, in true colours; ten frames, so that 9 and 10 are no letters."""
    frames = fmt.video(1, frames=11)
    fmt.write(tmp_path / NAME, [frames], encoding="jpg", order=order)
    got = one(tmp_path).load()
    for frame, t in zip(got, range(11), strict=True):
        with h5py.File(tmp_path / NAME) as file:
            decoded = np.asarray(Image.open(io.BytesIO(file[f"env/cam0_video/frame{t}"][...].tobytes())))
        np.testing.assert_array_equal(frame, decoded if order == "BGR" else decoded[..., ::-1])
    assert np.abs(got.astype(int) - frames).mean() < 12


def test_jpegs_can_be_taken_as_the_earlier_loader_took_them(tmp_path: Path) -> None:
    fmt.write(tmp_path / NAME, [fmt.video(1)], encoding="jpg", order="BGR")
    np.testing.assert_array_equal(one(tmp_path, jpeg_order="decoded").load()[..., ::-1], one(tmp_path).load())


@pytest.mark.parametrize(
    ("states", "images", "actions", "usable"),
    [(8, 8, 7, 8), (6, 8, 7, 6), (8, 5, 7, 5), (8, 8, 3, 4), (8, 8, 8, 8)],
)
@pytest.mark.parametrize("encoding", ["mp4", "jpg"])
def test_the_usable_length_is_the_smallest_of_states_images_and_actions_plus_one(
    tmp_path: Path, states: int, images: int, actions: int, usable: int, encoding: str
) -> None:
    frames = fmt.video(0, frames=images)
    given = np.arange(1, 1 + 5 * actions, dtype=np.float64).reshape(actions, 5)
    fmt.write(tmp_path / NAME, [frames], encoding=encoding, state=np.ones((states, 5)), actions=given)
    episode = one(tmp_path)
    assert episode.load().shape[0] == usable == len(episode.states) == len(episode.actions)  # type: ignore[arg-type]
    there = min(usable, actions)
    np.testing.assert_array_equal(episode.actions[:there], given[:there])  # type: ignore[index]
    assert not np.any(episode.actions[there:])  # type: ignore[index]
    if encoding == "mp4":
        np.testing.assert_array_equal(episode.load(), frames[:usable])


@pytest.mark.parametrize(("states", "actions"), [(3, 3), (5, 4), (4, 5), (1, 1)])
def test_states_and_actions_are_padded_to_five_with_zeros(tmp_path: Path, states: int, actions: int) -> None:
    fmt.write(tmp_path / NAME, [fmt.video(0)], state=np.ones((8, states)), actions=np.ones((7, actions)))
    episode = one(tmp_path)
    assert episode.states is not None
    assert episode.actions is not None
    assert episode.states.dtype == episode.actions.dtype == np.float32
    np.testing.assert_array_equal(episode.states, [[1.0] * states + [0.0] * (5 - states)] * 8)
    np.testing.assert_array_equal(episode.actions, [*[[1.0] * actions + [0.0] * (5 - actions)] * 7, [0.0] * 5])


def test_each_camera_is_an_episode_of_the_one_recording(tmp_path: Path) -> None:
    videos = [fmt.video(seed) for seed in range(3)]
    fmt.write(tmp_path / NAME, videos)
    for cameras, expected in (("all", [0, 1, 2]), ([2, 0], [2, 0])):
        records = read(tmp_path, cameras=cameras)
        assert [record.episode_id for record in records if isinstance(record, Episode)] == [
            f"google_traj15809/cam{number}" for number in expected
        ]
        for record, number in zip(records, expected, strict=True):
            assert isinstance(record, Episode)
            assert record.recording == "google_traj15809"
            np.testing.assert_array_equal(record.load(), videos[number])
    (record,) = read(tmp_path, {"google_traj15809/cam1"}, cameras="all")
    assert isinstance(record, Episode)
    np.testing.assert_array_equal(record.load(), videos[1])
    np.testing.assert_array_equal(record.load(), videos[1])


def test_a_missing_camera_is_set_aside_and_the_others_stay(tmp_path: Path) -> None:
    fmt.write(tmp_path / NAME, [fmt.video(0), fmt.video(1), fmt.video(2)])
    with h5py.File(tmp_path / NAME, "a") as file:
        del file["env/cam1_video"]
    records = read(tmp_path, cameras="all")
    assert [type(record) for record in records] == [Episode, Rejected, Episode]
    assert records[1] == Rejected(NAME, 0, "camera 1: it is missing (env/cam1_video)")
    assert reason(tmp_path, cameras=[7]) == "camera 7: it is missing (env/cam7_video)"


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _edit(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with h5py.File(path, "a") as file:
            change(file)

    return edit


def _replace(name: str, data: np.ndarray) -> Callable[[Path], None]:
    """Other data under the same attributes."""

    def replace(file: Any) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = data
        file[name].attrs.update(attributes)

    return _edit(replace)


def _attribute(name: str, key: str, value: Any) -> Callable[[Path], None]:
    return _edit(lambda file: file[name].attrs.__setitem__(key, value))


def _cut(name: str, keep: float) -> Callable[[Path], None]:
    """An array cut off, as a recorder that died leaves it."""

    def cut(path: Path) -> None:
        with h5py.File(path) as file:
            data = file[name][...]
        _replace(name, data[: int(len(data) * keep)])(path)

    return cut


NUMBERS = np.ones((8, 6), dtype=np.float32)
FRAMES = "env/cam0_video/frames"


@pytest.mark.parametrize(
    ("encoding", "damage", "expected"),
    [
        ("mp4", lambda path: path.write_bytes(b""), "the file is empty"),
        ("mp4", lambda path: path.write_bytes(b"no HDF5 at all" * 99), "no whole HDF5 file (OSError"),
        ("mp4", _truncated, "no whole HDF5 file (OSError"),
        ("mp4", _cut(FRAMES, 0.5), "it is damaged, cut off or none"),
        ("mp4", _replace(FRAMES, np.zeros(500, dtype=np.uint8)), "cannot be read as a video"),
        ("mp4", _replace(FRAMES, np.zeros(0, dtype=np.uint8)), "cannot be read as a video"),
        ("mp4", _replace(FRAMES, np.zeros(500, dtype=np.int64)), "is int64, expected uint8"),
        ("mp4", _attribute(FRAMES, "T", 9), "holds 8 frames, the file says 9"),
        ("mp4", _attribute(FRAMES, "T", 7), "holds 8 frames, the file says 7"),
        ("mp4", _attribute(FRAMES, "shape", (240, 320, 3)), "frames have 16 x 32 pixels, the file says 240 x 320"),
        ("mp4", _attribute(FRAMES, "image_format", "YUV"), "image_format 'YUV', expected RGB or BGR"),
        ("mp4", _edit(lambda file: file[FRAMES].attrs.__delitem__("image_format")), "image_format"),
        ("mp4", _attribute("env", "cam_encoding", "gif"), "cam_encoding 'gif', expected mp4 or jpg"),
        ("mp4", _attribute("env", "n_cams", 0), "0 cameras"),
        ("mp4", _edit(lambda file: file.__delitem__("env/state")), "env/state is missing"),
        ("mp4", _edit(lambda file: file.__delitem__("policy")), "policy/actions is missing"),
        ("mp4", _edit(lambda file: file.__delitem__("env")), "is missing"),
        ("mp4", _replace("env/state", NUMBERS), "at most 5"),
        ("mp4", _replace("env/state", NUMBERS[:, 0]), "at most 5"),
        ("mp4", _replace("env/state", NUMBERS[:1, :4]), "1 usable frames"),
        ("mp4", _replace("env/state", np.full((8, 4), np.inf)), "states hold numbers that are not finite"),
        ("jpg", _edit(lambda file: file.__delitem__("env/cam0_video/frame3")), "frame3 is missing"),
        ("jpg", _cut("env/cam0_video/frame5", 0.7), "camera 0's frame 5: cannot be read as JPEG"),
        (
            "jpg",
            _replace("env/cam0_video/frame2", np.arange(99, dtype=np.uint8)),
            "camera 0's frame 2: cannot be read as JPEG",
        ),
        (
            "jpg",
            _replace("env/cam0_video/frame4", np.zeros(0, dtype=np.uint8)),
            "camera 0's frame 4: cannot be read as JPEG",
        ),
        ("jpg", _truncated, "no whole HDF5 file (OSError"),
    ],
)
def test_damage_is_set_aside_with_its_reason(
    tmp_path: Path, encoding: str, damage: Callable[[Path], None], expected: str
) -> None:
    fmt.write(tmp_path / NAME, [fmt.video(0)], encoding=encoding)
    damage(tmp_path / NAME)
    assert expected in reason(tmp_path)


def test_a_jpeg_of_another_size_is_set_aside(tmp_path: Path) -> None:
    fmt.write(tmp_path / NAME, [fmt.video(0)], encoding="jpg")
    other = np.frombuffer(fmt.jpeg(fmt.video(0, 1, 20, 20)[0]), dtype=np.uint8)
    _replace("env/cam0_video/frame6", other)(tmp_path / NAME)
    assert "camera 0's frame 6: 20 x 20 pixels, expected 16 x 32" in reason(tmp_path)


def test_an_array_that_claims_an_absurd_size_takes_no_memory(tmp_path: Path) -> None:
    """A terabyte of states that was never written: HDF5 would give zeros."""
    fmt.write(tmp_path / NAME, [fmt.video(0)])
    with h5py.File(tmp_path / NAME, "a") as file:
        del file["env/state"]
        file.create_dataset("env/state", shape=(2**36, 4), dtype=np.float32, chunks=(1024, 4))
    assert "/env/state claims 1,099,511,627,776 bytes" in reason(tmp_path)


def test_a_link_into_another_file_is_not_followed(tmp_path: Path) -> None:
    fmt.write(tmp_path / "other.hdf5", [fmt.video(0)])
    fmt.write(tmp_path / NAME, [fmt.video(0)])
    with h5py.File(tmp_path / NAME, "a") as file:
        del file["env/state"]
        file["env/state"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "/env/state")
    assert "is a link" in reason(tmp_path)


@pytest.mark.parametrize("options", [{"cameras": []}, {"cameras": [0, 0]}, {"cameras": [-1]}, {"cameras": "some"}])
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        spec_of(**options)


def test_a_folder_without_trajectories_is_refused_with_what_to_unpack(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.hdf5 below it; unpack robonet_v3\.tar\.gz"):
        robonet.sources(tmp_path, spec_of())


def test_hidden_files_are_no_data_and_links_to_folders_are_followed(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "raw", tmp_path / "disk"
    for folder in (root / "__MACOSX" / "hdf5", root / ".trash", elsewhere):
        folder.mkdir(parents=True)
        (folder / "a_traj1.hdf5").write_bytes(b"x")
    (root / "._a_traj2.hdf5").write_bytes(b"x")
    (root / "linked").symlink_to(elsewhere)
    assert [source.name for source in robonet.sources(root, spec_of())] == ["linked/a_traj1.hdf5"]


def test_the_shipped_specs_list_decides_on_a_trajectory_for_all_its_cameras() -> None:
    """FitVid's list holds file names; that of a recording is compared without suffix. The list itself is not needed."""
    shipped = DatasetSpec.load(ROOT / "data" / "specs" / "robonet.yaml")
    splits = Splits(shipped.splits, {"google_traj15809": "test"})
    frames = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    for camera in range(2):
        listed = Episode.of(f"google_traj15809/cam{camera}", NAME, frames, 10, recording="google_traj15809")
        assert splits.split_of(listed) == "test"
    others = [Episode.of(f"r{n}/cam0", NAME, frames, 10, recording=f"penn_kuka_traj{n}") for n in range(200)]
    assert "test" not in {splits.split_of(other) for other in others}


def test_ingest_sets_bad_trajectories_aside_and_goes_on(tmp_path: Path) -> None:
    names = [f"hdf5/site_robot_traj{n}.hdf5" for n in range(5)]
    for n, name in enumerate(names):
        fmt.write(tmp_path / name, [fmt.video(2 * n), fmt.video(2 * n + 1)], encoding="jpg" if n == 4 else "mp4")
    _truncated(tmp_path / names[1])
    _cut("env/cam1_video/frames", 0.6)(tmp_path / names[2])
    spec = spec_of(cameras="all")
    result = ingest(tmp_path, robonet.sources(tmp_path, spec), spec)
    good = {f"site_robot_traj{n}/cam{c}" for n in range(5) for c in range(2)}
    good -= {"site_robot_traj1/cam0", "site_robot_traj1/cam1", "site_robot_traj2/cam1"}
    assert set(result.manifest.table["episode_id"]) == good
    assert [bad.file for bad in result.rejected] == [names[1], names[2]]
    assert result.rejected[1].reason.startswith("site_robot_traj2/cam1: camera 1's mp4")
