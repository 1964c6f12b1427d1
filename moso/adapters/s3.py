"""S3: addresses, listing, reading an object from any byte on. The only module that imports boto3.

Any server that speaks S3 will do: `endpoint`, AWS_ENDPOINT_URL, or Amazon's. Credentials come from the usual chain
alone (environment, ~/.aws, the machine's role); moso has no setting for them, so none can end up in a file or a log.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from moso.adapters.redact import redact
from moso.adapters.s3_errors import Changed, Gone, Interrupted, S3Error, failure, refusal
from moso.adapters.s3_pace import paced, within
from moso.adapters.s3_patience import PATIENCE, Patience
from moso.errors import ConfigError, DataError

CHECKSUMS = ("SHA256", "SHA1", "CRC32C", "CRC32")
"""Checksum attributes of an object that are computed here too, the strongest first (CRC64NVME is not)."""
T = TypeVar("T")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class S3Address:
    """s3://bucket/prefix.

    Attributes:
        bucket: its name.
        prefix: without "/" at the end; "" means the whole bucket.
    """

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> S3Address:
        """The address in `text`.

        Raises:
            ConfigError: it is none.
        """
        scheme, separator, rest = text.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme != "s3" or not separator:
            raise ConfigError("url", redact(text), "is no S3 address", "s3://bucket/prefix")
        if not _BUCKET.fullmatch(bucket):
            raise ConfigError(
                "url",
                redact(text),
                f"{redact(bucket)!r} is no bucket's name",
                "s3://bucket/prefix: 3 to 63 of a-z 0-9 . -",
            )
        return cls(bucket, prefix.rstrip("/"))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"


@dataclass(frozen=True)
class S3Object:
    """One object as the bucket lists it.

    Attributes:
        key: its whole key.
        bytes: its size.
        etag: with its quotation marks, as If-Match wants it; another one means other content.
        modified: seconds since 1970.
    """

    key: str
    bytes: int
    etag: str
    modified: float


@dataclass(frozen=True)
class Checks:
    """What an object's content can be compared with.

    Attributes:
        checksums: name of `CHECKSUMS` -> the whole object's, base64.
        plain: the ETag is the content's MD5 (no multipart upload, no key management service between).
    """

    checksums: Mapping[str, str] = field(default_factory=dict)
    plain: bool = False


@dataclass(frozen=True)
class Body:
    """An answer to `Bucket.read`: blocks from byte `first` on (0 from a server that knows no ranges), empty ones too.

    `checks` is empty unless the whole object was asked for: S3 names no checksum beside a range.
    """

    first: int
    blocks: Generator[bytes, None, None]
    checks: Checks


class Bucket:
    """What lies under one address.

    Args:
        address: bucket and prefix.
        endpoint: address of the server; None: AWS_ENDPOINT_URL or ~/.aws/config where set, else Amazon's.
        patience: with each request; listing asks again, reading an object is the caller's to repeat.
        connections: how many threads will read at once.

    Raises:
        S3Error: boto3 is missing, or the profile that AWS_PROFILE names.
        ConfigError: `endpoint` is no address.
    """

    def __init__(
        self, address: S3Address, *, endpoint: str | None = None, patience: Patience = PATIENCE, connections: int = 8
    ) -> None:
        try:
            import boto3
            import botocore.session
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError:
            raise S3Error(f"{address}: boto3 is not installed; `pip install 'moso[s3]'` brings it") from None
        self.address, self.patience = address, patience
        named = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self.server = redact(named or "Amazon S3")
        with self._told():
            session = botocore.session.Session()
            # Own servers seldom have a name for each bucket: the bucket goes into the path, unless ~/.aws/config says
            # otherwise.
            style = (session.get_scoped_config().get("s3") or {}).get("addressing_style", "path" if named else "auto")
            config = Config(
                connect_timeout=min(patience.timeout_s, 10.0),
                read_timeout=patience.timeout_s,
                retries={"mode": "standard", "total_max_attempts": 1},  # ours count: an object's, and `_again`
                max_pool_connections=connections,
                s3={"addressing_style": style},
                # Asked for by read(), which compares by itself: botocore cannot where a reading was resumed.
                response_checksum_validation="when_required",
            )
            try:
                self._client: Any = boto3.Session(botocore_session=session).client(
                    "s3", endpoint_url=endpoint, config=config
                )
            except ValueError as error:
                if isinstance(error, BotoCoreError):
                    raise
                raise ConfigError("endpoint", self.server, redact(str(error)), "http://host:port") from None

    def objects(self) -> Iterator[S3Object]:
        """Every object under the prefix as a folder, by key; where there is none, the object of just that key.

        Markers of folders (empty, with "/" at the key's end) are no objects.

        Raises:
            S3Error: no such bucket, no right to list it, no credentials, no server.
            DataError: nothing lies there.
        """
        found = False
        for item in self._listed(f"{self.address.prefix}/" if self.address.prefix else ""):
            found = True
            if not (item.key.endswith("/") and item.bytes == 0):
                yield item
        if found:
            return
        for item in self._listed(self.address.prefix) if self.address.prefix else ():
            if item.key == self.address.prefix:
                yield item
                return
            break  # keys are listed in order, and the prefix itself comes first
        raise DataError(f"{self.address}: no object lies there; look at it with `aws s3 ls {self.address}/`")

    def _listed(self, prefix: str) -> Iterator[S3Object]:
        after: dict[str, str] = {}
        while True:
            page = self._again(functools.partial(self._page, prefix, after))
            for entry in page.get("Contents", ()):
                yield S3Object(entry["Key"], entry["Size"], entry["ETag"], entry["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return
            following = {"ContinuationToken": str(page.get("NextContinuationToken", ""))}
            if following in (after, {"ContinuationToken": ""}):
                raise S3Error(f"{self.address}: {self.server} gives no further page of its list, and says there is one")
            after = following

    def _page(self, prefix: str, after: Mapping[str, str]) -> Mapping[str, Any]:
        ask = functools.partial(self._client.list_objects_v2, Bucket=self.address.bucket, Prefix=prefix, **after)
        with self._told():
            page: Mapping[str, Any] = within(self.patience.window_s, ask)
            return page

    def _again(self, ask: Callable[[], T]) -> T:
        """An answer, asked for again where there was none of use."""
        for failures in range(1, self.patience.attempts):
            try:
                return ask()
            except Interrupted:
                time.sleep(self.patience.pause(failures))
        return ask()

    def look(self, key: str) -> S3Object:
        """The object as it is now. Asked for once.

        Raises:
            Gone: it is not there.
            Interrupted: the server did not answer.
            S3Error: as for `objects`.
        """
        ask = functools.partial(self._client.head_object, Bucket=self.address.bucket, Key=key)
        with self._told(key):
            answer = within(self.patience.window_s, ask)
        return S3Object(key, answer["ContentLength"], answer["ETag"], answer["LastModified"].timestamp())

    def read(self, item: S3Object, first: int = 0) -> Body:
        """An object's content from byte `first` on, asked for once. Errors of the reading come out of `Body.blocks`.

        Raises:
            Changed: it is not the listed one any more.
            Gone: it is not there any more.
            Interrupted: the server did not answer, or the connection broke.
            Damaged: botocore found another checksum than the answer's.
            S3Error: as for `objects`.
        """
        wanted: dict[str, Any] = {"Range": f"bytes={first}-"} if first else {"ChecksumMode": "ENABLED"}
        wanted |= {"Bucket": self.address.bucket, "Key": item.key, "IfMatch": item.etag}
        ask = functools.partial(self._client.get_object, **wanted)
        with self._told(item.key):
            answer = within(self.patience.window_s, ask, late=lambda unused: unused["Body"].close())
        if answer["ETag"] != item.etag:
            answer["Body"].close()
            raise Changed(f"{self.where(item.key)} changed while it was read", everywhere=False)
        partial = answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        if partial and not str(answer.get("ContentRange", "")).startswith(f"bytes {first}-"):
            answer["Body"].close()
            raise Interrupted(self.where(item.key), self.server, "another range than was asked for")
        return Body(
            first if partial else 0, self._blocks(answer["Body"], item.key), Checks() if first else _checks(answer)
        )

    def text(self, key: str) -> tuple[str, str] | None:
        """A small object's text and its ETag; None where there is none. Asked for once.

        Raises:
            Interrupted, S3Error: as for `look`.
        """
        ask = functools.partial(self._client.get_object, Bucket=self.address.bucket, Key=key)
        try:
            with self._told(key):
                answer = within(self.patience.window_s, ask, late=lambda unused: unused["Body"].close())
                return answer["Body"].read().decode(), answer["ETag"]
        except Gone:
            return None

    def put(self, key: str, text: str, *, etag: str | None) -> str | None:
        """Write a small object where the one with this ETag still is, or with None where there is none. Asked for once.

        Returns:
            The new ETag; None where the condition does not hold, or another writer was at it.

        Raises:
            Interrupted: the server did not answer; whether it wrote is not known.
            S3Error: no right to write, no credentials, no server.
        """
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        ask = functools.partial(
            self._client.put_object, Bucket=self.address.bucket, Key=key, Body=text.encode(), **condition
        )
        try:
            with self._told(key):
                return str(within(self.patience.window_s, ask)["ETag"])
        except (Changed, Gone):  # 412; 404 where the object to be replaced is gone
            return None

    def _blocks(self, body: Any, key: str) -> Generator[bytes, None, None]:
        with self._told(key), contextlib.closing(paced(body, self.patience)) as blocks:
            yield from blocks

    @contextlib.contextmanager
    def _told(self, key: str | None = None) -> Iterator[None]:
        """Errors of botocore and of the connection, in our own words."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ClientError as error:
            raise refusal(error.response, self.where(key), self.server, one=key is not None) from error
        except (BotoCoreError, ResponseParserError, HTTPError, ConnectionError, TimeoutError) as error:
            raise failure(error, self.where(key), self.server) from error

    def where(self, key: str | None = None) -> str:
        """The address of an object, or the bucket's own, for messages."""
        return str(self.address) if key is None else f"s3://{self.address.bucket}/{key}"


def _checks(answer: Mapping[str, Any]) -> Checks:
    """What the answer to a whole read says of the content. A checksum of the parts' checksums ("…-3") is of no use."""
    composite = answer.get("ChecksumType") == "COMPOSITE"
    found = {name: answer.get(f"Checksum{name}") for name in CHECKSUMS}
    etag = answer["ETag"].strip('"')
    encrypted = answer.get("SSECustomerAlgorithm") or answer.get("ServerSideEncryption") not in (None, "AES256")
    return Checks(
        checksums={name: value for name, value in found.items() if value and "-" not in value and not composite},
        plain=bool(re.fullmatch(r"[0-9a-f]{32}", etag)) and not encrypted,
    )
