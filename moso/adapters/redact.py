"""Secrets masked before anything is written where others read it: parameters, tags, messages.

Masked are values under names that say so (password, secret, api_key …), user:password@ in addresses, and the
signatures of signed addresses. "tokens" is this project's own word: only a name that ends in the singular is a secret.
"""

from __future__ import annotations

import re

MASK = "***"
SECRET_NAME = re.compile(
    r"(^|[._\-])(password|passwd|passphrase|secrets?|secret[_-]?key|api[_-]?key|access[_-]?key([_-]?id)?|private[_-]?key|token|credentials?)$",
    re.IGNORECASE,
)
USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
SIGNED = re.compile(
    r"(?i)\b(x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature|signature|sig|token|api_?key|password|secret)"
    r"=([^&\s\"']+)"
)


def redact(text: str, name: str = "") -> str:
    """`text` without secrets; all of it is masked where `name` is that of a secret."""
    if name and text and text not in ("null", "true", "false") and SECRET_NAME.search(name):
        return MASK
    return SIGNED.sub(rf"\1={MASK}", USER_INFO.sub(f"{MASK}@", text))
