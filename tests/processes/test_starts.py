"""When `instrument()` may be called, and where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import claudetrace
from claudetrace._demo._server import PlayServer

from ._running import outside_pytest

BEFORE_THE_SDK = """
import sys
import claudetrace

first = claudetrace.instrument(db=sys.argv[1])
assert claudetrace.instrument() is first and claudetrace.instrument(db=sys.argv[1]) is first
assert "anthropic" not in sys.modules
import anthropic

ASK = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
client = anthropic.Anthropic(api_key="k", base_url=sys.argv[2])
client.messages.create(**ASK)
first.uninstrument()
client.messages.create(**ASK)
claudetrace.instrument(db=sys.argv[1])
client.messages.create(**ASK)
"""

IN_A_CHILD = """
import os, sys
import anthropic, claudetrace

ASK = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}

def call(number):
    with claudetrace.tag(number=number):
        anthropic.Anthropic(api_key="k", base_url=sys.argv[2]).messages.create(**ASK)

parent = claudetrace.instrument(db=sys.argv[1])
call("parent before")
child = os.fork()
if not child:
    assert claudetrace.instrument() is parent
    call("child, inherited")
    claudetrace.instrument(db=sys.argv[1] + ".child", force=True)
    call("child, elsewhere")
    claudetrace.flush()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
call("parent after")
print(parent.health.recorded)
"""

FORKS_AT_THE_FIRST_CALL = """
import importlib.abc, os, sys, time
import anthropic, claudetrace

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in ("claudetrace._ledger._load", "claudetrace._ledger._store", "claudetrace._ledger._schema"):
            time.sleep(0.1)

ASK = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
claudetrace.instrument(db=sys.argv[1])
sys.meta_path.insert(0, Slow())
anthropic.Anthropic(api_key="k", base_url=sys.argv[2]).messages.create(**ASK)
time.sleep(0.15)
child = os.fork()
anthropic.Anthropic(api_key="k", base_url=sys.argv[2]).messages.create(**ASK)
loaded = claudetrace.flush()
if not child:
    os._exit(not loaded)
print(loaded, os.waitpid(child, 0)[1])
"""

CHANGES_FOLDER = """
import os, sys
import anthropic, claudetrace

os.chdir(os.path.dirname(sys.argv[1]))
claudetrace.instrument(db="ledger.db")
os.chdir("/")
client = anthropic.Anthropic(api_key="k", base_url=sys.argv[2])
client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
"""


def run(script: str, db: Path, url: str) -> str:
    command = [sys.executable, "-c", script, str(db), url]
    return subprocess.run(command, env=outside_pytest(), check=True, stdout=subprocess.PIPE, timeout=60).stdout.decode()


def numbers(db: Path) -> list[str | None]:
    with claudetrace.Ledger(db) as ledger:
        return [call.tags.get("number") for call in ledger.calls()[::-1]]


def test_instrument_before_the_sdk_is_imported_twice_and_again(server: PlayServer, tmp_path: Path) -> None:
    """`instrument()` loads no SDK, may come before it and twice, and each call is one row; after an end, again."""
    run(BEFORE_THE_SDK, tmp_path / "ledger.db", server.url)

    assert numbers(tmp_path / "ledger.db") == [None, None]


def test_a_forked_child_inherits_the_meter_or_has_its_own(server: PlayServer, tmp_path: Path) -> None:
    """A bare `instrument()` in a child returns the inherited one; `force` leads the child's calls elsewhere, alone."""
    db = tmp_path / "ledger.db"
    recorded = run(IN_A_CHILD, db, server.url)

    assert recorded == "2\n"
    assert numbers(db) == ["parent before", "child, inherited", "parent after"]
    assert numbers(Path(f"{db}.child")) == ["child, elsewhere"]


def test_a_fork_at_the_first_call_leaves_a_child_that_loads_its_ledger(server: PlayServer, tmp_path: Path) -> None:
    """A preloading server forks right after its first call: its workers bring their rows into the ledger too."""
    assert run(FORKS_AT_THE_FIRST_CALL, tmp_path / "ledger.db", server.url) == "True 0\n"
    assert numbers(tmp_path / "ledger.db") == [None] * 3


def test_a_process_that_changes_its_folder_keeps_its_ledger(server: PlayServer, tmp_path: Path) -> None:
    """A relative `db` is where it was when `instrument()` was called, as for a daemon that goes to `/`."""
    run(CHANGES_FOLDER, tmp_path / "ledger.db", server.url)

    assert numbers(tmp_path / "ledger.db") == [None]
