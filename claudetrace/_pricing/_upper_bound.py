"""`bound`: the most that a request can cost, known before it is sent, or an estimate and why it may cost more.

The rules of billing, and how each is respected:

- Classes of input: the whole prompt in the most expensive class it can have. Plain where nothing asks for caching,
  else a write for five minutes, or for an hour where one part asks for that. Reads and refreshes never cost more.
- Tokens of text: no more than bytes of UTF-8; markers, the words that come with tools, schemas and thinking in fixed
  margins; images at the most that the model's resolution lets through. A PDF's tokens do not follow from its bytes.
- Prompt size: the tier of the longest prompt that the bytes allow, for input and output, as the tier's rule says.
  No prompt is longer than the model's window.
- Output: `max_tokens`, in which thinking is. Refusals and errors cost less or nothing.
- Speed: the more expensive of fast and standard where fast is asked for. Geography and endpoints: the premium, unless
  the request or its address excludes it. Priority is priced as standard. Days: the rates of the day it is sent.
  A Foundry deployment that bears a model's name is taken for that model.
- A batch: its items at batch rates, each as above. Own prices in the place of the list's.
- Server tools, MCP, containers, URLs, files, PDFs, threads, compaction, fallbacks, middleware, and any parameter,
  tool or content that is not known here: more is possible, and `why_unbounded` names the first of them.
- Retries: an API error costs nothing, and the ledger prices the attempt that was answered. An attempt that timed out
  may be billed beside it: nothing is reserved for that.
- Another organization pays: nothing. Counting tokens and reading a batch's results: nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._guard import pass_on
from claudetrace._operations import BATCHES_CREATE, BATCHES_RESULT, COUNT_TOKENS
from claudetrace._pricing._engine import LARGEST_PICOUSD
from claudetrace._pricing._plan import plan_for
from claudetrace._pricing._prompt_size import PromptSize, as_mapping
from claudetrace._pricing._rates import book

if TYPE_CHECKING:
    from claudetrace._pricing._plan import Leg, Plan
    from claudetrace._pricing._terms import Terms

UNRESERVED = frozenset([COUNT_TOKENS.name, BATCHES_RESULT.name])
"""Operations that reserve nothing. For a batch's results the batch itself did, when it was created."""
_PLAIN = frozenset(
    [
        *("billing_policy", "cache_control", "context_management", "inference_geo", "max_tokens"),
        *("max_tokens_to_sample", "messages", "model", "output_config", "output_format", "prompt"),
        *("service_tier", "speed", "system", "tool_choice", "tools"),
        *("anthropic_beta", "anthropic_version", "betas", "diagnostics", "fallback_credit_token", "metadata"),
        *("stop_sequences", "stream", "temperature", "thinking", "top_k", "top_p", "user_profile_id"),
        "workspace_id",
    ]
)
"""Parameters that are taken into account, and those that cost nothing."""
_NAMES = {
    "compaction": "compaction",
    "container": "a container",
    "fallbacks": "fallbacks",
    "mcp_servers": "MCP servers",
    "previous_message_id": "a previous message",
    "thread": "a thread",
}
_LIKELY_OUTPUT = 4
"""An estimate takes this part of `max_tokens` as output: one in so many."""
_VALUES = {
    "speed": ("standard", "fast"),
    "inference_geo": ("us", "global"),
    "service_tier": ("auto", "standard_only"),
}
_OLD_IMAGE_TOKENS = 1664
_IMAGE_TOKENS = 4784
"""The most tokens of an image after the API has scaled it down: up to Claude 4.6, where 784 by 1568 pixels were 1,639
by the formula, and since."""
_TOOL_PROMPT_TOKENS = 1024
"""Used where the model's own figure is not published; the largest that is published is 804."""
_LONGEST_WINDOW = 1_000_000
_MOST_OUTPUT = 128_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What to reserve for a call."""

    picousd: int
    why_unbounded: str | None = None
    """`None` if no more can be billed. Else what may cost more, and `picousd` is an estimate."""
    calls: int = 1
    """How many answers the request asks for."""
    priced: bool = True
    """False if a model in the request has no price: `picousd` leaves it out."""

    def plus(self, *others: Bound) -> Bound:
        """What to reserve for all of them."""
        every = (self, *others)
        return Bound(
            picousd=min(sum(each.picousd for each in every), LARGEST_PICOUSD),
            why_unbounded=next((each.why_unbounded for each in every if each.why_unbounded), None),
            calls=sum(each.calls for each in every),
            priced=all(each.priced for each in every),
        )


NOTHING = Bound(picousd=0, calls=0)
_MIDDLEWARE = Bound(picousd=0, calls=0, why_unbounded="client middleware")


def bound(
    body: Mapping[str, Any],
    *,
    operation: str,
    model: str | None,
    terms: Terms,
    day: str,
    has_middleware: bool = False,
) -> Bound:
    """What to reserve for `body`, as the SDK's options have it. Never raises; takes nothing from an iterator.

    `model` is the one that the path names, where it does.
    """
    if operation in UNRESERVED:
        return NOTHING
    try:
        found = _batch(body, terms, day) if operation == BATCHES_CREATE.name else _one(body, model, terms, day)
    except Exception as error:  # noqa: BLE001 - what we cannot read, the SDK may yet send
        pass_on(error)
        found = Bound(picousd=0, why_unbounded=f"a request that cannot be read ({type(error).__name__})")
    if has_middleware:
        found = found.plus(_MIDDLEWARE)
    return found if found.picousd <= LARGEST_PICOUSD else found.plus()


@lru_cache(maxsize=64)
def _as_batch(terms: Terms) -> Terms:
    return replace(terms, batch=True)


def _batch(body: Mapping[str, Any], terms: Terms, day: str) -> Bound:
    if not isinstance(body.get("requests"), (list, tuple)):
        return Bound(picousd=0, why_unbounded="requests that can be read only once")
    return NOTHING.plus(*(each for _, each in item_bounds(body, terms, day)))


def _item(item: object, terms: Terms, day: str) -> Bound:
    params = item.get("params") if isinstance(item, Mapping) else None
    if not isinstance(params, Mapping):
        return Bound(picousd=0, why_unbounded="an item that cannot be read")
    return _one(params, None, terms, day)


def item_bounds(body: Mapping[str, Any], terms: Terms, day: str) -> Iterator[tuple[str | None, Bound]]:
    """What to reserve for each item of a batch, with its `custom_id`; none of requests that can be read only once."""
    items, terms = body.get("requests"), _as_batch(terms)
    for item in items if isinstance(items, (list, tuple)) else ():
        custom_id = item.get("custom_id") if isinstance(item, Mapping) else None
        yield custom_id if isinstance(custom_id, str) else None, _item(item, terms, day)


def _one(body: Mapping[str, Any], model: str | None, terms: Terms, day: str) -> Bound:
    if terms.free_host or terms.billed_to == "user_profile" or _bills_user_profile(body):
        return Bound(picousd=0)
    asked = model if model is not None else body.get("model")
    named = asked if isinstance(asked, str) else None
    fast, worldwide = body.get("speed") == "fast", body.get("inference_geo") == "global"
    rates, why = highest_rates(named, day, terms, fast, worldwide), None
    if rates is None and fast:
        # A model that no longer has fast rates runs at standard speed, but nothing says so beforehand.
        rates, why = highest_rates(named, day, terms, False, worldwide), "a speed without a price"
    if rates is None:
        return Bound(picousd=0, why_unbounded="unknown model", priced=False)
    return _priced(body, rates, why or _why_of(body))


def _priced(body: Mapping[str, Any], rates: HighestRates, why: str | None) -> Bound:
    measure = PromptSize()
    try:
        measure.request(body)
    except Exception as error:  # noqa: BLE001 - what we cannot read, the SDK may yet send
        pass_on(error)
        measure.unknown(f"content that cannot be read ({type(error).__name__})")
    output = _most_output(body, rates)
    if why is None and measure.why is None:
        prompt = measure.at_most(rates.image_tokens, rates.tool_prompt_tokens)
        return Bound(picousd=rates.picousd(_in_window(prompt, rates), output, measure.cached_for))
    prompt = _in_window(measure.likely(rates.image_tokens, rates.tool_prompt_tokens), rates)
    searches = rates.search_picousd if "web_search" in (measure.why or "") else 0
    likely = rates.picousd(prompt, -(-output // _LIKELY_OUTPUT)) + searches
    return Bound(picousd=likely, why_unbounded=why or measure.why)


def _most_output(body: Mapping[str, Any], rates: HighestRates) -> int:
    most = body.get("max_tokens")
    if type(most) is not int:
        most = body.get("max_tokens_to_sample")
    if type(most) is not int or most < 0:
        # The API refuses it. If it does not, the model's own limit holds.
        return rates.most_output_tokens
    return _in_window(most, rates)


def _in_window(tokens: int, rates: HighestRates) -> int:
    return tokens if rates.window_tokens is None else min(tokens, rates.window_tokens)


def _bills_user_profile(body: Mapping[str, Any]) -> bool:
    policy = body.get("billing_policy")
    return isinstance(policy, Mapping) and policy.get("bill_to") == "user_profile"


def _why_of(body: Mapping[str, Any]) -> str | None:
    """The parameter that makes more possible than one answer to the prompt, if there is one."""
    for name in body.keys() - _PLAIN:
        # A parameter that was not given is falsy, whichever object the SDK has for it.
        if body[name]:
            return _NAMES.get(name, f"the parameter {name}")
    for name, known in _VALUES.items():
        if (value := body.get(name)) and value not in known:
            return f"{name} {value}"
    if (managed := body.get("context_management")) and not _only_clears(managed):
        return "compaction"
    return None


def _only_clears(managed: Any) -> bool:
    try:
        edits = as_mapping(managed).get("edits") or ()
        return all(str(as_mapping(edit).get("type")).startswith("clear_") for edit in edits)
    except TypeError:
        return False


class Rates(NamedTuple):
    """Whole picodollars a token, rounded up, for prompts of more than `above` tokens."""

    above: int
    input: int
    cache_write_5m: int
    cache_write_1h: int
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HighestRates:
    """What one model can cost at most, and the sizes that follow from the model alone."""

    tiers: tuple[Rates, ...]
    """Shortest prompts first; the rates of a tier are never below those before it."""
    window_tokens: int | None
    """Longer prompts are refused; `None` where nobody has listed it."""
    most_output_tokens: int
    image_tokens: int
    tool_prompt_tokens: int
    """What the API adds to a prompt that offers tools."""
    search_picousd: int

    def picousd(self, prompt_tokens: int, output_tokens: int, cached_for: str | None = None) -> int:
        """The most that so many tokens cost, if they are written to the cache for `cached_for`: `5m` or `1h`."""
        rates = self.tiers[0]
        for tier in self.tiers:
            if prompt_tokens > tier.above:
                rates = tier
        each = rates.input
        if cached_for is not None:
            each = max(each, rates.cache_write_5m)
            if cached_for == "1h":
                each = max(each, rates.cache_write_1h)
        return prompt_tokens * each + output_tokens * rates.output


@lru_cache(maxsize=1024)
def highest_rates(model: str | None, day: str, terms: Terms, fast: bool, worldwide: bool) -> HighestRates | None:
    """The highest rates that `model` may be billed at on `day`, or `None` where one of them is not known.

    What only the answer tells is taken as the most expensive: a workspace's default geography unless the request asks
    for `worldwide`, an endpoint that nobody named, a Foundry deployment's zone, and for `fast` also the standard speed.
    """
    if terms.platform == "foundry" and terms.data_zone is None:
        terms = replace(terms, data_zone="us")
    geo = "global" if worldwide else "us"
    plans = []
    for speed in ("standard", "fast") if fast else ("standard",):
        plan = plan_for(model, model, day, terms, speed, None, geo)
        if "endpoint_scope_unknown" in plan.flags:
            regional = replace(terms, endpoint_scope="regional")
            plan = plan_for(model, model, day, regional, speed, None, geo)
        if plan.leg is None:
            return None
        plans.append(plan)
    row = book().models.get(plans[0].model or "", {})
    old = row.get("tokenizer") == "old"
    window = row.get("context_window")
    if window is not None and any(plan.tiers for plan in plans):
        window = max(window, _LONGEST_WINDOW)
    return HighestRates(
        tiers=_tiers(plans),
        window_tokens=window,
        most_output_tokens=row.get("max_output") or _MOST_OUTPUT,
        image_tokens=_OLD_IMAGE_TOKENS if old else _IMAGE_TOKENS,
        tool_prompt_tokens=max((row.get("tool_use_system_prompt_tokens") or {"": _TOOL_PROMPT_TOKENS}).values()),
        search_picousd=ceil(plans[0].search.rate_picousd),
    )


def _tiers(plans: list[Plan]) -> tuple[Rates, ...]:
    reached = [(above, leg) for plan in plans for above, leg in ((-1, plan.leg), *plan.tiers) if leg is not None]
    starts = sorted({above for above, _ in reached})
    return tuple(_most(start, [leg for above, leg in reached if above <= start]) for start in starts)


def _most(above: int, legs: list[Leg]) -> Rates:
    rates: dict[str, int] = {}
    for leg in legs:
        for column, line in leg.lines:
            rates[column] = max(rates.get(column, 0), ceil(line.rate_picousd))
    # What is cached may be read instead, and own prices may make that the more expensive.
    read = rates["cache_read_tokens"]
    return Rates(
        above=above,
        input=rates["input_tokens"],
        cache_write_5m=max(read, rates["cache_write_5m_tokens"]),
        cache_write_1h=max(read, rates["cache_write_1h_tokens"]),
        output=rates["output_tokens"],
    )
