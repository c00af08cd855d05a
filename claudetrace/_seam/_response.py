"""`LiveResponse`: one HTTP response while its body passes to the caller."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from claudetrace._seam._answer import Answer, read_result, text
from claudetrace._seam._decoding import decoder_for
from claudetrace._seam._errors import error_type_of, is_cancellation
from claudetrace._seam._headers import read_headers
from claudetrace._seam._readers import EVENTS, STREAMS, read_json, reader_for
from claudetrace._seam._tee import tee
from claudetrace._tags import current_item_tags

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._call import Row
    from claudetrace._seam._live import LiveCall
    from claudetrace._seam._readers import Reader


class LiveResponse:
    """Reads a body as the caller does, and writes its row at the end.

    It holds nothing of the HTTP response, so one that the caller drops is freed at once.
    """

    _ended_perf = 0.0
    _ended_how: str | None = None
    _first_token_perf: float | None = None
    times_s: list[float] | None = None
    _reader: Reader | None = None
    _outcome = "ok"
    _error_type: str | None = None
    _made: Row | None = None

    def __init__(self, call: LiveCall, http_response: Any) -> None:
        self._call = call
        self._answer = Answer()
        self._attempt_perf = call.attempt_perf
        self._http_status: int = http_response.status_code
        self._headers, media_type, encoding = read_headers(http_response)
        if call.columns["streamed"] and media_type not in STREAMS and "json" not in media_type:
            # The SDK reads it as events, whatever media type a proxy gives it.
            media_type = EVENTS
        self._streamed = media_type in STREAMS
        self.attempt = call.attempts
        self._item_tags = current_item_tags() if call.operation.lines else None
        self.whole: bool = http_response.is_closed
        if self.whole:
            self._read_whole(http_response, media_type)
        else:
            self._watch(http_response, media_type, encoding)

    def _read_whole(self, http_response: Any, media_type: str) -> None:
        self._ended_perf = time.perf_counter()
        self._ended_how = "read"
        try:
            content = http_response.content
            if content[:1] == b"{" and not self._call.operation.lines:
                read_json(content, self)
            else:
                reader = reader_for(media_type, self, lines=self._call.operation.lines)
                reader.feed(content)
                reader.end()
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            self.unreadable(error)
        self._settle("read", None)

    def _watch(self, http_response: Any, media_type: str, encoding: str) -> None:
        reader = self._reader = reader_for(media_type, self, lines=self._call.operation.lines)
        self.feed: Callable[[bytes], None] = reader.feed
        if encoding:
            try:
                decode = decoder_for(encoding)
            except LookupError as error:
                self.unreadable(LookupError(f"the body is encoded as {encoding!r}, and {error}"))
                self.feed = _skip
            else:
                if decode is not None:
                    read = reader.feed
                    self.feed = lambda chunk: read(decode(chunk))
        if self._streamed and self._call.recorder.times_chunks:
            self.times_s = []
        http_response.stream = tee(http_response, self)

    # Called by the reader.

    def on_json(self, body: Any) -> None:
        self._streamed = False
        call = self._call
        self._answer.read_json(call.operation.name, body)
        if call.span is not None:
            call.recorder.usage_known(call, self._answer)

    def on_event(self, kind: str, event: Any) -> None:
        self._streamed = True
        if self._answer.read_event(kind, event):
            if self._call.span is not None:
                self._call.recorder.usage_known(self._call, self._answer)
        elif self._answer.error_type is not None:
            # SDKs before 1.0 raise at this event without closing the body: this is its end.
            self.ended("failed")

    def on_first_delta(self) -> None:
        self._first_token_perf = time.perf_counter()

    def on_line(self, line: Any) -> None:
        """Records one line of a batch's results as it passes: each is a response of its own."""
        if not isinstance(line, Mapping):
            return
        self._ended_perf = time.perf_counter()
        answer, outcome, error_type = read_result(line)
        row = self._row(answer, outcome, error_type)
        row["batch_id"] = self._call.batch_id
        if (custom_id := text(line.get("custom_id"))) is not None:
            row["custom_id"] = custom_id
            row = self._of_item(row, custom_id)
        self._call.recorder.record(self._call, row, answer)

    def _of_item(self, row: Row, custom_id: str) -> Row:
        # In force where the results are read, or where they were asked for.
        item_tags = current_item_tags() or self._item_tags
        if item_tags is None:
            return row
        recorder = self._call.recorder
        try:
            return recorder.attribute_item(row, item_tags.of(custom_id))
        except Exception as error:  # noqa: BLE001 - what tells the tags is the user's code; the row goes on without them
            recorder.guard.caught("tag a batch's result", error)
            return row

    # Called by the tee.

    def unreadable(self, error: Exception) -> None:
        """Counts a body that could not be read further. The row has what was read until then. Never raises."""
        self._call.recorder.guard.caught("read the body of a response", error)

    def ended(self, how: str, error: BaseException | None = None) -> None:
        """Writes the row, the first time only. Never raises."""
        if self._ended_how is not None or (how != "read" and self._call.is_of_the_parent):
            return
        try:
            self._ended_how = how
            self._end(how, error)
        except Exception as failure:  # noqa: BLE001 - any failure of ours ends at the guard
            try:
                self._call.recorder.guard.caught("record a response", failure)
            except Exception:
                self.write()
                raise
        # The reader refers back to this object: break the cycle, so that both are freed without a collection.
        self._reader, self.feed = None, _skip

    def _end(self, how: str, error: BaseException | None) -> None:
        self._ended_perf = time.perf_counter()
        try:
            if how == "read":
                self._finish_reading()
            self._settle(how, error)
            self.write()
        except Exception:
            # A signal handler of the host may have raised: keep the row, then let that exception pass.
            self.write()
            raise
        finally:
            self._call.response_ended()

    def _finish_reading(self) -> None:
        try:
            if self._reader is not None:
                self._reader.end()
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            self.unreadable(error)

    def _settle(self, how: str, error: BaseException | None) -> None:
        answer = self._answer
        if how == "read" and not self._streamed:
            answer.complete = answer.final = True
        if answer.complete and answer.error_type is None:
            return  # It is `ok`, as at first.
        self._outcome, self._error_type = outcome_of(answer, how, error)
        if self._outcome != "ok":
            self._call.settle(self._outcome, self._error_type)

    def fail(self, outcome: str, error_type: str | None) -> None:
        self._outcome, self._error_type = outcome, self._answer.error_type or error_type

    def write(self) -> None:
        # The lines of a batch already have their rows.
        if self._answer.recorded:
            return
        call = self._call
        if call.operation.lines and (self._outcome == "ok" or call.has_rows):
            return
        row = self._made = self._made or self._row(self._answer, self._outcome, self._error_type)
        if self.times_s and self._first_token_perf is not None:
            call.recorder.chunks(row, self.times_s, self._first_token_perf)
        call.recorder.record(call, row, self._answer)

    def _row(self, answer: Answer, outcome: str, error_type: str | None) -> Row:
        call = self._call
        started_perf = call.started_perf
        first_token_perf = self._first_token_perf
        return {
            **call.columns,
            **self._headers,
            "id": call.row_id(),
            "retries": call.retries,
            "http_status": self._http_status,
            "streamed": int(self._streamed),
            "duration_ms": (self._ended_perf - started_perf) * 1e3,
            "response_ms": (self._ended_perf - self._attempt_perf) * 1e3,
            "time_to_first_token_ms": None if first_token_perf is None else (first_token_perf - started_perf) * 1e3,
            "outcome": outcome,
            "error_type": error_type,
            **answer.columns(),
        }


def outcome_of(answer: Answer, how: str, error: BaseException | None) -> tuple[str, str | None]:
    """The outcome and the error type of a response, by the API's last word and how the body ended."""
    if answer.error_type is not None:
        return "error", answer.error_type
    if answer.complete:
        return "ok", None
    if how == "failed" and error is not None and not is_cancellation(error):
        return "incomplete", error_type_of(error)
    if how == "read":
        return "incomplete", None
    # Closed after the final counts: the caller has the whole answer.
    return ("ok" if answer.final and how != "failed" else "cancelled"), None


def _skip(_chunk: bytes) -> None:
    """Ignores a body that cannot be decoded."""
