"""Where there is no place for a ledger the application starts all the same. Needs root and util-linux."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not (shutil.which("setpriv") and shutil.which("unshare")),
    reason="needs root, setpriv and unshare",
)
NOBODY = "54321"
"""A user that no list of users knows. It may read everything here: the tests' Python may lie in a folder of root's."""
AS_NOBODY = (
    f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "
    "--inh-caps +dac_read_search --ambient-caps +dac_read_search"
)
READ_ONLY = "for d in /tmp /var/tmp /usr/tmp; do [ -d $d ] && mount --bind $d $d && mount -o remount,bind,ro $d; done; "
APP = """
import logging, os
logging.basicConfig(format="%(message)s")
import claudetrace, anthropic
{start}
client = anthropic.Anthropic(api_key="k", base_url=os.environ["URL"], max_retries=0)
message = client.messages.create(model="claude-haiku-5-5", max_tokens=9, messages=[{{"role": "user", "content": "hi"}}])
print(message.stop_reason, claudetrace._instrument.running().settings.db)
"""


@pytest.fixture
def url() -> Iterator[str]:
    with PlayServer(_answers.answer(times=None)) as server:
        yield server.url


def run(url: str, command: str, *, before: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """A shell's `command` as a user without a name and a home, after `before` in a name space of its own."""
    environment = {"PATH": os.environ["PATH"], "URL": url, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    shell = ["unshare", "-m", "sh", "-c", f"{before}cd / && exec {AS_NOBODY} {command}"]
    return subprocess.run(shell, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A program that calls `instrument()`, and beside it `bare.py`, which does not."""
    (tmp_path / "bare.py").write_text(APP.format(start=""))
    path = tmp_path / "app.py"
    path.write_text(APP.format(start="claudetrace.instrument()"))
    return path


@pytest.fixture(autouse=True)
def fallback_removed() -> Iterator[None]:
    yield
    shutil.rmtree(f"/tmp/claudetrace-{NOBODY}", ignore_errors=True)


@pytest.mark.parametrize("variables", [{}, {"CLAUDETRACE_DB": "~/ledger.db"}], ids=["default", "in a home"])
def test_a_user_without_a_home_has_a_temporary_ledger(url: str, app: Path, variables: dict[str, str]) -> None:
    """With HOME unset and a user that nobody knows, the ledger is in a temporary folder, with a warning."""
    ran = run(url, f"{sys.executable} {app}", **variables)

    assert (ran.returncode, ran.stdout) == (0, f"end_turn /tmp/claudetrace-{NOBODY}/ledger.db\n"), ran.stderr
    assert "which may not last" in ran.stderr


def test_where_nothing_can_be_written_the_call_is_made(url: str, app: Path) -> None:
    """Where no folder can be written the application starts, its call returns, and one warning says what is missing."""
    ran = run(url, f"{sys.executable} {app}", before=READ_ONLY)

    assert (ran.returncode, ran.stdout.split()[0]) == (0, "end_turn"), ran.stderr
    assert ran.stderr.count("claudetrace can write to no folder, so it keeps no ledger") == 1


def test_claudetrace_run_starts_the_program_too(url: str, app: Path) -> None:
    """`claudetrace run` starts a program without a home and without a folder that can be written."""
    for before in ("", READ_ONLY):
        ran = run(url, f"{sys.executable} -m claudetrace run {app.with_name('bare.py')}", before=before)
        assert (ran.returncode, ran.stdout.split()[0]) == (0, "end_turn"), ran.stderr
