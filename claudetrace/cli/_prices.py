"""`claudetrace prices`: the price list, its history and sources, other price lists beside it, and a newer one."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from claudetrace._alerts._channel import DeliveryFailed
from claudetrace._alerts._http import get
from claudetrace._errors import ClaudetraceError
from claudetrace._places import ledger_path
from claudetrace._pricing._ids import find_listed, listed_models, unknown_name
from claudetrace._pricing._list import LARGEST_BYTES, checked_list, keep_list, use_rates_of
from claudetrace._pricing._rates import book, in_force, names_of
from claudetrace._pricing._second_opinion import second_opinions
from claudetrace._text import without_password
from claudetrace.cli._dashboard import is_loopback
from claudetrace.cli._options import DB, read_path
from claudetrace.cli._text import columns, count_text, counted, plain, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from claudetrace._pricing._ids import Model
    from claudetrace._pricing._rates import RateBook
    from claudetrace._pricing._second_opinion import Opinion

CLASSES = {
    "input": "input",
    "cache read": "cache_read",
    "5m write": "cache_write_5m",
    "1h write": "cache_write_1h",
    "output": "output",
}
UNIT = "US dollars for a million tokens"


class _Prices(click.Command):
    """Takes a model, or the word `update` with options of its own."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] == ["update"]:
            return update.make_context(f"{info_name} update", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=_Prices)
@click.argument("model", required=False)
@click.option("--check", is_flag=True, help="Compare with genai-prices and litellm, where they are installed.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON: prices as decimal text.")
@DB
def prices(model: str | None, check: bool, as_json: bool, db: Path | None) -> None:
    """Show the rates in force, or those of MODEL with their history and sources.

    `claudetrace prices update FILE|URL` installs a newer price list beside the ledger.

    MODEL is an id as you use it: an alias, a dated id, a Bedrock or a Google Cloud id. Exits 1 if no rates are known
    for it, and with --check if a price differs.
    """
    use_rates_of(read_path(db))
    found = None
    if model is not None and (found := find_listed(model)) is None:
        click.echo(f"Error: {unknown_name(model)}", err=True)
        raise SystemExit(1)
    if check:
        _check(found, as_json=as_json)
    elif not as_json:
        click.echo(_current() if found is None else _history(found))
    elif found is not None:
        click.echo(_dumped(_as_json(found)))
    else:
        click.echo(_dumped({"rates_version": book().version, "models": [*map(_as_json, listed_models())]}))


def _current() -> str:
    """Today's rates of every model."""
    rows = []
    for model in listed_models():
        period = in_force(model["periods"], _today()) or {}
        mark = f" ({model['status']})" if model["status"] in ("retired", "deprecated") else ""
        steps = ", ".join(f"{_above(tier)}: {tier['input']} / {tier['output']}" for tier in period.get("tiers") or ())
        fast = "yes" if in_force(model["fast"], _today()) else ""
        rows.append([model["id"] + mark, *_cells(period), fast, steps])
    return "\n".join(
        [
            f"Rates of {_today()} UTC, {UNIT}; rates version {book().version}",
            "",
            table(columns(["model", *CLASSES, "fast", "longer prompts"], rows)),
            "",
            "`claudetrace prices MODEL` shows a model's batch and fast rates, its history and its sources.",
            _rules(),
        ]
    )


def _history(model: Model) -> str:
    """Everything that is known of one model's rates."""
    rows = [row for period in model["periods"] for row in _period_rows("", period)]
    rows += [row for period in model["fast"] for row in _period_rows("fast", period)]
    names = names_of(model)[1:]
    end = "since" if model["status"] == "retired" else "until"
    notes = [period["note"] for period in (*model["periods"], *model["fast"]) if period.get("note")]
    notes += [note for note in (model["note"], model["disagreement"]) if note]
    if model["verification"] and model["verification"] != "verified":
        notes.append(f"not all of it is verified: {model['verification']}")
    lines = [
        f"{model['name']} ({model['id']}): {model['status']}"
        + (f", {end} {model['retired_on']}" if model["retired_on"] else ""),
        *([f"Also known as {', '.join(names)}"] if names else []),
        "",
        f"{UNIT}; days are UTC, `to` is the day after the last",
        "",
        table(columns(["from", "to", "use", "prompt", *CLASSES], rows, left=range(4))),
        "",
        _rules(us=bool(model["supports_inference_geo"]), regional=bool(model["cloud_regional_premium_1_1"])),
        *(["", *(f"Note: {note}" for note in notes)] if notes else []),
        "",
        "Sources:",
        *(f"  {name}: {book().sources.get(name, '')}" for name in model["sources"]),
        "",
        f"Rates version {book().version}",
    ]
    return "\n".join(lines)


def _period_rows(use: str, period: Mapping[str, Any]) -> Iterable[list[str]]:
    """A period's lines: its plain rates and its batch rates, for each size of prompt."""
    days = [period.get("from") or "", period.get("to") or ""]
    for size, rates in [("", period), *((_above(tier), tier) for tier in period.get("tiers") or ())]:
        yield [*days, use, size, *_cells(rates)]
        if rates.get("batch"):
            yield [*days, "batch", size, *_cells(rates["batch"])]


def _cells(rates: Mapping[str, Any]) -> list[str]:
    return [str(rates.get(name) or "–") for name in CLASSES.values()]


def _above(tier: Mapping[str, Any]) -> str:
    return f"> {count_text(int(tier['prompt_tokens_above']))}"


def _rules(*, us: bool = True, regional: bool = True) -> str:
    rules = book().rules
    told = [f"tokens in US inference cost {rules['inference_geo_us_multiplier']} times as much"] if us else []
    told += [f"at a cloud's regional endpoint {rules['cloud_regional_multiplier']} times"] if regional else []
    told.append(f"in AWS GovCloud {float(book().govcloud_factor)} times")
    text = ", ".join([*told, f"a web search ${rules['web_search_usd_per_request']}"])
    return f"{text[0].upper()}{text[1:]}."


def _check(model: Model | None, *, as_json: bool) -> None:
    """Shows each difference, and exits 1 if there is one."""
    opinions = second_opinions(None if model is None else model["id"])
    if as_json:
        click.echo(_dumped({"rates_version": book().version, "opinions": [asdict(each) for each in opinions]}))
    else:
        click.echo("\n\n".join(map(_opinion, opinions)))
    raise SystemExit(1 if any(each.differences for each in opinions) else 0)


def _opinion(opinion: Opinion) -> str:
    if opinion.version is None:
        return f"{opinion.source} is not installed: nothing was compared with it."
    head = f"{opinion.source} {opinion.version}: {opinion.compared} models compared, "
    if not opinion.differences:
        return f"{head}no difference."
    heads = ["model", "period", "price", "ours", "theirs"]
    rows = [[each.model, each.day or "now", each.what, each.ours, each.theirs] for each in opinion.differences]
    known = {each.model: each.known for each in opinion.differences if each.known}
    notes = [f"{id_}: {plain(note, 1000)}" for id_, note in known.items()]
    shown = table(columns(heads, rows, left=range(3)))
    return "\n".join([f"{head}{counted(len(rows), 'difference')}.", "", shown, *(["", *notes] if notes else [])])


def _as_json(model: Model) -> dict[str, Any]:
    names = ("id", "name", "status", "retired_on", "aliases", "bedrock_id", "vertex_id", "context_window", "tokenizer")
    return {
        **{name: model[name] for name in names},
        "us_premium": bool(model["supports_inference_geo"]),
        "regional_premium": bool(model["cloud_regional_premium_1_1"]),
        **{name: model[name] for name in ("periods", "fast")},
        "sources": {name: book().sources.get(name, "") for name in model["sources"]},
        **{name: model[name] for name in ("note", "disagreement", "verification")},
        "current": in_force(model["periods"], _today()),
        "current_fast": in_force(model["fast"], _today()),
    }


def _dumped(told: Mapping[str, Any]) -> str:
    return json.dumps(told, indent=2, ensure_ascii=False)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


@click.command()
@click.argument("source", metavar="FILE|URL")
@DB
def update(source: str, db: Path | None) -> None:
    """Install the price list of FILE or URL beside the ledger.

    It has the form of the package's own rates.json and passes the same checks. A list that is older or changes prices
    of the past is refused. A URL is https, or http on this machine.
    """
    path = ledger_path(db)
    assert path is not None
    content = _content(source)
    found = checked_list(content, without_password(source))
    use_rates_of(path)
    before = book()
    if found.as_of < before.as_of:
        raise ClaudetraceError(f"the list is of {found.as_of}, older than that of {before.as_of} in force")
    kept = keep_list(content, path)
    click.echo(f"Rates of {found.as_of}, before of {before.as_of}")
    click.echo(f"SHA-256 {found.version.removeprefix(f'{found.as_of}-')}")
    for what, models in _new_and_changed(found, before).items():
        click.echo(f"{what}: {', '.join(models) or 'none'}")
    click.echo(
        f"Kept in {kept}. Programs use it from their next start; `claudetrace reprice` prices what had no price."
    )


def _new_and_changed(found: RateBook, before: RateBook) -> dict[str, list[str]]:
    new = [model for model in found.models if model not in before.models]
    changed = [
        model
        for model, row in found.models.items()
        if model not in new and any(row[kind] != before.models[model][kind] for kind in ("periods", "fast"))
    ]
    return {"New": new, "Changed": changed}


def _content(source: str) -> bytes:
    """The bytes of the list, and at most one more than a list may have."""
    if "://" in source:
        return _fetched(source)
    file = Path(source)
    if not file.is_file():
        raise ClaudetraceError(f"{source} is no file")
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ClaudetraceError(f"{source} cannot be read: {error.strerror or error}") from error


def _fetched(url: str) -> bytes:
    shown = without_password(url)
    try:
        there = urlsplit(url)
        safe = there.scheme == "https" or (there.scheme == "http" and is_loopback(there.hostname or ""))
    except ValueError:
        safe = False
    if not safe:
        raise ClaudetraceError(f"{shown} cannot be used: give a file, https://, or http:// on this machine")
    try:
        return get(url, LARGEST_BYTES + 1)
    except DeliveryFailed as failure:
        raise ClaudetraceError(f"{shown} cannot be fetched: {failure}") from failure
