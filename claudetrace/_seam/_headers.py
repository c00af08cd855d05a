"""Reads the columns that a response's headers fill: ids, rate limits, media type."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from claudetrace._text import bounded

_COLUMNS = {
    b"request-id": "request_id",
    b"x-amzn-requestid": "request_id",
    b"anthropic-organization-id": "organization_id",
    b"anthropic-workspace-id": "workspace_id",
    b"content-type": "content_type",
    b"content-encoding": "content_encoding",
}
_LIMIT, _REMAINING = re.compile(rb"anthropic-ratelimit-(.+)-limit"), b"anthropic-ratelimit-%b-remaining"
_MOST_LAYOUTS = 256


class Layout(NamedTuple):
    """The positions of the headers that are read."""

    columns: tuple[tuple[str, int], ...]
    limits: tuple[tuple[str, int, int], ...]
    """Each limit's name, and the positions of the limit and of what remains."""


_layouts: dict[tuple[bytes, ...], Layout] = {}
"""By the names of all headers: an API sends the same names in the same order every time."""


def read_headers(response: Any) -> tuple[dict[str, Any], str, str]:
    """The columns that the headers of `response` fill, its media type and its content encoding, in lower case."""
    raw = response.headers.raw
    if not raw:
        return {}, "", ""
    names, values = zip(*raw, strict=True)
    layout = _layouts.get(names) or _learn(names)
    columns: dict[str, Any] = {name: bounded(values[at].decode("ascii", "replace")) for name, at in layout.columns}
    tightest = 2.0
    for name, limit_at, remaining_at in layout.limits:
        try:
            headroom = min(int(values[remaining_at]) / int(values[limit_at]), 1.0)
        except (ValueError, ZeroDivisionError):
            continue
        if 0 <= headroom < tightest:
            columns["rate_limit_headroom"] = tightest = headroom
            columns["rate_limit"] = name
    media_type: str = columns.pop("content_type", "").partition(";")[0].strip().lower()
    return columns, media_type, columns.pop("content_encoding", "").strip().lower()


def _learn(names: tuple[bytes, ...]) -> Layout:
    lower = [name.lower() for name in names]
    # If a header comes twice, the first one counts.
    places = {name: at for at, name in reversed(list(enumerate(lower)))}
    columns = {_COLUMNS[name]: at for name, at in reversed(places.items()) if name in _COLUMNS}
    limits = [
        (match[1].decode("ascii", "replace"), at, places[_REMAINING % match[1]])
        for name, at in places.items()
        if (match := _LIMIT.fullmatch(name)) and _REMAINING % match[1] in places
    ]
    layout = Layout(tuple(columns.items()), tuple(limits))
    if len(_layouts) < _MOST_LAYOUTS:
        _layouts[names] = layout
    return layout
