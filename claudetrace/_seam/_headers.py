"""What a response's headers say of the call."""

from __future__ import annotations

from typing import Any

_COLUMNS = {
    b"request-id": "request_id",
    b"x-amzn-requestid": "request_id",
    b"anthropic-organization-id": "organization_id",
    b"anthropic-workspace-id": "workspace_id",
    b"content-type": "content_type",
    b"content-encoding": "content_encoding",
}
_LIMIT = b"anthropic-ratelimit-"


def header_columns(response: Any) -> dict[str, Any]:
    """The ids and the rate-limit headroom in the headers of `response`, read in one pass.

    Beside columns it has `content_type` and `content_encoding`, which whoever makes a row takes out.
    """
    columns: dict[str, Any] = {}
    limits: dict[bytes, bytes] | None = None
    for raw_name, value in response.headers.raw:
        name = raw_name.lower()
        if name in _COLUMNS:
            columns.setdefault(_COLUMNS[name], value.decode("ascii", "replace"))
        elif name.startswith(_LIMIT):
            if limits is None:
                limits = {}
            limits[name[len(_LIMIT) :]] = value
    if limits:
        columns.update(_headroom(limits))
    return columns


def _headroom(limits: dict[bytes, bytes]) -> dict[str, Any]:
    tightest: dict[str, Any] = {}
    for name, value in limits.items():
        if not name.endswith(b"-limit"):
            continue
        remaining = limits.get(name[:-6] + b"-remaining", b"")
        if value.isdigit() and remaining.isdigit() and int(value) > 0:
            headroom = min(int(remaining) / int(value), 1.0)
            if headroom < tightest.get("rate_limit_headroom", 2.0):
                tightest = {
                    "rate_limit_headroom": headroom,
                    "rate_limit": name[:-6].decode("ascii", "replace"),
                }
    return tightest


def content_coding(columns: dict[str, Any]) -> tuple[str, str]:
    """The media type and the content encoding, in lower case, taken out of `header_columns`."""
    content_type: str = columns.pop("content_type", "")
    return (
        content_type.partition(";")[0].strip().lower(),
        columns.pop("content_encoding", "").strip().lower(),
    )
