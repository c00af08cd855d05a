"""`claudetrace import`: what other hosts have in ledgers, journals and logs, each response once."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

import claudetrace
from claudetrace._demo import _answers
from claudetrace._guard import Guard
from claudetrace._ledger._prune import prune_chunk
from claudetrace._ledger._schema import open_ledger
from claudetrace._ledger._store import Store
from claudetrace._telemetry._stdout import write_lines
from claudetrace.cli import main

from .collecting import ask, wait_for
from .rows import row

ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
SUMS = "SELECT service, COUNT(*), SUM(cost_picousd), SUM(output_tokens) FROM calls GROUP BY service ORDER BY service"


def run(*words: object, stdin: bytes | None = None) -> str:
    return CliRunner().invoke(main, ["import", *map(str, words)], input=stdin, catch_exceptions=False).output


def ledger_of(path: Path, rows: list[dict[str, Any]]) -> Path:
    with closing(Store(path, Guard())) as store:
        store.write(rows)
    return path


def lines_of(rows: list[dict[str, Any]], capsysbinary: pytest.CaptureFixture[bytes]) -> list[bytes]:
    """The lines that a program writes of `rows`, with `records="stdout"`."""
    capsysbinary.readouterr()
    write_lines(Guard(), rows)
    return capsysbinary.readouterr().out.splitlines(keepends=True)


def test_ledgers_of_many_hosts_are_imported_twice_and_count_once(tmp_path: Path, central: Path) -> None:
    """Every call of every ledger is there once, and each host's sums are equal to the picodollar."""
    hosts = []
    for number in range(20):
        rows = [row(service=f"service-{number % 3}", instance=f"host-{number}") for _ in range(50)]
        hosts.append((ledger_of(tmp_path / f"host-{number}.db", rows), rows))
    first = run(*(path for path, _ in hosts), "--db", central)
    second = run(*(path for path, _ in hosts), "--db", central)

    assert first == f"1,000 responses imported into {central}; 0 were there already.\n"
    assert second == f"0 responses imported into {central}; 1,000 were there already.\n"
    expected: dict[str, list[int]] = {}
    for each in (each for _, rows in hosts for each in rows):
        sums = expected.setdefault(each["service"], [0, 0, 0])
        for place, value in enumerate((1, each["cost_picousd"], each["output_tokens"])):
            sums[place] += value
    assert ask(central, SUMS) == [(name, *sums) for name, sums in sorted(expected.items())]
    with claudetrace.Ledger(central) as ledger:
        total = sum(each["cost_picousd"] for _, rows in hosts for each in rows)
        assert sum(int(each.cost_usd * 10**12) for each in ledger.spend(by="instance", since="2026-01-01")) == total
        assert sum(int(each.cost_usd * 10**12) for each in ledger.spend(by="model", since="2026-01-01")) == total


def test_a_ledger_comes_with_what_waits_in_its_spool(tmp_path: Path, central: Path) -> None:
    """Rows that a running program has not loaded yet are imported, its files are left alone, and nothing counts twice
    once they are loaded."""
    host = tmp_path / "host.db"
    loaded, waiting = row(), row()
    del waiting["cost_flags"], waiting["cost_picousd"], waiting["cost_parts"]
    ledger_of(host, [loaded])
    spool = tmp_path / "host.db.spool"
    spool.mkdir(mode=0o700)
    (spool / "1-a.jsonl").write_bytes(b"\n%b\n\n%b" % (orjson.dumps(waiting), orjson.dumps(row())[:50]))
    run(host, "--db", central)
    assert sorted(ask(central, "SELECT id FROM calls")) == sorted([(loaded["id"],), (waiting["id"],)])
    (priced,) = ask(central, f"SELECT cost_picousd > 0 FROM calls WHERE id = '{waiting['id']}'")
    assert priced == (1,)
    assert (spool / "1-a.jsonl").exists()
    assert run(spool, host, "--db", central).startswith("0 responses imported")


@pytest.mark.parametrize("log", ["plain", "gzip", "docker", "kubernetes", "stdin"])
def test_lines_of_a_log_are_the_rows(
    log: str, tmp_path: Path, central: Path, db: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Each column comes back as the ledger of the host has it, whatever the log has put around the lines."""
    rows = [row(usage='{"output_tokens": 7, "half": "\\ud83d", "x": 1.0}', tags='{"a":"ü \\"}"}'), row()]
    lines = [b"listening on 8000\n", *lines_of(rows, capsysbinary), b'{"level": "info"}\n']
    if log == "docker":
        lines = [json.dumps({"log": line.decode(), "stream": "stdout"}).encode() + b"\n" for line in lines]
    if log == "kubernetes":
        lines = [b"2026-11-29T12:00:00.123456789Z stdout F " + line for line in lines]
    content = b"".join(lines)
    file = tmp_path / "service.log"
    file.write_bytes(gzip.compress(content) if log == "gzip" else content)
    what = ("-",) if log == "stdin" else (file,)
    told = run(*what, "--db", central, stdin=content)
    ledger_of(db, rows)

    assert told == f"2 responses imported into {central}; 0 were there already.\n"
    every = "SELECT * FROM calls ORDER BY id"
    assert ask(central, every) == ask(db, every)
    assert run(*what, "--db", central, stdin=content).startswith("0 responses imported")


def test_a_log_that_grows_is_followed(
    tmp_path: Path, central: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """With --follow, lines come in as they are written, a half one once it is whole; Ctrl-C ends it well."""
    file = tmp_path / "service.log"
    first, second = lines_of([row(), row()], capsysbinary)
    file.write_bytes(first + second[:100])
    words = ["import", str(file), "--follow", "--db", str(central)]
    with subprocess.Popen([sys.executable, "-m", "claudetrace", *words], stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: central.exists() and ask(central, "SELECT COUNT(*) FROM calls") == [(1,)])
        with file.open("ab") as log:
            log.write(second[100:])
        wait_for(lambda: ask(central, "SELECT COUNT(*) FROM calls") == [(2,)])
        process.send_signal(2)
        assert process.communicate()[0].startswith(f"1 response imported into {central}; 0 were there already.\n1 resp")
    assert process.returncode == 0


def test_a_ledger_is_imported_while_programs_write_to_both(
    tmp_path: Path, central: Path, server: Any, client: Any, db: Path
) -> None:
    """An import beside running programs, here and there, takes what is there and disturbs neither."""
    server.add(_answers.answer(times=None))
    stopped = threading.Event()

    def load() -> None:
        with closing(Store(central, Guard())) as store:
            while not stopped.is_set():
                store.write([row(service="other")])

    other = threading.Thread(target=load)
    other.start()
    with claudetrace.instrument(db=db, spans="off", metrics=False, force=True):
        for _ in range(5):
            client.messages.create(**ASK)
            run(db, "--db", central)
        assert claudetrace.flush(timeout_s=30)
        run(db, "--db", central)
    stopped.set()
    other.join()
    assert ask(central, "SELECT COUNT(*) FROM calls WHERE service <> 'other'") == [(5,)]


def test_what_is_left_out_is_told(tmp_path: Path, central: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Broken lines, lines of another version, days that were pruned here or there: each is said."""
    (whole,) = lines_of([row()], capsysbinary)
    (file := tmp_path / "log").write_bytes(
        whole.replace(b'"retries"', b"x") + whole[:90] + b"\n" + whole.replace(b'"streamed"', b'"yen"')
    )
    assert "2 broken lines skipped: " in run(file, "--db", central)
    old = ledger_of(tmp_path / "old.db", [row(started_at="2026-01-01T00:00:00.000Z"), row()])
    run(old, "--db", central)
    with closing(open_ledger(central)) as connection:
        while prune_chunk(connection, "2026-02-01"):
            continue
    assert "1 response left out: of that time" in run(old, "--db", central)
    assert f"{central} is pruned: it has no calls of before 2026-01-02." in run(central, "--db", tmp_path / "new.db")


@pytest.mark.parametrize("what", ["nothing", "folder", "itself", "other"])
def test_what_cannot_be_imported_is_refused(what: str, tmp_path: Path, central: Path) -> None:
    """Wrong usage says which and why, and imports nothing."""
    ledger_of(central, [row()])
    (tmp_path / "folder").mkdir()
    with closing(__import__("sqlite3").connect(tmp_path / "other")) as connection:
        connection.execute("CREATE TABLE other (x)")
    path = {"itself": central}.get(what, tmp_path / what)
    ended = CliRunner().invoke(main, ["import", str(path), "--db", str(central)])
    assert (ended.exit_code, str(path) in ended.output.replace("\n", "")) == (2, True)
