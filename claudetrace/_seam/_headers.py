"""Reads the columns that a response's headers fill: ids, rate limits, media type."""

from __future__ import annotations

import re
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._headroom import RATE_LIMITS
from claudetrace._text import bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_COLUMNS = {
    b"request-id": "request_id",
    b"x-amzn-requestid": "request_id",
    b"anthropic-organization-id": "organization_id",
    b"anthropic-workspace-id": "workspace_id",
}
_CONTENT_TYPE, _CONTENT_ENCODING = b"content-type", b"content-encoding"
_LIMIT, _REMAINING = re.compile(rb"anthropic-ratelimit-(.+)-limit"), b"anthropic-ratelimit-%b-remaining"
_MOST_LAYOUTS, _LONGEST_ROOMS = 256, 4096


class Layout(NamedTuple):
    """The positions of the headers that are read."""

    columns: tuple[tuple[str, int], ...]
    content_type: int | None
    content_encoding: int | None
    limits: str
    """The names of the rate limits, each with a line's end."""
    rooms: Callable[[Sequence[bytes]], tuple[bytes, ...]]
    """Gives the value of each limit, then what remains of each."""


_layouts: dict[tuple[bytes, ...], Layout] = {}
"""By the names of all headers: an API sends the same names in the same order every time."""


def read_headers(response: Any) -> tuple[dict[str, Any], str, str]:
    """The columns that the headers of `response` fill, its media type and its content encoding, in lower case.

    What tells of rate limits is read by the loader.
    """
    raw = response.headers.raw
    if not raw:
        return {}, "", ""
    names, values = zip(*raw, strict=True)
    layout = _layouts.get(names) or _learn(names)
    columns: dict[str, Any] = {}
    for name, at in layout.columns:
        columns[name] = bounded(values[at].decode("ascii", "replace"))
    if layout.limits:
        told = layout.limits + b"\n".join(layout.rooms(values)).decode("ascii", "replace")
        if len(told) <= _LONGEST_ROOMS:
            columns[RATE_LIMITS] = told
    media_type = "" if layout.content_type is None else _media_type(values[layout.content_type])
    encoding = "" if layout.content_encoding is None else _media_type(values[layout.content_encoding])
    return columns, media_type, encoding


@lru_cache(maxsize=256)
def _media_type(value: bytes) -> str:
    """The header's value without parameters, in lower case."""
    return bounded(value.decode("ascii", "replace")).partition(";")[0].strip().lower()


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
    layout = Layout(
        columns=tuple(columns.items()),
        content_type=places.get(_CONTENT_TYPE),
        content_encoding=places.get(_CONTENT_ENCODING),
        limits="".join(f"{name}\n" for name, _, _ in limits),
        rooms=itemgetter(*[at for _, at, _ in limits], *[at for _, _, at in limits]) if limits else tuple,
    )
    if len(_layouts) < _MOST_LAYOUTS:
        _layouts[names] = layout
    return layout
