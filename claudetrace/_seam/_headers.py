"""What a response's headers say of the call."""

from __future__ import annotations

from typing import Any

_COLUMNS = (
    (b"request-id", "request_id"),
    (b"anthropic-organization-id", "organization_id"),
    (b"anthropic-workspace-id", "workspace_id"),
    (b"content-type", "content_type"),
    (b"content-encoding", "content_encoding"),
)
_CLOUDS_REQUEST_ID = b"x-amzn-requestid"
_LIMIT = b"anthropic-ratelimit-"


def header_columns(response: Any) -> dict[str, Any]:
    """The ids and the rate-limit headroom in the headers of `response`.

    Beside columns it has `content_type` and `content_encoding`, which whoever makes a row takes out.
    """
    headers = {name.lower(): value for name, value in response.headers.raw}
    columns: dict[str, Any] = {}
    for name, column in _COLUMNS:
        if name in headers:
            columns[column] = headers[name].decode("ascii", "replace")
    if _CLOUDS_REQUEST_ID in headers and "request_id" not in columns:
        columns["request_id"] = headers[_CLOUDS_REQUEST_ID].decode("ascii", "replace")
    tightest = 2.0
    for name in headers:
        if name.startswith(_LIMIT) and name.endswith(b"-limit"):
            headroom = _headroom(headers[name], headers.get(name[:-5] + b"remaining"))
            if headroom < tightest:
                columns["rate_limit_headroom"] = tightest = headroom
                columns["rate_limit"] = name[len(_LIMIT) : -6].decode("ascii", "replace")
    return columns


def _headroom(limit: bytes, remaining: bytes | None) -> float:
    """What is left of a limit, 0 to 1; more than any where the headers do not say."""
    if remaining is None or not (limit.isdigit() and remaining.isdigit() and int(limit)):
        return 2.0
    return min(int(remaining) / int(limit), 1.0)


def content_coding(columns: dict[str, Any]) -> tuple[str, str]:
    """The media type and the content encoding, in lower case, taken out of `header_columns`."""
    content_type: str = columns.pop("content_type", "")
    return (
        content_type.partition(";")[0].strip().lower(),
        columns.pop("content_encoding", "").strip().lower(),
    )
