"""Text that may be kept and shown."""

from __future__ import annotations

import re


def utf8(text: str) -> str:
    """`text` with a question mark for each half of a surrogate pair, which JSON can name and UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def without_password(text: str) -> str:
    """`text` without the user and the password of URLs in it, and without their queries, which may be a key."""
    return re.sub(r"(?<=//)[^/\s@]+(?=@)|(?<=\?)[^\s()'\"]+", "…", text)
