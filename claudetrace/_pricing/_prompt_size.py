"""`PromptSize`: the most tokens that a request's prompt can have, by sizes alone. No text is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

EACH_REQUEST = 256
"""Tokens that the API adds to every prompt, such as the instructions for thinking."""
EACH_PART = 32
"""Tokens for the markers around a message, a block or a tool."""
SCHEMA = 512
"""Tokens of the instructions to answer by a schema."""

_LIST = (list, tuple)
_OWN_TOOLS = {"bash_20": 1024, "text_editor_20": 2048, "computer_20": 4096, "memory_20": 2048}
"""Tools that the caller runs and the API defines, each with at least twice the tokens that it is known to have."""
SERVER_TOOLS = {
    "web_search_": 10_000,
    "web_fetch_": 10_000,
    "code_execution_": 5_000,
    "advisor_": 5_000,
    "tool_search_": 2_000,
    "mcp_toolset": 5_000,
}
"""Tools that the API runs, each with the tokens that a use typically adds."""
_TYPICAL_SOURCE = 5_000
_TYPICAL_PDF_PAGE = 2_500
_PDF_PAGE_BYTES = 40_000


class PromptSize:
    """The size of a prompt. A token has at least one byte, so for every tokenizer bytes limit tokens."""

    __slots__ = ("cached_for", "image_count", "markers", "text_bytes", "tools", "typical_tokens", "why")

    def __init__(self) -> None:
        self.text_bytes = 0
        self.image_count = 0
        self.markers = EACH_REQUEST
        self.tools = False
        self.cached_for: str | None = None
        """For how long parts are to be cached, at most: `5m` or `1h`."""
        self.why: str | None = None
        """The first thing found whose size the request does not tell."""
        self.typical_tokens = 0
        """The tokens that such things typically have."""

    def at_most(self, image_tokens: int, tool_prompt_tokens: int) -> int:
        """The most tokens that the prompt can have, unless there is a `why`."""
        tools = tool_prompt_tokens if self.tools else 0
        return self.text_bytes + self.markers + tools + self.image_count * image_tokens

    def likely(self, image_tokens: int, tool_prompt_tokens: int) -> int:
        """The tokens that the prompt probably has."""
        tools = tool_prompt_tokens if self.tools else 0
        return (self.text_bytes + self.markers) // 4 + tools + self.image_count * image_tokens + self.typical_tokens

    def unknown(self, why: str, typical_tokens: int = 0) -> None:
        """Notes that something cannot be measured."""
        self.why = self.why or why
        self.typical_tokens += typical_tokens

    def request(self, body: Mapping[str, Any]) -> None:
        """Adds a request's prompt."""
        # Tools first: their names explain more than the results that they left in the conversation.
        if tools := body.get("tools"):
            self.tools = True
            self.each(tools, self.tool)
        self.messages(body.get("messages"))
        if system := body.get("system"):
            self.content(system)
        if caching := body.get("cache_control"):
            self.caching(caching)
        if prompt := body.get("prompt"):
            self.content(prompt)
        for name in ("output_config", "output_format"):
            if wanted := body.get(name):
                self.markers += SCHEMA
                self.json(wanted)
        if choice := body.get("tool_choice"):
            self.json(choice)

    def messages(self, messages: Any) -> None:
        """Adds each message."""
        if not messages:
            return
        if not isinstance(messages, _LIST):
            # Reading an iterator here would leave nothing for the SDK.
            self.unknown("messages that can be read only once", _TYPICAL_SOURCE)
            return
        for message in messages:
            self.markers += EACH_PART
            content = message.get("content") if type(message) is dict else as_mapping(message).get("content")
            if type(content) is str:
                self.text(content)
            elif content:
                self.content(content)

    def content(self, content: Any) -> None:
        """Adds a text, or a list of blocks."""
        if isinstance(content, str):
            self.text(content)
        else:
            self.each(content, self.block)

    def each(self, parts: Any, add: Callable[[Mapping[str, Any]], None]) -> None:
        """Adds each of `parts`, and what all of them have in common."""
        if not isinstance(parts, _LIST):
            self.unknown("content that can be read only once", _TYPICAL_SOURCE)
            return
        for part in parts:
            known = part if type(part) is dict else as_mapping(part)
            self.markers += EACH_PART
            if caching := known.get("cache_control"):
                self.caching(caching)
            add(known)

    def text(self, text: Any) -> None:
        """Adds a text."""
        if isinstance(text, str):
            self.text_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

    def json(self, value: Any) -> None:
        """Adds a value that the API writes into the prompt as JSON, or shorter."""
        self.text_bytes += len(orjson.dumps(value, default=as_mapping, option=orjson.OPT_NON_STR_KEYS))

    def caching(self, control: Any) -> None:
        """Notes for how long a part is to be cached."""
        ttl = as_mapping(control).get("ttl") or "5m"
        if ttl not in ("5m", "1h"):
            self.unknown(f"a cache for {ttl}")
        if self.cached_for != "1h":
            self.cached_for = str(ttl)

    def block(self, block: Mapping[str, Any]) -> None:
        """Adds a block of content."""
        kind = block.get("type")
        add = _BLOCKS.get(kind) if isinstance(kind, str) else None
        if add is not None:
            add(self, block)
        elif str(kind).endswith(_OF_SERVERS):
            self.unknown("results of server tools", _TYPICAL_SOURCE)
        else:
            self.unknown(_NAMES.get(str(kind), f"content of type {kind}"), _TYPICAL_SOURCE)

    def tool(self, tool: Mapping[str, Any]) -> None:
        """Adds a tool that is offered."""
        kind = str(tool.get("type") or "custom")
        self.json(tool)
        if kind == "custom":
            return
        for start, tokens in _OWN_TOOLS.items():
            if kind.startswith(start):
                self.markers += tokens
                return
        for start, tokens in SERVER_TOOLS.items():
            if kind.startswith(start):
                self.unknown(f"server tool {kind}", tokens)
                return
        self.unknown(f"tool type {kind}", _TYPICAL_SOURCE)


def as_mapping(value: Any) -> Mapping[str, Any]:
    """`value` as the mapping that the SDK would send. Raises `TypeError` for what is no mapping."""
    if isinstance(value, Mapping):
        return value
    for name in ("model_dump", "to_dict"):
        if callable(convert := getattr(value, name, None)):
            found = convert()
            if isinstance(found, Mapping):
                return found
    raise TypeError(f"no mapping: {type(value).__name__}")


def _text(measure: PromptSize, block: Mapping[str, Any]) -> None:
    measure.text(block.get("text"))
    if citations := block.get("citations"):
        measure.json(citations)


def _image(measure: PromptSize, block: Mapping[str, Any]) -> None:
    measure.image_count += 1
    kind = as_mapping(block.get("source") or {}).get("type")
    if kind != "base64":
        measure.unknown(f"a {'URL' if kind == 'url' else kind} source")


def _document(measure: PromptSize, block: Mapping[str, Any]) -> None:
    source = as_mapping(block.get("source") or {})
    measure.text(block.get("title"))
    measure.text(block.get("context"))
    kind, before = source.get("type"), measure.text_bytes
    if kind == "text":
        measure.text(source.get("data"))
    elif kind == "content":
        measure.content(source.get("content") or "")
    elif kind == "base64":
        data = source.get("data")
        pages = 1 + (len(data) // _PDF_PAGE_BYTES if isinstance(data, str) else 0)
        measure.unknown("a PDF", pages * _TYPICAL_PDF_PAGE)
    else:
        measure.unknown(f"a {'URL' if kind == 'url' else kind} source", _TYPICAL_SOURCE)
    _cited(measure, block, before)


def _cited(measure: PromptSize, block: Mapping[str, Any], before: int) -> None:
    """Adds what citations cost: the text is split into sentences, each with a mark."""
    if (citations := block.get("citations")) and as_mapping(citations).get("enabled"):
        measure.markers += SCHEMA
        measure.text_bytes += measure.text_bytes - before


def _search_result(measure: PromptSize, block: Mapping[str, Any]) -> None:
    before = measure.text_bytes
    measure.text(block.get("title"))
    measure.text(block.get("source"))
    measure.content(block.get("content") or "")
    _cited(measure, block, before)


def _tool_result(measure: PromptSize, block: Mapping[str, Any]) -> None:
    measure.text(block.get("tool_use_id"))
    measure.content(block.get("content") or "")


def _strings(measure: PromptSize, block: Mapping[str, Any]) -> None:
    """Adds all texts of a block. Thinking may come back encrypted, and that is longer than its text."""
    for value in block.values():
        measure.text(value)


def _compaction(measure: PromptSize, block: Mapping[str, Any]) -> None:
    _strings(measure, block)
    if block.get("tool_changes"):
        measure.unknown("tools of a compacted conversation", _TYPICAL_SOURCE)


def _tool_change(measure: PromptSize, block: Mapping[str, Any]) -> None:
    tool = as_mapping(block.get("tool") or {})
    if tool.get("type") == "tool_definition":
        measure.tools = True
        measure.tool(as_mapping(tool.get("definition") or {}))
    elif tool.get("type") == "tool_reference":
        measure.json(tool)
    else:
        measure.unknown("server tool mcp_toolset", SERVER_TOOLS["mcp_toolset"])


def _skip(_measure: PromptSize, _block: Mapping[str, Any]) -> None:
    """Adds nothing: the block is not part of the prompt."""


_BLOCKS: dict[str, Callable[[PromptSize, Mapping[str, Any]], None]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "tool_use": PromptSize.json,
    "tool_result": _tool_result,
    "tool_reference": PromptSize.json,
    "tool_addition": _tool_change,
    "tool_removal": _tool_change,
    "thinking": _strings,
    "redacted_thinking": _strings,
    "compaction": _compaction,
    "fallback": _skip,
}
"""The size of every other type is unknown."""
_OF_SERVERS = ("_tool_result", "server_tool_use", "mcp_tool_use")
"""Results of server tools come back encrypted, or refer to files."""
_NAMES = {"container_upload": "a container"}
