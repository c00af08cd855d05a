"""The code of docs/budgets.md by task runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer

PAGE = (Path(__file__).parents[2] / "docs/budgets.md").read_text()
CHAPTER = PAGE.partition("## By task")[2].partition("\n## ")[0]
TASKS = dict(re.findall(r"^### ([^\n]*)\n\n```python\n(.*?)```", CHAPTER, re.DOTALL | re.MULTILINE))


def test_every_task_is_there() -> None:
    """What somebody comes for is a heading."""
    assert re.findall(r"^### (.*)$", CHAPTER, re.MULTILINE) == [
        "Stop one customer",
        "Stop a runaway agent",
        "Tell me before the month is over",
        "Who is being stopped now, and what do I do",
        "Several services, one budget",
    ]


@pytest.mark.parametrize("title", TASKS)
def test_its_code_runs(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Against a server on loopback, with a ledger of the test's own; nothing is printed but what it says."""
    monkeypatch.setenv("CLAUDETRACE_DB", str(tmp_path / "ledger.db"))
    with PlayServer(_answers.answer(times=None)) as api, anthropic.Anthropic(api_key="k", base_url=api.url) as client:
        claudetrace.instrument(db=tmp_path / "ledger.db").unasked = True
        messages = [{"role": "user", "content": "Hello?"}]
        names = {"claudetrace": claudetrace, "Budget": claudetrace.Budget, "client": client, "messages": messages}
        try:
            exec(TASKS[title], {**names, "store": tmp_path / "shared.budgets"})
        finally:
            claudetrace.uninstrument()

    said = capsys.readouterr().out
    assert said.startswith({"Stop one customer": "You have 4.99", "Stop a runaway agent": "0.0000"}.get(title, ""))
