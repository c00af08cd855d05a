"""What a failed call says of itself."""

from __future__ import annotations

from typing import Any

from claudetrace._seam._headers import read_headers
from claudetrace._text import bounded

_ERROR_TYPES = {
    "APITimeoutError": "timeout_error",
    "TimeoutException": "timeout_error",
    "APIConnectionError": "connection_error",
    "TransportError": "connection_error",
    "BudgetExceeded": "BudgetExceeded",
}
"""By the names of classes: the SDK's and the HTTP client's, which two modules hold under one name, and ours."""


def is_cancellation(error: BaseException) -> bool:
    """Whether the caller stopped the call, as opposed to the call failing."""
    return not isinstance(error, Exception)


_NOTHING_SENT = frozenset(
    [
        *("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "LocalProtocolError"),
        *("ConnectionRefusedError", "gaierror"),
    ]
)
_CONNECTION_LOST = frozenset(["APIConnectionError", "TransportError"])
"""Time-outs are among them. Of a middleware's errors, these are the ones that say so."""


def is_abandoned(error: BaseException | None) -> bool:
    """Whether the attempt that ended so had been sent and got no answer: it may be billed all the same."""
    return not (_kinds(error).isdisjoint(_CONNECTION_LOST) or is_unsent(error))


def is_unsent(error: BaseException | None) -> bool:
    """Whether the request of the attempt that failed so never left."""
    return not _kinds(error).isdisjoint(_NOTHING_SENT)


def _kinds(error: BaseException | None) -> set[str]:
    """The names of the classes of `error` and of what it was raised from."""
    kinds: set[str] = set()
    for _ in range(_MOST_CAUSES):
        kinds.update(base.__name__ for base in type(error).__mro__)
        error = None if error is None else error.__cause__
    return kinds


_MOST_CAUSES = 8


def error_type_of(error: BaseException) -> str:
    """The API's error type, else the kind of failure, else the exception's name."""
    body = getattr(error, "body", None)
    envelope = body.get("error") if isinstance(body, dict) else None
    kind = envelope.get("type") if isinstance(envelope, dict) else None
    if isinstance(kind, str) and kind:
        return bounded(kind)
    names = (base.__name__ for base in type(error).__mro__)
    return next((_ERROR_TYPES[name] for name in names if name in _ERROR_TYPES), type(error).__name__)


def status_columns(error: BaseException) -> dict[str, Any]:
    """The status and the ids of the API's refusal, or nothing where none came."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if type(status) is not int:
        return {}
    columns, _, _ = read_headers(response)
    return {"http_status": status, **columns}
