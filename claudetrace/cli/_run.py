"""`claudetrace run`: a Python program with the meter on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from claudetrace._config import FOUND_VARIABLE, config_file, read_config, resolve
from claudetrace._errors import ClaudetraceError
from claudetrace._pricing._own import load_own_rates
from claudetrace._switch import enabled

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).resolve().parents[1] / "_run"


@click.command(
    # Everything after the program's name belongs to the program, even `-h` in `python -mhttp.server -h`.
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

    Runs `python APP.PY …` or `python -m MODULE …` with the Python that claudetrace is installed for. The Python
    processes that it starts are metered too. Settings come from the environment and `claudetrace.toml`; those that the
    program itself gives to claudetrace.instrument() replace them.
    """
    if not command:
        raise click.UsageError("Name a program: claudetrace run app.py, or claudetrace run -m module.")
    if command[0].startswith("-") and not command[0].startswith("-m"):
        raise click.UsageError(
            f"{command[0]} is no program: give APP.PY or -m MODULE. Set options of Python as PYTHON… variables."
        )
    if sys.platform == "win32":
        raise ClaudetraceError("claudetrace run needs Linux or macOS: call claudetrace.instrument() in the program")
    environment = metered(os.environ)
    os.execve(sys.executable, [sys.executable, *command], environment)  # noqa: S606 - no shell is wanted


def metered(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with the meter turned on. Raises `ClaudetraceError` for an impossible setting.

    The ledger and the settings file get absolute paths: a program may change its folder before its first call.
    """
    changed = dict(environment)
    # An empty name among several is the working directory; an empty variable is none.
    theirs = [each for each in changed.get("PYTHONPATH", "").split(os.pathsep) if each != str(FOLDER)]
    changed["PYTHONPATH"] = os.pathsep.join((str(FOLDER), *([] if theirs == [""] else theirs)))
    if not enabled():
        return changed
    settings = resolve({})
    if settings.rates is not None:
        load_own_rates(settings.rates, file=settings.rates_file)
    file, is_named = config_file(None)
    if file is not None:
        changed["CLAUDETRACE_CONFIG" if is_named else FOUND_VARIABLE] = str(file.absolute())
    if settings.db is not None and (changed.get("CLAUDETRACE_DB") or "db" in read_config(None)):
        changed["CLAUDETRACE_DB"] = str(settings.db)
    return changed
