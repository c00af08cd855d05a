"""One span for what an agent is asked, and one below it for each response, with its cost."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._pricing._bill import Priced
from claudetrace._telemetry import _attributes as names

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._call import Row
    from claudetrace._seam._agent_sdk._query import Query

AGENT = "claude-code"
AGENT_NAME = "gen_ai.agent.name"


class AgentSpans:
    """Costs are on the children alone: a back end that adds up spans counts each once."""

    def __init__(self, own_tracer: Callable[[], Any], *, backends: bool) -> None:
        self._own_tracer = own_tracer
        self._backends = backends

    def begin(self, query: Query) -> None:
        """Starts the span of `query`, a child of what is current here."""
        if (tracer := self._own_tracer()) is None:
            return
        query.span = tracer.start_span(
            f"invoke_agent {AGENT}",
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.provider.name": "anthropic",
                AGENT_NAME: AGENT,
                **names.tag_attributes(query.tags.tags, backends=self._backends),
            },
            start_time=query.started_ns,
        )

    def add(self, query: Query, row: Row) -> None:
        """Makes the span of a response, which has ended, and gives the row its ids."""
        from opentelemetry import trace

        if (tracer := self._own_tracer()) is None:
            return
        at_ns = int(datetime.fromisoformat(row["started_at"]).timestamp() * 1e9)
        span = tracer.start_span(
            f"chat {row.get('model')}",
            context=trace.set_span_in_context(query.span),
            kind=trace.SpanKind.CLIENT,
            attributes=self._attributes(query, row),
            start_time=at_ns,
        )
        names.tell_ids(row, span)
        span.end(end_time=at_ns)

    def end(self, query: Query) -> None:
        """Ends the span of `query`, once."""
        if query.has_ended:
            return
        query.has_ended = True
        if query.session is not None and "session" not in query.tags.tags:
            query.span.set_attributes(dict.fromkeys(names.RESERVED["session"], query.session))
        query.span.end(end_time=time.time_ns())

    def _attributes(self, query: Query, row: Row) -> names.Attributes:
        attributes: names.Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": names.PROVIDERS.get(row["platform"], "anthropic"),
            **names.tag_attributes(query.tags.tags, backends=self._backends),
        }
        names.tell_usage(attributes, row)
        for attribute, column in _COLUMNS.items():
            if (value := row.get(column)) is not None:
                attributes[attribute] = value
        if (reason := row.get("stop_reason")) is not None:
            attributes[names.FINISH_REASONS] = (reason,)
        priced = Priced(row.get("cost_picousd"), tuple(orjson.loads(row.get("cost_flags") or "[]")))
        names.tell_cost(attributes, [priced], backends=self._backends)
        return attributes


_COLUMNS = {
    "gen_ai.request.model": "model_requested",
    "gen_ai.response.model": "model",
    "gen_ai.response.id": "message_id",
    names.REQUEST_ID: "request_id",
    AGENT_NAME: "agent",
    "session.id": "session_id",
    "gen_ai.conversation.id": "session_id",
}
