"""What pages have from the code itself: the command line from click, the columns from the schema."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import click
import yaml

from claudetrace.cli import main

DESCRIBED = Path(__file__).resolve().parents[2] / "dashboards" / "datasette.yaml"


def columns() -> str:
    """The table of the columns of `calls`: names and types by the schema, meanings by Datasette's description."""
    meanings = yaml.safe_load(DESCRIBED.read_text())["databases"]["ledger"]["tables"]["calls"]["columns"]
    connection = sqlite3.connect(":memory:")
    connection.executescript((files("claudetrace._ledger") / "schema.sql").read_text())
    rows = connection.execute("SELECT name, type, \"notnull\" FROM pragma_table_xinfo('calls')")
    lines = [f"| `{name}` | {kind}{' NOT NULL' if needed else ''} | {meanings[name]} |" for name, kind, needed in rows]
    return "\n".join(["| column | type | what it is |", "|---|---|---|", *lines])


def command_line() -> str:
    """Each command with its help and its options."""
    return "\n".join(_commands(main, ("claudetrace",)))


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(path))
    if len(path) > 1:
        yield f"\n{'#' * len(path)} `{' '.join(path)}`\n"
        yield _paragraphs(command.help or "")
        yield f"\n```text\n{' '.join((*path, *command.collect_usage_pieces(context)))}\n```\n"
        yield from _options(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from _commands(found, (*path, name))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [record for each in command.get_params(context) if (record := each.get_help_record(context))]
    if records:
        yield "| option | what it does |\n|---|---|"
        yield from (f"| `{_cell(names)}` | {_cell(told)} |" for names, told in records)
        yield ""


def _paragraphs(text: str) -> str:
    paragraphs = [" ".join(each.split()) for each in text.replace("\b", "").split("\n\n")]
    return "\n\n".join(_escaped(each) for each in paragraphs)


def _escaped(text: str) -> str:
    """Words of the command line are code, as in `--all` and URLs; the rest is plain text."""
    return re.sub(r"(?<![\w`])(--[a-z][\w-]*)(?!`)", r"`\1`", text).replace("<", "&lt;")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


PARTS: dict[str, Callable[[], str]] = {"columns": columns, "cli": command_line}
