"""What an exception says about the call that failed: kind, status, and whether anything was sent."""

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
"""By class name, since httpx and httpx2 have the same names, and so that nothing need be imported."""


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
"""Base classes of the errors that mean a lost connection, time-outs among them."""


def is_abandoned(error: BaseException | None) -> bool:
    """Whether the failed attempt had been sent and got no answer: it may be billed all the same."""
    return not (_kinds(error).isdisjoint(_CONNECTION_LOST) or is_unsent(error))


def is_unsent(error: BaseException | None) -> bool:
    """Whether the request of the failed attempt was never sent."""
    return not _kinds(error).isdisjoint(_NOTHING_SENT)


def _kinds(error: BaseException | None) -> set[str]:
    """The class names of `error` and of its causes."""
    kinds: set[str] = set()
    for _ in range(_MOST_CAUSES):
        kinds.update(base.__name__ for base in type(error).__mro__)
        error = None if error is None else error.__cause__
    return kinds


_MOST_CAUSES = 8


def error_type_of(error: BaseException) -> str:
    """The API's error type, else the kind of failure, else the exception's class name."""
    body = getattr(error, "body", None)
    envelope = body.get("error") if isinstance(body, dict) else None
    kind = envelope.get("type") if isinstance(envelope, dict) else None
    if isinstance(kind, str) and kind:
        return bounded(kind)
    names = (base.__name__ for base in type(error).__mro__)
    return next((_ERROR_TYPES[name] for name in names if name in _ERROR_TYPES), type(error).__name__)


def status_columns(error: BaseException) -> dict[str, Any]:
    """The columns of the API's error response: status and ids. Empty where no response came."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if type(status) is not int:
        return {}
    columns, _, _ = read_headers(response)
    return {"http_status": status, **columns}
