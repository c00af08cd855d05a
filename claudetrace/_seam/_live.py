"""A call while it runs, and the recorder that it tells."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from claudetrace._forks import in_child, notice
from claudetrace._guard import pass_on
from claudetrace._ids import utc_text, uuid7
from claudetrace._seam._errors import error_type_of, is_cancellation, is_unsent, status_columns

if TYPE_CHECKING:
    from array import array
    from collections.abc import Mapping

    from claudetrace._call import Row
    from claudetrace._guard import Guard
    from claudetrace._operations import Operation
    from claudetrace._pricing import Terms
    from claudetrace._seam._answer import Answer
    from claudetrace._tags import TagContext


class Recorder(Protocol):
    """What the seam hands its events to. No method raises, but those that admit a call."""

    @property
    def guard(self) -> Guard: ...

    @property
    def times_chunks(self) -> bool:
        """Whether somebody wants to know when the chunks of a stream came."""
        ...

    def attribute(self, columns: Row, client: Any, user: object) -> TagContext:
        """Fills the columns that say who and what for; gives the tags and the scopes that count the call."""
        ...

    def is_limited(self, call: LiveCall) -> bool:
        """Whether a budget may stop the call."""
        ...

    def demand(self, call: LiveCall, body: Mapping[str, Any], *, has_middleware: bool) -> Any:
        """What the call asks of budgets, for `admit`."""

    def admit(self, call: LiveCall, demand: Any) -> None:
        """Sets aside what the call may cost. Raises `BudgetExceeded`: then it is not made."""

    async def admit_async(self, call: LiveCall, demand: Any) -> None:
        """As `admit`, while the event loop goes on."""

    def started(self, call: LiveCall, client: Any, options: Any) -> None:
        """The call is about to be made: a span of ours begins where the SDK makes none."""

    def native_span(self, call: LiveCall, span: Any, base_url: Any, options: Any) -> bool:
        """The SDK made this span for the call, or `None`, since it would neither record nor lead on.

        Whether the SDK is to go on without it.
        """
        ...

    def no_native_span(self, call: LiveCall, base_url: Any, options: Any) -> None:
        """The call is about to be sent, and the span that the SDK should have made of it has not been seen."""

    def usage_known(self, call: LiveCall, answer: Answer) -> None:
        """A response has said what it used, for now or for good; the call's span may end any moment."""

    def record(self, call: LiveCall, row: Row, answer: Answer | None) -> None:
        """A response is complete, or the call has failed without one: price it, write it."""

    def chunks(self, row: Row, times_s: array[float], first_token_s: float) -> None:
        """When the chunks of the response of `row` came, which is recorded next, by the clock of `perf_counter`."""

    def left(self, call: LiveCall) -> None:
        """The SDK's method has returned or raised; a stream may still be read."""

    def ended(self, call: LiveCall) -> None:
        """The method has returned or raised, and every response has ended."""


class Response(Protocol):
    """A response of a call, as `LiveResponse` reads it."""

    attempt: int
    whole: bool
    """Whether the body was read before the SDK's method returned."""

    def fail(self, outcome: str, error_type: str | None) -> None:
        """The call raised although this response had come, and its row says so."""

    def write(self) -> None:
        """Hands the row to the recorder, once."""


_forks = 0


def _forked() -> None:
    global _forks
    _forks += 1


in_child(_forked)


class LiveCall:
    """One invocation of an SDK method, with every retry and the reading of the stream it returns."""

    __slots__ = (
        "_done",
        "_forks",
        "_open",
        "_pending",
        "_returned",
        "_rows",
        "abandoned",
        "admission",
        "attempt_perf",
        "attempts",
        "awaits_span",
        "batch_id",
        "code_execution_is_free",
        "columns",
        "ended_elsewhere",
        "error_type",
        "has_rows",
        "id",
        "is_unsent",
        "operation",
        "outcome",
        "recorder",
        "retries",
        "span",
        "started_ns",
        "started_perf",
        "tags",
        "terms",
    )

    def __init__(self, recorder: Recorder, operation: Operation, columns: Row, tags: TagContext, terms: Terms) -> None:
        self.recorder = recorder
        self.operation = operation
        self.tags = tags
        self.terms = terms
        self.started_ns = time.time_ns()
        self.started_perf = time.perf_counter()
        self.id = uuid7(self.started_ns)
        self.columns = columns
        """The columns that all rows of the call share."""
        columns["call_id"] = self.id
        columns["started_at"] = utc_text(self.started_ns)
        columns["source"] = "anthropic"
        columns["operation"] = operation.name
        self.batch_id: str | None = None
        self.code_execution_is_free = False
        self.span: Any = None
        self.awaits_span = False
        """Whether the SDK should make a span of the call, and has not begun to."""
        self.admission: Any = None
        """What budgets have set aside for it."""
        self.attempts = self.retries = 0
        self.abandoned = False
        """Whether an attempt that had been sent was given up, which may be billed all the same."""
        self.is_unsent = False
        """Whether it failed so that nothing can be billed: no attempt has left."""
        self.outcome = "ok"
        self.error_type: str | None = None
        self.ended_elsewhere = False
        """Whether the method ended in another context than it began in, as a coroutine does that is collected."""
        self._forks = _forks
        self.attempt_perf = self.started_perf
        self._pending: list[Response] = []
        self._open = 0
        self._rows = count()
        # Counted by one step of an iterator: two streams of a call may end at once, in two threads.
        self.has_rows = False
        """Whether a row of this call has been made."""
        self._returned = self._done = False

    @property
    def is_of_the_parent(self) -> bool:
        """Whether a fork has left a copy of the call here: the process that made it reads it on."""
        notice()
        return self._forks != _forks

    def attempt(self, request: Any, retries_taken: int) -> None:
        """An HTTP request is about to be sent."""
        if not self.attempts:
            self.columns["server_address"] = request.url.host
            self.columns["request_bytes"] = body_bytes(request)
        self.attempts += 1
        self.retries = max(self.retries, retries_taken)
        self.attempt_perf = time.perf_counter()

    def responded(self, response: Response) -> None:
        """A response has come that may be billed."""
        if not response.whole:
            self._open += 1
        elif self._returned:
            response.write()
        else:
            self._pending.append(response)

    def settle(self, outcome: str, error_type: str | None) -> None:
        """A response has ended like this; the first that did not end well speaks for the call."""
        if self.outcome == "ok":
            self.outcome, self.error_type = outcome, error_type

    def returned(self) -> None:
        """The SDK's method has returned. Bodies that it left unread go on."""
        try:
            self._write_pending()
        finally:
            self._leave()

    def raised(self, error: BaseException) -> None:
        """The SDK's method has raised: the last response says so, or the call has a row of its own.

        Also where a signal handler of the host interrupted `returned`: what it had not written is written now.
        """
        if self._returned:
            self._write_pending()
            return
        self.outcome = "cancelled" if is_cancellation(error) else "error"
        self.error_type = None if self.outcome == "cancelled" else error_type_of(error)
        self.is_unsent = is_unsent(error) and not self.abandoned
        last = self._pending[-1] if self._pending else None
        answered = last is not None and last.attempt == self.attempts
        try:
            if last is not None and answered:
                last.fail(self.outcome, self.error_type)
            self._write_pending()
            if not answered and not self._open:
                self.recorder.record(self, self._failure_row(error), None)
        finally:
            self._leave()

    def response_begun(self) -> None:
        """There is another body that the method left unread."""
        self._open += 1

    def response_ended(self) -> None:
        """A body that the method left unread has come to its end."""
        self._open -= 1
        self._end_once()

    def row(self) -> Row:
        """A new row with the columns that all rows of the call share. The first has the call's id."""
        row_id = uuid7(time.time_ns()) if next(self._rows) else self.id
        self.has_rows = True
        return {**self.columns, "id": row_id, "retries": self.retries}

    def _failure_row(self, error: BaseException) -> Row:
        now = time.perf_counter()
        row = self.row()
        row["duration_ms"] = (now - self.started_perf) * 1e3
        row["outcome"] = self.outcome
        row["error_type"] = self.error_type
        if self.attempts:
            row["response_ms"] = (now - self.attempt_perf) * 1e3
            row.update(status_columns(error))
        # What never left costs nothing, nor what the API refused; of the rest nobody knows.
        row["usage_is_final"] = int("http_status" in row or not self.attempts)
        return row

    def _write_pending(self) -> None:
        for response in self._pending:
            response.write()
        self._pending.clear()

    def _leave(self) -> None:
        self._returned = True
        self.recorder.left(self)
        self._end_once()

    def _end_once(self) -> None:
        if self._returned and self._open <= 0 and not self._done:
            self._done = True
            self.recorder.ended(self)


def body_bytes(request: Any) -> int | None:
    """How large the request's body is, where it is known before it is sent."""
    try:
        return len(request.content)
    except Exception as error:  # noqa: BLE001 - a body that is itself a stream has no content yet
        pass_on(error)
        return None
