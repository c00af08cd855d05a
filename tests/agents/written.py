"""Transcripts as versions of Claude Code write them: what each does in its own way is in `SHAPES`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODEL = "claude-sonnet-4-5-20250929"
USAGE: dict[str, Any] = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 2000,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 40,
    "service_tier": "standard",
}
PICOUSD = 10 * 3_000_000 + 2000 * 300_000 + 100 * 3_750_000 + 200 * 6_000_000 + 40 * 15_000_000
"""What `USAGE` costs on Sonnet 4.5: 3 dollars a million in, 15 out, a read 0.30, writes 3.75 and 6."""


def record(message_id: str, second: float = 0, **further: Any) -> dict[str, Any]:
    """A record of an assistant's message, of the newest version."""
    message = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": further.pop("model", MODEL),
        "content": further.pop("content", [{"type": "text", "text": "secret words"}]),
        "stop_reason": further.pop("stop_reason", "end_turn"),
        "usage": further.pop("usage", USAGE),
    }
    return {
        "type": "assistant",
        "message": message,
        "requestId": f"req_{message_id}",
        "requestedModel": MODEL,
        "timestamp": f"2026-11-20T10:00:{second:06.3f}Z",
        "sessionId": "session-1",
        "isSidechain": False,
        "version": "2.1.332",
        "cwd": "/src/shop",
        "gitBranch": "main",
        "entrypoint": "cli",
        "uuid": f"uuid-{message_id}-{second}",
        **further,
    }


def _placeholders(message_id: str) -> list[dict[str, Any]]:
    """Until the end of the response, its records have the counts that it began with."""
    begun = {**USAGE, "output_tokens": 1}
    tool = [{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}]
    return [
        record(message_id, 1, usage=begun, stop_reason=None, version="2.1.97"),
        record(message_id, 2, usage=begun, stop_reason=None, version="2.1.97"),
        record(message_id, 3, stop_reason="tool_use", content=tool, version="2.1.97"),
    ]


def _nested_alone(message_id: str) -> list[dict[str, Any]]:
    """The total of cache writes is 0 although the split is not."""
    return [record(message_id, 1, usage={**USAGE, "cache_creation_input_tokens": 0}, version="2.1.152")]


def _no_request_id(message_id: str) -> list[dict[str, Any]]:
    told = record(message_id, 1, version="2.1.211")
    del told["requestId"], told["requestedModel"]
    return [told]


def _blocks(message_id: str) -> list[dict[str, Any]]:
    """Each block of the content is a record, all with the final counts."""
    tools = [{"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {}} for number in range(2)]
    parts = [[{"type": "text", "text": "…"}], *([tool] for tool in tools)]
    return [record(message_id, at, content=part, version="2.1.214") for at, part in enumerate(parts, 1)]


def _copied(message_id: str) -> list[dict[str, Any]]:
    """A session that was forked or resumed holds the records of the one before."""
    return [record(message_id, 1, version="2.1.277"), record(message_id, 1, version="2.1.277", sessionId="session-2")]


def _newest(message_id: str) -> list[dict[str, Any]]:
    """With records of other kinds beside them, and the CLI's own totals at the end."""
    spent = {"inputTokens": 10, "outputTokens": 40, "cacheReadInputTokens": 2000, "cacheCreationInputTokens": 300}
    return [
        {"type": "queue-operation", "operation": "enqueue", "sessionId": "session-1", "content": "secret words"},
        {"type": "kind-of-tomorrow", "assistant": "assistant"},
        record(message_id, 1, perTurnEffort=None, madeBy="model"),
        {"type": "cost-state", "totalCostUSD": PICOUSD / 1e12, "modelUsage": {MODEL: spent}},
    ]


SHAPES = {
    "2.1.97": _placeholders,
    "2.1.152": _nested_alone,
    "2.1.211": _no_request_id,
    "2.1.214": _blocks,
    "2.1.277": _copied,
    "2.1.332": _newest,
}


def write(path: Path, *records: dict[str, Any] | bytes) -> Path:
    """Appends records, or lines as they are, to the transcript at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        for each in records:
            file.write(each if isinstance(each, bytes) else json.dumps(each, separators=(",", ":")).encode())
            file.write(b"\n")
    return path
