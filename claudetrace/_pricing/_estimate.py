"""`estimate`: what a call would cost, before it is made, by the free endpoint that counts tokens."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claudetrace._call import PROMPT_TOKENS, usd
from claudetrace._errors import ClaudetraceError
from claudetrace._pricing._engine import price_any_size
from claudetrace._pricing._ids import read_id
from claudetrace._pricing._price import day_of
from claudetrace._pricing._rates import book
from claudetrace._pricing._terms import Terms

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal


_NOT_COUNTED = frozenset(
    ["max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier", "container"]
)
"""What a call takes and the count does not, where the count's own signature does not tell."""
_BETA_ALONE = frozenset(["betas", "mcp_servers", "context_management", "compaction", "billing_policy"])
"""What only the beta's count takes."""
_TRANSPORT = frozenset(["extra_headers", "extra_query", "extra_body", "timeout"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a call would cost. A figure is `None` where it cannot be known, with the reason among `flags`."""

    model: str
    input_tokens: int
    at_least_usd: Decimal | None
    """The prompt alone, read from the cache where the request caches."""
    likely_usd: Decimal | None
    """With the median output of earlier calls; `None` where there were none."""
    at_most_usd: Decimal | None
    """The prompt in its dearest class, and `max_tokens` of output; `None` where server tools can add to it."""
    flags: tuple[str, ...] = ()
    rates_version: str | None = None


def estimate(
    client: Any,
    *,
    model: str,
    max_tokens: int,
    median_output_tokens: Callable[[str], int | None] | None = None,
    terms: Terms | None = None,
    **request: Any,
) -> Any:
    """An `Estimate` of `client.messages.create(model=…, max_tokens=…, …)`; an awaitable for an async client.

    `median_output_tokens(model)` tells the output of earlier calls.
    Raises `ClaudetraceError` where the prompt cannot be counted or is too long for the model.
    """
    asked = _Asked(
        model=model,
        max_tokens=max_tokens,
        median_output_tokens=None if median_output_tokens is None else median_output_tokens(model),
        terms=terms or Terms(),
        request=request,
    )
    beta = any(request.get(name) for name in _BETA_ALONE)
    count = client.beta.messages.count_tokens if beta else client.messages.count_tokens
    try:
        counted = count(model=model, **_countable(count, request))
    except Exception as error:
        raise _uncounted(model, error) from error
    return asked.after(counted) if inspect.isawaitable(counted) else asked.estimate(counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    model: str
    max_tokens: int
    median_output_tokens: int | None
    terms: Terms
    request: Mapping[str, Any]

    async def after(self, counted: Awaitable[Any]) -> Estimate:
        """The estimate, once an async client has counted."""
        try:
            count = await counted
        except Exception as error:
            raise _uncounted(self.model, error) from error
        return self.estimate(count)

    def estimate(self, counted: Any) -> Estimate:
        """The three figures for the tokens that `counted` tells."""
        prompt_tokens = _tokens(counted)
        if prompt_tokens is None:
            raise ClaudetraceError(f"the tokens for {self.model} could not be counted: no number came back")
        self._must_fit(prompt_tokens)
        least_class = "cache_read_tokens" if _mentions(self.request, "cache_control") else "input_tokens"
        least, flags, version = self._usd(prompt_tokens, least_class, 0)
        dearest = [self._usd(prompt_tokens, column, self.max_tokens)[0] for column in PROMPT_TOKENS]
        known = [amount for amount in dearest if amount is not None]
        bounded = not _has_server_tool(self.request)
        likely = None
        if self.median_output_tokens is not None:
            output_tokens = min(self.median_output_tokens, self.max_tokens)
            likely = self._usd(prompt_tokens, "input_tokens", output_tokens)[0]
        return Estimate(
            model=self.model,
            input_tokens=prompt_tokens,
            at_least_usd=least,
            likely_usd=likely,
            at_most_usd=max(known) if known and bounded else None,
            flags=flags if bounded else (*flags, "unpriced_component"),
            rates_version=version,
        )

    def _usd(
        self, prompt_tokens: int, column: str, output_tokens: int
    ) -> tuple[Decimal | None, tuple[str, ...], str | None]:
        columns: dict[str, Any] = dict.fromkeys(PROMPT_TOKENS, 0)
        columns |= {column: prompt_tokens, "output_tokens": output_tokens}
        for word in ("speed", "inference_geo"):
            if isinstance(self.request.get(word), str):
                columns[word] = self.request[word]
        priced = price_any_size(
            {},
            columns,
            model=self.model,
            model_requested=self.model,
            day=day_of(None),
            terms=self.terms,
        )
        return usd(priced.picousd), priced.flags, priced.rates_version

    def _must_fit(self, prompt_tokens: int) -> None:
        known = read_id(self.model, book().ids).model
        window = None if known is None else book().models[known].get("context_window")
        if isinstance(window, int) and prompt_tokens > window:
            raise ClaudetraceError(
                f"the prompt has {prompt_tokens} tokens and {self.model} takes {window}; shorten it by "
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


def _tokens(counted: Any) -> int | None:
    told = counted.get("input_tokens") if isinstance(counted, Mapping) else getattr(counted, "input_tokens", None)
    return told if type(told) is int and told >= 0 else None


def _uncounted(model: str, error: Exception) -> ClaudetraceError:
    return ClaudetraceError(f"the tokens for {model} could not be counted: {type(error).__name__}: {error}")


def _mentions(value: Any, key: str) -> bool:
    """Whether `key` holds something anywhere in `value`."""
    if isinstance(value, Mapping):
        return value.get(key) is not None or any(_mentions(one, key) for one in value.values())
    return isinstance(value, list | tuple) and any(_mentions(one, key) for one in value)


def _has_server_tool(request: Mapping[str, Any]) -> bool:
    """Whether the request offers a tool that the API runs, whose use adds to the bill without a known bound."""
    tools = request.get("tools")
    if request.get("mcp_servers"):
        return True
    if not isinstance(tools, list | tuple):
        return False
    kinds = [tool.get("type") for tool in tools if isinstance(tool, Mapping)]
    return any(str(kind).startswith(_SERVER_TOOLS) for kind in kinds)


_SERVER_TOOLS = ("web_search_", "web_fetch_", "code_execution_", "advisor_", "tool_search_", "mcp_toolset")
