"""Tell someone how a retraining ended: a line in the log, and a POST of JSON where MOSO_WEBHOOK names an address.

An address that cannot be reached never fails the retraining, whose result stands by itself; it is said.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from moso.errors import ConfigError

ADDRESS = "MOSO_WEBHOOK"
TIMEOUT_S = 10.0


def check_address(address: str | None) -> None:
    """Refuse an address that no request could go to, before anything is trained.

    Raises:
        ConfigError: it does not begin with http:// or https://. Its value may hold a secret and is not shown.
    """
    if address and not re.match(r"https?://[^\s/]+", address):
        raise ConfigError(
            ADDRESS, "***", "must be an http(s) address", "export MOSO_WEBHOOK=https://host/path, or unset"
        )


def notify(record: Mapping[str, Any], address: str | None = None) -> bool:
    """Print how it ended, and POST `record` as JSON to `address` (MOSO_WEBHOOK where None).

    The record's "text" is what chat services show.

    Returns:
        Whether the message was delivered; True where there is no address.
    """
    print(f"retraining: {record['text']}", flush=True)
    address = address or os.environ.get(ADDRESS)
    if not address:
        return True
    body = json.dumps(record).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return True
    except (OSError, ValueError) as error:
        # The address may hold a token: neither it nor what the error says of it is shown.
        why = f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        print(f"retraining: the message to {ADDRESS} could not be delivered ({why}); all else is done", file=sys.stderr)
        return False
