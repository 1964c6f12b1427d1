"""TFRecord files and the tf.train.Example inside, without TensorFlow.

A file is a row of records: uint64 length, uint32 masked CRC-32C of the length, data, uint32 masked CRC-32C of the data;
all little-endian (tensorflow/core/lib/io/record_writer.h). Both checksums are checked: loaders that skip them read a
damaged file without a word. Where a length's checksum is broken nobody can say where the next record begins: all that
follows is given up. Broken data costs its own record alone.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from moso.errors import DataError
from moso.video.packages import MissingPackage

LENGTH, CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
FRAMING = LENGTH.size + 2 * CHECKSUM.size
MOST_BYTES = 1 << 28
"""Records longer than this (268 MB) are given up unread. No source: BAIR's take 741,594 bytes."""
MOST_MISSING = 100_000
"""Of a file, counted one by one: its name may promise any number. No source: BAIR's promise 256."""


@dataclass(frozen=True)
class Record:
    """One intact record.

    Attributes:
        index: number of the record in its file, from 0.
        offset: byte at which it starts (its length field).
        data: its content.
    """

    index: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Damage:
    """A record that cannot be read, or that was promised and is not there.

    Attributes:
        index: number of the record in its file, from 0.
        offset: byte at which it starts; of one that is not there, where the file ends or stops making sense.
        reason: what is wrong, in words.
    """

    index: int
    offset: int
    reason: str


def records(
    path: Path,
    promised: int = 0,
    wanted: Callable[[int], bool] = lambda index: True,
    most_bytes: int = MOST_BYTES,
) -> Iterator[Record | Damage]:
    """The `wanted` records (by index) of a file in order; of the others only the length is read.

    Args:
        path: the file.
        promised: how many records there must be. Each of them that is not there comes as Damage too: a file that is
            cut between two records looks whole by its bytes. More than these are read where they are there.
        wanted: index of a record -> whether it, or its damage, is asked for.
        most_bytes: records longer than this are given up unread.

    Raises:
        OSError: the file cannot be read at all.
        MissingPackage: google-crc32c is not installed.
    """
    for found in _until_broken(path, wanted, most_bytes):
        if not isinstance(found, _End):
            yield found
            continue
        if found.reason and wanted(found.index):
            yield Damage(found.index, found.offset, found.reason)
        for index in range(found.index + bool(found.reason), min(promised, MOST_MISSING)):
            if wanted(index):
                yield Damage(index, found.offset_behind, f"record {index} of {promised} is lost: {found.why}")


@dataclass(frozen=True)
class _End:
    """Where reading ends: at record `index`, which is broken itself where there is a `reason`, and what lies behind."""

    index: int
    offset: int
    reason: str
    offset_behind: int
    why: str


def _until_broken(path: Path, wanted: Callable[[int], bool], most_bytes: int) -> Iterator[Record | Damage | _End]:
    """The records up to the first behind which no other can be found, and one _End."""
    size = path.stat().st_size
    offset = index = 0
    reason, why, behind = "", "the file is empty" if size == 0 else f"the file ends at byte {size:,}", size
    with path.open("rb") as file:
        while offset < size:
            header = file.read(LENGTH.size + CHECKSUM.size)
            if len(header) < LENGTH.size + CHECKSUM.size:
                reason = f"the file is cut off in the header of record {index}"
                break
            if not _intact(header[: LENGTH.size], header[LENGTH.size :]):
                reason = f"the checksum of record {index}'s length is broken: what follows cannot be told apart"
                why, behind = f"it lies behind record {index}, whose length has a broken checksum", offset
                break
            (length,) = LENGTH.unpack_from(header)
            end = offset + FRAMING + length
            if end > size:
                lacks = f"{end - size:,} of its {end - offset:,} bytes are missing"
                reason = f"the file is cut off in record {index}, {lacks}"
                break
            if wanted(index):
                yield _record(file, index, offset, length, most_bytes)
            file.seek(end)
            offset, index = end, index + 1
    yield _End(index, offset, reason, behind, why)


def _record(file: BinaryIO, index: int, offset: int, length: int, most_bytes: int) -> Record | Damage:
    if length > most_bytes:
        return Damage(index, offset, f"record {index} has {length:,} bytes, more than the {most_bytes:,} that are read")
    data = file.read(length)
    if not _intact(data, file.read(CHECKSUM.size)):
        return Damage(index, offset, f"the checksum of record {index}'s data is broken")
    return Record(index, offset, data)


def _intact(data: bytes, checksum: bytes) -> bool:
    return len(checksum) == CHECKSUM.size and CHECKSUM.unpack(checksum)[0] == _masked(_crc32c().value(data))


def _masked(crc: int) -> int:
    """Rotated right by 15 bits plus a constant (tensorflow/core/lib/hash/crc32c.h): a CRC of bytes that hold CRCs."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc32c() -> Any:
    try:
        import google_crc32c
    except ImportError:
        raise MissingPackage("reading TFRecords needs google-crc32c: pip install 'moso[data]'") from None
    return google_crc32c


def features(data: bytes) -> Mapping[str, Any]:
    """key -> tf.train.Feature of the tf.train.Example in a record's data.

    A Feature has `bytes_list.value`, `float_list.value` and `int64_list.value`, of which one at most is filled.

    Raises:
        DataError: the data is no Example.
        MissingPackage: protobuf is not installed.
    """
    message = _example()()
    try:
        message.ParseFromString(data)
    except Exception as error:  # the two implementations of protobuf raise different types for damaged bytes
        raise DataError(
            f"no tf.train.Example ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from None
    found: Mapping[str, Any] = message.features.feature
    return found


@functools.cache
def _example() -> Any:
    """The message class of tf.train.Example, as tensorflow/core/example/{example,feature}.proto declare it."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]
    except ImportError:
        raise MissingPackage("reading TFRecords needs protobuf: pip install 'moso[data]'") from None
    file = descriptor_pb2.FileDescriptorProto(name="moso/example.proto", package="moso.tf", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED

    def message(name: str, fields: list[tuple[str, int, int, str | int]], parent: Any = None) -> Any:
        made = (parent.nested_type if parent is not None else file.message_type).add(name=name)
        for key, number, label, kind in fields:
            if isinstance(kind, str):
                made.field.add(
                    name=key, number=number, label=label, type=field.TYPE_MESSAGE, type_name=f".moso.tf.{kind}"
                )
            else:
                made.field.add(name=key, number=number, label=label, type=kind)
        return made

    message("BytesList", [("value", 1, many, field.TYPE_BYTES)])
    message("FloatList", [("value", 1, many, field.TYPE_FLOAT)])
    message("Int64List", [("value", 1, many, field.TYPE_INT64)])
    kinds = ("BytesList", "FloatList", "Int64List")
    feature = message("Feature", [(f"{k[:-4].lower()}_list", n, one, k) for n, k in enumerate(kinds, 1)])
    feature.oneof_decl.add(name="kind")
    for kind in feature.field:
        kind.oneof_index = 0
    whole = message("Features", [("feature", 1, many, "Features.FeatureEntry")])
    entry = message("FeatureEntry", [("key", 1, one, field.TYPE_STRING), ("value", 2, one, "Feature")], whole)
    entry.options.map_entry = True
    message("Example", [("features", 1, one, "Features")])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("moso.tf.Example"))
