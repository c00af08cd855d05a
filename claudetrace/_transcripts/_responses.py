"""`Response`: a response of the API, read from the records of a transcript or the messages of the CLI; and its row."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._content import Content
from claudetrace._ids import ns_of, response_id
from claudetrace._kept import kept_usage
from claudetrace._operations import MESSAGES_CREATE
from claudetrace._pricing._engine import ran_code
from claudetrace._text import bounded
from claudetrace._usage import count_of, merged_usage

if TYPE_CHECKING:
    from claudetrace._call import Row
    from claudetrace._pricing._terms import Terms

Hashed = Callable[[str, str | None], str | None]
AGENT_SDK, CLAUDE_CODE = "agent_sdk", "claude_code"
_PLATFORMS = {"msg_bdrk_": "bedrock", "msg_vrtx_": "vertex"}
"""How the ids of a cloud's messages begin."""
_DETACHED = "HEAD"
_HOME = re.compile(r"^(?:/(?:home|Users)/[^/]+|/root)(?=/|$)")
SYNTHETIC = "<synthetic>"
"""The model of messages that the CLI wrote itself, such as for an API error."""
FACTS = {
    "request_id": ("requestId", "request_id"),
    "requested": ("requestedModel",),
    "session": ("sessionId", "session_id"),
    "agent": ("attributionAgent", "subagent_type", "agentType"),
    "cwd": ("cwd",),
    "branch": ("gitBranch",),
    "entrypoint": ("entrypoint",),
}
"""What is known of a response besides its message, by its names in transcripts and messages."""


@dataclass(slots=True, eq=False)
class Response:
    """The facts of one response. There is a record for each block of its content; no content is kept."""

    message_id: str
    at: datetime | None = None
    """When its first record was written."""
    model: str | None = None
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None
    final: bool = False
    """Whether `usage` is the API's last word."""
    tool_calls: int = 0
    content: Content = field(default_factory=Content)
    request_id: str | None = None
    requested: str | None = None
    session: str | None = None
    agent: str | None = None
    cwd: str | None = None
    branch: str | None = None
    entrypoint: str | None = None

    def add(self, record: Mapping[str, Any], message: Mapping[str, Any]) -> None:
        """Reads a record. Of several, the last has the usage and the first the time."""
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
        """Reads the last event of a stream. Its counts are running totals, so those that it leaves out stay."""
        if (told := text(reason)) is not None and isinstance(usage, dict):
            self.stop_reason, self.final = told, True
            self.usage = merged_usage(self.usage, kept_usage(usage))


def message_of(record: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The API's message in `record`, with its id, or `None` if there is none."""
    message = record.get("message")
    if record.get("type") != "assistant" or not isinstance(message, Mapping):
        return None
    message_id = text(message.get("id"))
    if message_id is None or message.get("model") in (SYNTHETIC, None):
        return None
    return message_id, message


def moment(told: object) -> datetime | None:
    """The time of a record, in UTC."""
    if not isinstance(told, str):
        return None
    try:
        at = datetime.fromisoformat(told)
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def text(value: object) -> str | None:
    """`value` if it is text and not empty."""
    return bounded(value) if isinstance(value, str) and value else None


def row_of(response: Response, who: Row, terms: Terms, hashed: Hashed, *, source: str | None = None) -> Row:
    """The row of `response`, without its price. `who`: the columns that say who it is for; `hashed`: a tag's value as
    the ledger stores it."""
    at = response.at or datetime.now(UTC)
    terms = _terms(response, terms)
    row_id = response_id(ns_of(at), CLAUDE_CODE, response.message_id)
    row: Row = {
        **who,
        "id": row_id,
        "call_id": row_id,
        "started_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "source": source or (AGENT_SDK if (response.entrypoint or "").startswith("sdk") else CLAUDE_CODE),
        "operation": MESSAGES_CREATE.name,
        "platform": terms.platform,
        "streamed": 1,
        "model_requested": response.requested,
        "model": response.model,
        "outcome": "ok",
        "stop_reason": response.stop_reason,
        "tool_calls": response.tool_calls,
        "request_id": response.request_id,
        "message_id": response.message_id,
        "usage": None if response.usage is None else orjson.dumps(response.usage).decode(),
        "usage_is_final": int(response.final),
        "pricing_terms": terms.text,
        "session_id": who.get("session_id") or hashed("session", response.session),
        "agent": response.agent,
        "project": project_of(response.cwd),
    }
    if response.usage is None:
        row["cost_flags"] = '["no_usage"]'
    if response.branch not in (None, _DETACHED):
        row["tags"] = orjson.dumps({"branch": response.branch, **orjson.loads(who.get("tags") or "{}")}).decode()
    return row


def project_of(cwd: str | None) -> str | None:
    """The folder that a session worked in. Below any home it is `~/…`, so that it names no user and is the same on
    every host."""
    return None if cwd is None else _HOME.sub("~", cwd)


def _terms(response: Response, terms: Terms) -> Terms:
    platform = next((name for start, name in _PLATFORMS.items() if response.message_id.startswith(start)), None)
    if platform is not None and not terms.told_platform:
        terms = replace(terms, platform=platform)
    code = response.content.ran_code or ran_code(response.usage)
    empty = response.stop_reason == "refusal" and response.content.is_empty(
        count_of((response.usage or {}).get("output_tokens"))
    )
    if not (code or empty):
        return terms
    free = response.content.frees_code
    return replace(terms, content_empty=empty, code_execution=code and not free, free_code=code and free)
