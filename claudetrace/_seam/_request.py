"""Reads the columns that a request fills: sizes and counts, never its content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claudetrace._text import utf8

NO_BODY: Mapping[str, Any] = {}

_COUNTED_BLOCKS = {"image": "image_count", "document": "document_count"}


def request_body(options: Any) -> Mapping[str, Any]:
    """The JSON that the call sends, with the caller's `extra_body`; empty where it is no mapping."""
    body = options.json_data
    if type(body) is not dict and not isinstance(body, Mapping):
        body = NO_BODY
    extra = getattr(options, "extra_json", None)
    return {**body, **extra} if extra and isinstance(extra, Mapping) else body


def request_columns(body: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that the request alone fills. Counts lists only: an iterator can be read once, by the SDK."""
    columns: dict[str, Any] = {}
    get = body.get
    if isinstance(model := get("model"), str):
        columns["model_requested"] = utf8(model)
    most = get("max_tokens", get("max_tokens_to_sample"))
    if type(most) is int and 0 <= most < 2**63:
        columns["max_tokens"] = most
    if isinstance(tools := get("tools"), (list, tuple)):
        columns["tools_offered"] = len(tools)
    if isinstance(messages := get("messages"), (list, tuple)):
        columns["message_count"] = len(messages)
        columns["image_count"] = columns["document_count"] = 0
        for message in messages:
            content = message.get("content") if type(message) is dict else getattr(message, "content", None)
            if isinstance(content, (list, tuple)):
                _count_blocks(content, columns)
    return columns


def _count_blocks(blocks: Any, counts: dict[str, Any]) -> None:
    for block in blocks:
        if type(block) is dict:
            kind, inner = block.get("type"), block.get("content")
        else:
            kind, inner = getattr(block, "type", None), getattr(block, "content", None)
        if kind in _COUNTED_BLOCKS:
            counts[_COUNTED_BLOCKS[kind]] += 1
        elif kind == "tool_result" and isinstance(inner, (list, tuple)):
            _count_blocks(inner, counts)


def user_of(body: Mapping[str, Any]) -> object:
    """The request's `metadata.user_id`, if it has one."""
    metadata = body.get("metadata")
    return metadata.get("user_id") if metadata and isinstance(metadata, Mapping) else None


def billed_to(body: Mapping[str, Any]) -> str | None:
    """`user_profile` where the request has another organization billed."""
    policy = body.get("billing_policy")
    payer = policy.get("bill_to") if policy and isinstance(policy, Mapping) else None
    return "user_profile" if payer == "user_profile" else None


_FREES_CODE_EXECUTION = "20260209"
"""From this version on, offering a web tool makes code execution free in the same request."""


def code_execution_is_free(body: Mapping[str, Any]) -> bool:
    """Whether the request offers a web tool that makes code execution free."""
    tools = body.get("tools")
    for tool in tools if isinstance(tools, (list, tuple)) else ():
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        if isinstance(kind, str) and kind.startswith(("web_search_", "web_fetch_")):
            version = kind.rpartition("_")[2]
            if version.isdigit() and version >= _FREES_CODE_EXECUTION:
                return True
    return False
