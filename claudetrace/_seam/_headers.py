"""Reads the columns that a response's headers fill: ids, rate limits, media type."""

from __future__ import annotations

import re
from functools import lru_cache
from math import inf
from operator import itemgetter, truediv
from typing import TYPE_CHECKING, Any, NamedTuple

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
_MOST_LAYOUTS = 256


class Layout(NamedTuple):
    """The positions of the headers that are read."""

    columns: tuple[tuple[str, int], ...]
    content_type: int | None
    content_encoding: int | None
    limits: tuple[str, ...]
    """The names of the rate limits."""
    most: Callable[[Sequence[bytes]], tuple[bytes, ...]]
    """Gives the value of each limit, and `remaining` what remains of each."""
    remaining: Callable[[Sequence[bytes]], tuple[bytes, ...]]


_layouts: dict[tuple[bytes, ...], Layout] = {}
"""By the names of all headers: an API sends the same names in the same order every time."""


def read_headers(response: Any) -> tuple[dict[str, Any], str, str]:
    """The columns that the headers of `response` fill, its media type and its content encoding, in lower case."""
    raw = response.headers.raw
    if not raw:
        return {}, "", ""
    names, values = zip(*raw, strict=True)
    layout = _layouts.get(names) or _learn(names)
    columns: dict[str, Any] = {}
    for name, at in layout.columns:
        columns[name] = bounded(values[at].decode("ascii", "replace"))
    if layout.limits:
        _fill_headroom(columns, layout, values)
    media_type = "" if layout.content_type is None else _media_type(values[layout.content_type])
    encoding = "" if layout.content_encoding is None else _media_type(values[layout.content_encoding])
    return columns, media_type, encoding


def _fill_headroom(columns: dict[str, Any], layout: Layout, values: Sequence[bytes]) -> None:
    """Fills in which limit has the least room, and how much of it remains, from 0 to 1."""
    most, remaining = layout.most(values), layout.remaining(values)
    try:
        shares = list(map(truediv, map(int, remaining), _numbers(most)))
    except (ValueError, ArithmeticError):
        shares = list(map(_share, remaining, most))
    least = min(shares)
    if not 0 <= least < 1:
        shares = [inf if share < 0 else share if share == inf else min(share, 1.0) for share in shares]
        least = min(shares)
    if least < inf:
        columns["rate_limit_headroom"] = least
        columns["rate_limit"] = layout.limits[shares.index(least)]


@lru_cache(maxsize=64)
def _numbers(limits: tuple[bytes, ...]) -> list[int]:
    """The limits as numbers: they are the same for every call of an organization."""
    return [*map(int, limits)]


def _share(remaining: bytes, most: bytes) -> float:
    try:
        return int(remaining) / int(most)
    except (ValueError, ArithmeticError):
        return inf


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
        limits=tuple(name for name, _, _ in limits),
        most=_picks([at for _, at, _ in limits]),
        remaining=_picks([at for _, _, at in limits]),
    )
    if len(_layouts) < _MOST_LAYOUTS:
        _layouts[names] = layout
    return layout


def _picks(places: list[int]) -> Callable[[Sequence[bytes]], tuple[bytes, ...]]:
    """A function that gives the values at `places`."""
    if len(places) < 2:
        return lambda values: tuple(values[at] for at in places)
    return itemgetter(*places)
