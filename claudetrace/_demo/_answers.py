"""Exchanges with the API's headers: a JSON answer, a stream, an error, a batch."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from claudetrace._demo import _wire
from claudetrace._demo._server import Exchange, Received

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_number = count(1)

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"


def api_headers(content_type: str = JSON) -> dict[str, str]:
    """The headers of an answer: its request id, the organization, and what is left of the limits."""
    limits = {"requests": 4000, "input-tokens": 2_000_000, "output-tokens": 400_000}
    headers = {
        "content-type": content_type,
        "request-id": f"req_demo_{next(_number):04}",
        "anthropic-organization-id": "00000000-0000-0000-0000-000000000000",
    }
    for name, limit in limits.items():
        headers[f"anthropic-ratelimit-{name}-limit"] = str(limit)
        headers[f"anthropic-ratelimit-{name}-remaining"] = str(limit * 9 // 10)
        headers[f"anthropic-ratelimit-{name}-reset"] = "2026-01-05T09:01:00Z"
    return headers


def answer(whole: Mapping[str, Any] | None = None, **exchange: Any) -> Exchange:
    """An answer with a message, or any JSON, at once. `exchange` sets further fields of `Exchange`."""
    body = _wire.json_bytes(_wire.message() if whole is None else whole)
    headers = {**api_headers(), **exchange.pop("headers", {})}
    return Exchange(body=body, headers=headers, **exchange)


def stream(whole: Mapping[str, Any] | None = None, *, pieces: int = 4, **exchange: Any) -> Exchange:
    """An answer that streams a message as server-sent events, a chunk each."""
    events = _wire.stream_events(_wire.message() if whole is None else whole, pieces=pieces)
    return stream_of(events, **exchange)


def stream_of(events: Sequence[Mapping[str, Any]], **exchange: Any) -> Exchange:
    """An answer that streams these events, a chunk each."""
    headers = {**api_headers(SSE), "cache-control": "no-cache", **exchange.pop("headers", {})}
    return Exchange(body=_wire.sse(events), headers=headers, **exchange)


def failure(status: int, kind: str, words: str = "Something went wrong.", **exchange: Any) -> Exchange:
    """An answer with an error of the API."""
    headers = {**api_headers(), **exchange.pop("headers", {})}
    body = _wire.json_bytes(_wire.error(kind, words))
    return Exchange(status=status, body=body, headers=headers, **exchange)


def batch(batch_id: str, results: Mapping[str, Mapping[str, Any]], **exchange: Any) -> list[Exchange]:
    """The answers that create a batch, say that it has ended, and give its results. Each works any number of times."""
    failed = sum(whole["type"] == "error" for whole in results.values())
    counts = {"succeeded": len(results) - failed, "errored": failed}
    path = "/v1/messages/batches"

    def ended(request: Received) -> bytes:
        return _wire.json_bytes(_wire.batch(batch_id, ended=True, url=request.server_url, **counts))

    lines = _wire.batch_results(results)
    common = {"times": None, **exchange}
    begun = _wire.json_bytes(_wire.batch(batch_id, ended=False, **counts))
    jsonl = api_headers("application/x-jsonl")
    return [
        Exchange(path=path, body=begun, headers=api_headers(), **common),
        Exchange(method="GET", path=f"{path}/{batch_id}", body=ended, headers=api_headers(), **common),
        Exchange(method="GET", path=f"{path}/{batch_id}/results", body=lines, headers=jsonl, **common),
    ]
