"""The lock of moso.retraining.lease as an object in S3, by conditional writes (If-None-Match, If-Match)."""

from __future__ import annotations

from moso.adapters.s3 import Bucket, S3Address
from moso.retraining.lease import NAME


class S3Place:
    """A lock below an address.

    Args:
        address: s3://bucket/prefix.
        endpoint: as of `Bucket`.

    Raises:
        ConfigError, S3Error: as of `S3Address.parse` and `Bucket`.
    """

    def __init__(self, address: str, endpoint: str | None = None) -> None:
        self._bucket = Bucket(S3Address.parse(address), endpoint=endpoint)
        prefix = self._bucket.address.prefix
        self._key = f"{prefix}/{NAME}" if prefix else NAME

    @property
    def where(self) -> str:
        return self._bucket.where(self._key)

    def create(self, text: str) -> str | None:
        return self._bucket.put(self._key, text, etag=None)

    def read(self) -> tuple[str, str] | None:
        return self._bucket.text(self._key)

    def replace(self, text: str, version: str) -> str | None:
        return self._bucket.put(self._key, text, etag=version)
