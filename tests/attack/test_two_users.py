"""Two users of one machine on one ledger: neither stops the other, nothing is lost, and what cannot be is said."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer

if TYPE_CHECKING:
    from collections.abc import Iterator

OWNER, OTHER, GROUP = 4101, 4102, 4200
SETTINGS = "settings.toml"
PROGRAM = Path(__file__).with_name("_user.py")
READING = (("report",), ("tail", "--once"), ("budgets",), ("doctor",))
CHANGING = (("prune", "--before", "90d"), ("forget", "--user", "ada", "--yes"), ("reprice", "--yes"))
# Python may be in a folder of root's own: then they see that folder with nothing else in it.
AS_USER = """
set -e
closed=$1 python=$2; shift 2
if [ -n "$closed" ]; then
    kept=$(mktemp -d)
    mount --bind "$python" "$kept"
    mount -t tmpfs -o mode=755 tmpfs "$closed"
    mkdir -p "$python"
    mount --bind "$kept" "$python"
    umount "$kept"
    rmdir "$kept"
fi
exec "$@"
"""


@pytest.fixture
def server() -> Iterator[PlayServer]:
    with PlayServer() as playing:
        playing.add(_answers.answer(times=None))
        yield playing


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that all may enter, outside of pytest's own, with one for temporary files."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("running programs as other users needs root and setpriv")
    made = Path(tempfile.mkdtemp(prefix="two-users-"))
    made.chmod(0o755)
    (made / SETTINGS).write_text("")
    (made / "tmp").mkdir()
    (made / "tmp").chmod(0o1777)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def owned(folder: Path) -> Path:
    """A ledger to be, in the owner's folder."""
    return _folder(folder / "owned", OWNER, OWNER, 0o755) / "ledger.db"


@pytest.fixture
def shared(folder: Path) -> Path:
    """A ledger to be, in a folder where everybody may make files and none remove another's."""
    return _folder(folder / "shared", 0, 0, 0o1777) / "ledger.db"


def _folder(path: Path, uid: int, gid: int, mode: int) -> Path:
    path.mkdir()
    os.chown(path, uid, gid)
    path.chmod(mode)
    return path


def started(uid: int, db: Path, *words: object, umask: str = "022") -> subprocess.Popen[str]:
    """Python as run by that user, who is in the group too."""
    prefix = Path(sys.base_prefix)
    closed = [str(each) for each in prefix.parents if not each.stat().st_mode & stat.S_IXOTH]
    user = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--groups", str(GROUP), "--"]
    seeing = ["unshare", "-m", "sh", "-c", AS_USER, "sh", "".join(closed[-1:]), str(prefix)]
    return subprocess.Popen(
        [*seeing, *user, sys.executable, *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/", "TEST_UMASK": umask,
             "TMPDIR": str(db.parents[1] / "tmp"), "CLAUDETRACE_CONFIG": str(db.parents[1] / SETTINGS)},
    )  # fmt: skip


def record(uid: int, db: Path, server: PlayServer, calls: int = 3, umask: str = "022") -> tuple[str, str]:
    """What a program of that user's says of its rows, and its log."""
    program = started(uid, db, PROGRAM, db, server.url, calls, umask=umask)
    out, log = program.communicate("\n", timeout=60)
    assert program.returncode == 0, log
    return out.strip(), log


def command(uid: int, db: Path, *words: str) -> tuple[int, str]:
    """How a command of ours ends for that user, and what it says."""
    program = started(uid, db, "-m", "claudetrace", *words, "--db", db)
    out, log = program.communicate("", timeout=60)
    return program.returncode, out + log


def calls_in(db: Path) -> int:
    """As its owner's report counts them."""
    _, out = command(OWNER, db, "report", "--json", "--since", "2026-01-01")
    return sum(each["calls"] for each in json.loads(out)["rows"])


def beside(db: Path) -> dict[str, int]:
    """What is beside the ledger, each with its owner."""
    return {path.name: path.lstat().st_uid for path in db.parent.iterdir()}


@pytest.mark.parametrize("where", ["owned", "shared"])
def test_a_reader_leaves_nothing(where, server, request):
    """Whoever may read a ledger and not write it reads it, and its owner goes on as before."""
    db = request.getfixturevalue(where)
    record(OWNER, db, server)
    for path in (db, db.with_name("ledger.db.budgets")):
        path.chmod(0o644)
    before = beside(db)
    for words in READING:
        code, said = command(OTHER, db, *words)

        assert (code, "Traceback" in said) == (1 if words == ("doctor",) else 0, False), said
        assert beside(db) == before

    assert record(OWNER, db, server)[0] == "3 0"
    assert calls_in(db) == 6


@pytest.mark.parametrize("where", ["owned", "shared"])
def test_a_reader_sees_what_a_program_that_runs_has_written(where, server, request):
    """Beside a program that has the ledger open, a reader sees its rows of now."""
    db = request.getfixturevalue(where)
    record(OWNER, db, server)
    db.chmod(0o644)
    program = started(OWNER, db, PROGRAM, db, server.url, 4)
    assert program.stdout is not None
    assert program.stdout.readline() == "4 0\n"

    code, said = command(OTHER, db, "report", "--json", "--since", "2026-01-01")

    program.communicate("\n", timeout=30)
    assert (code, sum(each["calls"] for each in json.loads(said)["rows"])) == (0, 7)
    assert record(OWNER, db, server)[0] == "3 0"


def test_a_reader_follows_what_is_written_next(owned, server):
    """Who may only read and follows a ledger that nobody has open sees the rows that come."""
    record(OWNER, owned, server)
    owned.chmod(0o644)
    reader = started(OTHER, owned, "-m", "claudetrace", "tail", "-n", "1", "--json", "--db", owned)
    assert reader.stdout is not None
    assert json.loads(reader.stdout.readline())["outcome"] == "ok"

    record(OWNER, owned, server, 2)

    assert [json.loads(reader.stdout.readline())["outcome"] for _ in range(2)] == ["ok", "ok"]
    reader.terminate()
    reader.communicate(timeout=30)


@pytest.mark.parametrize(("mode", "commands"), [(0o600, (*READING, *CHANGING)), (0o644, CHANGING)])
def test_what_may_not_be_is_said(mode, commands, shared, server):
    """A command that may not read or write ends in a sentence, and changes nothing."""
    record(OWNER, shared, server)
    for path in (shared, shared.with_name("ledger.db.budgets")):
        path.chmod(mode)
    before = beside(shared)
    for words in commands:
        code, said = command(OTHER, shared, *words)

        assert (code, "Traceback" in said, "ledger.db" in said) == (2, False, True), said
        assert beside(shared) == before

    assert calls_in(shared) == 3


def test_a_folder_that_may_not_be_entered_is_said(owned, server):
    """A command on a ledger in another's closed folder ends in a sentence."""
    record(OWNER, owned, server)
    owned.parent.chmod(0o700)
    for words in (*READING, *CHANGING):
        code, said = command(OTHER, owned, *words)

        assert (code, "Traceback" in said) == (1 if words == ("doctor",) else 2, False), said


def test_the_second_user_loses_nothing(shared, server):
    """What cannot be written where another was first is kept in a file of one's own, and the log says where."""
    record(OWNER, shared, server)

    said, log = record(OTHER, shared, server, 20)

    kept = [line for path in shared.parents[1].glob("tmp/*/*/*.jsonl") for line in path.read_text().split("\n") if line]
    assert (said, len(kept)) == ("0 0", 20), log
    assert "20 calls" in log
    assert str(shared.parents[1] / "tmp") in log
    assert record(OWNER, shared, server)[0] == "3 0"


@pytest.mark.parametrize("group_bit", [0, stat.S_ISGID])
def test_a_group_shares_one_ledger(group_bit, folder, server):
    """With `file_mode` for a group its members record and read by turns, whatever their umask, and whoever began."""
    db = _folder(folder / "of_group", 0, GROUP, 0o770 | group_bit) / "ledger.db"
    (folder / SETTINGS).write_text("file_mode = 0o660\n")
    first = started(OWNER, db, PROGRAM, db, server.url, 3, umask="077")
    assert first.stdout is not None
    assert first.stdout.readline() == "3 0\n"

    second = record(OTHER, db, server, 4, "077")
    first.communicate("\n", timeout=30)
    third = record(OTHER, db, server, 5, "077")
    fourth = record(OWNER, db, server, 6, "077")

    assert [second[0], third[0], fourth[0]] == ["4 0", "5 0", "6 0"]
    code, told = command(OTHER, db, "report")
    assert code == 0, told
    assert record(OWNER, db, server, 1, "077")[0] == "1 0"
    assert calls_in(db) == 19
    for path in db.parent.iterdir():
        found = path.lstat()
        assert (found.st_gid, found.st_mode & 0o060) == (GROUP, 0o060), path


def test_what_root_makes_in_a_users_folder_is_theirs(owned, server):
    """Root may look at a ledger, and record to it, and its owner goes on as before."""
    record(OWNER, owned, server)
    spool = owned.with_name("ledger.db.spool")
    (spool / "9-torn.jsonl").write_text("no row\n")
    os.chown(spool / "9-torn.jsonl", OWNER, OWNER)

    assert command(0, owned, "report")[0] == 0
    assert record(0, owned, server)[0] == "3 0"

    assert set(beside(owned).values()) == {OWNER}
    assert {path.lstat().st_uid for path in spool.iterdir()} == {OWNER}
    assert record(OWNER, owned, server)[0] == "3 0"
