"""The calls of one trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from claudetrace._call import exact_usd
from claudetrace._errors import ClaudetraceError
from claudetrace.cli._calls import DIGITS, call_json, calls_table, has_lower_bound
from claudetrace.cli._options import calls_text
from claudetrace.cli._tables import usd_text

if TYPE_CHECKING:
    from claudetrace._ledger._read import Ledger


def no_such_trace(ledger: Ledger, trace_id: str) -> ClaudetraceError:
    """The error where the ledger has no call of the trace."""
    return ClaudetraceError(
        f"no call of {ledger.path} is of the trace {trace_id!r}; give the 32 hex digits that the trace has there"
    )


def trace_report(ledger: Ledger, trace_id: str, *, as_json: bool = False) -> str:
    """Each call of the trace with its cost, and their sum."""
    found = ledger.calls(trace_id=trace_id.lower(), limit=None)[::-1]
    if not found:
        raise no_such_trace(ledger, trace_id)
    spend_usd = exact_usd(sum(call.spend_picousd or 0 for call in found))
    unpriced = sum(call.spend_picousd is None for call in found)
    lower_bounds = sum(map(has_lower_bound, found))
    if as_json:
        told = {
            "trace_id": trace_id.lower(),
            "calls": [call_json(call) for call in found],
            "cost_usd": f"{spend_usd:f}",
            "unpriced": unpriced,
            "lower_bounds": lower_bounds,
        }
        return json.dumps(told, indent=2, ensure_ascii=False)
    calls = len({call.call_id for call in found})
    sums = f"{calls_text(calls)}, {'≥' if unpriced or lower_bounds else ''}{usd_text(spend_usd, DIGITS)}"
    sums += f", {unpriced} without a known cost" if unpriced else ""
    sums += f", {lower_bounds} with a lower bound" if lower_bounds else ""
    return f"Trace {trace_id.lower()}\n\n{calls_table(found)}\n\n{sums}"
