"""`record`: a response that came another way than through the SDK becomes a row like any other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._admission import runs_of
from claudetrace._call import PICOUSD_PER_USD
from claudetrace._errors import ClaudetraceError
from claudetrace._ids import ns_of, response_id, utc_text
from claudetrace._instrument import running
from claudetrace._operations import BATCHES_RESULT, COMPLETIONS_CREATE, COUNT_TOKENS, MESSAGES_CREATE
from claudetrace._pricing._ids import read_id
from claudetrace._pricing._price import plain
from claudetrace._pricing._rates import book
from claudetrace._pricing._terms import Terms, checked_words
from claudetrace._seam._answer import Answer, read_result, text
from claudetrace._seam._live import LiveCall
from claudetrace._seam._where import Where
from claudetrace._tags import TagScope, clean_tags

if TYPE_CHECKING:
    from claudetrace._call import Row
    from claudetrace._operations import Operation
    from claudetrace._pricing._own import OwnRates
    from claudetrace._pricing._terms import Platform
    from claudetrace._recorder import CallRecorder

log = logging.getLogger("claudetrace")

SOURCE = "recorded"
_LONGEST = timedelta(days=365)


def record(
    message: Any,
    *,
    model: str | None = None,
    platform: Platform | None = None,
    started_at: datetime | None = None,
    duration_s: float | None = None,
    streamed: bool | None = None,
    tags: Mapping[str, object] | None = None,
) -> None:
    """Records a response that did not come through the `anthropic` package, once for each message id.

    claudetrace.record(response.json(), duration_s=response.elapsed.total_seconds(), tags={"customer": "acme"})

    message: an SDK message, a batch's result, or its JSON as a dict.
    model: the model id that was requested. Default: the one in the answer.
    platform: who bills the call. Default: what the model id says, else `"anthropic"`.
    started_at: when the call began; without a zone it is UTC. Default: `duration_s` before now.
    duration_s: how long the call took, in seconds. Default: not known.
    streamed: whether the answer was streamed. Default: no.
    tags: further tags, over those of the `tag(...)` blocks around it. Example: `{"customer": "acme"}`.

    Raises `ClaudetraceError` for a keyword that cannot be used, never because of `message`.
    """
    words = checked_words(platform=platform)
    for name, value, kind in (("model", model, str), ("streamed", streamed, bool), ("tags", tags, Mapping)):
        if not (value is None or isinstance(value, kind)):
            raise ClaudetraceError(f"{name} cannot be {value!r:.80}: give a {kind.__name__.lower()}, or leave it out")
    started_ns = _started_ns(started_at, duration_s)
    meter = running()
    if meter is None or meter.recorder is None:
        _tell_that_nothing_records()
        return
    recorder, own_rates = meter.recorder, meter.own_rates
    with recorder.guard("record a response"), TagScope(clean_tags(tags or {})) as scope:
        body = _body_of(message)
        call, answer, told = _read(recorder, body, model, words.get("platform"), own_rates)
        if answer.message_id is not None and recorder.told.is_replayed(answer.message_id, call.id):
            return
        if started_ns is not None:
            call.started_ns = started_ns
        if answer.message_id is not None:
            call.id = response_id(call.started_ns, SOURCE, answer.message_id)
        call.columns.update(call_id=call.id, source=SOURCE, started_at=utc_text(call.started_ns))
        call.columns["streamed"] = int(bool(streamed))
        row = {**call.row(), **answer.columns(), **told}
        row["duration_ms"] = None if duration_s is None else duration_s * 1e3
        if answer.error_type is not None and answer.usage is None:
            # What the API refused costs nothing.
            recorder.record(call, {**row, "usage_is_final": 1}, None)
        else:
            recorder.record(call, row, answer)
        _charge_runs(call, scope)


def _charge_runs(call: LiveCall, scope: TagScope) -> None:
    # Whatever precision the application has set for its own sums.
    dollars, parts = scope.cost_usd.as_integer_ratio()
    for run in runs_of(call.columns):
        run.charge(call.id, dollars * PICOUSD_PER_USD // parts, int(call.operation.billed))


def _read(
    recorder: CallRecorder, body: dict[str, Any], model: str | None, platform: str | None, own_rates: OwnRates | None
) -> tuple[LiveCall, Answer, Row]:
    """A response as the call that it is the answer of, what it says of itself, and how it ended."""
    operation = _operation_of(body)
    if operation is BATCHES_RESULT:
        answer, outcome, error_type = read_result(body)
    else:
        answer = Answer()
        answer.read_json(operation.name, body)
        # A message that somebody has put together of a stream that was cut.
        answer.final = answer.final and not (operation is MESSAGES_CREATE and answer.stop_reason is None)
        error_type = answer.error_type
        outcome = "error" if error_type else "ok" if answer.final else "incomplete"
    told: Row = {"outcome": outcome, "error_type": error_type}
    if operation is BATCHES_RESULT:
        told["custom_id"] = text(body.get("custom_id"))
    asked = model or answer.model
    platform = platform or read_id(asked, book().ids).platform or "anthropic"
    columns: Row = {"platform": platform, "model_requested": asked}
    tags = recorder.attribute(columns, None, None)
    terms = Terms(platform=platform, batch=operation.batch).with_own_rates(own_rates)
    return LiveCall(recorder, operation, columns, tags, terms, Where(platform, None, "", None)), answer, told


def _body_of(message: Any) -> dict[str, Any]:
    """The JSON of a response. Raises `TypeError` for what is none, or no single one."""
    body = dict(plain(message))
    if isinstance(usage := body.get("usage"), Mapping):
        body["usage"] = dict(usage)
    if not body:
        raise TypeError(f"{type(message).__name__} is no response of the API: give its JSON as a dict, or a message")
    if body.get("type") == "session":
        raise TypeError("a session's usage grows while it goes on, so it is no response: claudetrace.price() prices it")
    return body


def _operation_of(body: Mapping[str, Any]) -> Operation:
    if isinstance(body.get("result"), Mapping):
        return BATCHES_RESULT
    if body.get("type") == "completion":
        return COMPLETIONS_CREATE
    counted = "input_tokens" in body and "model" not in body
    return COUNT_TOKENS if counted else MESSAGES_CREATE


def _started_ns(started_at: datetime | None, duration_s: float | None) -> int | None:
    """When the call began, where that is told. A time without a zone is UTC."""
    try:
        ago = timedelta(seconds=duration_s or 0)
    except (TypeError, ValueError, OverflowError):
        ago = timedelta(-1)
    if not timedelta(0) <= ago < _LONGEST:
        raise ClaudetraceError(f"duration_s cannot be {duration_s!r:.80}: give seconds, 0 or more, or leave it out")
    if started_at is None:
        return None if duration_s is None else ns_of(datetime.now(UTC) - ago)
    if not isinstance(started_at, datetime) or started_at.year <= 1970:
        raise ClaudetraceError(f"started_at cannot be {started_at!r:.80}: give a datetime after 1970, or leave it out")
    return ns_of(started_at if started_at.tzinfo else started_at.replace(tzinfo=UTC))


@cache
def _tell_that_nothing_records() -> None:
    from claudetrace._switch import enabled

    if enabled():
        log.warning("claudetrace.record() keeps nothing: call claudetrace.instrument() before it")
