"""A host may close any descriptor and open a file of its own under its number: nothing of ours lands in that file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import claudetrace
from claudetrace import _usable
from claudetrace._demo import _answers, _wire
from claudetrace._guard import Guard
from claudetrace._ledger._store import Store
from tests.processes._running import outside_pytest

if TYPE_CHECKING:
    from claudetrace._demo._server import PlayServer

PROGRAM = """
import fcntl, os, sys, time
from pathlib import Path
import anthropic, claudetrace
from claudetrace._guard import Guard
from claudetrace._ledger._store import Store
db, url, folder, how = sys.argv[1:]
budget = claudetrace.Budget("cap", usd=1000, per="total", on_exceeded="block", forecast=False)
claudetrace.instrument(db=db, budgets=[budget] if how.endswith("with budgets") else [])

def call(*numbers):
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as client:
        for number in numbers:
            with claudetrace.tag(number=number):
                client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[])

def host_file(number):
    return os.open(f"{folder}/{number}", os.O_RDWR | os.O_CREAT)

def ours():
    for number in map(int, os.listdir("/dev/fd")):
        try:
            path = os.readlink(f"/dev/fd/{number}")
        except OSError:
            continue
        if path.startswith(db):
            yield number

if "loaded" in how:
    call(1, 2)
    assert claudetrace.flush(30)
else:
    # The ledger is not begun before the descriptors are taken, with this one among them.
    fcntl.flock(os.open(f"{db}.lock", os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
    call(1, 2)
if "beside others" in how:
    others = [Store(Path(db), Guard()) for _ in range(2)]
    connections = [other.connection() for other in others]
    others[0].close()
if "closed" in how:
    os.closerange(3, 256)
    for number in range(100):
        host_file(number)
else:
    for number in list(ours()):
        os.dup2(host_file(number), number)
call(3, 4, 5)
claudetrace.flush(1)
call(6)
"""
TWO = """
import os, sys
from pathlib import Path
from claudetrace._guard import Guard
from claudetrace._ledger._journal import Journal
one, two = (Journal(Path(folder), Guard()) for folder in sys.argv[1:])
one.append({"id": "1"})
os.closerange(3, 256)
two.append({"id": "2"})
one.append({"id": "3"})
"""
HOW = (
    "all closed",
    "all closed, loaded",
    "each taken",
    "each taken, loaded",
    "each taken, loaded, beside others",
    "each taken, loaded, with budgets",
)


@pytest.mark.parametrize("how", HOW)
def test_no_byte_lands_in_a_file_of_the_host(how: str, server: PlayServer, tmp_path: Path) -> None:
    """A program closes or takes every descriptor of ours between two calls: its files stay empty, and each call is in
    the ledger once."""
    server.add(_answers.answer(_wire.message("Hello.", _wire.usage(10, 5)), times=None))
    db, folder = tmp_path / "ledger.db", tmp_path / "host"
    folder.mkdir()
    command = [sys.executable, "-c", PROGRAM, str(db), server.url, str(folder), how]
    subprocess.run(command, env=outside_pytest(), check=True, timeout=60)

    assert {path.stat().st_size for path in folder.iterdir()} == {0}
    with claudetrace.Ledger(db) as ledger:
        assert sorted(call.tags["number"] for call in ledger.calls()) == ["1", "2", "3", "4", "5", "6"]
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_number_that_another_journal_got_is_not_taken_for_its_own(tmp_path: Path) -> None:
    """The host closes a journal's file, and another ledger's journal gets its number: each row goes to its ledger."""
    folders = [tmp_path / "one", tmp_path / "two"]
    subprocess.run([sys.executable, "-c", TWO, *map(str, folders)], env=outside_pytest(), check=True, timeout=60)

    written = [b"".join(path.read_bytes() for path in folder.iterdir()) for folder in folders]
    assert [sorted(lines.split()) for lines in written] == [[b'{"id":"1"}', b'{"id":"3"}'], [b'{"id":"2"}']]


def test_connections_of_ours_that_come_and_go_are_not_the_host(db: Path, guard: Guard) -> None:
    """Each of three connections of one process to a ledger is used, also after any other was closed and opened anew."""
    stores = [Store(db, guard) for _ in range(3)]
    for closed in permutations(stores, 2):
        for store in stores:
            store.connection().execute("SELECT COUNT(*) FROM calls").fetchall()
        for store in closed:
            store.close()
            for each in stores:
                if each not in closed:
                    each.connection().execute("SELECT COUNT(*) FROM calls").fetchall()
    for store in stores:
        store.close()

    assert not _usable.is_forbidden()


FAKED = """
import os, sys, time
from pyfakefs.fake_filesystem_unittest import Patcher
import anthropic, claudetrace
db, url, folder = sys.argv[1:]
client = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0)
claudetrace.instrument(db=db)

def call(number):
    with claudetrace.tag(number=number):
        client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[])

with Patcher():
    call(1)
    time.sleep(0.5)
    taken = set(map(int, os.listdir("/dev/fd"))) if os.path.exists("/dev/fd") else set()
for number in range(100):
    os.open(f"{folder}/{number}", os.O_RDWR | os.O_CREAT)
call(2)
call(3)
claudetrace.flush(5)
"""


def test_a_number_of_a_faked_file_system_is_not_written_to(server: PlayServer, tmp_path: Path) -> None:
    """A journal that began inside pyfakefs goes on in a real file, and the host's files stay empty."""
    server.add(_answers.answer(_wire.message("Hello.", _wire.usage(10, 5)), times=None))
    db, folder = tmp_path / "ledger.db", tmp_path / "host"
    folder.mkdir()
    command = [sys.executable, "-c", FAKED, str(db), server.url, str(folder)]
    subprocess.run(command, env=outside_pytest(), check=True, timeout=60)

    assert {path.stat().st_size for path in folder.iterdir()} == {0}
    with claudetrace.Ledger(db) as ledger:
        assert {"2", "3"} <= {call.tags["number"] for call in ledger.calls()}
