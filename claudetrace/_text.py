"""Text that may be kept and shown."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import orjson

LONGEST_TEXT = 1024
"""Of what a server names: models, ids, reasons, types of errors."""


def utf8(text: str) -> str:
    """`text` with a question mark for each half of a surrogate pair, which JSON can name and UTF-8 cannot hold, and for
    each NUL, which ends a text for SQLite and which PostgreSQL refuses."""
    text = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\0", "?")


def bounded(text: str, most: int = LONGEST_TEXT) -> str:
    """`text` as UTF-8 can hold it; a longer one is cut, which its end says, with a digest that tells two such apart."""
    if len(text) <= most:
        return utf8(text)
    digest = sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{utf8(text[: most // 2])}… (cut from {len(text)} characters, {digest})"


def without_password(text: str) -> str:
    """`text` without the user and the password of URLs in it, and without their queries, which may be a key."""
    return re.sub(r"(?<=//)[^/\s@]+(?=@)|(?<=\?)[^\s()'\"]+", "…", text)


def spellings(value: str) -> list[bytes]:
    """`value` as it is, as it is in JSON, and in JSON that is a text in JSON."""
    forms = [value]
    for _ in range(2):
        forms.append(orjson.dumps(forms[-1]).decode()[1:-1])
    return [form.encode() for form in dict.fromkeys(forms)]


def naming(value: str) -> re.Pattern[bytes]:
    """What finds `value` in a line, however it is spelt, but not inside of a word."""
    return re.compile(rb"(?<!\w)(?:%b)(?!\w)" % b"|".join(map(re.escape, spellings(value))))


def from_json(text: str | bytes) -> Any:
    """What `text` says, also with half of a surrogate pair, which is no JSON for orjson. Raises `ValueError`."""
    try:
        return orjson.loads(text)
    except ValueError:
        import json

        return json.loads(text)


def json_text(value: Any) -> str:
    """`value` as JSON, also where orjson has no form for it."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        import json

        return json.dumps(value)
