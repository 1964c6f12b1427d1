"""What S3's errors mean: those worth another try, those of one object, and those that need a person, in a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moso.adapters.redact import redact
from moso.errors import MosoError

_DENIED = ("AccessDenied", "AllAccessDisabled", "AccountProblem", "InvalidObjectState")
_CREDENTIALS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired")
_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
_AGAIN = ("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "Throttling")


class S3Error(MosoError):
    """Something that S3 would not do. `everywhere`: no other object would fare better, so going on is of no use."""

    def __init__(self, message: str, *, everywhere: bool = True) -> None:
        super().__init__(message)
        self.everywhere = everywhere


class Interrupted(S3Error):
    """The connection or the server failed: the same request may succeed later. `reason`: how, in few words."""

    def __init__(self, where: str, server: str, reason: str) -> None:
        self.reason = reason.strip()
        super().__init__(
            f"{where}: no usable answer from {server} ({self.reason}); see that it is up and reachable, then run "
            "again: what has come stays"
        )


class Changed(S3Error):
    """The object is another one than was listed."""


class Gone(S3Error):
    """The object is there no more."""


class Damaged(S3Error):
    """The bytes that came are not those that were stored."""


def refusal(response: Mapping[str, Any], where: str, server: str, *, one: bool) -> S3Error:
    """What an answer that is an error means.

    Args:
        response: botocore's `ClientError.response`.
        where: address of what was asked for.
        server: who answered.
        one: an object was asked for, and not the list.
    """
    error, about = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, status = str(error.get("Code", "")), int(about.get("HTTPStatusCode") or 0)
    if status >= 500 or status == 429 or code in _AGAIN:
        return Interrupted(where, server, f"{status} {code}")
    if code == "NoSuchBucket" or (status == 404 and not one):
        remedy = "correct the address, or name its server (endpoint, AWS_ENDPOINT_URL)"
        return S3Error(f"{where}: {server} has no such bucket; {remedy}")
    if status == 404:
        return Gone(f"{where} is not there any more", everywhere=False)
    if status == 412 or (status == 409 and code == "ConditionalRequestConflict"):  # another writer at the same moment
        return Changed(f"{where} changed while it was read", everywhere=False)
    if status == 416:
        return Damaged(f"{where} is shorter than was listed", everywhere=False)
    if code in _CREDENTIALS:
        return S3Error(f"{where}: {server} does not take these credentials ({code}); renew or correct them")
    if code in _REGION or status in (301, 307):
        region = error.get("Region") or about.get("HTTPHeaders", {}).get("x-amz-bucket-region") or "the bucket's"
        return S3Error(f"{where} lies in another region; set AWS_DEFAULT_REGION={region}")
    if code in _DENIED or status == 403:
        right = "s3:GetObject on it" if one else "s3:ListBucket on the bucket"
        return S3Error(f"{where}: denied ({code}); these credentials need {right}", everywhere=not one)
    return S3Error(f"{where}: {server} refused ({status} {code}); see the server's log", everywhere=not one)


def failure(error: Exception, where: str, server: str) -> S3Error:
    """What it means that there was no answer, or half of one. Arguments as for `refusal`."""
    from botocore import exceptions

    text = (redact(str(error)).splitlines() or [type(error).__name__])[0].strip().rstrip(".")
    if isinstance(error, exceptions.FlexibleChecksumError):
        return Damaged(f"{where}: what came is not what was stored ({text})", everywhere=False)
    missing = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.ProfileNotFound,
        exceptions.NoAuthTokenError,
        exceptions.SSOError,
        exceptions.TokenRetrievalError,
    )
    if isinstance(error, missing):
        return S3Error(
            f"{where}: no credentials for S3 ({text}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE, or run where a role gives them"
        )
    settled = isinstance(error, exceptions.BotoCoreError) and not isinstance(
        error, (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError)
    )
    if settled:
        return S3Error(f"{where}: {text}; correct ~/.aws/config or the environment")
    return Interrupted(where, server, text)
