"""`main`, the group of commands, and what it says when one fails."""

from __future__ import annotations

import sqlite3
import sys
from importlib import import_module
from io import TextIOWrapper
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

import click

from claudetrace._errors import ClaudetraceError
from claudetrace._sqlite import TOO_LONG
from claudetrace._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("_demo", "Play bundled calls through the real SDK and report them. No key, no network."),
    "report": ("_report", "Sum up what calls cost, by model, day, user and other tags."),
    "find": ("_calls", "Find calls by the id of a request, message, trace, session or user."),
    "export": ("_calls", "Write the calls to a file: CSV, JSON lines or a FOCUS bill."),
    "dashboard": ("_dashboard", "Open the ledger's pages in the browser, served on this machine alone."),
    "tail": ("_calls", "Show the newest calls, and each further one as it is recorded."),
    "budgets": ("_budgets", "Show what budgets have spent, reserved and left; send a test alert."),
    "reconcile": ("_reconcile", "Compare the ledger with Anthropic's own figures, and explain each difference."),
    "collect": ("_collect", "Take the records of many programs, on many hosts, into one ledger."),
    "import": ("_import", "Import what Claude Code wrote down of its sessions."),
    "run": ("_run", "Run a Python program with the meter on, without a line of code in it."),
    "doctor": ("_doctor", "Check the installation, the ledger, its journal and budgets. Exits 1 on a finding."),
    "prices": ("_prices", "Show the rates of models, with their history and sources."),
    "reprice": ("_edit", "Price calls again by the rates of their day, after showing what changes."),
    "prune": ("_edit", "Remove old calls; their sums by hour and day stay."),
    "forget": ("_edit", "Remove a user, customer, session or tag from all calls; what they cost stays."),
}
"""Each command with its module and its line in the help, which needs no import of it."""
MAY_BE_LEFT_OUT = ("datasette", "uvicorn")
"""Packages of pages and `collect` alone. A lean image of a program has neither."""


class Refused(click.ClickException):
    """A `ClaudetraceError` on the command line: its message and status 2."""

    exit_code = 2


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click calls it
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click calls it
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"claudetrace.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name)
        command.short_help = COMMANDS[cmd_name][1]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            refuse_repeated(ctx, name, command, rest)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click calls it
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        # A terminal without `≥` or `─` shows a question mark instead.
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        try:
            return super().invoke(ctx)
        except ClaudetraceError as error:
            raise Refused(str(error)) from error
        except ModuleNotFoundError as error:
            if error.name not in MAY_BE_LEFT_OUT:
                raise
            raise Refused(
                f"this needs the package {error.name}, which is left out here: pip install {error.name}"
            ) from error
        except PermissionError as error:
            raise Refused(
                f"{error.filename or 'a file'} cannot be used by this user: {error.strerror or error}"
            ) from error
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
                raise Refused(f"SQLite says: {error}: {TOO_LONG}") from error
            raise click.ClickException(f"SQLite says: {error}. `claudetrace doctor` says more.") from error


def refuse_repeated(
    parent: click.Context, name: str | None, command: click.Command, args: list[str], seen: tuple[str, ...] = ()
) -> None:
    """Raises for a single-valued option that is given twice: click would silently take the last value."""
    ctx = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    _, rest, given = command.make_parser(ctx).parse_args(list(args))
    for option in given:
        if not isinstance(option, click.Option) or option.multiple or option.is_flag or option.count:
            continue
        said = max(option.opts, key=len)
        if said in seen:
            raise click.UsageError(f"{said} is given twice; it holds one value.", ctx)
        seen = (*seen, said)
    if isinstance(command, click.Group) and rest and (inner := command.get_command(ctx, rest[0])) is not None:
        refuse_repeated(ctx, rest[0], inner, rest[1:], seen)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="claudetrace")
def main() -> None:
    """The meter for the Claude API: what each call cost, who caused it and how it went.

    Calls are kept in a SQLite file, the ledger: the one that --db names, else CLAUDETRACE_DB, else db in
    claudetrace.toml, else ledger.db in your data folder. Times are UTC.

    Exit codes: 0 fine, 1 a finding, 2 wrong usage.
    """
