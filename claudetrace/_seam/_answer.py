"""`Answer`: what the API says of one response, whole or streamed, read by tables of the API's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from claudetrace._content import Content
from claudetrace._kept import kept_usage, small_json
from claudetrace._operations import BATCHES_CREATE, COMPLETIONS_CREATE, COUNT_TOKENS, MESSAGES_CREATE
from claudetrace._text import bounded
from claudetrace._usage import cache_miss_columns, count_of, merged_usage

if TYPE_CHECKING:
    from claudetrace._call import Row


class Answer:
    """The facts of one billable response that have been read so far. Keeps no content."""

    model: str | None = None
    message_id: str | None = None
    batch_id: str | None = None
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None
    usage_json: bytes | None = None
    """The same, where it is known."""
    tool_calls: int | None = None
    cache_miss: Mapping[str, Any] = {}
    final = False
    """Whether `usage` is the API's last word."""
    complete = False
    """Whether the API has said that nothing more comes."""
    error_type: str | None = None
    """The API's error in the middle of a stream."""
    recorded = False
    """Whether its row has been recorded."""
    priced: Any = None
    """The recorder's cached price, so that it is worked out once."""

    def __init__(self) -> None:
        self.tools: list[tuple[str, str]] = []
        """Name and call id of each tool that is called, as many as a span may list; never the arguments."""
        self.content = Content()
        self.contradictions: list[str] = []
        """The names in `usage` for which the events of a stream gave contradictory values."""

    @property
    def content_empty(self) -> bool:
        """Whether it is a refusal without any output, which is not billed."""
        if self.stop_reason != "refusal":
            return False
        return self.content.is_empty(count_of((self.usage or {}).get("output_tokens")))

    def columns(self) -> Row:
        """What it says, but for its usage."""
        return {
            "usage_is_final": int(self.final),
            "model": self.model,
            "message_id": self.message_id,
            "stop_reason": self.stop_reason,
            "tool_calls": self.tool_calls,
            "batch_id": self.batch_id,
            **self.cache_miss,
        }

    # JSON objects are dicts, and checking for a dict is many times faster than checking for a mapping.

    def read_json(self, operation: str, body: Any) -> None:
        """Reads a body that came whole."""
        self.complete = self.final = True
        if not isinstance(body, dict):
            return
        if body.get("type") == "error" or ("type" not in body and body.get("error")):
            self._error(body)
        elif (read := _BODIES.get(operation)) is not None:
            read(self, body)

    def read_event(self, kind: str, event: Any) -> bool:
        """Reads an event of a stream. Whether it stated usage."""
        if kind not in _EVENTS or not isinstance(event, dict):
            return False
        _EVENTS[kind](self, event)
        return kind in _TELLS_USAGE

    def read_message(self, message: Mapping[str, Any]) -> None:
        """Reads a Message of the API."""
        self.model = text(message.get("model"))
        self.message_id = text(message.get("id"))
        self.stop_reason = text(message.get("stop_reason"))
        if isinstance(content := message.get("content"), list):
            self.tool_calls = 0
            self.content.told = True
            for block in content:
                self._block(block)
        if "diagnostics" in message:
            self.cache_miss = cache_miss_columns(message["diagnostics"])
        self._use(message.get("usage"))

    def _block(self, block: object) -> None:
        if self.content.add(block) == "tool_use" and isinstance(block, dict):
            self.tool_calls = (self.tool_calls or 0) + 1
            if len(self.tools) < _MOST_TOOLS:
                self.tools.append((text(block.get("name")) or "", text(block.get("id")) or ""))

    def _use(self, usage: object) -> None:
        if not isinstance(usage, dict):
            return
        if (told := small_json(usage)) is None:
            usage = kept_usage(usage)
        if self.usage:
            self.usage, self.usage_json = merged_usage(self.usage, usage, self.contradictions), None
        else:
            self.usage, self.usage_json = usage, told
        if "iterations" in usage:
            self._find_served_model(self.usage["iterations"])

    def _find_served_model(self, iterations: object) -> None:
        """Only this names the model of a fallback in mid-stream: the message keeps the requested model."""
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
        """Called for the first delta that is not empty."""
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

_OUTCOMES_OF_RESULTS = {"succeeded": "ok", "canceled": "cancelled"}


def read_result(line: Mapping[str, Any]) -> tuple[Answer, str, str | None]:
    """What a line of a batch's results says, its outcome, and the type of its error."""
    result = line.get("result")
    result = result if isinstance(result, Mapping) else {}
    kind = text(result.get("type")) or "unknown"
    answer = Answer()
    answer.complete = answer.final = True
    if isinstance(message := result.get("message"), Mapping):
        answer.read_message(message)
    outcome = _OUTCOMES_OF_RESULTS.get(kind, "error")
    return answer, outcome, (_error_of_result(result) or kind) if outcome == "error" else None


def _error_of_result(result: Mapping[str, Any]) -> str | None:
    """The API's error type in a line of a batch, where one envelope contains another."""
    error = result.get("error")
    while isinstance(error, Mapping) and isinstance(error.get("error"), Mapping):
        error = error["error"]
    return text(error.get("type")) if isinstance(error, Mapping) else None


def text(value: object) -> str | None:
    """`value` if it is text: valid UTF-8, and cut where it is too long."""
    return bounded(value) if isinstance(value, str) and value else None
