"""Bodies in the API's form: messages, streams of events, batch results, errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Event: TypeAlias = dict[str, Any]
"""The `data:` of one event of a stream."""

MODEL = "claude-sonnet-5-5"


def json_bytes(value: Any) -> bytes:
    """`value` as compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def usage(
    input_tokens: int = 0,
    output_tokens: int = 0,
    *,
    cache_read: int = 0,
    write_5m: int = 0,
    write_1h: int = 0,
    **more: Any,
) -> dict[str, Any]:
    """A usage object; `more` goes into it unchanged."""
    return {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": write_5m + write_1h,
        "cache_read_input_tokens": cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": write_5m, "ephemeral_1h_input_tokens": write_1h},
        "output_tokens": output_tokens,
        "service_tier": "standard",
        **more,
    }


def text(words: str) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": words}


def tool_use(name: str, given: Mapping[str, Any], *, call_id: str = "toolu_demo_1") -> dict[str, Any]:
    """A block that calls the tool `name`."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": dict(given)}


def message(
    content: str | Sequence[Mapping[str, Any]] = "Hello.",
    counts: Mapping[str, Any] | None = None,
    *,
    model: str = MODEL,
    message_id: str = "msg_demo_1",
    stop_reason: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A message of the Messages API. Its stop reason is `tool_use` if it calls a tool."""
    blocks = [text(content)] if isinstance(content, str) else [dict(block) for block in content]
    asks = any(block.get("type") == "tool_use" for block in blocks)
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": blocks,
        "stop_reason": stop_reason or ("tool_use" if asks else "end_turn"),
        "stop_sequence": None,
        "usage": dict(usage(12, 6) if counts is None else counts),
        **more,
    }


_TOTALS = (
    *("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"),
    *("output_tokens_details", "server_tool_use"),
)
"""The counts that the end of a stream repeats."""


def stream_events(whole: Mapping[str, Any], *, pieces: int = 4) -> list[Event]:
    """The events that stream the message `whole`, with each text in `pieces` deltas.

    As the API does, `message_start` has the input counts and one output token, and `message_delta` has the totals.
    """
    counts = dict(whole["usage"])
    start = {**whole, "content": [], "stop_reason": None, "usage": {**counts, "output_tokens": 1}}
    events: list[Event] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(whole["content"]):
        events += _block_events(index, block, pieces)
    totals = {name: counts[name] for name in _TOTALS if name in counts}
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": whole["stop_sequence"]}
    events.append({"type": "message_delta", "delta": delta, "usage": totals})
    events.append({"type": "message_stop"})
    return events


def _block_events(index: int, block: Mapping[str, Any], pieces: int) -> Iterator[Event]:
    field = block["type"] if block["type"] in ("text", "thinking") else "input"
    name, key = ("input_json_delta", "partial_json") if field == "input" else (f"{field}_delta", field)
    told = json.dumps(block[field]) if field == "input" else block[field]
    empty = {**block, field: type(block[field])()}
    yield {"type": "content_block_start", "index": index, "content_block": empty}
    size = max(1, -(-len(told) // pieces))
    for at in range(0, len(told), size):
        delta = {"type": name, key: told[at : at + size]}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def sse(events: Iterable[Mapping[str, Any]]) -> list[bytes]:
    """Server-sent events, a chunk each."""
    return [b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json_bytes(event)) for event in events]


def error(kind: str = "api_error", words: str = "Something went wrong.", **more: Any) -> dict[str, Any]:
    """An error of the API: a body or, in a stream, an event."""
    return {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_demo_error", **more}


def batch(batch_id: str, *, ended: bool, succeeded: int, errored: int = 0, url: str = "") -> dict[str, Any]:
    """A batch of the Batches API. Once it has ended, its results are at `url`."""
    requests = succeeded + errored
    counts = {"processing": 0 if ended else requests, "canceled": 0, "expired": 0}
    counts |= {"succeeded": succeeded if ended else 0, "errored": errored if ended else 0}
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": counts,
        "created_at": "2026-01-05T09:00:00Z",
        "expires_at": "2026-01-06T09:00:00Z",
        "ended_at": "2026-01-05T09:20:00Z" if ended else None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": f"{url}/v1/messages/batches/{batch_id}/results" if ended else None,
    }


def batch_results(results: Mapping[str, Mapping[str, Any]]) -> list[bytes]:
    """Lines of JSON, a chunk each: for each custom id, a message or an error."""
    lines = []
    for custom_id, whole in results.items():
        if whole["type"] == "error":
            result: dict[str, Any] = {"type": "errored", "error": dict(whole)}
        else:
            result = {"type": "succeeded", "message": dict(whole)}
        lines.append(json_bytes({"custom_id": custom_id, "result": result}) + b"\n")
    return lines
