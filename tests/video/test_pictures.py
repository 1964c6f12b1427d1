"""One decoder of images for all readers: bytes or files, checked before anything is decoded."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from moso.errors import DataError
from moso.video.pictures import decode, read_image

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10


def encoded(pixels: np.ndarray = PIXELS, kind: str = "PNG", **settings) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **settings)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_bytes_and_a_file_are_the_same_pixels_and_grey_is_repeated(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    np.testing.assert_array_equal(decode(encoded()), PIXELS)
    np.testing.assert_array_equal(decode(tmp_path / "a.png"), PIXELS)
    np.testing.assert_array_equal(decode(encoded(PIXELS[..., 0])), np.repeat(PIXELS[..., :1], 3, axis=-1))


def test_an_image_is_turned_as_its_exif_data_say_only_where_that_is_asked_for(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # Orientation: the picture is to be turned by 90 degrees clockwise
    data = encoded(exif=exif)
    np.testing.assert_array_equal(decode(data), PIXELS)
    np.testing.assert_array_equal(decode(data, upright=True), np.rot90(PIXELS, -1))
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(PIXELS, -1))


def test_the_size_is_refused_before_a_pixel_is_decoded():
    header = struct.pack(">IIBBBBB", 8_000, 10_000, 8, 2, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"none of its 240 MB")
    with pytest.raises(DataError, match=r"^10000 x 8000 pixels, expected 2 x 3$"):
        decode(huge, size=(2, 3))
    np.testing.assert_array_equal(decode(encoded(), size=(2, 3)), PIXELS)


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (encoded()[:40], {}, "cannot be read as an image"),
        (b"", {}, r"cannot be read as an image \(not this format\)"),
        (encoded(), {"formats": ("JPEG",)}, r"cannot be read as JPEG \(not this format\)"),
        (encoded(PIXELS[..., 0]), {"modes": ("RGB",)}, "pixels of mode L, expected RGB"),
        (encoded(PIXELS[..., 0].astype(np.uint16)), {}, "pixels of mode I;16, expected 8 bits a channel"),
    ],
)
def test_what_is_no_such_image_is_refused_with_the_reason(data, options, said):
    with pytest.raises(DataError, match=f"^{said}"):
        decode(data, **options)
