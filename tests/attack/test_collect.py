"""Three services of four processes send to one `claudetrace collect` that is killed again and again, on a full disk."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from claudetrace._guard import Guard
from claudetrace._ledger._store import Store
from claudetrace.cli import main
from tests.collect.collecting import Collecting, ask, wait_for
from tests.collect.crowd import SAID, Crowd, kill_again_and_again
from tests.collect.rows import row

from .test_full_disk import fill


def test_each_response_is_there_once(small_disk: Path, tmp_path: Path) -> None:
    """Killed twenty times, its disk full for ten seconds amid that: every billed response once, every sum equal."""
    collector = Collecting(small_disk / "data" / "central.db", CLAUDETRACE_COLLECT_TOKENS=SAID)
    said: list[tuple[int, str]] = []

    def full() -> None:
        time.sleep(4)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            fill(small_disk)
            time.sleep(0.05)
            try:
                said.append(collector.get("/readyz"))
            except OSError:
                continue
        (small_disk / "filler").unlink()

    try:
        crowd = Crowd(tmp_path, collector, processes=4, seconds=30)
        filling = threading.Thread(target=full)
        filling.start()
        kill_again_and_again(collector, 20)
        filling.join()
        crowd.end()
        crowd.verdict(collector.db)
    finally:
        collector.kill()
    assert any(status == 503 for status, _ in said), "the disk was never seen to be full"


def test_a_hundred_thousand_calls_of_twenty_ledgers(tmp_path: Path) -> None:
    """Imported twice: once each, the sums of each ledger equal to the picodollar."""
    central, sums = tmp_path / "central.db", {}
    for number in range(20):
        rows = [row(instance=f"host-{number}") for _ in range(5_000)]
        sums[f"host-{number}"] = (5_000, sum(each["cost_picousd"] for each in rows))
        with closing(Store(tmp_path / f"{number}.db", Guard())) as store:
            for start in range(0, 5_000, 1_000):
                store.write(rows[start : start + 1_000])
    words = ["import", *(str(tmp_path / f"{number}.db") for number in range(20)), "--db", str(central)]
    for _ in range(2):
        began = time.monotonic()
        told = CliRunner().invoke(main, words, catch_exceptions=False).output
        print(f"{told.strip()} {time.monotonic() - began:.1f} s")
    found = ask(central, "SELECT instance, COUNT(*), SUM(cost_picousd) FROM calls GROUP BY instance")
    assert {name: rest for name, *rest in found} == {name: list(each) for name, each in sums.items()}


def test_two_hundred_senders_at_once(tmp_path: Path) -> None:
    """Connections of two hundred senders, all sending at the same time: each gets its answer, nothing is lost."""
    from tests.collect.collecting import body

    collector, answers = Collecting(tmp_path / "central.db"), []
    sent = [[row() for _ in range(20)] for _ in range(200)]

    def send(rows: list[dict[str, object]]) -> None:
        answers.append(collector.post(body(*rows))[0])

    try:
        threads = [threading.Thread(target=send, args=(rows,)) for rows in sent]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        wait_for(lambda: len(collector.ids()) == 4_000)
        assert answers == [200] * 200
    finally:
        collector.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="it makes files of another owner")
def test_a_ledger_that_is_moved_or_locked(tmp_path: Path) -> None:
    """Records are acknowledged while the central ledger is locked or moved away, and are there afterwards."""
    import sqlite3

    from tests.collect.collecting import body

    db = tmp_path / "central" / "central.db"
    collector = Collecting(db)
    first, locked, moved = row(), row(), row()
    try:
        assert collector.post(body(first))[0] == 200
        wait_for(lambda: collector.ids() == [first["id"]])
        with closing(sqlite3.connect(db, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            assert collector.post(body(locked))[0] == 200
            time.sleep(2)
            assert collector.ids() == [first["id"]]
        wait_for(lambda: collector.ids() == [first["id"], locked["id"]])
        db.rename(elsewhere := tmp_path / "central" / "old.db")
        assert collector.post(body(moved))[0] == 200
        wait_for(lambda: db.exists() and collector.ids() == [moved["id"]])
        assert sorted(ask(elsewhere, "SELECT id FROM calls")) == sorted([(first["id"],), (locked["id"],)])
    finally:
        collector.kill()
