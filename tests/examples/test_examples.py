"""Every example runs as it is, without a key, and says what its calls cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAYS = {
    "alert_webhook.py": 'threshold: Budget "small" has reached 80 %, $0.0000094 of $0.00001',
    "batch.py": "sort@v2: 4 rows, $0.000050",
    "budget_per_customer.py": "globex: 11 answers, then 429 {'error': 'budget_exceeded', 'resets_at': '",
    "budget_run.py": "11 calls for $0.001342, $0.000658 left",
    "quickstart.py": "hello: 1 calls, 14 output tokens, $0.000009",
    "serverless_handler.py": "ben: 1 calls, $0.000009",
    "streaming_chat.py": "so far: 2 calls, $0.000019",
    "tool_agent.py": "run-2: 1 tool calls, $0.000129",
}
NEEDS = {"budget_per_customer.py": "fastapi"}


def test_every_example_is_run():
    """No example is left out of this test."""
    assert {path.name for path in EXAMPLES.glob("[!_]*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs_without_a_key(name, tmp_path):
    """It ends well, warns of nothing, and its ledger is neither the user's nor left behind elsewhere."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed: make test installs it")
    home = tmp_path / "home"
    home.mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANTHROPIC", "CLAUDE", "PYTEST"))}
    ran = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**kept, "HOME": str(home), "TMPDIR": str(tmp_path)},
        timeout=60,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert SAYS[name] in ran.stdout
    assert [path for path in home.rglob("*") if path.is_file()] == []
