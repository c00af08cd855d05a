"""The row of a response that Claude Code made."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson

from claudetrace._ids import response_id
from claudetrace._operations import MESSAGES_CREATE
from claudetrace._pricing._engine import ran_code
from claudetrace._usage import count_of

if TYPE_CHECKING:
    from claudetrace._call import Row
    from claudetrace._pricing._terms import Terms
    from claudetrace._transcripts._responses import Response

Hashed = Callable[[str, str | None], str | None]
AGENT_SDK, CLAUDE_CODE = "agent_sdk", "claude_code"
_PLATFORMS = {"msg_bdrk_": "bedrock", "msg_vrtx_": "vertex"}
"""How ids of messages begin that came from a cloud."""
_DETACHED = "HEAD"
_HOME = re.compile(r"^(?:/(?:home|Users)/[^/]+|/root)(?=/|$)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def row_of(response: Response, who: Row, terms: Terms, hashed: Hashed, *, source: str | None = None) -> Row:
    """The row of `response`, without its price. `who`: the columns that say who it is for; `hashed`: how the ledger
    has a tag's value."""
    at = response.at or datetime.now(UTC)
    terms = _terms(response, terms)
    row_id = response_id((at - _EPOCH) // _MS * 1_000_000, CLAUDE_CODE, response.message_id)
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
    """The folder that a session worked in; below whosever home as `~/…`, so that it names no user and is one on all
    hosts."""
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
