"""`claudetrace run`: a Python program with the meter on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).resolve().parents[1] / "_run"


@click.command(
    short_help="Run a Python program with the meter on.",
    # What stands behind the program's name is the program's, `-h` of `python -mhttp.server` too.
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": ["--help"],
    },
    options_metavar="",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="APP.PY [ARGUMENT]… | -m MODULE [ARGUMENT]…")
def run(command: tuple[str, ...]) -> None:
    """Run a Python program with the meter on, without a line of code in it.

    As `python APP.PY …` or `python -m MODULE …` would, by the Python that claudetrace is installed for; so with the
    Python processes that it starts. Settings come from the environment and `claudetrace.toml`. What the program's own
    code says to claudetrace.instrument() replaces them.
    """
    if not command:
        raise click.UsageError("Name a program: claudetrace run app.py, or claudetrace run -m module.")
    if command[0].startswith("-") and not command[0].startswith("-m"):
        raise click.UsageError(
            f"{command[0]} is no program: it is APP.PY or -m MODULE. Options of Python are set as PYTHON… variables."
        )
    if sys.platform == "win32":
        raise ClaudetraceError("claudetrace run needs Linux or macOS: call claudetrace.instrument() in the program")
    environment = metered(os.environ)
    os.execve(sys.executable, [sys.executable, *command], environment)  # noqa: S606 - no shell is wanted


def metered(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for a program with the meter on. Raises `ClaudetraceError` for a setting that cannot be.

    The ledger and the settings' file are named by whole paths: a program may change its folder before its first call.
    """
    from claudetrace._config import FOUND_VARIABLE, config_file, read_config, resolve
    from claudetrace._switch import enabled

    changed = dict(environment)
    # An empty name among several is the working directory; an empty variable is none.
    theirs = [each for each in changed.get("PYTHONPATH", "").split(os.pathsep) if each != str(FOLDER)]
    changed["PYTHONPATH"] = os.pathsep.join((str(FOLDER), *([] if theirs == [""] else theirs)))
    if not enabled():
        return changed
    settings = resolve({})
    if settings.rates is not None:
        from claudetrace._pricing import load_own_rates

        load_own_rates(settings.rates, file=settings.rates_file)
    file, is_named = config_file(None)
    if file is not None:
        changed["CLAUDETRACE_CONFIG" if is_named else FOUND_VARIABLE] = str(file.absolute())
    if settings.db is not None and (changed.get("CLAUDETRACE_DB") or "db" in read_config(None)):
        changed["CLAUDETRACE_DB"] = str(settings.db)
    return changed
