"""What the seam hands its events to: each becomes a price, a span, a tag's total and one line in the journal."""

from __future__ import annotations

from bisect import bisect_right
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._run import runs
from claudetrace._call import spend_picousd, tells_tokens
from claudetrace._errors import BudgetExceeded
from claudetrace._guard import Collection
from claudetrace._ids import SeenIds
from claudetrace._operations import BATCHES_CREATE
from claudetrace._pricing._engine import price_response, ran_code
from claudetrace._tags import current_item_tags
from claudetrace._text import json_text
from claudetrace._usage import row_columns, usage_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from claudetrace._attribution import Attribution
    from claudetrace._budgets._budgets import Budgets
    from claudetrace._call import Row
    from claudetrace._guard import Guard
    from claudetrace._parse import Agents
    from claudetrace._pricing._bill import Priced
    from claudetrace._pricing._terms import Terms
    from claudetrace._queries import Queries
    from claudetrace._seam._answer import Answer
    from claudetrace._seam._live import LiveCall
    from claudetrace._telemetry._metrics import Metrics
    from claudetrace._telemetry._spans import Spans

_FREE: Row = {"cost_picousd": 0, "cost_parts": "[]", "cost_flags": "[]"}
_UNANSWERED: dict[tuple[bool, bool], Row] = {
    (True, False): _FREE,
    (True, True): {**_FREE, "cost_flags": '["retried_after_timeout"]'},
    (False, False): {"cost_flags": '["no_usage"]'},
    (False, True): {"cost_flags": '["no_usage","retried_after_timeout"]'},
}
"""What a call cost that has failed: by whether the API refused it, and whether an attempt before was abandoned."""
_FREE_HOST: Row = {**_FREE, "cost_flags": '["free_host"]'}
_UNBILLED_RESULT: Row = {**_FREE, "cost_flags": '["no_usage"]'}
_RETRIED = ("retried_after_timeout",)


class CallRecorder:
    """The seam's recorder. Nothing here waits for a lock: a dropped stream ends inside a garbage collection."""

    def __init__(
        self,
        guard: Guard,
        attribution: Attribution,
        append: Callable[[Row], None],
        spans: Spans | None,
        metrics: Metrics | None = None,
        budgets: Budgets | None = None,
        seen: SeenIds | None = None,
        agents: Agents | None = None,
    ) -> None:
        self.guard = guard
        self.attribute, self.attribute_item = attribution.fill, attribution.of_item
        self.hashed = attribution.hashed
        self._append = append
        self._spans = spans
        self.has_spans = spans is not None
        self._metrics = metrics
        self._budgets = budgets
        self._seen = seen
        """`None` where no host is said to replay."""
        self.told = SeenIds()
        """The responses that `claudetrace.record` has told of."""
        self._agents = agents
        self._collection = Collection()
        guard.collecting = self._collection.runs_here
        self._late: SimpleQueue[LiveCall] = SimpleQueue()

    @cached_property
    def queries(self) -> Queries:
        """What is told of agents: loaded with the first."""
        from claudetrace._queries import Queries

        return Queries(self.guard, self._append_whole, self._spans, self._limits, self._agents, self._blocked)

    @property
    def times_chunks(self) -> bool:
        return self._metrics is not None and self._metrics.wanted

    def has_limits(self) -> bool:
        return self._budgets is not None or bool(runs.get())

    def _limits(self) -> Budgets | None:
        if self._budgets is None and runs.get():
            from claudetrace._budgets._budgets import Budgets

            # A run needs no setting: the first one brings its limits along.
            self._budgets = Budgets(guard=self.guard)
        return self._budgets

    def demand(self, call: LiveCall, body: Mapping[str, Any], *, has_middleware: bool) -> Any:
        budgets, columns_of = self._limits(), self._columns_of(call)
        if budgets is None or not budgets.concerns(call.columns, has_items=columns_of is not None):
            return None
        # The call owns it before anything is set aside: whatever interrupts that, it is settled with the call.
        call.admission = budgets.reservation(
            call.id,
            call.columns,
            body,
            call.terms,
            has_middleware=has_middleware,
            columns_of=columns_of,
        )
        return call.admission

    def _columns_of(self, call: LiveCall) -> Callable[[str | None], Row] | None:
        """What tells the columns of a batch's items, where they have tags of their own."""
        item_tags = current_item_tags() if call.operation is BATCHES_CREATE else None
        if item_tags is None:
            return None

        def columns_of(custom_id: str | None) -> Row:
            try:
                own = {} if custom_id is None else item_tags.of(custom_id)
                return self.attribute_item(call.columns, own)
            except Exception as error:  # noqa: BLE001 - what tells the tags is the user's code
                self.guard.caught("tag an item of a batch", error)
                return call.columns

        return columns_of

    def admit(self, call: LiveCall) -> None:
        if self._budgets is not None:
            with self._admitting(call):
                self._budgets.admit(call.admission.reservation)

    async def admit_async(self, call: LiveCall) -> None:
        if self._budgets is not None:
            with self._admitting(call):
                await self._budgets.admit_async(call.admission.reservation)

    @contextmanager
    def _admitting(self, call: LiveCall) -> Iterator[None]:
        try:
            try:
                yield
            finally:
                if (waited_s := call.admission.reservation.waited_s) is not None:
                    call.waited(waited_s)
        except BudgetExceeded as error:
            self._blocked(call.id, error)
            raise
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard: the call goes on
            self.guard.caught("ask the budgets for a call", error)

    def _blocked(self, row_id: str, error: BudgetExceeded) -> None:
        """A budget has stopped what the row to come is of."""
        with self.guard("tell of a call that a budget has stopped"):
            if self._budgets is not None:
                self._budgets.note_blocked(error)
            if self._metrics is not None:
                self._metrics.blocked(row_id, error)
            if self._spans is not None:
                self._spans.blocked(error)

    def started(self, call: LiveCall, client: Any, options: Any) -> None:
        if self._spans is None:
            return
        try:
            self._spans.start(call, client, options)
        except Exception as error:  # noqa: BLE001 - without a span there is still a row
            self.guard.caught("start the span of a call", error)

    def native_span(self, call: LiveCall, span: Any, options: Any) -> bool:
        return self._spans is not None and self._spans.join(call, span, options)

    def no_native_span(self, call: LiveCall, options: Any) -> None:
        if self._spans is not None:
            self._spans.stand_in(call, options)

    def usage_known(self, call: LiveCall, answer: Answer) -> None:
        # A span of ours is told once, with the row.
        if self._spans is None or not call.span.native:
            return
        try:
            if self._spans.records(call):
                columns, priced, _ = self._price(call, answer)
                self._spans.update(call, answer, columns, priced)
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            self.guard.caught("put a response on its span", error)

    def record(self, call: LiveCall, row: Row, answer: Answer | None) -> None:
        try:
            try:
                spend, settled = self._complete(call, row, answer)
            except Exception:
                # The host's own alone comes here: the row is whole before that goes on.
                self._complete(call, row, answer)
                raise
            if call.admission is not None:
                call.admission.reservation.add(row, 0 if call.is_unsent and answer is None else settled)
            for scope in call.tags.scopes:
                scope.add(first=row["id"] == call.id, spend_picousd=spend)
        finally:
            self._append_whole(row)
            if answer is not None:
                answer.recorded = True

    def _append_whole(self, row: Row) -> None:
        try:
            self._append(row)
        except Exception:
            # An interrupt may have come before it was written. Written twice, it is still one row, by its id.
            self._append(row)
            raise

    def _complete(self, call: LiveCall, row: Row, answer: Answer | None) -> tuple[int | None, int | None]:
        """Fills the row and its span, and gives what it adds to the totals of `tag` blocks, and to budgets."""
        try:
            spans = None if call.span is None else self._spans
            awaited = spans is not None and spans.awaits_row(call)
            self._fill(call, row, answer, is_awaited=awaited)
            if spans is not None:
                spans.recorded(call, row)
                if answer is not None and awaited:
                    columns, priced, _ = self._price(call, answer) if answer.priced is None else answer.priced[1]
                    spans.update(call, answer, columns, priced, row)
            if call.tags.scopes or call.admission is not None:
                flags = row.get("cost_flags") or ()
                spend = spend_picousd(row.get("cost_picousd"), flags)
                return spend, spend if tells_tokens(flags, row) else None
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            self.guard.caught("price a call", error)
            if "usage" not in row:
                row.setdefault("cost_flags", '["no_usage"]')
        return None, None

    def chunks(self, row: Row, times_s: list[float], first_token_s: float) -> None:
        if self._metrics is not None:
            # Subtracted where they are counted, not here.
            first = max(0, bisect_right(times_s, first_token_s) - 1)
            self._metrics.chunks(row["id"], times_s[first:])

    def left(self, call: LiveCall) -> None:
        if self._spans is not None and not call.ended_elsewhere:
            self._spans.leave(call)

    def ended(self, call: LiveCall) -> None:
        if call.admission is not None and self._budgets is not None:
            self._settle(call, self._budgets)
        if self._spans is None or call.span is None:
            return
        if self._collection.runs_here():
            # Ending a span takes locks of OpenTelemetry's, which the code that the collector interrupted may hold.
            self._spans.set_end(call)
            self._late.put(call)
        else:
            self._spans.end(call)
            self.end_late()

    def _settle(self, call: LiveCall, budgets: Budgets) -> None:
        try:
            budgets.settle(call.admission.reservation)
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            self.guard.caught("settle what budgets have set aside for a call", error)

    def end_late(self) -> None:
        """Ends the spans of streams that a garbage collection dropped."""
        while self._spans is not None and not self._late.empty():
            self._spans.end(self._late.get())

    def close(self) -> None:
        """Ends what is left and stops watching the collector."""
        self.end_late()
        self._collection.close()

    def _fill(self, call: LiveCall, row: Row, answer: Answer | None, *, is_awaited: bool) -> None:
        if answer is None:
            row["pricing_terms"] = call.terms.text
            how = bool(row["usage_is_final"]), call.abandoned
            row.update(_FREE_HOST if call.terms.free_host else _UNANSWERED[how])
            return
        usage, operation = answer.usage, call.operation
        if usage is not None:
            row["usage"] = answer.usage_json.decode() if answer.usage_json else json_text(usage)
            # Whether nobody on this thread sees the price: no span, no `tag` block, no budget.
            later = not (is_awaited or answer.priced is not None or call.tags.scopes or call.admission is not None)
            if later and operation.billed and not call.abandoned:
                # The loader works the price out from the row, as `reprice` would: nobody waits for it there.
                row["pricing_terms"] = self._terms(call, answer).text
                return
        row["pricing_terms"] = call.terms.text
        if not operation.billed:
            row.update(_FREE)
        elif usage is None and operation.batch:
            row.update(_UNBILLED_RESULT)
        else:
            columns, priced, terms = self._price(call, answer)
            row.update(row_columns(columns))
            row.update(priced.columns(terms.text, row.get("cache_missed_input_tokens")))

    def _price(self, call: LiveCall, answer: Answer) -> tuple[Row, Priced, Terms]:
        """The columns of the usage, its price and its terms, worked out once for each state of the answer."""
        terms = self._terms(call, answer)
        state = (answer.usage, answer.final, answer.stop_reason, answer.model, terms)
        if answer.priced is not None and answer.priced[0] == state:
            return answer.priced[1]  # type: ignore[no-any-return]  # what is put there below
        columns = usage_columns(answer.usage)
        priced = price_response(
            answer.usage,
            columns,
            model=answer.model,
            model_requested=call.columns.get("model_requested"),
            stop_reason=answer.stop_reason,
            day=call.columns["started_at"][:10],
            terms=terms,
            final=answer.final,
            extra_flags=_RETRIED if call.abandoned else (),
        )
        answer.priced = (state, (columns, priced, terms))
        return columns, priced, terms

    def _terms(self, call: LiveCall, answer: Answer) -> Terms:
        """The answer's pricing terms, as far as this process knows: whether it is a replay, the ledger decides."""
        terms = answer_terms(call, answer)
        if self._seen is None or answer.message_id is None:
            return terms
        if not self._seen.is_replayed(answer.message_id, call.id) or not terms.replays:
            return terms
        return replace(terms, replayed=True)


def answer_terms(call: LiveCall, answer: Answer) -> Terms:
    """The call's pricing terms, and what this answer adds to them."""
    code = answer.content.ran_code or ran_code(answer.usage)
    if not (answer.content_empty or code or answer.contradictions):
        return call.terms
    free = call.code_execution_is_free or answer.content.frees_code
    terms = replace(call.terms, code_execution=code and not free, free_code=code and free)
    return replace(terms, content_empty=answer.content_empty, contradictory=bool(answer.contradictions))
