"""Records on standard output: each call a line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import claudetrace
from claudetrace._demo import _answers
from claudetrace._guard import Guard
from claudetrace._telemetry._stdout import write_lines

from ._records import row
from ._sending import PATIENCE_S, PROGRAM, ask

ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def test_lines_of_calls(client: Any, server: Any, db: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`records="stdout"` writes a line of each call."""
    server.add(_answers.answer(times=None))
    with claudetrace.instrument(db=db, records="stdout", force=True) as running:
        client.messages.create(**ASK)
        assert running.flush(PATIENCE_S)

    (line,) = capfd.readouterr().out.splitlines()
    (stored,) = ask(db, "SELECT id, cost_usd FROM calls")
    assert stored.items() <= json.loads(line).items()


def test_lines_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    """Each row is one line of JSON under the ledger's names, with JSON columns as objects and the cost as a number."""
    priced = row(cost_picousd=6_000_000_000, cost_parts="[]", cost_flags='["partial_usage"]')
    write_lines(Guard(), [priced, row(user_id=None)])

    first, second = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    assert first == priced | {
        "event": "claudetrace.call",
        "usage": json.loads(priced["usage"]),
        "cost_parts": [],
        "cost_flags": ["partial_usage"],
        "tags": {"team": "search"},
        "cost_usd": 0.006,
        "spend_picousd": 6_000_000_000,
    }
    assert "user_id" not in second


def test_usage_is_written_as_it_came(capfd: pytest.CaptureFixture[str]) -> None:
    """What the API said of usage is in the line to the letter, also half a surrogate pair."""
    usage = '{"input_tokens":1,"service_tier":"\\ud800","share":1e-400}'
    write_lines(Guard(), [row(usage=usage)])

    assert f'"usage":{usage}' in capfd.readouterr().out


def test_stdout_put_in_place_of_another(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines go where `print` goes, also where that is no file."""
    write_lines(Guard(), [row()])

    assert json.loads(capsys.readouterr().out)["event"] == "claudetrace.call"


def test_stdout_that_nobody_reads() -> None:
    """A closed stdout is told once, and the process ends as if nothing had been written."""
    program = (
        "import sys; sys.path.insert(0, '.');"
        "from telemetry._records import row;"
        "from claudetrace._guard import Guard; from claudetrace._telemetry._stdout import write_lines;"
        "sys.stdin.read(); told = Guard(); write_lines(told, [row(), row()]); write_lines(told, [row()])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=PROGRAM.parents[1],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stderr
        process.stdout.close()
        process.stdin.close()
        said = process.stderr.read().decode()

    assert (process.returncode, said.count("stdout")) == (0, 1), said
