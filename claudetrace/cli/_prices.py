"""`claudetrace prices`."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from claudetrace.cli._options import DB, read_path
from claudetrace.cli._tables import count_text, plain, table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from claudetrace._pricing._listing import Listed
    from claudetrace._pricing._second_opinion import Disagreement, Opinion

CLASSES = {
    "input": "input",
    "cache read": "cache_read",
    "5m write": "cache_write_5m",
    "1h write": "cache_write_1h",
    "output": "output",
}
UNIT = "US dollars for a million tokens"


class _Prices(click.Command):
    """A model's rates, or the word `update` with what is to be done."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] != ["update"]:
            return super().make_context(info_name, args, parent, **extra)
        from claudetrace.cli._prices_update import update

        return update.make_context(f"{info_name} update", args[1:], parent, **extra)


@click.command(cls=_Prices, short_help="Show the rates of models, with their history and sources.")
@click.argument("model", required=False)
@click.option("--check", is_flag=True, help="Compare with genai-prices and litellm, where they are installed.")
@click.option("--json", "as_json", is_flag=True, help="For programs: prices as decimal text.")
@DB
def prices(model: str | None, check: bool, as_json: bool, db: Path | None) -> None:
    """Show the rates in force, or those of MODEL with their history and sources.

    `claudetrace prices update FILE|URL` takes a newer price list, and keeps it beside the ledger.

    MODEL is an id as you use it: an alias, a dated id, a Bedrock or a Google Cloud id. Exits 1 where no rates are
    known for it, and with --check where a price differs.
    """
    from claudetrace._pricing._list import use_rates_of
    from claudetrace._pricing._listing import find_listed, listed_models, unknown_name

    use_rates_of(read_path(db))
    found = None
    if model is not None and (found := find_listed(model)) is None:
        click.echo(f"Error: {unknown_name(model)}", err=True)
        raise SystemExit(1)
    if check:
        _check(found, as_json=as_json)
    elif found is not None:
        click.echo(_dumped(_listed_json(found)) if as_json else _history(found))
    elif as_json:
        click.echo(_dumped({"rates_version": _version(), "models": [_listed_json(each) for each in listed_models()]}))
    else:
        click.echo(_current(listed_models()))


def _current(models: list[Listed]) -> str:
    """The rates of today of every model."""
    day = _today()
    rows = []
    for model in models:
        period = model.on(day) or {}
        mark = " (retired)" if model.status == "retired" else " (deprecated)" if model.status == "deprecated" else ""
        rows.append([model.id + mark, *_cells(period), "yes" if model.fast_on(day) else "", _steps(period)])
    heads = ["model", *CLASSES, "fast", "longer prompts"]
    return "\n".join(
        [
            f"Rates of {day} UTC, {UNIT}; rates version {_version()}",
            "",
            table(heads, rows),
            "",
            "`claudetrace prices MODEL` tells a model's batch and fast rates, its history and the sources.",
            _rules_text(),
        ]
    )


def _history(model: Listed) -> str:
    """Everything that is known of one model's rates."""
    heads = ["from", "to", "use", "prompt", *CLASSES]
    rows = [row for period in model.periods for row in _period_rows("", period)]
    rows += [row for period in model.fast for row in _period_rows("fast", period)]
    names = [name for name in (*model.aliases, model.bedrock_id, model.vertex_id) if name and name != model.id]
    retired = f", since {model.retired_on}" if model.retired_on and model.status == "retired" else ""
    leaves = f", until {model.retired_on}" if model.retired_on and model.status != "retired" else ""
    lines = [
        f"{model.name} ({model.id}): {model.status}{retired}{leaves}",
        *([f"Also known as {', '.join(dict.fromkeys(names))}"] if names else []),
        "",
        f"{UNIT}; days are UTC, `to` is the day after the last",
        "",
        table(heads, rows, left=range(4)),
        "",
        _rules_text(us=model.us_premium, regional=model.regional_premium),
        *_notes(model),
        "",
        "Sources:",
        *(f"  {name}: {what}" for name, what in model.sources),
        "",
        f"Rates version {_version()}",
    ]
    return "\n".join(lines)


def _period_rows(use: str, period: Mapping[str, Any]) -> list[list[str]]:
    """A period's lines: as it is, in a batch, and for longer prompts."""
    days = [period.get("from") or "", period.get("to") or ""]
    rows = []
    for size, prices_ in [("", period), *((_above(tier), tier) for tier in period.get("tiers") or ())]:
        rows.append([*days, use, size, *_cells(prices_)])
        if prices_.get("batch"):
            rows.append([*days, "batch", size, *_cells(prices_["batch"])])
    return rows


def _cells(prices_: Mapping[str, Any]) -> list[str]:
    return [str(prices_.get(name) or "–") for name in CLASSES.values()]


def _above(tier: Mapping[str, Any]) -> str:
    return f"> {count_text(int(tier['prompt_tokens_above']))}"


def _steps(period: Mapping[str, Any]) -> str:
    return ", ".join(f"{_above(tier)}: {tier['input']} / {tier['output']}" for tier in period.get("tiers") or ())


def _notes(model: Listed) -> list[str]:
    told = [period["note"] for period in (*model.periods, *model.fast) if period.get("note")]
    told += [note for note in (model.note, model.disagreement) if note]
    if model.verification and model.verification != "verified":
        told.append(f"not all of it is verified: {model.verification}")
    return ["", *(f"Note: {note}" for note in told)] if told else []


def _rules_text(*, us: bool = True, regional: bool = True) -> str:
    from claudetrace._pricing._listing import list_rules

    rules = list_rules()
    told = [f"tokens in US inference cost {rules['inference_geo_us']} times as much"] if us else []
    told += [f"at a cloud's regional endpoint {rules['cloud_regional']} times"] if regional else []
    told.append(f"in AWS GovCloud {rules['aws_govcloud']} times")
    text = ", ".join([*told, f"a web search ${rules['web_search_usd']}"])
    return f"{text[0].upper()}{text[1:]}."


def _check(model: Listed | None, *, as_json: bool) -> None:
    """Tells each difference, and ends with status 1 where there is one."""
    from claudetrace._pricing._second_opinion import second_opinions

    opinions = second_opinions(None if model is None else model.id)
    if as_json:
        click.echo(_dumped({"rates_version": _version(), "opinions": [asdict(each) for each in opinions]}))
    else:
        click.echo("\n\n".join(map(_opinion_text, opinions)))
    raise SystemExit(1 if any(each.differences for each in opinions) else 0)


def _opinion_text(opinion: Opinion) -> str:
    if opinion.version is None:
        return f"{opinion.source} is not installed: nothing was compared with it."
    head = f"{opinion.source} {opinion.version}: {opinion.compared} models compared, "
    if not opinion.differences:
        return f"{head}no difference."
    count = len(opinion.differences)
    heads = ["model", "period", "price", "ours", "theirs"]
    rows = [[each.model, each.day or "now", each.what, each.ours, each.theirs] for each in opinion.differences]
    shown = table(heads, rows, left=range(3))
    return "\n".join([f"{head}{count} difference{'' if count == 1 else 's'}.", "", shown, *_known(opinion.differences)])


def _known(differences: tuple[Disagreement, ...]) -> list[str]:
    """What the price list itself notes of the models that differ."""
    notes = {each.model: each.known for each in differences if each.known}
    return ["", *(f"{model}: {plain(note, 1000)}" for model, note in notes.items())] if notes else []


def _listed_json(model: Listed) -> dict[str, Any]:
    told = asdict(model)
    told["sources"] = dict(model.sources)
    return {**told, "current": model.on(_today()), "current_fast": model.fast_on(_today())}


def _dumped(told: Mapping[str, Any]) -> str:
    return json.dumps(told, indent=2, ensure_ascii=False)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _version() -> str:
    from claudetrace._pricing._rates import book

    return book().version
