"""Calls as a file: CSV, JSON lines or a FOCUS 1.2 bill, written as rows are read. Amounts are exact decimals."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, timedelta
from fractions import Fraction
from itertools import groupby, islice
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from claudetrace._call import CALL_FIELDS, JSON_COLUMNS, exact_usd, spend_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FORMULA = ("=", "+", "-", "@", "\t", "\r")
MONEY = {"cost_picousd": "cost_usd", "spend_picousd": "spend_usd", "cache_saved_picousd": "cache_saved_usd"}
"""Each amount with its name in dollars."""
COLUMNS = tuple(MONEY.get(name, name) for name in CALL_FIELDS if name != "cost_usd")
ROWS_A_WRITE = 500
TAGS = ("feature", "customer", "prompt", "agent", "project", "service", "environment")
"""The columns that join the free tags of a charge. With user and session, each call would have a row of its own."""
PROVIDERS = {
    "anthropic": "Anthropic",
    "bedrock": "Amazon Web Services",
    "aws": "Amazon Web Services",
    "vertex": "Google Cloud",
    "google_cloud": "Google Cloud",
    "foundry": "Microsoft",
}
NO_PART = "usage"
"""The part of a call without a known price."""
FOCUS_COLUMNS = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency"),
    *("BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription"),
    *("ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit"),
    *("ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ListUnitPrice"),
    *("PricingCategory", "PricingCurrency", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName"),
    *("ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory"),
    *("SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName", "SubAccountType"),
    "Tags",
)
"""The columns of FOCUS 1.2 that a bill of tokens has."""

FOCUS_CONSTANTS = {
    "BillingAccountType": "Organization",
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "ChargeFrequency": "Usage-Based",
    "PublisherName": "Anthropic",
    "PricingCategory": "Standard",
    "PricingCurrency": "USD",
    "ResourceType": "Model",
    "ServiceCategory": "AI and Machine Learning",
    "ServiceName": "Claude API",
    "ServiceSubcategory": "Generative AI",
}
"""The columns that are the same in every row."""


def as_csv(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The calls as CSV, many rows at a time. JSON columns stay text."""
    yield csv_lines([COLUMNS])
    values = ([inert(_value(row, name)) for name in COLUMNS] for row in rows)
    while batch := [*islice(values, ROWS_A_WRITE)]:
        yield csv_lines(batch)


def as_json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The calls as a JSON object a line, without empty columns. Amounts are text, since readers round numbers."""
    for row in rows:
        told = {name: value for name in COLUMNS if (value := _value(row, name)) is not None}
        told |= {name: orjson.loads(told[name]) for name in JSON_COLUMNS & told.keys()}
        yield json.dumps(told, ensure_ascii=False) + "\n"


def csv_lines(rows: Iterable[Iterable[Any]]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """A few rows as CSV under their names, without the `key`, which repeats one of them."""
    kept = [{name: inert(value) for name, value in row.items() if name != "key"} for row in rows]
    return csv_lines([*kept[:1], *(row.values() for row in kept)])


def inert(value: Any) -> Any:
    """`value` so that a spreadsheet takes it for text: a formula gets a quote before it."""
    if not isinstance(value, str) or not value.startswith(FORMULA) or value[1:].replace(".", "", 1).isdecimal():
        return value
    return f"'{value}"


def _value(row: Mapping[str, Any], name: str) -> Any:
    if not name.endswith("_usd"):
        return row[name]
    picousd = spend_of(row) if name == "spend_usd" else row[name.replace("_usd", "_picousd")]
    return None if picousd is None else f"{exact_usd(picousd):f}"


class Charge(NamedTuple):
    """What makes a row of the bill."""

    day: str
    platform: str
    model: str
    part: str
    rate: Any
    """Picodollars of one: an integer, an exact "n/d", or `None` where no price is known."""
    organization: str
    workspace: str
    tags: str


def as_focus(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The bill as CSV, a day at a time. `rows` come in the order of time."""
    yield csv_lines([FOCUS_COLUMNS])
    for _, of_day in groupby(rows, key=lambda row: row["started_at"][:10]):
        charges: dict[Charge, list[int]] = {}
        for row in of_day:
            for charge, *amounts in _charges(row):
                charges[charge] = [*map(add, charges.get(charge, (0, 0, 0)), amounts)]
        yield csv_lines(_line(charge, *sums) for charge, sums in charges.items())


def _charges(row: Mapping[str, Any]) -> Iterator[tuple[Charge, int, int, int]]:
    """Each part of a row's cost, with its quantity, its list price and what is billed. A call without a known cost is a
    charge of 0, so that the bill does not hide it."""
    free = orjson.loads(row["tags"]) if row["tags"] else {}
    tags = {**free, **{name: row[name] for name in TAGS if row[name]}}
    tags_text = orjson.dumps(tags, option=orjson.OPT_SORT_KEYS).decode()
    whose = (row["organization_id"] or "", row["workspace_id"] or "", tags_text)
    model = row["model"] or row["model_requested"] or ""
    kind = (row["started_at"][:10], row["platform"])
    paid = spend_of(row) != 0
    for part in orjson.loads(row["cost_parts"] or "[]"):
        charge = Charge(*kind, part["model"] or model, part["name"], part["rate_picousd"], *whose)
        yield charge, part["quantity"], part["picousd"], part["picousd"] * paid
    if row["cost_picousd"] is None:
        yield Charge(*kind, model, NO_PART, None, *whose), 1, 0, 0


def _line(charge: Charge, quantity: int, listed: int, billed: int) -> list[Any]:
    day = date.fromisoformat(charge.day)
    month = day.replace(day=1)
    unit = "Tokens" if charge.part.endswith("_tokens") else "Requests"
    rate = None if charge.rate is None else f"{exact_usd(round(Fraction(charge.rate))):f}"
    described = f"{charge.model} {charge.part.replace('_', ' ').replace('.', ': ')}".strip()
    described += "" if charge.rate is not None else ": its price is not known"
    told: dict[str, Any] = {
        **FOCUS_CONSTANTS,
        "BillingAccountId": charge.organization or charge.platform,
        "BillingAccountName": charge.organization or charge.platform,
        "BillingPeriodStart": _time(month),
        "BillingPeriodEnd": _time((month + timedelta(days=31)).replace(day=1)),
        "ChargeDescription": described,
        "ChargePeriodStart": _time(day),
        "ChargePeriodEnd": _time(day + timedelta(days=1)),
        "InvoiceIssuerName": PROVIDERS.get(charge.platform, charge.platform),
        "ProviderName": PROVIDERS.get(charge.platform, charge.platform),
        **dict.fromkeys(("ConsumedQuantity", "PricingQuantity"), quantity),
        **dict.fromkeys(("ConsumedUnit", "PricingUnit"), unit),
        **dict.fromkeys(("ListUnitPrice", "ContractedUnitPrice"), rate),
        **dict.fromkeys(("ListCost", "ContractedCost"), f"{exact_usd(listed):f}"),
        **dict.fromkeys(("BilledCost", "EffectiveCost"), f"{exact_usd(billed):f}"),
        **dict.fromkeys(("ResourceId", "ResourceName"), charge.model or None),
        "SkuId": f"{charge.model}/{charge.part}",
        "SkuMeter": charge.part,
        "SkuPriceId": f"{charge.model}/{charge.part}/{charge.rate}",
        **dict.fromkeys(("SubAccountId", "SubAccountName"), charge.workspace or None),
        "SubAccountType": "Workspace" if charge.workspace else None,
        "Tags": charge.tags,
    }
    return [inert(told.get(name)) for name in FOCUS_COLUMNS]


def _time(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"
