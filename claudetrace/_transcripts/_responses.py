"""`Response`: one response of the API, as the records of a transcript or the messages of the CLI tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from claudetrace._content import Content
from claudetrace._kept import kept_usage
from claudetrace._text import bounded
from claudetrace._usage import merged_usage

SYNTHETIC = "<synthetic>"
"""The model of messages that the CLI has written itself, as of an API error."""
FACTS = {
    "request_id": ("requestId", "request_id"),
    "requested": ("requestedModel",),
    "session": ("sessionId", "session_id"),
    "agent": ("attributionAgent", "subagent_type", "agentType"),
    "cwd": ("cwd",),
    "branch": ("gitBranch",),
    "entrypoint": ("entrypoint",),
}
"""What is known of a response beside its message, and how transcripts and messages call it."""


class Response:
    """The facts of one response. Several records tell of it, one for each block of its content; it keeps none."""

    __slots__ = ("at", "content", "final", "message_id", "model", "stop_reason", "tool_calls", "usage", *FACTS)
    request_id: str | None
    requested: str | None
    session: str | None
    agent: str | None
    cwd: str | None
    branch: str | None
    entrypoint: str | None

    def __init__(self, message_id: str) -> None:
        self.message_id = message_id
        self.at: datetime | None = None
        """When its first record was written."""
        self.model: str | None = None
        self.stop_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.final = False
        """Whether `usage` is the API's last word."""
        self.tool_calls = 0
        self.content = Content()
        for name in FACTS:
            setattr(self, name, None)

    def add(self, record: Mapping[str, Any], message: Mapping[str, Any]) -> None:
        """Takes a record of it. Of several the last has the usage and the first the time."""
        self.at = self.at or moment(record.get("timestamp"))
        for name, keys in FACTS.items():
            for key in keys:
                if told := text(record.get(key)):
                    setattr(self, name, told)
        self.model = text(message.get("model")) or self.model
        if isinstance(blocks := message.get("content"), list):
            for block in blocks:
                self.content.add(block)
                self.tool_calls += isinstance(block, dict) and block.get("type") == "tool_use"
        reason, usage = text(message.get("stop_reason")), message.get("usage")
        if isinstance(usage, dict) and (reason or not self.final):
            self.usage, self.final = kept_usage(usage), reason is not None
        self.stop_reason = reason or self.stop_reason

    def ended(self, reason: object, usage: object) -> None:
        """Takes what the last event of a stream says: running totals, so what they leave out stays."""
        if (told := text(reason)) is not None and isinstance(usage, dict):
            self.stop_reason, self.final = told, True
            self.usage = merged_usage(self.usage, kept_usage(usage))


def message_of(record: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The message of the API in `record`, with its id, or `None` where it is none."""
    message = record.get("message")
    if record.get("type") != "assistant" or not isinstance(message, Mapping):
        return None
    message_id = text(message.get("id"))
    if message_id is None or message.get("model") in (SYNTHETIC, None):
        return None
    return message_id, message


def moment(told: object) -> datetime | None:
    """The time that a record has, in UTC."""
    if not isinstance(told, str):
        return None
    try:
        at = datetime.fromisoformat(told)
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def text(value: object) -> str | None:
    """`value` if it is text that says something."""
    return bounded(value) if isinstance(value, str) and value else None
