"""`estimate`: what a call would cost, before it is made, by the free endpoint that counts tokens."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claudetrace._call import PROMPT_TOKENS, usd
from claudetrace._errors import ClaudetraceError
from claudetrace._pricing._engine import price_response
from claudetrace._pricing._ids import find_listed
from claudetrace._pricing._price import day_of
from claudetrace._pricing._prompt_size import SERVER_TOOLS
from claudetrace._pricing._terms import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from decimal import Decimal

    from claudetrace._pricing._bill import Priced

_NOT_COUNTED = frozenset(
    ["max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier", "container"]
)
"""What a call takes but the count does not, where the signature of the count does not tell."""
_BETA_ALONE = frozenset(["betas", "mcp_servers", "context_management", "compaction", "billing_policy"])
"""What only the count of the beta takes."""
_TRANSPORT = frozenset(["extra_headers", "extra_query", "extra_body", "timeout"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a call would cost. A figure is `None` if it cannot be known, with the reason among `flags`."""

    model: str
    input_tokens: int
    """Tokens of the prompt, as the API counts them."""
    at_least_usd: Decimal | None
    """The prompt alone, read from the cache if the request caches, in US dollars."""
    likely_usd: Decimal | None
    """With the median output of earlier calls of this model and feature; `None` if the ledger has none."""
    at_most_usd: Decimal | None
    """The prompt at its highest rate, and `max_tokens` of output; `None` if server tools can add to it."""
    flags: tuple[str, ...] = ()
    rates_version: str | None = None


def estimate(
    client: Any,
    *,
    model: str,
    max_tokens: int,
    median_output_tokens: int | None = None,
    terms: Terms | None = None,
    **request: Any,
) -> Any:
    """An `Estimate` of `client.messages.create(model=…, max_tokens=…, …)`; an awaitable for an async client.

    `median_output_tokens` is that of earlier calls.
    Raises `ClaudetraceError` where the prompt cannot be counted or is too long for the model.
    """
    request_terms = terms or Terms()

    def estimated(counted: Any) -> Estimate:
        return _estimate(_tokens(model, counted), model, max_tokens, median_output_tokens, request_terms, request)

    async def awaited(counted: Awaitable[Any]) -> Estimate:
        with _counting(model):
            count = await counted
        return estimated(count)

    beta = any(request.get(name) for name in _BETA_ALONE)
    count = client.beta.messages.count_tokens if beta else client.messages.count_tokens
    with _counting(model):
        counted = count(model=model, **_countable(count, request))
    return awaited(counted) if inspect.isawaitable(counted) else estimated(counted)


def _estimate(
    prompt_tokens: int, model: str, max_tokens: int, median: int | None, terms: Terms, request: Mapping[str, Any]
) -> Estimate:
    """The three figures for a prompt of so many tokens."""
    _must_fit(prompt_tokens, model)
    words = {name: request[name] for name in ("speed", "inference_geo") if isinstance(request.get(name), str)}

    def priced(column: str, output_tokens: int) -> Priced:
        columns = {**dict.fromkeys(PROMPT_TOKENS, 0), column: prompt_tokens, "output_tokens": output_tokens, **words}
        return price_response(
            {}, columns, model=model, model_requested=model, day=day_of(None), terms=terms, any_size=True
        )

    least = priced("cache_read_tokens" if _mentions(request, "cache_control") else "input_tokens", 0)
    most = [amount for column in PROMPT_TOKENS if (amount := priced(column, max_tokens).picousd) is not None]
    bounded = not _has_server_tool(request)
    likely = None if median is None else priced("input_tokens", min(median, max_tokens)).picousd
    return Estimate(
        model=model,
        input_tokens=prompt_tokens,
        at_least_usd=usd(least.picousd),
        likely_usd=usd(likely),
        at_most_usd=usd(max(most)) if most and bounded else None,
        flags=least.flags if bounded else (*least.flags, "unpriced_component"),
        rates_version=least.rates_version,
    )


def _must_fit(prompt_tokens: int, model: str) -> None:
    listed = find_listed(model)
    window = None if listed is None else listed["context_window"]
    if isinstance(window, int) and prompt_tokens > window:
        raise ClaudetraceError(
            f"the prompt has {prompt_tokens} tokens and {model} takes {window}; shorten it by "
            f"{prompt_tokens - window} tokens or choose a model with a longer context"
        )


def _countable(count: Callable[..., Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `request` that `count` takes."""
    try:
        parameters = inspect.signature(count).parameters
    except (TypeError, ValueError):
        parameters = {}  # type: ignore[assignment]  # nothing is known of the signature
    if not parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return {name: value for name, value in request.items() if name not in _NOT_COUNTED}
    return {name: value for name, value in request.items() if name in parameters or name in _TRANSPORT}


def _tokens(model: str, counted: Any) -> int:
    tokens = counted.get("input_tokens") if isinstance(counted, Mapping) else getattr(counted, "input_tokens", None)
    if type(tokens) is not int or tokens < 0:
        raise ClaudetraceError(f"the tokens for {model} could not be counted: no number came back")
    return tokens


@contextmanager
def _counting(model: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ClaudetraceError(f"the tokens for {model} could not be counted: {reason}") from error


def _mentions(value: Any, key: str) -> bool:
    """Whether `key` holds something anywhere in `value`."""
    if isinstance(value, Mapping):
        return value.get(key) is not None or any(_mentions(one, key) for one in value.values())
    return isinstance(value, list | tuple) and any(_mentions(one, key) for one in value)


def _has_server_tool(request: Mapping[str, Any]) -> bool:
    """Whether the request offers a tool that the API runs: its use adds to the bill, and nothing limits by how much."""
    tools = request.get("tools")
    offered = tools if isinstance(tools, list | tuple) else ()
    kinds = [tool.get("type") for tool in offered if isinstance(tool, Mapping)]
    return bool(request.get("mcp_servers")) or any(str(kind).startswith(tuple(SERVER_TOOLS)) for kind in kinds)
