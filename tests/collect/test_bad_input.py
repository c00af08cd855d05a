"""What a sender that lies can do to `claudetrace collect`: nothing to others, and nothing that is not told."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .collecting import PROTOBUF, Collecting, ask, body, told, wait_for
from .rows import row

DESK, SEARCH = "d" * 20, "s" * 20
TOKENS = f"desk={DESK}, search={SEARCH}"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collecting]:
    """One that asks for tokens; all tests send to it, and none may harm it."""
    started = Collecting(tmp_path_factory.mktemp("central") / "central.db", CLAUDETRACE_COLLECT_TOKENS=TOKENS)
    yield started
    assert "Traceback" not in started.end()


def send(collector: Collecting, content: bytes, token: str = DESK, **headers: str) -> tuple[int, str]:
    """The status and the text of the answer."""
    status, _, answer = collector.post(content, authorization=f"Bearer {token}", **headers)
    return status, answer.decode("utf-8", "replace")


REQUESTS: dict[str, tuple[Any, dict[str, str], int]] = {
    "no protobuf": (b"\xff" * 100, {}, 400),
    "json": (b"{}", {"content_type": "application/json"}, 415),
    "zstd": (b"x", {"content_encoding": "zstd"}, 415),
    "no gzip": (b"x" * 50, {"content_encoding": "gzip"}, 400),
    "half a gzip": (gzip.compress(os.urandom(5000))[:3000], {"content_encoding": "gzip"}, 400),
    "a bomb of gzip": (gzip.compress(bytes(1 << 30), 1), {"content_encoding": "gzip"}, 413),
    "nothing": (b"", {}, 200),
    "33 MB": (bytes(33 << 20), {}, 413),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_that_is_none_is_refused(what: str, collector: Collecting) -> None:
    """It gets the status that says so, at once, and the next request is served."""
    content, headers, status = REQUESTS[what]
    try:
        assert send(collector, content, **headers)[0] == status
    except (BrokenPipeError, ConnectionResetError):
        # It hung up on what is too large, which the sender is still sending.
        assert what == "33 MB"
    assert collector.get("/healthz") == (200, "ok\n")


def test_a_body_of_a_gigabyte_is_not_read(collector: Collecting) -> None:
    """It is refused by its length, or once more than the limit has come; the process does not grow by it."""
    before = resident_mb(collector)
    for head in (b"content-length: 1073741824\r\n", b"transfer-encoding: chunked\r\n"):
        with closing(collector.connect()) as connection:
            connection.sendall(b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n")
            connection.sendall(b"authorization: Bearer " + DESK.encode() + b"\r\n" + head + b"\r\n")
            sent = 0
            try:
                while sent < 1 << 30:
                    connection.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
                    sent += 1 << 20
            except OSError:
                pass
            assert sent < 64 << 20
    assert resident_mb(collector) < before + 200


@pytest.mark.parametrize("place", ["GET /v1/logs", "POST /v1/traces", "POST /v1/metrics", "GET /", "OPTIONS /v1/logs"])
def test_nothing_else_is_there(place: str, collector: Collecting) -> None:
    """Everything but POST /v1/logs and the two probes is 404."""
    assert collector.request(*place.split(" "), authorization=f"Bearer {DESK}")[0] == 404


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {DESK}"}, {"authorization": DESK}],
    ids=["none", "wrong", "scheme", "bare"],
)
def test_without_a_token_nothing_is_taken(headers: dict[str, str], collector: Collecting) -> None:
    """A request without a token of ours is 401."""
    stranger = row()
    assert collector.post(body(stranger), **headers)[0] == 401
    assert stranger["id"] not in collector.ids()


def test_a_token_is_bound_to_its_service(collector: Collecting) -> None:
    """Another service's records are not taken: not alone, and not among the token's own."""
    mine, foreign = row(), row(service="search")
    assert send(collector, body(foreign))[0] == 403
    status, _, answer = collector.post(body(mine, foreign), authorization=f"Bearer {DESK}")
    assert (status, told(answer)) == (200, (1, f"its service is not that of the token: {foreign['id']}"))
    wait_for(lambda: mine["id"] in collector.ids())
    assert foreign["id"] not in collector.ids()
    assert send(collector, body(foreign), SEARCH)[0] == 200
    wait_for(lambda: foreign["id"] in collector.ids())


BROKEN: dict[str, dict[str, Any]] = {
    "of a newer version": {"cost_in_yen": 3},
    "a text for a number": {"retries": "many"},
    "a number below zero": {"cost_picousd": -1},
    "a cost beyond all": {"cost_picousd": 1 << 62, "duration_ms": "x"},
    "no time": {"started_at": "yesterday"},
    "no day of any year": {"started_at": "2026-19-39T12:34:56.789Z"},
    "no json": {"usage": "{"},
    "usage that is a list": {"usage": "[1]"},
    "tags that are a list": {"tags": "[1]"},
    "a tag that is no text": {"tags": '{"a":1}'},
    "parts of another shape": {"cost_parts": '[{"name":"x"}]'},
    "a long id": {"id": "x" * 500},
    "larger than any call": {"feature": "x" * (2 << 20)},
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_record_is_rejected_alone(what: str, collector: Collecting) -> None:
    """It is named by its id with the reason, and the others of its request are in the ledger."""
    good, broken, last = row(), row(**BROKEN[what]), row()
    status, _, answer = collector.post(body(good, broken, last, packed=True), authorization=f"Bearer {DESK}", **GZIP)
    rejected, why = told(answer)

    assert (status, rejected) == (200, 1)
    assert why.endswith(f": {broken['id'][:64]}")
    wait_for(lambda: {good["id"], last["id"]} <= set(collector.ids()))
    assert broken["id"] not in collector.ids()
    assert ask(collector.db, "SELECT * FROM quarantine") == []


GZIP = {"content_encoding": "gzip"}


@pytest.mark.parametrize("column", ["call_id", "source", "operation", "outcome", "usage_is_final", "started_at"])
def test_a_record_without_what_each_has_is_rejected(column: str, collector: Collecting) -> None:
    """An older version's record, which lacks a column that no call is without, is rejected by its id."""
    broken = row()
    del broken[column]
    status, _, answer = collector.post(body(broken), authorization=f"Bearer {DESK}")
    assert (status, told(answer)[0], broken["id"] in told(answer)[1]) == (200, 1, True)


def test_other_logs_are_rejected_and_counted(collector: Collecting) -> None:
    """A log record of something else has no id to name; it is counted, and harms no call beside it."""
    other = {"retries": 1}
    status, _, answer = collector.post(body(other, mine := row()), authorization=f"Bearer {DESK}")
    assert (status, told(answer)) == (200, (1, "it is no call of claudetrace: "))
    wait_for(lambda: mine["id"] in collector.ids())


def test_doubles_count_once(collector: Collecting) -> None:
    """A record that comes again, in one request and in further ones, is one row."""
    double = row()
    for _ in range(3):
        assert send(collector, body(double, double))[0] == 200
    wait_for(lambda: double["id"] in collector.ids())
    assert collector.ids().count(double["id"]) == 1


def test_clocks_may_be_off(collector: Collecting) -> None:
    """Calls of a day ago and of tomorrow are under the day that their host told."""
    days = {}
    for shift in (-86_400, 86_400):
        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + shift))
        shifted = row(started_at=f"{day}T12:00:00.000Z")
        days[shifted["id"]] = day
        assert send(collector, body(shifted))[0] == 200
    wait_for(lambda: set(days) <= set(collector.ids()))
    found = dict(ask(collector.db, "SELECT id, substr(started_at, 1, 10) FROM calls"))
    assert {id_: found[id_] for id_ in days} == days


def resident_mb(collector: Collecting) -> float:
    pages = int(Path(f"/proc/{collector.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def test_beyond_loopback_it_needs_tokens(central: Path) -> None:
    """`--listen 0.0.0.0:…` without tokens is wrong usage, and so are tokens that can be guessed."""
    for tokens, said in (("", "CLAUDETRACE_COLLECT_TOKENS"), ("desk=short", "16 characters")):
        with pytest.raises(AssertionError, match=said):
            Collecting(central, host="0.0.0.0", CLAUDETRACE_COLLECT_TOKENS=tokens)


def test_pages_beyond_loopback_need_authentication(central: Path) -> None:
    """`--dashboard 0.0.0.0:…` is refused without a plugin that asks who somebody is."""
    with pytest.raises(AssertionError, match=r"--dashboard 0\.0\.0\.0 shows what you spend"):
        Collecting(central, "--dashboard", "0.0.0.0:0")


def test_a_slow_sender_is_cut_off(collecting: Callable[..., Collecting], monkeypatch: pytest.MonkeyPatch) -> None:
    """Senders that stop in the middle of their headers or their body lose the connection; others are served."""
    collector = collecting()
    slow = [collector.connect() for _ in range(50)]
    for number, connection in enumerate(slow):
        connection.sendall(b"POST /v1/logs HTTP/1.1\r\nhost: x\r\n")
        if number % 2:
            connection.sendall(f"content-type: {PROTOBUF}\r\ncontent-length: 100\r\n\r\nabc".encode())
    assert collector.post(body(row()))[0] == 200
    for connection in slow:
        with closing(connection):
            connection.settimeout(60)
            assert b"200" not in connection.recv(1000)
