"""Record lines, as `records="stdout"` writes them, and what a log adds to them, read into rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._call import CALL_FIELDS
from claudetrace._ledger._store import GENERATED
from claudetrace._telemetry._attributes import EVENT
from claudetrace._telemetry._stdout import JSON_COLUMNS

if TYPE_CHECKING:
    from claudetrace._call import Row

START = b'{"event":"%b"' % EVENT.encode()
ESCAPED = START.replace(b'"', b'\\"')
_scan = json.JSONDecoder().raw_decode


def row_of_line(line: bytes) -> Row | None:
    """The row in `line`, whatever a log has put before it or around it; `None` where it has none. Raises `ValueError`
    for a broken one."""
    if ESCAPED in line:
        # Docker's own log: the line is a text in a line of JSON.
        line = next(text.encode() for text in orjson.loads(line).values() if isinstance(text, str) and "{" in text)
    at = line.find(START)
    if at < 0:
        return None
    row: Row = {}
    for name, value in _members(line[at:].decode()):
        if name == "event":
            continue
        if name not in CALL_FIELDS:
            raise ValueError(f"{name[:64]} is of another version of claudetrace")
        if name not in GENERATED:
            row[name] = value
    return row


def _members(text: str) -> list[tuple[str, Any]]:
    """The members of the object at the start of `text`; those that the ledger has as JSON are as they are written."""
    members, at = [], 1
    while text[at - 1] != "}":
        name, end = _scan(text, at)
        value, after = _scan(text, end + 1)
        members.append((name, text[end + 1 : after] if name in JSON_COLUMNS else value))
        at = after + 1
    return members
