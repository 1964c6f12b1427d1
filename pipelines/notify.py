"""Tell someone how a retraining ended: a line in the log, and a POST of JSON where MOSO_WEBHOOK names an address.

A message that cannot be delivered never fails the retraining, whose result stands by itself; it is said.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from moso.errors import ConfigError
from moso.provenance import finite

ADDRESS = "MOSO_WEBHOOK"
TIMEOUT_S = 10.0
# Printable ASCII alone: http.client sends nothing else. User and password, host (a name or [IPv6]), port, path.
_PART = r"[^\s/?#@\[\]]"
HTTP = re.compile(rf"(?a)https?://({_PART}+@)?([^\s/?#@:\[\]]+|\[[0-9a-fA-F:.]+\])(:(?P<port>\d{{1,5}}))?([/?#]\S*)?")


def check_address(address: str | None) -> None:
    """Refuse an address that no request could go to, before anything is trained.

    Raises:
        ConfigError: it is no http:// or https:// address from end to end. Its value may hold a secret and is not shown.
    """
    if not address:
        return
    found = HTTP.fullmatch(address) if address.isascii() and address.isprintable() else None
    if found is None or int(found["port"] or 0) > 65535:
        raise ConfigError(
            ADDRESS,
            "***",
            "must be an http(s) address, without spaces and with digits for a port",
            "export MOSO_WEBHOOK=https://host/path (other characters as %XX), or unset",
        )


def notify(record: Mapping[str, Any], address: str | None = None) -> bool:
    """Print how it ended, and POST `record` as JSON to `address` (MOSO_WEBHOOK where None).

    The record's "text" is what chat services show. NaN and infinities become null.

    Returns:
        Whether the message was delivered; True where there is no address.
    """
    print(f"retraining: {record['text']}", flush=True)
    address = address or os.environ.get(ADDRESS)
    if not address:
        return True
    try:
        with urllib.request.urlopen(_request(record, address), timeout=TIMEOUT_S):
            return True
    except Exception as error:  # the champion may have moved already: nothing about a message is worth failing for
        # The address may hold a token: neither it, nor what the error says of it, nor a traceback is shown.
        why = f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        print(f"retraining: the message to {ADDRESS} could not be delivered ({why}); all else is done", file=sys.stderr)
        return False


def _request(record: Mapping[str, Any], address: str) -> urllib.request.Request:
    body = json.dumps(finite(record), allow_nan=False).encode()  # services refuse a message with NaN
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")  # urllib would take a password for a port
    request = urllib.request.Request(
        parts._replace(netloc=host).geturl(), body, {"Content-Type": "application/json"}, method="POST"
    )
    if at:  # not for another host that the answer may lead to
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}")
    return request
