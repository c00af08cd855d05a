"""Gives each call one span: joins the SDK's own, or makes one where the SDK makes none."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from claudetrace._seam._request import request_body
from claudetrace._telemetry import _attributes as names
from claudetrace._telemetry._attributes import SCHEMA_URL, SCOPE
from claudetrace._version import __version__

if TYPE_CHECKING:
    from claudetrace._call import Row
    from claudetrace._errors import BudgetExceeded
    from claudetrace._pricing._bill import Priced
    from claudetrace._seam._answer import Answer
    from claudetrace._seam._live import LiveCall
    from claudetrace._telemetry._agents import AgentSpans
    from claudetrace._telemetry._providers import Providers

RAW_RESPONSE = "X-Stainless-Raw-Response"
"""The SDK's header for calls that return the raw response, which the caller may read without the SDK."""


class CallSpan:
    """The span of a call: who made it, and what its responses have cost so far."""

    token: Any = None
    inside: Any = None
    """The context with this span, if it was made current inside the SDK's method."""
    end_ns: int | None = None

    def __init__(self, span: Any, *, native: bool, tells_answer: bool = False) -> None:
        self.span = span
        self.native = native
        self.tells_answer = tells_answer
        """Whether the SDK sets the answer's ids and tokens: it does if it parses the answer itself."""
        self.prices: dict[Answer, Priced] = {}


class Spans:
    """Makes, joins and fills spans. The first call loads OpenTelemetry.

    With `everywhere`, a call also gets a span if a sampler dropped the SDK's.
    """

    def __init__(self, providers: Providers, *, backends: bool, everywhere: bool = False) -> None:
        self._providers = providers
        self._backends = backends
        self._everywhere = everywhere
        self._made: tuple[Any, Any] = (None, None)
        """A provider and the tracer it gave."""
        self._looked_around = False

    @cached_property
    def agents(self) -> AgentSpans:
        """Spans of agents: loaded with the first."""
        from claudetrace._telemetry._agents import AgentSpans

        return AgentSpans(self.own_tracer, backends=self._backends)

    @cached_property
    def _current(self) -> Any:
        """OpenTelemetry: loaded with the first call."""
        from claudetrace._telemetry import _current

        return _current

    def start(self, call: LiveCall, client: Any, options: Any) -> None:
        """Starts our span and makes it current, if the SDK will make none and there is a provider."""
        if not self._looked_around:
            self._look_around(client)
        if self._sdk_will_make_one(client, options):
            call.awaits_span = not self._current.is_suppressed()
        elif (tracer := self.own_tracer()) is not None:
            self._start_own(call, tracer, options)
            self._enter(call)

    def blocked(self, error: BudgetExceeded) -> None:
        """Says on the current span, if there is one that records, that a budget has stopped a call."""
        span = self._current.get_current_span()
        if span.is_recording():
            span.add_event("claudetrace.budget_exceeded", names.blocked_attributes(error))

    def join(self, call: LiveCall, span: Any, options: Any) -> bool:
        """Uses the SDK's span for the call. Whether our span replaces it.

        Tags are set at once, so that failed calls have them too.
        """
        awaited, call.awaits_span = call.awaits_span, False
        if call.span is not None:
            return False
        if span is None or not span.is_recording():
            # Another tool suppressed the SDK's span, to make its own, which has no cost.
            if awaited and self._current.suppression():
                return self.stand_in(call, options)
            if self._everywhere and not self._current.is_suppressed() and self.stand_in(call, options):
                self._enter(call, inside=True)
                return True
            self._join_silent(call, span)
            return False
        call.span = CallSpan(span, native=True, tells_answer=_sdk_reads(call, options))
        form = names.output_attributes(request_body(options).get(names.OUTPUT))
        tags = names.tag_attributes(call.tags.tags, backends=self._backends)
        if form or tags:
            self._current.set_attributes(span, {**form, **tags})
        return False

    def _join_silent(self, call: LiveCall, span: Any) -> None:
        # Without a provider, the SDK gets the surrounding span again.
        if span is not None and span.get_span_context() != self._current.get_current_span().get_span_context():
            call.span = CallSpan(span, native=True)

    def stand_in(self, call: LiveCall, options: Any) -> bool:
        """Starts our span in place of the SDK's. Whether there is a provider for it."""
        call.awaits_span = False
        tracer = self._tracer()
        if tracer is not None:
            self._start_own(call, tracer, options)
        return tracer is not None

    def records(self, call: LiveCall) -> bool:
        """Whether the call has a span that takes attributes: it is sampled and has not ended."""
        return call.span is not None and bool(call.span.span.is_recording())

    def awaits_row(self, call: LiveCall) -> bool:
        """Whether the call has a span of ours, which is told of a response when its row is complete."""
        return not (call.span is None or call.span.native or call.operation.batch) and self.records(call)

    def update(
        self, call: LiveCall, answer: Answer, columns: Mapping[str, Any], priced: Priced, row: Row | None = None
    ) -> None:
        """Sets on the call's span, which records, what a response has said so far, and what only its row tells."""
        own: CallSpan = call.span
        attributes: names.Attributes = {}
        if row is not None:
            names.tell_row(attributes, row)
        if not own.tells_answer:
            names.tell_response(attributes, answer)
        if call.operation.billed and not call.operation.batch:
            own.prices[answer] = priced
            if not own.tells_answer:
                names.tell_usage(attributes, columns)
                if own.native and call.columns["streamed"] and answer.stop_reason is None:
                    # The output count at the start of a stream is a placeholder. The SDK leaves it out as well.
                    attributes.pop(names.COUNTS["output_tokens"], None)
            names.tell_lacking(attributes, answer, columns, backends=self._backends)
            names.tell_cost(attributes, own.prices.values(), backends=self._backends)
        if attributes:
            self._current.set_attributes(own.span, attributes)

    def recorded(self, call: LiveCall, row: Row) -> None:
        """Gives the row the ids of its span."""
        names.tell_ids(row, call.span.span)

    def _enter(self, call: LiveCall, *, inside: bool = False) -> None:
        """Makes our span current until `leave`."""
        own: CallSpan = call.span
        own.token, entered = self._current.enter(own.span)
        own.inside = entered if inside else None

    def leave(self, call: LiveCall) -> None:
        """Our span is no longer current: the SDK's method is over, though its stream may still be read."""
        own: CallSpan = call.span
        if own.token is not None:
            # If a block around the SDK's method has ended meanwhile, our span is not current any more.
            self._current.leave(own.token, own.inside)
            own.token = None

    def set_end(self, call: LiveCall) -> None:
        """The span ends now, though it is closed later."""
        call.span.end_ns = time.time_ns()

    def end(self, call: LiveCall) -> None:
        """Ends a span of ours. The SDK ends its own."""
        own: CallSpan = call.span
        if not own.span.is_recording():
            return
        failed = call.outcome in ("error", "incomplete")
        if failed and own.prices and not any(answer.stop_reason for answer in own.prices):
            own.span.set_attribute(names.FINISH_REASONS, ("error",))
        if own.native:
            return
        if failed:
            own.span.set_attribute("error.type", call.error_type or call.outcome)
            own.span.set_status(self._current.ERROR)
        if call.retries:
            own.span.set_attribute("http.request.resend_count", call.retries)
        own.span.end(end_time=own.end_ns)

    def _look_around(self, client: Any) -> None:
        """Warns once of other tools that make spans of the same calls."""
        if self.own_tracer() is not None:
            from claudetrace._telemetry._other_tools import warn

            self._looked_around = True
            warn(client)

    def _sdk_will_make_one(self, client: Any, options: Any) -> bool:
        tracer = getattr(client, "_tracer", None) if getattr(options, "span_name", None) else None
        if tracer is None:
            return False
        if isinstance(tracer, self._current.ProxyTracer):
            # It leads to the app's provider, as soon as there is one.
            return self._providers.tracer_provider() is self._current.tracer_provider()
        return not isinstance(tracer, self._current.NoOpTracer)

    def _start_own(self, call: LiveCall, tracer: Any, options: Any) -> None:
        name, attributes = names.request_attributes(call, request_body(options))
        attributes["server.address"], attributes["server.port"] = call.where.host, call.where.port or 443
        attributes.update(names.tag_attributes(call.tags.tags, backends=self._backends))
        span = self._current.start_span(tracer, name, attributes, call.started_ns)
        call.span = CallSpan(span, native=False)

    def own_tracer(self) -> Any:
        """The tracer for our spans, or `None` without a provider, or where spans are suppressed."""
        return None if self._current.is_suppressed() else self._tracer()

    def _tracer(self) -> Any:
        known, tracer = self._made
        if known is self._current.tracer_provider():
            return tracer
        provider = self._providers.tracer_provider()
        if known is not provider:
            tracer = None if provider is None else provider.get_tracer(SCOPE, __version__, SCHEMA_URL)
            self._made = (provider, tracer)
        return tracer


def _sdk_reads(call: LiveCall, options: Any) -> bool:
    headers = getattr(options, "headers", None)
    wanted = headers.get(RAW_RESPONSE) if isinstance(headers, Mapping) else None
    return wanted != "stream" and not (wanted and call.columns["streamed"])
