"""Programs without a line of ours, run as a user's shell would, against a loopback API."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import claudetrace

CALL = """
import anthropic
def call():
    anthropic.Anthropic(max_retries=0).messages.create(
        model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
    )
"""
APP = f"{CALL}\ncall()\n"
RUN = (sys.executable, "-m", "claudetrace", "run")


@dataclass
class Shell:
    """A folder, an environment, and what is recorded of what runs there."""

    folder: Path
    url: str
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def db(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def environment(self) -> dict[str, str]:
        """The environment as a user's program has it: no test runner's."""
        users = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        ours = {"CLAUDETRACE_DB": str(self.db), "ANTHROPIC_BASE_URL": self.url, "ANTHROPIC_API_KEY": "k"}
        return {**users, **ours, **self.variables}

    def write(self, name: str, source: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return path

    def run(self, *command: str | Path, say: str = "") -> subprocess.CompletedProcess[str]:
        """What `command` says and ends with."""
        return subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env=self.environment,
            input=say,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def rows(self, db: Path | None = None) -> list[claudetrace.Call]:
        """The recorded calls, oldest first; none where there is neither a ledger nor a journal."""
        path = db or self.db
        if not path.exists() and not path.with_name(f"{path.name}.spool").exists():
            return []
        with claudetrace.Ledger(path) as ledger:
            return ledger.calls()[::-1]
