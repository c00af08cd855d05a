"""`LiveCall`: a call while it runs, and `Recorder`: what the seam reports it to."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, TypeVarTuple

from claudetrace._forks import in_child, notice
from claudetrace._guard import pass_on
from claudetrace._ids import utc_text, uuid7
from claudetrace._seam._errors import error_type_of, is_cancellation, is_unsent, status_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from claudetrace._call import Row
    from claudetrace._guard import Guard
    from claudetrace._operations import Operation
    from claudetrace._pricing._terms import Terms
    from claudetrace._seam._agent_sdk._query import Queries
    from claudetrace._seam._answer import Answer
    from claudetrace._seam._where import Where
    from claudetrace._tags import TagContext


class Recorder(Protocol):
    """What the seam reports calls to. Only `admit` and `admit_async` raise."""

    @property
    def guard(self) -> Guard: ...

    @property
    def times_chunks(self) -> bool:
        """Whether metrics want the arrival times of a stream's chunks."""
        ...

    def attribute(self, columns: Row, client: Any, user: object) -> TagContext:
        """Fills the columns of attribution; returns the tags and the `tag` blocks that count the call."""
        ...

    def attribute_item(self, row: Row, tags: dict[str, str]) -> Row:
        """The row of a batch's result with tags of its own."""
        ...

    @property
    def hashed(self) -> Callable[[str, str | None], str | None]:
        """How the ledger has the value of a tag."""
        ...

    @property
    def queries(self) -> Queries:
        """What is told of agents."""
        ...

    @property
    def has_spans(self) -> bool:
        """Whether calls may get spans."""
        ...

    def has_limits(self) -> bool:
        """Whether there is a budget or a run here that may stop a call."""
        ...

    def demand(self, call: LiveCall, body: Mapping[str, Any], *, has_middleware: bool) -> Any:
        """What to reserve for the call, which has it from here on; `None` where no budget may stop it."""

    def admit(self, call: LiveCall) -> None:
        """Reserves what the call may cost. Raises `BudgetExceeded`; then the call is not made."""

    async def admit_async(self, call: LiveCall) -> None:
        """Like `admit`, without blocking the event loop."""

    def started(self, call: LiveCall, client: Any, options: Any) -> None:
        """The call is about to be made. Where the SDK makes no span, ours begins."""

    def native_span(self, call: LiveCall, span: Any, options: Any) -> bool:
        """The SDK made this span for the call; `None` where it makes none. Whether our span replaces it."""
        ...

    def no_native_span(self, call: LiveCall, options: Any) -> None:
        """The request is about to be sent, and the SDK has not made the span that it should have made."""

    def usage_known(self, call: LiveCall, answer: Answer) -> None:
        """A response has stated its usage, not always finally. The call's span may end at any moment. Told of a call
        with a span."""

    def record(self, call: LiveCall, row: Row, answer: Answer | None) -> None:
        """A response is complete, or the call failed without one: prices and writes its row."""

    def chunks(self, row: Row, times_s: list[float], first_token_s: float) -> None:
        """The arrival times of a response's chunks, by `perf_counter`. Its `row` is recorded next."""

    def left(self, call: LiveCall) -> None:
        """The SDK's method has returned or raised; a stream may still be read. Told of a call with a span."""

    def ended(self, call: LiveCall) -> None:
        """The SDK's method has returned or raised, and every response has ended. Told of a call with a span or a
        reservation."""


class Response(Protocol):
    """A response of a call, as `LiveResponse` reads it."""

    attempt: int
    whole: bool
    """Whether the body was read before the SDK's method returned."""

    def fail(self, outcome: str, error_type: str | None) -> None:
        """The call raised after this response had come: its row gets the error."""

    def write(self) -> None:
        """Hands the row to the recorder, once."""


Ts = TypeVarTuple("Ts")
R = TypeVar("R")
_forks = 0


def _forked() -> None:
    global _forks
    _forks += 1


in_child(_forked)


class LiveCall:
    """One invocation of an SDK method, with every retry and the reading of the stream it returns."""

    batch_id: str | None = None
    code_execution_is_free = False
    has_middleware = False
    """Whether its client has any, which may send further requests."""
    span: Any = None
    awaits_span = False
    """Whether the SDK is to make the call's span and has not yet."""
    admission: Any = None
    """What budgets have reserved for it."""
    attempts = 0
    retries = 0
    abandoned = False
    """Whether an attempt was sent and given up: it may be billed all the same."""
    is_unsent = False
    """Whether it failed before any attempt was sent: nothing can be billed."""
    outcome = "ok"
    error_type: str | None = None
    ended_elsewhere = False
    """Whether the method ended in another context than it began in, as a coroutine does that is collected."""
    has_rows = False
    """Whether a row of this call has been made."""
    _open = 0
    _returned = False
    _done = False

    def __init__(
        self, recorder: Recorder, operation: Operation, columns: Row, tags: TagContext, terms: Terms, where: Where
    ) -> None:
        self.recorder = recorder
        self.operation = operation
        self.tags = tags
        self.terms = terms
        self.where = where
        self.started_ns = time.time_ns()
        self.started_perf = self.attempt_perf = time.perf_counter()
        self.id = uuid7(self.started_ns)
        self.columns = columns
        """The columns that all rows of the call share."""
        columns["call_id"] = self.id
        columns["started_at"] = utc_text(self.started_ns)
        columns["source"], columns["billing"] = "anthropic", "api"
        columns["operation"], columns["server_address"] = operation.name, where.host
        self._forks = _forks
        self._pending: list[Response] = []
        # An iterator counts in one step: two streams of a call may end at once, in two threads.
        self._rows = count()

    @property
    def is_of_the_parent(self) -> bool:
        """Whether this is a copy that a fork made: the parent process records the call."""
        notice()
        return self._forks != _forks

    def waited(self, seconds: float) -> None:
        """It has waited for room in a budget: what it takes itself is told apart from that."""
        self.columns["budget_wait_ms"] = seconds * 1e3
        self.started_perf += seconds
        self.started_ns += int(seconds * 1e9)

    def attempt(self, request: Any, retries_taken: int) -> None:
        """An HTTP request is about to be sent."""
        if not self.attempts:
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
        """A response has ended like this. The first failure becomes the outcome of the call."""
        if self.outcome == "ok":
            self.outcome, self.error_type = outcome, error_type

    def returned(self) -> None:
        """The SDK's method has returned. Bodies that it left unread go on."""
        try:
            self._write_pending()
        finally:
            self._leave()

    def raised(self, error: BaseException) -> None:
        """The SDK's method has raised. The last response's row gets the error, or the call gets a row of its own.

        If a signal handler of the host interrupted `returned`, the rows that it had not written are written now.
        """
        if self._returned:
            try:
                self._write_pending()
            finally:
                self._end_once()
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

    def row_id(self) -> str:
        """The id of a new row: the first has the call's."""
        self.has_rows = True
        return uuid7(time.time_ns()) if next(self._rows) else self.id

    def row(self) -> Row:
        """A new row with the columns that all rows of the call share."""
        return {**self.columns, "id": self.row_id(), "retries": self.retries}

    def _failure_row(self, error: BaseException) -> Row:
        now = time.perf_counter()
        row = self.row()
        row["duration_ms"] = (now - self.started_perf) * 1e3
        row["outcome"] = self.outcome
        row["error_type"] = self.error_type
        if self.error_type == "BudgetExceeded" and "model_requested" in row:
            # Sums are by model: a call that a budget stopped is under the one that would have answered.
            row["model"] = row["model_requested"]
        if self.attempts:
            row["response_ms"] = (now - self.attempt_perf) * 1e3
            row.update(status_columns(error))
        # A request that was never sent costs nothing, nor does one that the API refused. Of others nobody knows.
        row["usage_is_final"] = int("http_status" in row or not self.attempts)
        return row

    def _write_pending(self) -> None:
        for response in self._pending:
            response.write()
        self._pending.clear()

    def _leave(self) -> None:
        self._returned = True
        if self.span is not None:
            self.recorder.left(self)
        self._end_once()

    def _end_once(self) -> None:
        # Nobody is told of a call without either.
        if self.span is None and self.admission is None:
            return
        if self._returned and self._open <= 0 and not self._done:
            self._done = True
            self.recorder.ended(self)


def guarded(
    doing: str,
) -> Callable[[Callable[[LiveCall, *Ts], R]], Callable[[LiveCall, *Ts], R | None]]:
    """A decorator: a failure of ours in the function ends at the guard of the call, and the result is `None`."""

    def decorate(function: Callable[[LiveCall, *Ts], R]) -> Callable[[LiveCall, *Ts], R | None]:
        def guarding(call: LiveCall, *args: *Ts) -> R | None:
            try:
                return function(call, *args)
            except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
                call.recorder.guard.caught(doing, error)
                return None

        return guarding

    return decorate


def body_bytes(request: Any) -> int | None:
    """The size of the request's body, where it is known before it is sent."""
    try:
        return len(request.content)
    except Exception as error:  # noqa: BLE001 - a body that is itself a stream has no content yet
        pass_on(error)
        return None
