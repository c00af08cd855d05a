"""The program as a shell starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from claudetrace._version import __version__

PROGRAM = [str(Path(sys.executable).with_name("claudetrace"))]
MODULE = [sys.executable, "-m", "claudetrace"]


def said(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", [PROGRAM, MODULE], ids=["script", "module"])
def test_it_tells_its_version(command):
    """Both ways to start it are the same program."""
    assert said(*command, "--version").stdout == f"claudetrace, version {__version__}\n"


def test_help_names_every_command():
    """Each command stands with a line, and no heavy module is loaded for it."""
    loud = "import sys; sys.argv = ['claudetrace', '--help']\nfrom claudetrace.cli import main\n"
    after = "print([n for n in ('anthropic', 'sqlite_utils', 'orjson', 'opentelemetry') if n in sys.modules])"
    told = said(sys.executable, "-c", f"{loud}try: main()\nexcept SystemExit: {after}").stdout

    assert [
        name for name in ("demo", "report", "tail", "doctor", "prune", "forget") if f"\n  {name} " not in told
    ] == []
    assert told.endswith("[]\n")


def test_piped_output_is_plain(demo):
    """Without a terminal there are neither colours nor cursor moves."""
    path = str(demo[0])
    told = [said(*PROGRAM, *words, "--db", path).stdout for words in (["report"], ["doctor"], ["tail", "--once"])]

    assert all(told)
    assert "\x1b" not in "".join(told)
    assert "\r" not in "".join(told)


def test_a_terminal_without_our_marks_gets_others(demo):
    """Where `≥` cannot be written there is a `?`, and no traceback."""
    shell = f"PYTHONIOENCODING=latin-1 {PROGRAM[0]} report --db {demo[0]} | cat"
    told = said("bash", "-c", shell)

    assert (told.returncode, told.stderr) == (0, "")
    assert "Spend by model" in told.stdout


def test_a_reader_that_leaves_is_no_error(demo):
    """`claudetrace tail | head` prints no traceback."""
    shell = f"{PROGRAM[0]} tail --once -n 1000 --json --db {demo[0]} | head -1 > /dev/null"

    assert said("bash", "-c", shell).stderr == ""


def test_an_unknown_command_is_wrong_usage():
    """Status 2."""
    assert said(*PROGRAM, "explode").returncode == 2
