"""`estimate`: what a call would cost, before it is made, with what the running meter and its ledger know."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, overload

from claudetrace._call import RESERVED_TAGS
from claudetrace._errors import ClaudetraceError
from claudetrace._instrument import running
from claudetrace._pricing._estimate import estimate as estimate_call
from claudetrace._seam._request import billed_to, user_of
from claudetrace._seam._where import terms_of_calls, where_to
from claudetrace._tags import client_tags, current_tags

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from anthropic import Anthropic, AsyncAnthropic

    from claudetrace._instrument import Instrumentation
    from claudetrace._pricing._estimate import Estimate

log = logging.getLogger("claudetrace")


@overload
def estimate(client: Anthropic, *, model: str, max_tokens: int, **request: Any) -> Estimate: ...
@overload
def estimate(client: AsyncAnthropic, *, model: str, max_tokens: int, **request: Any) -> Awaitable[Estimate]: ...
@overload
def estimate(client: Any, *, model: str, max_tokens: int, **request: Any) -> Any: ...
def estimate(client: Any, *, model: str, max_tokens: int, **request: Any) -> Any:
    """What `client.messages.create(model=…, max_tokens=…, messages=…)` would cost; an awaitable for an async client.

    figures = claudetrace.estimate(client, model="claude-opus-5-5", max_tokens=500, messages=messages)
    print(figures.at_least_usd, figures.likely_usd, figures.at_most_usd)

    Sends the request to the free endpoint that counts tokens, through the same client. Raises `ClaudetraceError` if
    the prompt cannot be counted or is too long for the model, or if `max_tokens` is not a count.
    """
    if not isinstance(max_tokens, int) or max_tokens < 0:
        raise ClaudetraceError(f"max_tokens={max_tokens!r} is no count of tokens; give a whole number, 0 or more")
    meter = running()
    said = () if meter is None else (meter.settings.hosts, meter.own_rates, meter.settings.foundry_data_zone)
    terms = terms_of_calls(*said)(where_to(client, ""), False, billed_to(request))
    median = _median_output_tokens(_db(meter), model, _feature(meter, client, request))
    return estimate_call(
        client, model=model, max_tokens=max_tokens, median_output_tokens=median, terms=terms, **request
    )


def _feature(meter: Instrumentation | None, client: Any, request: dict[str, Any]) -> str | None:
    """The tag `feature` as the row of the call would have it."""
    if meter is not None:
        return meter.tag_columns(client, user_of(request)).get(RESERVED_TAGS["feature"])
    return {**current_tags().tags, **client_tags(client)}.get("feature")


def _db(meter: Instrumentation | None) -> Path | None:
    if meter is not None:
        return meter.settings.db
    from claudetrace._places import default_db

    return default_db()


def _median_output_tokens(db: Path | None, model: str, feature: str | None) -> int | None:
    """What the ledger knows; `None` where there is none, or none that can be read now."""
    if db is None or not db.is_file():
        return None
    from claudetrace._ledger._calls import median_output_tokens

    try:
        return median_output_tokens(db, model, feature)
    except Exception as error:
        # An estimate without its likely figure is better than none.
        log.debug("claudetrace could not read earlier calls for an estimate", exc_info=error)
        return None
