"""What `claudetrace reconcile` prints: three passes, the gap with its causes, and what was not judged."""

from __future__ import annotations

import json
from collections import defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from claudetrace._call import exact_usd
from claudetrace._reconcile._figures import REQUESTS
from claudetrace._reconcile._judge import CAUSES, capture_ratio, total
from claudetrace._reconcile._ours import COUNTS
from claudetrace.cli._text import NONE, calls_text, columns, count_text, counted, table, usd_digits, usd_text, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claudetrace._reconcile._figures import Cell
    from claudetrace._reconcile._judge import Compared
    from claudetrace._reconcile._run import Reconciliation

NOT_VERIFIED = "Not yet verified against a live account: docs/bill.md says what that means."
LARGEST_AMOUNT_CHARS = 16
FIELDS = {"model": "model", "workspace": "workspace_id"}
SUMS = {
    "calls in the ledger without a price: `claudetrace doctor` says why": "unpriced_picousd",
    "rates that differ": "misrated_picousd",
    "own prices: the ledger's are not list prices there": "own_prices_picousd",
    "priority tier: in no report of cost": "priority_picousd",
}
"""Each further cause with its sum."""
ALONE = {"code_execution": "code execution", "session_usage": "session time of managed agents"}


def bill_text(found: Reconciliation, by: tuple[str, ...], width: int | None) -> str:
    """The whole report."""
    head = [f"Ledger against Anthropic's {found.source}, {found.asked.since} until {found.asked.until} (UTC)"]
    if found.asked.scope:
        head.append(f"Only {found.asked.scope}")
    blocks = ["\n".join(wrapped(head, width))]
    if found.judged:
        names = [name for name in by if name != "workspace" or found.by_workspace]
        blocks += [_passes(found), _groups(found, names, width) if names else "", *_gap(found, width)]
    return "\n\n".join([*blocks, "\n".join(wrapped([*_notes(found), *_scope_notes(found), NOT_VERIFIED], width))])


def _passes(found: Reconciliation) -> str:
    rows = []
    for kind in (REQUESTS, *COUNTS):
        of_kind = [each for each in found.judged if each.cell.kind == kind]
        ours, theirs = total(of_kind, "our_quantity"), total(of_kind, "their_quantity")
        if ours or theirs:
            known = any(each.their_quantity for each in of_kind)
            share = _share(ours, theirs) if known else "–"
            rows.append([kind.replace("_", " "), count_text(ours), count_text(theirs if known else None), share])
    ours, theirs = total(found.judged, "our_picousd"), total(found.judged, "list_picousd")
    amounts = _amounts([ours, theirs]) if found.has_cost else [usd_text(exact_usd(ours), 2), "–"]
    rows.append(["list price", *amounts, _share(ours, theirs) if found.has_cost else "–"])
    told = table(columns(["", "ledger", "Anthropic", "ledger ÷ Anthropic"], rows))
    what = "list price is" if found.has_cost else "tokens are"
    return f"{told}\n\nCapture rate: {_percent(found.capture_ratio)} of Anthropic's {what} of calls in the ledger."


def _groups(found: Reconciliation, names: Sequence[str], width: int | None) -> str:
    """Both sides by model, by workspace, or by both."""
    groups: dict[tuple[str, ...], list[Compared]] = defaultdict(list)
    for each in found.judged:
        if each.is_shared or each.cell.kind == REQUESTS:
            groups[tuple(getattr(each.cell, FIELDS[name]) or NONE for name in names)].append(each)
    digits = usd_digits([exact_usd(total(found.judged, "list_picousd") or total(found.judged, "our_picousd"))])
    rows = []
    for key, cells in sorted(groups.items(), key=lambda group: -total(group[1], "our_picousd")):
        requests = [each for each in cells if each.cell.kind == REQUESTS]
        told = any(each.their_quantity is not None for each in requests)
        theirs = total(requests, "their_quantity") if told else None
        counts = [count_text(total(requests, "our_quantity")), count_text(theirs)]
        amounts = [usd_text(exact_usd(total(cells, name)), digits) for name in ("our_picousd", "list_picousd")]
        rows.append([*key, *counts, *amounts, _percent(capture_ratio(cells))])
    drops = {"requests": 1, "Anthropic's": 2, "ledger (USD)": 0, "Anthropic (USD)": 0, "captured": 0}
    drops = {**dict.fromkeys(names, 0), **drops}
    return table(columns(drops, rows, left=range(len(names))), width)


def _gap(found: Reconciliation, width: int | None) -> list[str]:
    """The difference in dollars with its causes, and every rate that differs."""
    if not found.has_cost:
        return ["No report of cost was read, so no dollars are compared."]
    causes = gap_causes(found)
    if not causes:
        return ["No gap: both sides agree to a fraction of a cent."]
    room, lines, whole = width and width - LARGEST_AMOUNT_CHARS, [], sum(causes.values())
    *amounts, gap = _amounts([*causes.values(), whole])
    for said, amount in zip(causes, amounts, strict=True):
        first, *more = wrapped([said], room)
        lines += [[amount, first], *(["", part] for part in more)]
    lines += [[gap, "by which Anthropic's list price is higher than the ledger's"]]
    told = ["The gap\n" + table(columns(["USD", "cause"], lines, left=(1,)), total=True)]
    if len(found.keys) > 1 and found.capture_ratio != 1:
        rows = zip(
            [key or NONE for key in found.keys],
            [count_text(each.quantity) for each in found.keys.values()],
            _amounts([each.list_picousd or 0 for each in found.keys.values()]),
            strict=True,
        )
        told.append(
            "By key, in Anthropic's figures: is one of them another program's?\n"
            + table(columns(["key", "requests", "Anthropic (USD)"], [*rows]))
        )
    if found.misrated:
        heads = {"model": 0, "kind": 0, "tier": 2, "speed": 3, "ours": 0, "Anthropic's": 0, "days": 1, "difference": 0}
        rates = [[str(value).removesuffix("_tokens") for value in each.values()] for each in misrates(found)]
        told.append(
            "Rates that differ: a bug in the ledger's prices, so please report it.\n"
            "In USD: rates are for a million tokens, or for a search.\n"
            + table(columns(heads, rates, left=range(4)), width)
        )
    return told


def gap_causes(found: Reconciliation) -> dict[str, int]:
    """The causes of the gap in words, each with its picodollars."""
    causes = {_unseen(cell, amount, found): amount for cell, amount in found.unseen.items()}
    for each in found.judged:
        if each.only_theirs_picousd:
            said = f"{ALONE.get(each.cell.kind, each.cell.kind)}: no response tells it"
            causes[said] = causes.get(said, 0) + each.only_theirs_picousd
    return causes | {said: amount for said, name in SUMS.items() if (amount := total(found.judged, name))}


def _unseen(cell: Cell, amount: int, found: Reconciliation) -> str:
    of_group = [each for each in found.judged if each.cell._replace(day="", kind="") == cell]
    requests = [each for each in of_group if each.cell.kind == REQUESTS]
    more = total(requests, "their_quantity") - total(requests, "our_quantity")
    terms = [cell.workspace_id, *(each for each in cell[3:5] if each != "standard"), cell.inference_geo]
    what = ", ".join(filter(None, (cell.model or "web searches", *terms)))
    if amount < 0:
        return f"{what}: in the ledger and not {'of the named keys' if found.asked.api_key_ids else 'billed'}"
    return f"{what}: " + (f"{counted(more, 'request')} that the ledger did not see" if more > 0 else "not seen")


def misrates(found: Reconciliation) -> list[dict[str, Any]]:
    """Each rate that differs, in dollars for a million tokens or for one search, with its days and its effect."""
    rates: dict[tuple[str, ...], list[Compared]] = defaultdict(list)
    for each in found.misrated:
        cell = each.cell
        both = (_rate(rate, cell.kind) for rate in (each.our_rate, each.their_rate))
        rates[cell.model, cell.kind, cell.service_tier, cell.speed, *both].append(each)
    names = ("model", "kind", "service_tier", "speed", "ours_usd", "theirs_usd")
    return [
        {
            **dict(zip(names, key, strict=True)),
            "days": len({each.cell.day for each in cells}),
            "difference_usd": f"{exact_usd(total(cells, 'misrated_picousd')):f}",
        }
        for key, cells in rates.items()
    ]


def _rate(rate: Fraction | None, kind: str) -> str:
    if rate is None:
        return NONE
    usd = rate / 10**6 if kind.endswith("tokens") else rate / 10**12
    return f"{float(usd):.6g}"


def _notes(found: Reconciliation) -> list[str]:
    """The days that were not judged, and the calls around midnight."""
    ours, notes = found.ours, []
    if not any(each.their_quantity or each.list_picousd for each in found.cells):
        notes.append("Anthropic has no figures for these days and this scope: are the ids right?")
    if any(each.cell.day < found.first_day for each in found.cells):
        notes.append(f"Not counted: days before {found.first_day}, whose calls are pruned.")
    if young := sorted({each.cell.day for each in found.cells if each.cell.day >= found.young_from}):
        said = young[0] if len(young) == 1 else f"{young[0]} to {young[-1]}"
        notes.append(f"Too recent to judge, and not counted: {said}. Figures can take hours; run it again later.")
    if ours.midnight.calls:
        (amount,) = _amounts([ours.midnight.picousd])
        day = "end" if ours.by_end else "beginning"
        notes.append(
            f"Around midnight: {calls_text(ours.midnight.calls)} ({amount}) counted on the day of their {day}, which "
            "fits Anthropic's figures."
        )
    return notes


def _scope_notes(found: Reconciliation) -> list[str]:
    """What only one side has, what was narrowed, and the discount."""
    ours, notes = found.ours, []
    if unbilled := total(found.judged, "unbilled_quantity"):
        notes.append(f"Used and not billed: {unbilled:,} tokens of refused or blocked requests.")
    if ours.cut_short:
        notes.append(
            f"{calls_text(ours.cut_short)} cut short: only Anthropic's figures have what it generated after that."
        )
    if ours.without_workspace and found.asked.workspace_ids:
        notes.append(f"{calls_text(ours.without_workspace)} of the ledger name no workspace and are left out.")
    elif not found.by_workspace:
        notes.append("Not compared by workspace: not every call or figure names one.")
    if found.asked.api_key_ids:
        notes.append("--api-key-id narrows Anthropic's figures alone: the ledger has no keys.")
    if (discount := found.discount) is not None and found.has_cost:
        billed, listed = _amounts([total(found.judged, name) for name in ("billed_picousd", "list_picousd")])
        told = (
            ", assumed to be the same for all, since this report has no list prices" if found.assumed_discount else ""
        )
        notes.append(f"Billed {billed} of {listed}: a discount of {_percent(discount)}{told}.")
    return notes


def _amounts(picousd: Sequence[int]) -> list[str]:
    """The amounts in dollars, with the same decimals."""
    amounts = [exact_usd(each) for each in picousd]
    return [usd_text(amount, usd_digits(amounts)) for amount in amounts]


def _share(ours: int, theirs: int) -> str:
    return _percent(Fraction(ours, theirs)) if theirs else "–"


def _percent(share: Fraction | None) -> str:
    return "–" if share is None else f"{float(share * 100):.2f} %"


def bill_json(found: Reconciliation, by: tuple[str, ...]) -> str:
    """The same for programs, with exact amounts."""
    requests = [each for each in found.judged if each.cell.kind == REQUESTS]
    told = {
        "source": found.source,
        "since": found.asked.since.isoformat(),
        "until": found.asked.until.isoformat(),
        "scope": found.asked.scope,
        "verified_live": False,
        "young_from": found.young_from,
        "our_requests": total(requests, "our_quantity"),
        "their_requests": total(requests, "their_quantity"),
        "unbilled_tokens": total(found.judged, "unbilled_quantity"),
        "capture_ratio": _number(found.capture_ratio),
        "discount": _number(found.discount),
        "gap_usd": {said: f"{exact_usd(amount):f}" for said, amount in gap_causes(found).items()},
        "rates_that_differ": misrates(found),
        "midnight": {"calls": found.ours.midnight.calls, "usd": f"{exact_usd(found.ours.midnight.picousd):f}"},
        "keys": {
            key: {"requests": each.quantity, "list_usd": f"{exact_usd(each.list_picousd or 0):f}"}
            for key, each in found.keys.items()
        },
        "by": list(by),
        "cells": [_cell_json(each) for each in found.cells],
    }
    return json.dumps(told, indent=2, ensure_ascii=False)


def _cell_json(each: Compared) -> dict[str, Any]:
    names = ("our_picousd", "list_picousd", "billed_picousd", *(f"{cause}_picousd" for cause in CAUSES))
    amounts = {
        name.replace("picousd", "usd"): None if (amount := getattr(each, name)) is None else f"{exact_usd(amount):f}"
        for name in names
    }
    counts = {"our_quantity": each.our_quantity, "their_quantity": each.their_quantity}
    return {**each.cell._asdict(), **counts, **amounts, "judged": each.judged}


def _number(share: Fraction | None) -> float | None:
    return None if share is None else float(share)
