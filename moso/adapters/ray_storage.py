"""Where Ray Train copies checkpoints to: a folder, or a bucket; with its record of them kept readable."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pyarrow.fs
import ray

from moso.adapters.ray import RayError
from moso.adapters.redact import redact

RECORD = "checkpoint_manager_snapshot.json"
"""Ray Train's list of a run's checkpoints (ray.train.v2._internal.constants). A damaged one makes it refuse the run."""
MARK = ".moso"
CONNECT_S, ANSWER_S, TRIES = 10, 60, 3


@dataclass(frozen=True)
class Storage:
    """A run's place.

    Attributes:
        filesystem: of pyarrow.
        path: the storage on it, without a scheme; a run's checkpoints lie below `path`/`run`.
        run: the run's name.
        shown: the storage as it was asked for.
    """

    filesystem: pyarrow.fs.FileSystem
    path: str
    run: str
    shown: str

    @classmethod
    def at(cls, place: str, run: str) -> Storage:
        """The storage at a folder or s3://bucket/prefix, tried by writing into it, its record mended.

        S3: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names another server than Amazon's; credentials come from the usual
        chain alone.

        Raises:
            RayError: it cannot be reached or written to.
        """
        if place.startswith("s3://"):
            from moso.adapters.s3 import S3Address

            address = S3Address.parse(place)
            storage = cls(_s3(), f"{address.bucket}/{address.prefix}".rstrip("/"), run, place)
        else:
            storage = cls(pyarrow.fs.LocalFileSystem(), place, run, place)
        with storage._reached():
            storage.filesystem.create_dir(storage.folder, recursive=True)
            with storage.filesystem.open_output_stream(f"{storage.folder}/{MARK}") as file:
                file.write(b"")
            storage._mend()
        return storage

    @property
    def folder(self) -> str:
        """The run's own folder."""
        return f"{self.path}/{self.run}"

    def discard(self) -> None:
        """Remove the run's folder, once nothing is left to go on with."""
        with self._reached():
            self.filesystem.delete_dir(self.folder)

    def _mend(self) -> None:
        """Take a record away that Ray Train would refuse: cut off by a kill, of another Ray, or of lost checkpoints.

        Nothing is lost with it but the copies: rank 0's work folder has the newest checkpoint too.
        """
        path = f"{self.folder}/{RECORD}"
        if self.filesystem.get_file_info(path).type == pyarrow.fs.FileType.NotFound:
            return
        with self.filesystem.open_input_stream(path) as file:
            fault = self._fault(file.read())
        if fault:
            print(
                f"warning: {redact(self.shown)}/{self.run}/{RECORD} is left aside: {fault}", file=sys.stderr, flush=True
            )
            self.filesystem.move(path, f"{path}.damaged")

    def _fault(self, content: bytes) -> str | None:
        try:
            record = json.loads(content)
            if record["ray_version"] != ray.__version__:
                return f"Ray {record['ray_version']} wrote it, this is {ray.__version__}"
            names = [result["checkpoint_dir_name"] for result in record["checkpoint_results"]]
        except (ValueError, KeyError, TypeError) as error:
            return f"it is damaged ({type(error).__name__})"
        found = self.filesystem.get_file_info([f"{self.folder}/{name}" for name in names])
        missing = [info.path for info in found if info.type == pyarrow.fs.FileType.NotFound]
        return f"{missing[0]} is gone" if missing else None

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            line = redact(f"{error}".strip().partition("\n")[0])
            hint = (
                "check the address, AWS_ENDPOINT_URL and the credentials"
                if self.shown.startswith("s3://")
                else "choose a folder that can be written to"
            )
            raise RayError(f"ray.storage = {redact(self.shown)!r}: {line}; {hint}") from error


def _s3() -> pyarrow.fs.FileSystem:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    where = urlsplit(endpoint) if endpoint else None
    return pyarrow.fs.S3FileSystem(
        endpoint_override=where.netloc if where else None,
        scheme=where.scheme if where else None,
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        connect_timeout=CONNECT_S,
        request_timeout=ANSWER_S,
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
    )
