"""Names and values of what is emitted: OpenTelemetry's GenAI conventions, and the names that some backends read.

The conventions are still in development and OpenTelemetry's constants have old names, so the names are kept here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from claudetrace._call import PICOUSD_PER_USD, PROMPT_TOKENS, prompt_tokens
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

SAMPLING = {
    "temperature": ("gen_ai.request.temperature", float),
    "top_p": ("gen_ai.request.top_p", float),
    "top_k": ("gen_ai.request.top_k", int),
}
"""Fields of a request, each with its attribute and type. Stop sequences are content and left out."""
MAX_TOKENS = "gen_ai.request.max_tokens"
REASONING_LEVEL = "gen_ai.request.reasoning.level"
OUTPUT_TYPE = "gen_ai.output.type"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
FINISH_REASONS = "gen_ai.response.finish_reasons"
REQUEST_ID = "claudetrace.request_id"
TOOL_NAMES = "claudetrace.tool.names"
TOOL_CALL_IDS = "claudetrace.tool.call_ids"
RESERVED = {"user": ("user.id",), "session": ("session.id", "gen_ai.conversation.id")}
COUNTS = {
    "output_tokens": "gen_ai.usage.output_tokens",
    "thinking_tokens": "gen_ai.usage.reasoning.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
}
WEB_SEARCHES = "claudetrace.usage.web_search_requests"
CACHE_WRITE = "gen_ai.usage.cache_write.input_tokens"
OLD_CACHE_WRITE = "gen_ai.usage.cache_creation.input_tokens"
COST = "claudetrace.cost.usd"
COST_STATUS = "claudetrace.cost.status"
BACKENDS_COST = ("gen_ai.usage.cost.amount", "gen_ai.usage.cost", "operation.cost", "llm.cost.total")
BUDGET = "claudetrace.budget"
_LOWER_BOUND = frozenset({"partial_usage", "unpriced_component", "retried_after_timeout"})


def known(attributes: Mapping[str, Any]) -> Attributes:
    """`attributes` without those that are `None`."""
    return {name: value for name, value in attributes.items() if value is not None}


def span_name(call: LiveCall) -> str:
    """The name of a span of ours."""
    model = call.columns.get("model_requested")
    operation = OPERATIONS.get(call.operation.name, call.operation.name)
    return f"{operation} {model}" if model else operation


def request_attributes(call: LiveCall, body: Mapping[str, Any]) -> Attributes:
    """What is known when our span starts, so that samplers see it."""
    attributes = known(
        {
            "gen_ai.operation.name": OPERATIONS.get(call.operation.name, call.operation.name),
            "gen_ai.provider.name": PROVIDERS.get(call.columns["platform"], "anthropic"),
            "gen_ai.request.model": call.columns.get("model_requested"),
            MAX_TOKENS: call.columns.get("max_tokens"),
            "gen_ai.request.stream": True if call.columns["streamed"] else None,
        }
    )
    wanted = body.get("output_config")
    if isinstance(wanted, Mapping) and isinstance(effort := wanted.get("effort"), str):
        attributes[REASONING_LEVEL] = effort
    for name, (attribute, kind) in SAMPLING.items():
        if isinstance(value := body.get(name), (int, float)) and not isinstance(value, bool):
            attributes[attribute] = kind(value)
    attributes.update(output_attributes(body))
    return attributes


def output_attributes(body: Mapping[str, Any]) -> Attributes:
    """The requested form of the answer. The SDK's own span lacks it in older versions."""
    wanted = body.get("output_config")
    form = wanted.get("format") if isinstance(wanted, Mapping) else None
    # A form that is not known yet need not be JSON.
    return {OUTPUT_TYPE: "json"} if isinstance(form, Mapping) and form.get("type") == "json_schema" else {}


def tag_attributes(tags: Mapping[str, str], *, backends: bool) -> Attributes:
    """The tags."""
    attributes: Attributes = {}
    for name, value in tags.items():
        for attribute in RESERVED.get(name, (f"claudetrace.tag.{name}",)):
            attributes[attribute] = value
    if backends:
        others = tuple(f"{name}:{value}" for name, value in tags.items() if name not in RESERVED)
        if others:
            attributes["tag.tags"] = others
    return attributes


def response_attributes(answer: Answer) -> Attributes:
    """The answer's model and id, for our span."""
    return known({"gen_ai.response.id": answer.message_id, "gen_ai.response.model": answer.model})


def usage_attributes(columns: Mapping[str, Any]) -> Attributes:
    """The usage, for our span. By the conventions input tokens include those of the cache."""
    counts: Attributes = {COUNTS[name]: value for name, value in columns.items() if name in COUNTS}
    sums = {"gen_ai.usage.input_tokens": prompt_tokens(columns), CACHE_WRITE: cache_write_tokens(columns)}
    return counts | known(sums)


def lacking_attributes(answer: Answer, columns: Mapping[str, Any], *, backends: bool) -> Attributes:
    """What the SDK's own span lacks. Setting the rest again would cost as much as making a span."""
    attributes: Attributes = {}
    if answer.stop_reason is not None:
        attributes[FINISH_REASONS] = (answer.stop_reason,)
    if answer.tools:
        attributes[TOOL_NAMES] = tuple(name for name, _ in answer.tools)
        attributes[TOOL_CALL_IDS] = tuple(call_id for _, call_id in answer.tools)
    if backends and (written := cache_write_tokens(columns)) is not None:
        attributes[OLD_CACHE_WRITE] = written
    if searches := columns.get("web_search_requests"):
        attributes[WEB_SEARCHES] = searches
    return attributes


def cache_write_tokens(columns: Mapping[str, Any]) -> int | None:
    """All tokens written to the cache; `None` where the API said nothing."""
    written = [columns[name] for name in PROMPT_TOKENS[2:] if name in columns]
    return sum(written) if written else None


def budget_attributes(name: str, key: str | None) -> dict[str, str]:
    """Which budget, and whose where each value of a tag has one."""
    return {BUDGET: name} if key is None else {BUDGET: name, "claudetrace.budget_key": key}


def blocked_attributes(error: BudgetExceeded) -> Attributes:
    """Which budget has stopped a call, what the call needed and what was left."""
    left = error.left_usd
    return {
        **budget_attributes(error.budget, error.key),
        **({} if error.needed_usd is None else {"claudetrace.budget.needed_usd": float(error.needed_usd)}),
        **({} if left is None else {"claudetrace.budget.left_usd": float(left)}),
    }


def row_attributes(row: Row) -> Attributes:
    """What only a response's row tells, for our span."""
    first_token_ms = row.get("time_to_first_token_ms")
    first_s = None if first_token_ms is None else first_token_ms / 1e3
    return known({FIRST_CHUNK: first_s, REQUEST_ID: row.get("request_id")})


def cost_attributes(prices: Collection[Priced], *, backends: bool) -> Attributes:
    """What the responses of a call cost together: the sum of the known costs, or no amount if none is known."""
    known = [priced.picousd for priced in prices if priced.picousd is not None]
    if not known:
        return {COST_STATUS: "unpriced"}
    partial = len(known) < len(prices) or any(not _LOWER_BOUND.isdisjoint(priced.flags) for priced in prices)
    usd = sum(known) / PICOUSD_PER_USD
    attributes: Attributes = {}
    if backends:
        attributes.update(dict.fromkeys(BACKENDS_COST, usd))
        attributes["gen_ai.usage.cost.currency"] = "USD"
        attributes["gen_ai.usage.cost.source"] = "local"
    # Last, since a span with a limit of attributes drops the first ones.
    attributes[COST_STATUS] = "partial" if partial else "priced"
    attributes[COST] = usd
    return attributes
