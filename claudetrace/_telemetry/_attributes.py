"""The names of a span's attributes: OpenTelemetry's GenAI conventions, and those that backends read beside them.

The conventions are still in development, and the released constants know only old names: the names are kept here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from claudetrace._call import PICOUSD_PER_USD, PROMPT_TOKENS, prompt_tokens
from claudetrace._operations import COMPLETIONS_CREATE, MESSAGES_CREATE

if TYPE_CHECKING:
    from claudetrace._call import Row
    from claudetrace._pricing import Priced
    from claudetrace._seam._answer import Answer
    from claudetrace._seam._live import LiveCall

Attributes = dict[str, Any]

OPERATIONS = {MESSAGES_CREATE.name: "chat", COMPLETIONS_CREATE.name: "text_completion"}
"""The conventions' word for an operation; others keep the API's."""

PROVIDERS = {"bedrock": "aws.bedrock", "vertex": "gcp.vertex_ai"}
"""The conventions' word for a platform; on the others Anthropic itself provides."""

SAMPLING = {
    "temperature": ("gen_ai.request.temperature", float),
    "top_p": ("gen_ai.request.top_p", float),
    "top_k": ("gen_ai.request.top_k", int),
}
"""Fields of a request, each with its attribute and the type that the conventions give it. Stop sequences: content."""
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
_LOWER_BOUND = frozenset({"partial_usage", "unpriced_component", "retried_after_timeout"})


def span_name(call: LiveCall) -> str:
    """The name of a span of ours."""
    model = call.columns.get("model_requested")
    operation = OPERATIONS.get(call.operation.name, call.operation.name)
    return f"{operation} {model}" if model else operation


def request_attributes(call: LiveCall, body: Mapping[str, Any]) -> Attributes:
    """What is known when a span of ours starts, so that a sampler sees it."""
    attributes: Attributes = {
        "gen_ai.operation.name": OPERATIONS.get(call.operation.name, call.operation.name),
        "gen_ai.provider.name": PROVIDERS.get(call.columns["platform"], "anthropic"),
    }
    if (model := call.columns.get("model_requested")) is not None:
        attributes["gen_ai.request.model"] = model
    if (max_tokens := call.columns.get("max_tokens")) is not None:
        attributes[MAX_TOKENS] = max_tokens
    if call.columns["streamed"]:
        attributes["gen_ai.request.stream"] = True
    wanted = body.get("output_config")
    if isinstance(wanted, Mapping) and isinstance(effort := wanted.get("effort"), str):
        attributes[REASONING_LEVEL] = effort
    for name, (attribute, kind) in SAMPLING.items():
        if isinstance(value := body.get(name), (int, float)) and not isinstance(value, bool):
            attributes[attribute] = kind(value)
    attributes.update(output_attributes(body))
    return attributes


def output_attributes(body: Mapping[str, Any]) -> Attributes:
    """The form that the answer is to have, of which the SDK's own span says nothing in older versions."""
    wanted = body.get("output_config")
    form = wanted.get("format") if isinstance(wanted, Mapping) else None
    # Of a form that is not known yet nobody can say that it is JSON.
    return {OUTPUT_TYPE: "json"} if isinstance(form, Mapping) and form.get("type") == "json_schema" else {}


def tag_attributes(tags: Mapping[str, str], *, backends: bool) -> Attributes:
    """Who and what for."""
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
    """What the answer is, for a span of ours."""
    attributes: Attributes = {}
    if answer.message_id is not None:
        attributes["gen_ai.response.id"] = answer.message_id
    if answer.model is not None:
        attributes["gen_ai.response.model"] = answer.model
    return attributes


def usage_attributes(columns: Mapping[str, Any]) -> Attributes:
    """What was used, for a span of ours. The conventions want input tokens with those of the cache."""
    attributes: Attributes = {COUNTS[name]: value for name, value in columns.items() if name in COUNTS}
    if (read := prompt_tokens(columns)) is not None:
        attributes["gen_ai.usage.input_tokens"] = read
    if (written := cache_write_tokens(columns)) is not None:
        attributes[CACHE_WRITE] = written
    return attributes


def lacking_attributes(answer: Answer, columns: Mapping[str, Any], *, backends: bool) -> Attributes:
    """What the SDK's own span does not have: setting the rest again would cost as much as making a span."""
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
    """The tokens written to the cache, for any time; `None` where the API said nothing."""
    written = [columns[name] for name in PROMPT_TOKENS[2:] if name in columns]
    return sum(written) if written else None


def row_attributes(row: Row) -> Attributes:
    """What is known of a response when its row is, for a span of ours."""
    attributes: Attributes = {}
    if (first_token_ms := row.get("time_to_first_token_ms")) is not None:
        attributes[FIRST_CHUNK] = first_token_ms / 1e3
    if (request_id := row.get("request_id")) is not None:
        attributes[REQUEST_ID] = request_id
    return attributes


def cost_attributes(prices: Collection[Priced], *, backends: bool) -> Attributes:
    """What the responses of a call cost together: the known ones where not all are, no amount where none is."""
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
    # Last: where a span may have a few attributes only, those that come first go.
    attributes[COST_STATUS] = "partial" if partial else "priced"
    attributes[COST] = usd
    return attributes
