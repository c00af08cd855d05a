"""What `claudetrace reconcile` prints: the three passes, the gap with its causes, and what is not judged."""

from __future__ import annotations

import json
from collections import defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from claudetrace._call import exact_usd
from claudetrace._reconcile._figures import REQUESTS
from claudetrace._reconcile._judge import CAUSES, capture_ratio
from claudetrace._reconcile._ours import COUNTS
from claudetrace._reconcile._run import total
from claudetrace.cli._options import calls_text
from claudetrace.cli._tables import (
    NONE,
    Column,
    count_text,
    fitted,
    table,
    usd_digits,
    usd_text,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claudetrace._reconcile._figures import Cell
    from claudetrace._reconcile._judge import Compared
    from claudetrace._reconcile._run import Reconciliation

NOT_VERIFIED = "Not yet verified against a live account: docs/bill.md says what that means."
LARGEST_AMOUNT_CHARS = 16
FIELDS = {"model": "model", "workspace": "workspace_id"}
ALONE = {"code_execution": "code execution", "session_usage": "session time of managed agents"}


def bill_text(found: Reconciliation, by: tuple[str, ...], width: int | None) -> str:
    """The whole report."""
    head = [f"Ledger against Anthropic's {found.source}, {found.asked.since} until {found.asked.until} (UTC)"]
    if found.asked.scope:
        head.append(f"Only {found.asked.scope}")
    blocks = ["\n".join(wrapped(head, width))]
    if found.judged:
        blocks += [_passes(found), _by(found, by, width), *_gap(found, width)]
    blocks += ["\n".join(wrapped(_notes(found), width))]
    return "\n\n".join(blocks)


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
    if not found.has_cost:
        rows.append(["list price", usd_text(exact_usd(ours), 2), "–", "–"])
    else:
        digits = usd_digits([exact_usd(ours), exact_usd(theirs)])
        amounts = [usd_text(exact_usd(each), digits) for each in (ours, theirs)]
        rows.append(["list price", *amounts, _share(ours, theirs)])
    told = table(["", "ledger", "Anthropic", "ledger ÷ Anthropic"], rows)
    what = "list price is" if found.has_cost else "tokens are"
    return f"{told}\n\nCapture rate: {_percent(found.capture_ratio)} of Anthropic's {what} of calls in the ledger."


def _by(found: Reconciliation, by: tuple[str, ...], width: int | None) -> str:
    names = [name for name in by if name != "workspace" or found.by_workspace]
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
    drops = {**dict.fromkeys(names, 0), "requests": 1, "Anthropic's": 2, "ledger (USD)": 0, "Anthropic (USD)": 0}
    return _fitted({**drops, "captured": 0}, rows, names, width) if names else ""


def _fitted(heads: Mapping[str, int], rows: Sequence[Sequence[str]], left: Sequence[str], width: int | None) -> str:
    """A table under `heads`, each with how soon it is left out where the screen is narrow, and what was left out."""
    cells = zip(*rows, strict=True) if rows else [()] * len(heads)
    columns = [
        Column(head, column, None, drop, left=head in left)
        for (head, drop), column in zip(heads.items(), cells, strict=True)
    ]
    return "\n".join(filter(None, fitted(columns, width)))


def _gap(found: Reconciliation, width: int | None) -> list[str]:
    """The difference in dollars with what it is made of; and every rate that differs."""
    if not found.has_cost:
        return ["No report of cost was read, so that no dollars are compared."]
    causes = gap_causes(found)
    whole = sum(causes.values())
    digits = usd_digits([exact_usd(amount) for amount in (whole, *causes.values())])
    if not causes:
        return ["No gap: both sides agree to the fraction of a cent."]
    room, lines = width and width - LARGEST_AMOUNT_CHARS, []
    for said, amount in causes.items():
        first, *more = wrapped([said], room)
        lines += [[usd_text(exact_usd(amount), digits), first], *(["", part] for part in more)]
    lines += [[usd_text(exact_usd(whole), digits), "what Anthropic's list price is more than the ledger's"]]
    told = ["The gap\n" + table(["USD", "cause"], lines, left=(1,), last_is_total=True)]
    if len(found.keys) > 1 and found.capture_ratio != 1:
        told.append(_keys(found))
    if found.misrated:
        told.append(
            "Rates that differ: a bug of the ledger's prices, so please report it.\n"
            f"In USD: rates are of a million tokens, or of a search.\n{_rates(found, width)}"
        )
    return told


def _keys(found: Reconciliation) -> str:
    """Anthropic's figures by key: a key of another program shows what the ledger cannot see."""
    amounts = [exact_usd(each.list_picousd or 0) for each in found.keys.values()]
    digits = usd_digits(amounts)
    rows = [
        [key or NONE, count_text(each.quantity), usd_text(amount, digits)]
        for (key, each), amount in zip(found.keys.items(), amounts, strict=True)
    ]
    return "By key, in Anthropic's figures: is one of them another program's?\n" + table(
        ["key", "requests", "Anthropic (USD)"], rows
    )


def gap_causes(found: Reconciliation) -> dict[str, int]:
    """What the gap is made of, in words, each with its picodollars."""
    causes: dict[str, int] = {}
    for cell, amount in found.unseen.items():
        causes[_unseen(cell, amount, found)] = amount
    for each in found.judged:
        if each.only_theirs_picousd:
            said = f"{ALONE.get(each.cell.kind, each.cell.kind)}: no response tells it"
            causes[said] = causes.get(said, 0) + each.only_theirs_picousd
    sums = {
        "calls in the ledger without a price: `claudetrace doctor` says why": "unpriced_picousd",
        "rates that differ": "misrated_picousd",
        "own prices: the ledger's are not list prices there": "own_prices_picousd",
        "priority tier: in no report of cost": "priority_picousd",
    }
    causes |= {said: amount for said, name in sums.items() if (amount := total(found.judged, name))}
    return causes


def _unseen(cell: Cell, amount: int, found: Reconciliation) -> str:
    of_group = [each for each in found.judged if each.cell._replace(day="", kind="") == cell]
    requests = [each for each in of_group if each.cell.kind == REQUESTS]
    more = total(requests, "their_quantity") - total(requests, "our_quantity")
    terms = [cell.workspace_id, *(each for each in cell[3:5] if each != "standard"), cell.inference_geo]
    what = ", ".join(filter(None, (cell.model or "web searches", *terms)))
    if amount < 0:
        return f"{what}: in the ledger and not {'of the named keys' if found.asked.api_key_ids else 'billed'}"
    requests_text = f"{count_text(more)} request{'' if more == 1 else 's'} that the ledger did not see"
    return f"{what}: {requests_text}" if more > 0 else f"{what}: not seen"


def misrates(found: Reconciliation) -> list[dict[str, Any]]:
    """Each rate that differs, in dollars for a million tokens or for one search, with its days and what it makes."""
    rates: dict[tuple[str, ...], list[Compared]] = defaultdict(list)
    for each in found.misrated:
        cell = each.cell
        theirs = _rate(each.their_rate, cell.kind)
        rates[cell.model, cell.kind, cell.service_tier, cell.speed, _rate(each.our_rate, cell.kind), theirs].append(
            each
        )
    names = ("model", "kind", "service_tier", "speed", "ours_usd", "theirs_usd")
    return [
        {
            **dict(zip(names, key, strict=True)),
            "days": len({each.cell.day for each in cells}),
            "difference_usd": f"{exact_usd(total(cells, 'misrated_picousd')):f}",
        }
        for key, cells in rates.items()
    ]


def _rates(found: Reconciliation, width: int | None) -> str:
    rows = [[str(value).removesuffix("_tokens") for value in each.values()] for each in misrates(found)]
    heads = {"model": 0, "kind": 0, "tier": 2, "speed": 3, "ours": 0, "Anthropic's": 0, "days": 1, "difference": 0}
    return _fitted(heads, rows, [*heads][:4], width)


def _rate(rate: Fraction | None, kind: str) -> str:
    if rate is None:
        return NONE
    usd = rate / 10**6 if kind.endswith("tokens") else rate / 10**12
    return f"{float(usd):.6g}"


def _notes(found: Reconciliation) -> list[str]:
    ours, notes = found.ours, []
    if not any(each.their_quantity or each.list_picousd for each in found.cells):
        notes.append("Anthropic has no figures of these days and this scope: are the ids right?")
    if any(each.cell.day < found.first_day for each in found.cells):
        notes.append(f"Not counted: days before {found.first_day}, whose calls are pruned.")
    if young := sorted({each.cell.day for each in found.cells if each.cell.day >= found.young_from}):
        said = young[0] if len(young) == 1 else f"{young[0]} to {young[-1]}"
        notes.append(f"Too young to judge, and not counted: {said}. Figures can take hours; run it again later.")
    if ours.midnight.calls:
        amount = usd_text(exact_usd(ours.midnight.picousd), usd_digits([exact_usd(ours.midnight.picousd)]))
        day = f"the day of their {'end' if ours.by_end else 'beginning'}, which fits Anthropic's figures"
        notes.append(f"Around midnight: {calls_text(ours.midnight.calls)} ({amount}) counted on {day}.")
    return [*notes, *_scope_notes(found), NOT_VERIFIED]


def _scope_notes(found: Reconciliation) -> list[str]:
    """What is in one of the two alone, what was narrowed, and the discount."""
    ours, notes = found.ours, []
    if unbilled := total(found.judged, "unbilled_quantity"):
        notes.append(f"Used and not billed: {unbilled:,} tokens of refused or blocked requests.")
    if ours.cut_short:
        notes.append(
            f"{calls_text(ours.cut_short)} cut short: what Anthropic wrote after that is in its figures alone."
        )
    if ours.without_workspace and found.asked.workspace_ids:
        notes.append(f"{calls_text(ours.without_workspace)} of the ledger name no workspace and are left out.")
    elif not found.by_workspace:
        notes.append("Not compared by workspace: not every call or figure names one.")
    if found.asked.api_key_ids:
        notes.append("--api-key-id narrows Anthropic's figures alone: the ledger knows no keys.")
    if (discount := found.discount) is not None and found.has_cost:
        billed, listed = (exact_usd(total(found.judged, name)) for name in ("billed_picousd", "list_picousd"))
        digits = usd_digits([billed, listed])
        told = ", taken as the same for all, since this report has no list prices" if found.assumed_discount else ""
        amounts = f"{usd_text(billed, digits)} of {usd_text(listed, digits)}"
        notes.append(f"Billed {amounts}: a discount of {_percent(discount)}{told}.")
    return notes


def _share(ours: int, theirs: int) -> str:
    return _percent(Fraction(ours, theirs)) if theirs else "–"


def _percent(share: Fraction | None) -> str:
    return "–" if share is None else f"{float(share * 100):.2f} %"


def bill_json(found: Reconciliation, by: tuple[str, ...]) -> str:
    """The same for programs; amounts are exact."""
    cells = [{**each.cell._asdict(), **_amounts(each), "judged": each.judged} for each in found.cells]
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
        "cells": cells,
    }
    return json.dumps(told, indent=2, ensure_ascii=False)


def _amounts(each: Compared) -> dict[str, Any]:
    names = ("our_picousd", "list_picousd", "billed_picousd", *(f"{cause}_picousd" for cause in CAUSES))
    amounts = {
        name.replace("picousd", "usd"): None if (amount := getattr(each, name)) is None else f"{exact_usd(amount):f}"
        for name in names
    }
    return {"our_quantity": each.our_quantity, "their_quantity": each.their_quantity, **amounts}


def _number(share: Fraction | None) -> float | None:
    return None if share is None else float(share)
