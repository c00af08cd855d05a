"""Parses bodies while they pass: each reader takes decoded bytes and reports to a `Listener`."""

from __future__ import annotations

import codecs
import re
from typing import Any, Protocol

import orjson

from claudetrace._seam._eventstream import DELTA_PAYLOAD, FrameBuffer, event_of

MAX_JSON_BYTES = 64 * 2**20


EVENTS = "text/event-stream"
STREAMS = frozenset({EVENTS, "application/vnd.amazon.eventstream"})
"""The media types of a streamed answer."""


class Listener(Protocol):
    """Is told what the body of one response says."""

    def on_json(self, body: Any) -> None: ...
    def on_event(self, kind: str, event: Any) -> None: ...
    def on_first_delta(self) -> None: ...
    def on_line(self, line: Any) -> None: ...


class Reader(Protocol):
    """Takes the bytes of a body in pieces of any size. May raise: the tee handles it."""

    def feed(self, chunk: bytes) -> None: ...
    def end(self) -> None:
        """The body was read to its end."""


def reader_for(media_type: str, listener: Listener, *, lines: bool) -> Reader:
    """The reader of a body of this media type."""
    if media_type == EVENTS:
        return SseReader(listener)
    return LinesReader(listener) if lines else UnsureReader(listener)


class UnsureReader:
    """Chooses a reader by the first byte, since a proxy may give a body a wrong media type."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._reader: Reader | None = None

    def feed(self, chunk: bytes) -> None:
        if self._reader is None:
            if not (first := chunk.lstrip()[:1]):
                return
            self._reader = _BY_FIRST_BYTE.get(first, JsonReader)(self._listener)
        self._reader.feed(chunk)

    def end(self) -> None:
        if self._reader is None:
            raise ValueError("the body is empty")
        self._reader.end()


class JsonReader:
    """A JSON body, parsed when it is complete."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= MAX_JSON_BYTES:
            self._chunks.append(chunk)

    def end(self) -> None:
        body, self._chunks = b"".join(self._chunks), []
        if self._size <= MAX_JSON_BYTES:
            read_json(body, self._listener)


class LinesReader:
    """JSON lines: the results of a batch."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        head, newline, tail = chunk.rpartition(b"\n")
        if not newline:
            self._rest.append(chunk)
            return
        whole = b"".join((*self._rest, head))
        self._rest = [tail] if tail else []
        for line in whole.split(b"\n"):
            self._line(line)

    def end(self) -> None:
        last, self._rest = b"".join(self._rest), []
        self._line(last)

    def _line(self, line: bytes) -> None:
        if line.strip():
            self._listener.on_line(loads(line))


# Only these events are recorded. The names are in the data too, where a proxy drops the `event:` line.
_TOLD = re.compile(rb"message_(?:start|delta|stop)|content_block_start|error|completion")
_DELTA = b"event: content_block_delta\n"
_PAST_DELTA = b"event: content_block_delta\v"
"""Whatever begins like a delta sorts between these two, which is found out four times as fast as by `startswith`."""
_SHORT_BYTES = 160
"""Too short for a delta and an event that is recorded."""
_EMPTY_DELTA = re.compile(rb'"(?:text|thinking|signature|partial_json)"\s*:\s*""')


class SseReader:
    """Server-sent events. Most are text deltas, so an event that is not recorded is never decoded."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._rest: list[bytes] = []
        self._waiting = self._silent = True
        self._past_deltas = b""
        """Above every delta that need not be read; below all before the first output, and where an event is cut."""
        self._last = b""
        """A delta that came by itself, with what may be the beginning of an event."""
        self._after_cr = False

    def feed(self, chunk: bytes) -> None:
        # The common case, once there has been output: a network chunk that is one whole delta.
        if _DELTA < chunk < self._past_deltas and (len(chunk) < _SHORT_BYTES or chunk.find(b"\n\n") == len(chunk) - 2):
            self._last = chunk
            return
        if self._last:
            chunk, self._last = self._last + chunk, b""
        if self._after_cr and chunk:
            # A CRLF that came in two parts is one line's end.
            chunk, self._after_cr = chunk.removeprefix(b"\n"), False
        # `in` would first take its operand for a number, and make and drop an exception.
        if chunk.find(b"\r") >= 0:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._split(chunk)
        self._past_deltas = b"" if self._silent or self._rest else _PAST_DELTA

    def _split(self, chunk: bytes) -> None:
        # The two newlines may come in two chunks.
        if self._rest and self._rest[-1].endswith(b"\n") and chunk.startswith(b"\n"):
            events, chunk = b"".join(self._rest), chunk.lstrip(b"\n")
            self._rest = []
            self._event(events)
        head, gap, tail = chunk.rpartition(b"\n\n")
        if not gap:
            if chunk:
                self._rest.append(chunk)
            return
        whole = b"".join((*self._rest, head))
        self._rest = [tail] if tail else []
        for event in whole.split(b"\n\n"):
            self._event(event)

    def end(self) -> None:
        if self._last:
            self.feed(b"")
        last, self._rest = b"".join(self._rest).removeprefix(codecs.BOM_UTF8), []
        if last.lstrip()[:1] == b"{":
            # No line of an event begins like this: it is JSON with the media type of a stream.
            read_json(last, self._listener)
        else:
            self._event(last)

    def _event(self, event: bytes) -> None:
        if self._silent and event.find(b"content_block_delta") >= 0:
            self._silent = not tell_delta(self._listener, event, first=self._waiting)
            self._waiting = False
        if _DELTA < event < _PAST_DELTA or not _TOLD.search(event):
            return
        name, data = "", []
        for line in event.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                name = value.decode("utf-8", "replace")
            elif field == b"data":
                data.append(value)
        if name == "error":
            self._listener.on_event(name, _error_of(b"\n".join(data)))
        elif data:
            tell(self._listener, name, loads(b"\n".join(data)))


class EventStreamReader:
    """Bedrock's event stream, whose frames carry the API's events."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._buffer = FrameBuffer()
        self._waiting = self._silent = True

    def feed(self, chunk: bytes) -> None:
        for headers, payload in self._buffer.frames(chunk):
            if headers.get(":message-type") in ("exception", "error"):
                kind = headers.get(":exception-type") or headers.get(":error-code") or "exception"
                self._listener.on_event("error", {"error": {"type": kind}})
                continue
            if not self._silent and payload.startswith(DELTA_PAYLOAD):
                continue
            event = event_of(payload)
            if event.find(b'"content_block_delta"') >= 0:
                if self._silent:
                    self._silent = not tell_delta(self._listener, event, first=self._waiting)
                    self._waiting = False
                continue
            tell(self._listener, "", loads(event))

    def end(self) -> None:
        """Nothing is left to do: a frame is whole or broken."""


def tell_delta(listener: Listener, event: bytes, *, first: bool) -> bool:
    """Whether a delta holds output. Reports that to `listener`, and the time of the `first` delta."""
    if first:
        listener.on_first_delta()
    if _EMPTY_DELTA.search(event):
        return False
    listener.on_event("content_block_delta", {})
    return True


_BY_FIRST_BYTE: dict[bytes, type[SseReader | EventStreamReader]] = {
    **{bytes([byte]): SseReader for byte in b"edir:\xef"},
    b"\0": EventStreamReader,
}
"""Server-sent events begin with a field's name, a colon or a byte order mark; a frame with its length."""


def _error_of(data: bytes) -> dict[str, Any]:
    """The error in the data of an `error` event; empty where it cannot be read."""
    try:
        error = loads(data)
    except ValueError:
        error = None
    return error if isinstance(error, dict) else {}


def read_json(body: bytes, listener: Listener) -> None:
    """Reports a body of JSON, or one with an event in each line."""
    try:
        whole = loads(body)
    except ValueError:
        lines = [line for line in body.split(b"\n") if line.strip()]
        if len(lines) < 2:
            raise
        for line in lines:
            tell(listener, "", loads(line))
    else:
        listener.on_json(whole)


def tell(listener: Listener, name: str, event: Any) -> None:
    """Reports an event to `listener`, by its name, or by the type in its data where it has none."""
    kind = name or (event.get("type") if isinstance(event, dict) else None)
    if isinstance(kind, str):
        listener.on_event(kind, event)


def loads(data: bytes) -> Any:
    """`data` parsed as JSON; NaN and text that is not UTF-8 are accepted. Raises `ValueError`."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        import json

        return json.loads(data.decode("utf-8", "replace"))
