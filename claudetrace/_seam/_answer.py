"""What the API says of one response, in whichever shape it says it: read by tables of the API's own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from claudetrace._content import Content
from claudetrace._operations import BATCHES_CREATE, COMPLETIONS_CREATE, COUNT_TOKENS, MESSAGES_CREATE
from claudetrace._seam._kept import kept_usage
from claudetrace._text import bounded
from claudetrace._usage import count_of, merged_usage


class Answer:
    """The facts of one billable response, as far as they have been read. It keeps no content."""

    __slots__ = (
        "batch_id",
        "complete",
        "content",
        "contradictions",
        "error_type",
        "final",
        "message_id",
        "model",
        "priced",
        "recorded",
        "stop_reason",
        "tool_calls",
        "tools",
        "usage",
    )

    def __init__(self) -> None:
        self.model: str | None = None
        self.message_id: str | None = None
        self.batch_id: str | None = None
        self.stop_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.tool_calls: int | None = None
        self.tools: list[tuple[str, str]] = []
        """The tools that are called, by name with the call's id, as many as a span may name; never their arguments."""
        self.content = Content()
        self.contradictions: list[str] = []
        """Of what in `usage` the events of a stream have said different things."""
        self.final = False
        """Whether `usage` is the API's last word."""
        self.complete = False
        """Whether the API has said that nothing more comes."""
        self.error_type: str | None = None
        """The API's error in the middle of a stream."""
        self.recorded = False
        """Whether its row has been handed on."""
        self.priced: Any = None
        """What the recorder made of `usage`, so that it is priced once."""

    @property
    def content_empty(self) -> bool:
        """Whether it refused before any output, which is not billed."""
        if self.stop_reason != "refusal":
            return False
        return self.content.is_empty(count_of((self.usage or {}).get("output_tokens")))

    # JSON's objects are dicts: asking for that alone is many times faster than asking for a mapping.

    def read_json(self, operation: str, body: Any) -> None:
        """Takes a body that came whole."""
        self.complete = self.final = True
        if isinstance(body, dict) and (body.get("type") == "error" or (body.get("error") and "type" not in body)):
            self._error(body)
        elif isinstance(body, dict) and operation in _BODIES:
            _BODIES[operation](self, body)

    def read_event(self, kind: str, event: Any) -> bool:
        """Takes an event of a stream, and tells whether it said something of usage."""
        if kind not in _EVENTS or not isinstance(event, dict):
            return False
        _EVENTS[kind](self, event)
        return kind in _TELLS_USAGE

    def read_message(self, message: Mapping[str, Any]) -> None:
        """Takes a Message of the API."""
        self.model = text(message.get("model"))
        self.message_id = text(message.get("id"))
        self.stop_reason = text(message.get("stop_reason"))
        if isinstance(content := message.get("content"), list):
            self.tool_calls = 0
            self.content.told = True
            for block in content:
                self._block(block)
        self._use(message.get("usage"))

    def _block(self, block: object) -> None:
        self.content.add(block)
        if isinstance(block, dict) and block.get("type") == "tool_use":
            self.tool_calls = (self.tool_calls or 0) + 1
            if len(self.tools) < _MOST_TOOLS:
                self.tools.append((text(block.get("name")) or "", text(block.get("id")) or ""))

    def _use(self, usage: object) -> None:
        if isinstance(usage, dict):
            usage = kept_usage(usage)
            self.usage = merged_usage(self.usage, usage, self.contradictions) if self.usage else usage
            if "iterations" in usage:
                self._find_served_model(self.usage["iterations"])

    def _find_served_model(self, iterations: object) -> None:
        """A fallback in mid-stream is named here alone: the message keeps the model that was asked for."""
        if isinstance(iterations, list):
            for entry in iterations:
                if isinstance(entry, dict) and entry.get("type") == "fallback_message":
                    self.model = text(entry.get("model")) or self.model

    def _token_count(self, body: Mapping[str, Any]) -> None:
        self.usage = dict(body)

    def _batch(self, body: Mapping[str, Any]) -> None:
        self.batch_id = text(body.get("id"))

    def _completion(self, body: Mapping[str, Any]) -> None:
        self.model = text(body.get("model")) or self.model
        self.message_id = text(body.get("id")) or self.message_id
        self.content.add(body.get("completion"))
        if (reason := text(body.get("stop_reason"))) is not None:
            self.stop_reason = reason
            self.complete = self.final = True

    def _message_start(self, event: Mapping[str, Any]) -> None:
        if isinstance(message := event.get("message"), dict):
            self.read_message(message)

    def _content_block_start(self, event: Mapping[str, Any]) -> None:
        self._block(event.get("content_block"))

    def _content_block_delta(self, _event: Mapping[str, Any]) -> None:
        """The readers tell of the first delta that is not empty."""
        self.content.yielded = True

    def _message_delta(self, event: Mapping[str, Any]) -> None:
        delta = event.get("delta")
        if isinstance(delta, dict) and (reason := text(delta.get("stop_reason"))) is not None:
            self.stop_reason = reason
            self.final = True
        self._use(event.get("usage"))

    def _message_stop(self, _event: Mapping[str, Any]) -> None:
        self.complete = self.final = True

    def _error(self, event: Mapping[str, Any]) -> None:
        error = event.get("error")
        self.error_type = text((error if isinstance(error, dict) else event).get("type")) or "error"
        self.final = self.complete = False


_MOST_TOOLS = 1_000
_Read = Callable[[Answer, Mapping[str, Any]], None]

_BODIES: Mapping[str, _Read] = {
    MESSAGES_CREATE.name: Answer.read_message,
    COUNT_TOKENS.name: Answer._token_count,  # noqa: SLF001 - the table of this class
    BATCHES_CREATE.name: Answer._batch,  # noqa: SLF001
    COMPLETIONS_CREATE.name: Answer._completion,  # noqa: SLF001
}
_EVENTS: Mapping[str, _Read] = {
    "message_start": Answer._message_start,  # noqa: SLF001
    "content_block_start": Answer._content_block_start,  # noqa: SLF001
    "content_block_delta": Answer._content_block_delta,  # noqa: SLF001
    "message_delta": Answer._message_delta,  # noqa: SLF001
    "message_stop": Answer._message_stop,  # noqa: SLF001
    "completion": Answer._completion,  # noqa: SLF001
    "error": Answer._error,  # noqa: SLF001
}
_TELLS_USAGE = {"message_start", "message_delta"}


def text(value: object) -> str | None:
    """`value` if it is text, as UTF-8 can hold it, and cut where it is long without reason."""
    return bounded(value) if isinstance(value, str) and value else None
