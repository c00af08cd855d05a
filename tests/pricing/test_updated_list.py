"""New models without a release: a newer price list beside the ledger, and until then the rates of another model."""

from __future__ import annotations

import copy
import hashlib
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._pricing._list import use_rates_of
from claudetrace._pricing._rates import RATES_FILE

from ._ledgers import rows_of, run, unpriced_row, write

TODAY = "2026-11-21"
USAGE = {"input_tokens": 1_000_000, "output_tokens": 0}
PROGRAM = """
import sys, anthropic, claudetrace
url, db = sys.argv[1:]
with claudetrace.instrument(db=db):
    anthropic.Anthropic(api_key="k", base_url=url).messages.create(model="claude-new-1", max_tokens=1, messages=[])
"""


@pytest.fixture(autouse=True)
def packaged_rates() -> Iterator[None]:
    """What a test takes from beside its ledger ends with it."""
    yield
    use_rates_of(None)


def newer(as_of: str = "2026-12-01", change: Callable[[dict[str, Any]], None] = lambda data: None) -> bytes:
    """The package's list with a new model of 7 dollars a million input tokens, and with `change`."""
    data = json.loads(RATES_FILE.read_text())
    data["as_of"] = as_of
    model = copy.deepcopy(next(each for each in data["models"] if each["id"] == "claude-opus-5-5"))
    model |= {"id": "claude-new-1", "aliases": [], "bedrock_id": None, "vertex_id": None, "fast": []}
    model["periods"][0]["input"] = "7"
    data["models"].append(model)
    change(data)
    return json.dumps(data).encode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "newer.json"
    path.write_bytes(newer())
    return path


def test_a_new_list_prices_a_new_model(db: Path, file: Path, server: Any) -> None:
    """A program that starts after `prices update` prices a new model, and its rows name the list by its SHA-256."""
    told = run("prices", "update", file, "--db", db)
    server.add(_answers.answer(_wire.message("Hello.", USAGE, model="claude-new-1")))
    subprocess.run([sys.executable, "-c", PROGRAM, server.url, str(db)], check=True, timeout=60)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (row,) = rows_of(db)

    assert told.exit_code == 0, told.output
    assert f"SHA-256 {digest}" in told.output
    assert "New: claude-new-1" in told.output
    assert (row["cost_picousd"], row["cost_flags"]) == (7 * 10**12, "[]")
    assert row["rates_version"] == f"2026-12-01-{digest}"


def test_reprice_and_prices_and_doctor_use_it(db: Path, file: Path) -> None:
    """Rows that had no price get one, `prices` lists the model, and `doctor` names the list."""
    write(db, [unpriced_row(USAGE, model="claude-new-1", model_requested="claude-new-1")])
    before = run("prices", "claude-new-1", "--db", db).exit_code
    run("prices", "update", file, "--db", db)
    done = run("reprice", "--yes", "--db", db)

    assert done.exit_code == 0, done.output
    assert [row["cost_picousd"] for row in rows_of(db)] == [7 * 10**12]
    assert (before, run("prices", "claude-new-1", "--db", db).exit_code) == (1, 0)
    assert "2026-12-01-" in run("doctor", "--db", db).output
    assert run("prices", "claude-new-1", "--db", db.with_name("other.db")).exit_code == 1


def _drop_a_class(data: dict[str, Any]) -> None:
    del data["models"][-1]["periods"][0]["output"]


def _drop_the_source(data: dict[str, Any]) -> None:
    data["models"][-1]["sources"] = []


def _change_the_past(data: dict[str, Any]) -> None:
    data["models"][0]["periods"][0]["input"] = "1"


def _drop_a_model(data: dict[str, Any]) -> None:
    del data["models"][0]


def _other_searches(data: dict[str, Any]) -> None:
    data["global"]["web_search_usd_per_request"] = "0.02"


def _other_currency(data: dict[str, Any]) -> None:
    data["currency"] = "EUR"


def _no_models(data: dict[str, Any]) -> None:
    del data["models"]


def _no_day(data: dict[str, Any]) -> None:
    data["as_of"] = "next week"


WRONG: dict[str, tuple[bytes, str]] = {
    "older": (newer("2026-11-20"), "older than that of 2026-11-21"),
    "a class without a price": (newer(change=_drop_a_class), "not a price"),
    "no source": (newer(change=_drop_the_source), "has no source"),
    "another past": (newer(change=_change_the_past), "other prices than those that rows were priced with"),
    "a model is gone": (newer(change=_drop_a_model), "is gone"),
    "another rule": (newer(change=_other_searches), "takes a newer version"),
    "another currency": (newer(change=_other_currency), "currency"),
    "no models": (newer(change=_no_models), "no price list"),
    "no day": (newer(change=_no_day), "no price list"),
    "no JSON": (b"<html>", "no price list"),
    "another JSON": (b"[1, 2]", "no price list"),
    "empty": (b"", "no price list"),
    "endless": (b" " * 5_000_000, "bytes"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_list_is_refused(db: Path, tmp_path: Path, what: str) -> None:
    """Status 2 and the reason, and nothing is kept."""
    file = tmp_path / "wrong.json"
    file.write_bytes(WRONG[what][0])
    told = run("prices", "update", file, "--db", db)

    assert told.exit_code == 2, told.output
    assert WRONG[what][1] in told.output
    assert not db.with_name("ledger.db.rates.json").exists()


def test_an_older_list_does_not_replace_a_newer_one(db: Path, file: Path, tmp_path: Path) -> None:
    """Older is told by the list that is in force, which may be an updated one; the same one may come again."""
    run("prices", "update", file, "--db", db)
    older = tmp_path / "older.json"
    older.write_bytes(newer("2026-11-25"))

    assert run("prices", "update", file, "--db", db).exit_code == 0
    assert "older than that of 2026-12-01" in run("prices", "update", older, "--db", db).output
    assert db.with_name("ledger.db.rates.json").read_bytes() == file.read_bytes()


def test_a_list_that_is_damaged_later_is_left_out_and_told(db: Path, file: Path, caplog: Any) -> None:
    """The package's own rates are used, a warning names the file, and `doctor` has a finding."""
    write(db, [unpriced_row(USAGE)])
    run("prices", "update", file, "--db", db)
    db.with_name("ledger.db.rates.json").write_bytes(file.read_bytes()[:1000])
    use_rates_of(db)
    told = run("doctor", "--db", db)

    assert claudetrace.price({}).rates_version is not None
    assert str(claudetrace.price({}).rates_version).startswith(TODAY)
    assert "ledger.db.rates.json is no price list" in caplog.text
    assert told.exit_code == 1
    assert "run `claudetrace prices update` again" in told.output


class _Answers(http.server.BaseHTTPRequestHandler):
    """The list under /rates.json, and a redirect to it under any other path."""

    seen: ClassVar[list[dict[str, str]]] = []

    def do_GET(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        found = self.path == "/rates.json"
        self.send_response(200 if found else 302)
        if not found:
            self.send_header("Location", "/rates.json")
        self.end_headers()
        self.wfile.write(newer() if found else b"")

    def log_message(self, *_args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    _Answers.seen.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as opened:
        thread = threading.Thread(target=opened.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{opened.server_port}"
        opened.shutdown()
        thread.join()


def test_a_list_is_fetched_by_one_plain_request(db: Path, web: str) -> None:
    """One GET that tells no more than the program's name, and no redirect is followed."""
    told = run("prices", "update", f"{web}/rates.json", "--db", db)
    led = run("prices", "update", f"{web}/elsewhere", "--db", db)

    assert told.exit_code == 0, told.output
    assert set(_Answers.seen[0]) == {"host", "user-agent", "accept-encoding", "connection"}
    assert led.exit_code == 2
    assert "redirects are not followed" in led.output
    assert len(_Answers.seen) == 2


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("http://example.com/rates.json", "give a file, https://"),
        ("http://10.0.0.1/rates.json", "give a file, https://"),
        ("ftp://127.0.0.1/rates.json", "give a file, https://"),
        ("file:///etc/passwd", "give a file, https://"),
        ("http://127.0.0.1:1/rates.json?token=geheim", "the connection was refused"),
        ("/no/such/file", "is no file"),
        ("/dev/zero", "is no file"),
    ],
)
def test_a_place_that_is_none_is_refused(db: Path, source: str, why: str) -> None:
    """Plain http goes to this machine alone, other schemes nowhere, and no secret of a URL is shown."""
    told = run("prices", "update", source, "--db", db)

    assert told.exit_code == 2
    assert why in told.output
    assert "geheim" not in told.output


LIKE = {"claude-new-1": {"like": "claude-opus-5-5"}}


def test_a_new_model_is_priced_like_another_until_the_list_has_it(
    server: Any, client: Any, start: Any, db: Path, tmp_path: Path, file: Path
) -> None:
    """Its rows are flagged; after an update `reprice` gives them the model's own price, without being asked for all."""
    config = tmp_path / "settings.toml"
    config.write_text('[rates]\n"claude-new-1" = { like = "claude-opus-5-5" }\n')
    start(config=config)
    for model in ("claude-new-1", "us.anthropic.claude-new-1-20261201-v1:0", "claude-opus-5-5"):
        server.add(_answers.answer(_wire.message("Hello.", USAGE, model=model)))
        client.messages.create(model=model, max_tokens=1, messages=[])
    claudetrace.flush()
    calls = claudetrace.Ledger(db).calls()[::-1]
    claudetrace.uninstrument()
    run("prices", "update", file, "--db", db)
    again = run("reprice", "--yes", "--db", db)

    assert [(call.cost_usd, call.cost_flags) for call in calls] == [
        (Decimal(4), ("assumed_rates",)),
        (Decimal("4.4"), ("assumed_rates",)),
        (Decimal(4), ()),
    ]
    assert {part.model for call in calls[:2] for part in call.cost_parts} == {"claude-new-1"}
    assert "Repriced 2 calls" in again.output
    assert [(row["cost_picousd"], row["cost_flags"]) for row in rows_of(db)] == [
        (7 * 10**12, "[]"),
        (77 * 10**11, "[]"),
        (4 * 10**12, "[]"),
    ]


@pytest.mark.parametrize(
    ("rates", "why"),
    [
        ({"claude-new-1": {"like": "claude-unheard-of"}}, r"rates\.claude-new-1\.like: no rates are known"),
        (
            {"claude-new-1": {"like": "claude-opus-5-5", "discount": 0.1}},
            r"rates\.claude-new-1\.discount: is not known",
        ),
        ({"claude-new-1": {"like": 5}}, "is not the id of a model"),
        ({"claude-new-1": "claude-opus-5-5"}, "is not known"),
        ({**LIKE, "models": {"claude-new-1": {"discount": 0.1}}}, "prices of its own too"),
    ],
)
def test_a_likeness_that_cannot_be_is_refused(start: Any, rates: dict[str, Any], why: str) -> None:
    """A model without rates, other keys beside `like` and two prices of one model raise at the start."""
    with pytest.raises(claudetrace.ClaudetraceError, match=why):
        start(rates=rates)


def test_discounts_hold_for_what_is_assumed(start: Any, server: Any, client: Any, ledger: Any) -> None:
    """What the other model costs by own prices, the new one costs too; the list's own model is left as it is."""
    start(rates={"discount": 0.5, **LIKE, "claude-sonnet-5-5": {"like": "claude-opus-5-5"}})
    for model in ("claude-new-1", "claude-sonnet-5-5"):
        server.add(_answers.answer(_wire.message("Hello.", USAGE, model=model)))
        client.messages.create(model=model, max_tokens=1, messages=[])

    assert [(row.cost_usd, row.cost_flags) for row in ledger()] == [
        (Decimal(2), ("custom_rates", "assumed_rates")),
        (Decimal(1), ("custom_rates",)),
    ]
