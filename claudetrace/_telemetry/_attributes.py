"""Names and values of what is emitted: OpenTelemetry's GenAI conventions, and the names that some backends read.

The conventions are still in development and OpenTelemetry's constants have old names, so the names are kept here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from claudetrace._call import PICOUSD_PER_USD, prompt_tokens
from claudetrace._operations import COMPLETIONS_CREATE, MESSAGES_CREATE

if TYPE_CHECKING:
    from claudetrace._call import Row
    from claudetrace._errors import BudgetExceeded
    from claudetrace._pricing._bill import Priced
    from claudetrace._seam._answer import Answer
    from claudetrace._seam._live import LiveCall

Attributes = dict[str, Any]

SCOPE = "claudetrace"
"""The instrumentation scope of everything that claudetrace emits."""
EVENT = "claudetrace.call"
"""The name of a record."""
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The schema of resources and general attributes. The GenAI conventions have none yet."""

OPERATIONS = {MESSAGES_CREATE.name: "chat", COMPLETIONS_CREATE.name: "text_completion"}
"""The conventions' names of operations; others keep the API's names."""

PROVIDERS = {"bedrock": "aws.bedrock", "vertex": "gcp.vertex_ai"}
"""The conventions' names of platforms; on others the provider is Anthropic."""

SAMPLING = (
    ("temperature", "gen_ai.request.temperature", float),
    ("top_p", "gen_ai.request.top_p", float),
    ("top_k", "gen_ai.request.top_k", int),
)
"""Fields of a request, each with its attribute and type. Stop sequences are content and left out."""
OUTPUT = "output_config"
MAX_TOKENS = "gen_ai.request.max_tokens"
FINISH_REASONS = "gen_ai.response.finish_reasons"
REQUEST_ID = "claudetrace.request_id"
RESERVED = {"user": ("user.id",), "session": ("session.id", "gen_ai.conversation.id")}
COUNTS = {
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "thinking_tokens": "gen_ai.usage.reasoning.output_tokens",
}
COST = "claudetrace.cost.usd"
COST_STATUS = "claudetrace.cost.status"
BACKENDS_COST = ("gen_ai.usage.cost.amount", "gen_ai.usage.cost", "operation.cost", "llm.cost.total")
BUDGET = "claudetrace.budget"
_LOWER_BOUND = frozenset({"partial_usage", "unpriced_component", "retried_after_timeout"})


def request_attributes(call: LiveCall, body: Mapping[str, Any]) -> tuple[str, Attributes]:
    """The name of a span of ours, and what is known when it starts, so that samplers see it."""
    columns = call.columns
    most, model = columns.get("max_tokens"), columns.get("model_requested")
    name, alike = _alike(call.operation.name, columns["platform"], model, columns["streamed"], most is not None)
    attributes = alike.copy()
    if most is not None:
        attributes[MAX_TOKENS] = most
    # The SDK's body has every field: those that are not given are of a type of its own.
    output = body.get(OUTPUT)
    if not isinstance(output, Mapping):
        output = None
    elif isinstance(effort := output.get("effort"), str):
        attributes["gen_ai.request.reasoning.level"] = effort
    for field, attribute, kind in SAMPLING:
        if isinstance(value := body.get(field), (int, float)) and not isinstance(value, bool):
            attributes[attribute] = kind(value)
    if output is not None:
        attributes.update(output_attributes(output))
    return name, attributes


@lru_cache(maxsize=256)
def _alike(operation: str, platform: str, model: str | None, streamed: int, has_most: bool) -> tuple[str, Attributes]:
    """What calls like this one have in common: the name of their spans, and attributes in their order."""
    told = OPERATIONS.get(operation, operation)
    attributes: Attributes = {
        "gen_ai.operation.name": told,
        "gen_ai.provider.name": PROVIDERS.get(platform, "anthropic"),
    }
    if model is not None:
        attributes["gen_ai.request.model"] = model
    if has_most:
        attributes[MAX_TOKENS] = None
    if streamed:
        attributes["gen_ai.request.stream"] = True
    return f"{told} {model}" if model else told, attributes


def output_attributes(output: object) -> Attributes:
    """The form of the answer that `output_config` asks for. The SDK's own span lacks it in older versions."""
    form = output.get("format") if isinstance(output, Mapping) else None
    # A form that is not known yet need not be JSON.
    return {"gen_ai.output.type": "json"} if isinstance(form, Mapping) and form.get("type") == "json_schema" else {}


def tag_attributes(tags: Mapping[str, str], *, backends: bool) -> Mapping[str, Any]:
    """The tags."""
    return _tag_attributes(tuple(tags.items()), backends) if tags else tags


@lru_cache(maxsize=256)
def _tag_attributes(tags: tuple[tuple[str, str], ...], backends: bool) -> Mapping[str, Any]:
    attributes: Attributes = {}
    for name, value in tags:
        for attribute in RESERVED.get(name, (f"claudetrace.tag.{name}",)):
            attributes[attribute] = value
    if backends:
        others = tuple(f"{name}:{value}" for name, value in tags if name not in RESERVED)
        if others:
            attributes["tag.tags"] = others
    return attributes


# What follows is told of every response: into one dictionary, line by line, which takes half the time of putting
# several together.


def tell_ids(row: Row, span: Any) -> None:
    """Gives `row` the ids of `span`."""
    context = span.get_span_context()
    if context.is_valid:
        row["trace_id"], row["span_id"] = f"{context.trace_id:032x}", f"{context.span_id:016x}"


def tell_row(to: Attributes, row: Row) -> None:
    """What only a response's row tells, for our span."""
    if (first_token_ms := row.get("time_to_first_token_ms")) is not None:
        to["gen_ai.response.time_to_first_chunk"] = first_token_ms / 1e3
    if (request_id := row.get("request_id")) is not None:
        to[REQUEST_ID] = request_id


def tell_response(to: Attributes, answer: Answer) -> None:
    """The answer's model and id, for our span."""
    if answer.message_id is not None:
        to["gen_ai.response.id"] = answer.message_id
    if answer.model is not None:
        to["gen_ai.response.model"] = answer.model


def tell_usage(to: Attributes, columns: Mapping[str, Any]) -> None:
    """The usage, for our span. By the conventions input tokens include those of the cache."""
    for name, attribute in COUNTS.items():
        if (count := columns.get(name)) is not None:
            to[attribute] = count
    if (prompt := prompt_tokens(columns)) is not None:
        to["gen_ai.usage.input_tokens"] = prompt
    if (written := cache_write_tokens(columns)) is not None:
        to["gen_ai.usage.cache_write.input_tokens"] = written


def tell_lacking(to: Attributes, answer: Answer, columns: Mapping[str, Any], *, backends: bool) -> None:
    """What the SDK's own span lacks. Setting the rest again would cost as much as making a span."""
    if answer.stop_reason is not None:
        to[FINISH_REASONS] = (answer.stop_reason,)
    if answer.tools:
        to["claudetrace.tool.names"] = tuple(name for name, _ in answer.tools)
        to["claudetrace.tool.call_ids"] = tuple(call_id for _, call_id in answer.tools)
    if backends and (written := cache_write_tokens(columns)) is not None:
        to["gen_ai.usage.cache_creation.input_tokens"] = written
    if searches := columns.get("web_search_requests"):
        to["claudetrace.usage.web_search_requests"] = searches


def cache_write_tokens(columns: Mapping[str, Any]) -> int | None:
    """All tokens written to the cache; `None` where the API said nothing."""
    short, hour = columns.get("cache_write_5m_tokens"), columns.get("cache_write_1h_tokens")
    return None if short is None and hour is None else (short or 0) + (hour or 0)


def budget_attributes(name: str, key: str | None) -> dict[str, str]:
    """Which budget, and whose where each value of a tag has one."""
    return {BUDGET: name} if key is None else {BUDGET: name, "claudetrace.budget_key": key}


def blocked_attributes(error: BudgetExceeded) -> Attributes:
    """Which budget has stopped a call, what the call needed and what was left."""
    amounts = {"claudetrace.budget.needed_usd": error.needed_usd, "claudetrace.budget.left_usd": error.left_usd}
    told = {name: float(usd) for name, usd in amounts.items() if usd is not None}
    return budget_attributes(error.budget, error.key) | told


def tell_cost(to: Attributes, prices: Collection[Priced], *, backends: bool) -> None:
    """What the responses of a call cost together: the sum of the known costs, or no amount if none is known."""
    known, partial = [], False
    for priced in prices:
        if priced.picousd is not None:
            known.append(priced.picousd)
        partial = partial or not _LOWER_BOUND.isdisjoint(priced.flags)
    if not known:
        to[COST_STATUS] = "unpriced"
        return
    usd = sum(known) / PICOUSD_PER_USD
    if backends:
        to.update(dict.fromkeys(BACKENDS_COST, usd))
        to["gen_ai.usage.cost.currency"] = "USD"
        to["gen_ai.usage.cost.source"] = "local"
    # Last, since a span with a limit of attributes drops the first ones.
    to[COST_STATUS] = "partial" if partial or len(known) < len(prices) else "priced"
    to[COST] = usd
