"""What the service refuses, each with its HTTP status; any other MosoError is the content's fault: 422."""

from __future__ import annotations

from moso.errors import MosoError
from moso.video.packages import MissingPackage


class RequestError(MosoError):
    """A request that is not what its own headers say: no JSON, no multipart, no such text."""

    status = 400


class NotAcceptableError(RequestError):
    """The caller takes no form that this answer can have."""

    status = 406


class SlowUploadError(RequestError):
    """The body did not come within its time."""

    status = 408


class TooLargeError(RequestError):
    """More bytes, pixels, clips, frames or steps than the service takes."""

    status = 413


class MediaTypeError(RequestError):
    """A body of a kind that is not read here."""

    status = 415


class BusyError(RequestError):
    """As many requests as may wait are waiting, or no model is loaded yet; the caller may try again."""

    status = 503


class LateError(RequestError):
    """The work took longer than a request may take; the caller asks for less."""

    status = 504


class StoppedError(MosoError):
    """Raised inside a task whose caller is gone or was answered already; nobody reads it."""


def status_of(error: MosoError) -> int:
    """The HTTP status of an error: 422 for content that does not fit the model or cannot be read."""
    if isinstance(error, RequestError):
        return error.status
    return 501 if isinstance(error, MissingPackage) else 422
