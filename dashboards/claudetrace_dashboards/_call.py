"""The page of one call: each part of its cost, its flags in words, and the row as it is."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from claudetrace._call import is_lower_bound
from claudetrace_dashboards import _format as show
from claudetrace_dashboards import _rows
from claudetrace_dashboards._access import Problem, reason
from claudetrace_dashboards._cells import cell
from claudetrace_dashboards._panel import Ask, answer, plain_rows
from claudetrace_dashboards._pieces import link
from claudetrace_dashboards._reading import DeniedError
from claudetrace_dashboards._times import local_time
from claudetrace_dashboards.queries._filters import HOSTS, NAMES

if TYPE_CHECKING:
    from claudetrace_dashboards._filters import Filters
    from claudetrace_dashboards._panel import Row, Scope

FLAGS = {
    "unknown_model": "No rates are known for this model, so the cost is not known.",
    "no_usage": "The API told no usage, so the cost is not known.",
    "partial_usage": "The answer was cut short: the cost is that of the last usage seen, a lower bound.",
    "unbilled_refusal": "The model refused before it answered, which is not billed.",
    "unbilled_declined_hop": "A model that declined handed the call on, which is not billed.",
    "priority_commitment": "Served by the priority tier, which a commitment pays; these are list prices.",
    "billed_to_user_profile": "Another organization is billed, so this is no spend of yours.",
    "endpoint_scope_unknown": "The endpoint may be a regional one, which costs more: these are the base rates.",
    "unpriced_component": "Something is billed that the answer does not tell, as code-execution time: a lower bound.",
    "retried_after_timeout": "An attempt before had been sent and was given up: it may be billed too.",
    "rounded_list_cost": "A session priced by the API's own whole cents.",
    "custom_rates": "Priced by rates of your own.",
    "assumed_rates": "No list has this model yet: priced like another one that the settings name.",
    "free_host": "The settings say that this host costs nothing.",
    "replayed": "A host that answers from a cache gave an answer that was billed before.",
}
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("What was asked", ("source", "operation", "platform", "server_address", "model_requested", "streamed",
                        "max_tokens", "message_count", "image_count", "document_count", "tools_offered",
                        "request_bytes")),
    ("What came back", ("outcome", "stop_reason", "error_type", "http_status", "model", "tool_calls", "service_tier",
                        "speed", "inference_geo", "request_id", "message_id", "batch_id", "custom_id",
                        "cache_miss_reason", "cache_missed_input_tokens")),
    ("How long it took", ("started_at", "duration_ms", "response_ms", "time_to_first_token_ms", "budget_wait_ms",
                          "retries", "rate_limit_headroom", "rate_limit")),
    ("Who caused it", ("user_id", "session_id", "feature", "customer", "prompt", "agent", "project", "tags", "service",
                       "environment", "instance", "organization_id", "workspace_id")),
    ("Where it belongs", ("id", "call_id", "trace_id", "span_id", "billing", "rates_version", "pricing_terms")),
)  # fmt: skip
MOST_SIBLINGS = 101
FILTERED = {"user_id": "user", "session_id": "session", "feature": "feature", "model": "model", "platform": "platform",
            **{name: name for name in HOSTS}}  # fmt: skip


def _anything(filters: Filters) -> Filters:
    """No filter: the call is named by its id."""
    return filters.but(**dict.fromkeys((*NAMES, "tag")))


async def found(scope: Scope, id_: str) -> dict[str, Any] | Problem:
    """What the page shows of the call `id_`, or why it cannot."""
    try:
        rows = (await answer(scope, Ask("call", _anything, lambda _: {"id": id_}))).rows
        if not rows:
            told = f"{scope.ledger.name} has no call “{id_[:60]}”. Calls that were pruned leave only their sums."
            return Problem("There is no such call", told, 404)
        siblings = await plain_rows(scope, _rows.siblings(rows[0]["call_id"]))
    except DeniedError as error:
        return Problem("This is not shown to you", f"You may not see the table {error}.", 403)
    except sqlite3.Error as error:
        return Problem("The call cannot be read", reason(error), 503)
    (row,) = rows
    return {
        "row": row,
        "cost": exact(row["cost_picousd"], at_least=is_lower_bound(row["usage_is_final"], row["cost_flags"] or "")),
        "saved": saved_text(row["cache_saved_picousd"] or 0),
        "time": local_time(row["started_at"]),
        "parts": parts(row),
        "flags": [(flag, FLAGS.get(flag, "")) for flag in _list(row["cost_flags"])],
        "usage": pretty(row["usage"]),
        "groups": [(title, [(name, value(scope, name, row)) for name in names]) for title, names in GROUPS],
        "siblings": [(scope.row_url(each["id"]), each) for each in siblings if each["id"] != row["id"]][:100],
        "more_siblings": len(siblings) > MOST_SIBLINGS,
        "usd": show.usd,
    }


def exact(picousd: int | None, *, at_least: bool = False) -> Markup:
    """The amount to its last digit."""
    if picousd is None:
        return show.usd(None)
    text = show.exact_usd(picousd)
    return Markup('<data class="usd" value="{0}">{1}${0}</data>').format(text, "≥ " if at_least else "")


def saved_text(picousd: int) -> str:
    """What the cache changed against plain input, in words."""
    if picousd > 0:
        return f"Reading from the cache saved ${show.exact_usd(picousd)} against plain input."
    if picousd < 0:
        return f"Writing to the cache cost ${show.exact_usd(-picousd)} more than plain input."
    return ""


def parts(row: Row) -> list[dict[str, Any]]:
    """Each part of the cost: quantity × rate = amount, exact."""
    return [
        {
            "name": show.words(str(part.get("name", ""))),
            "model": part.get("model"),
            "quantity": part.get("quantity"),
            "rate": rate_text(part.get("rate_picousd")),
            "amount": show.exact_usd(part["picousd"]) if isinstance(part.get("picousd"), int) else show.UNKNOWN,
        }
        for part in _list(row["cost_parts"])
        if isinstance(part, dict)
    ]


def rate_text(rate: Any) -> str:
    """The rate of a million, as prices are told; one of a fraction of a picodollar as it is stored."""
    if isinstance(rate, int):
        return f"${show.exact_usd(rate * 10**6)} a million"
    return f"{rate} picodollars" if rate is not None else show.UNKNOWN


def value(scope: Scope, name: str, row: Row) -> Any:
    """A column as it is shown, with a link to the calls that have the same."""
    stored = row[name]
    if stored is None:
        return Markup('<span class="unknown">{}</span>').format(show.UNKNOWN)
    if name in FILTERED and stored != "":
        page = "session" if name == "session_id" else "calls"
        url = scope.url(page, scope.filters.but(**{FILTERED[name]: stored}))
        return Markup('<a href="{}">{}</a>').format(url, stored)
    if name in ("customer", "prompt") and stored != "":
        return link(scope.url("calls", scope.filters.but(tag=(name, stored))), stored)
    if name in ("trace_id", "request_id", "batch_id"):
        return link(scope.url("find", None, id=stored), stored)
    if name == "started_at":
        return local_time(stored)
    if name == "streamed":
        return "yes" if stored else "no"
    if name == "rate_limit_headroom":
        return show.share_text(stored)
    if name == "id":
        return stored
    shown = cell(scope.datasette, scope.ledger.name, "calls", name, stored)
    return stored if shown is None else shown


def pretty(text: str | None) -> str | None:
    """The usage object verbatim, with its lines broken."""
    if text is None:
        return None
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _list(text: str | None) -> list[Any]:
    try:
        read = json.loads(text or "[]")
    except ValueError:
        return []
    return read if isinstance(read, list) else []
