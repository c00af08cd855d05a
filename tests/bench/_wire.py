"""The SDK with answers made in this process: what is measured calls it, in whatever environment it runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import httpx2 as http
except ImportError:
    import httpx as http

ASK: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 1_000,
    "messages": [{"role": "user", "content": "How many rivers flow into the Black Sea?"}],
}
LARGE = {**ASK, "messages": [{"role": "user", "content": "river " * 17_000}]}
USAGE = {
    "input_tokens": 120,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 2_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
    "output_tokens": 250,
    "service_tier": "standard",
    "inference_geo": "global",
}
MESSAGE = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [{"type": "text", "text": "Many."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}
HEADERS = {
    "request-id": "req_01",
    "anthropic-organization-id": "org",
    **{
        f"anthropic-ratelimit-{name}-{part}": value
        for name in ("requests", "tokens", "input-tokens", "output-tokens")
        for part, value in (("limit", "4000"), ("remaining", "3999"), ("reset", "2026-11-21T12:00:00Z"))
    },
}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " river"}}


def events(deltas: int) -> list[bytes]:
    """A streamed answer, one network chunk an event."""
    told = [
        {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *[DELTA] * deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 250}},
        {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in told]


class Chunks(http.SyncByteStream):
    """A body that comes in these chunks."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks


def client(deltas: int = 1_000, **options: Any) -> anthropic.Anthropic:
    """A client whose requests are answered in this process, streams with so many deltas."""
    body, stream = json.dumps(MESSAGE).encode(), events(deltas)

    def answer(request: Any) -> Any:
        if b'"stream":true' in request.content:
            return http.Response(200, headers={**HEADERS, "content-type": "text/event-stream"}, stream=Chunks(stream))
        return http.Response(200, headers={**HEADERS, "content-type": "application/json"}, content=body)

    transport = http.MockTransport(answer)
    return anthropic.Anthropic(api_key="bench", http_client=http.Client(transport=transport), **supported(options))


def supported(options: dict[str, Any]) -> dict[str, Any]:
    """`options`, or none of them where this SDK has no spans of its own."""
    try:
        client_type = anthropic.Anthropic(api_key="bench", **options)
    except TypeError:
        return {}
    client_type.close()
    return options
