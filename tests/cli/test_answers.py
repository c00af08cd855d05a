"""The questions that people ask of a ledger, each by one command: docs/reports.md, and what its answers promise."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import unicodedata
from decimal import Decimal
from pathlib import Path

import pytest
from pricing._ledgers import unpriced_row, write

import claudetrace
from claudetrace import Ledger
from claudetrace._ledger._export import FOCUS_COLUMNS
from claudetrace.cli import _options, _text

from .conftest import run

DOCS = (Path(__file__).parents[2] / "docs/reports.md").read_text()
COMMANDS = [line for block in re.findall(r"```\n(.*?)```", DOCS, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def asked(demo, tmp_path_factory) -> Path:
    """The demo's ledger with a budget beside it, and a call that has the id that the docs look for."""
    folder = tmp_path_factory.mktemp("asked")
    path = Path(shutil.copy(demo[0], folder / "ledger.db"))
    with Ledger(path) as ledger, ledger.db.conn:
        ledger.db.execute("UPDATE calls SET request_id = 'req_0123' WHERE rowid = 3")
    claudetrace.instrument(db=path, budgets=[claudetrace.Budget("month", usd=500)], force=True)
    claudetrace.uninstrument()
    return path


@pytest.fixture
def narrow(monkeypatch) -> None:
    """A screen of 80 columns."""
    monkeypatch.setattr(_text, "is_screen", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_docs(asked, narrow, monkeypatch, tmp_path, command):
    """Each command that docs/reports.md gives does what it says, and what it shows fits 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAUDETRACE_DB", str(asked))
    told = run(*shlex.split(command)[1:])

    assert told.exit_code == 0, told.output
    assert any(word in command for word in ("--csv", "--json", "export")) or _widest(told.output, asked) <= 80


def _widest(output: str, path: Path) -> int:
    """The longest line of tables and notes; a line that names a file is as long as its path."""
    wide = lambda line: sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)  # noqa: E731
    return max(wide(line) for line in output.splitlines() if str(path) not in line)


def _priced(**changes) -> dict:
    return unpriced_row(
        {"input_tokens": 100, "output_tokens": 10},
        **{"cost_picousd": 10**9, "cost_flags": "[]", "cost_parts": "[]", "cache_saved_picousd": 0, **changes},
    )


@pytest.fixture
def two_weeks(tmp_path) -> Path:
    """Last week two calls of 1 dollar, this week four of 3, which are twice as long and of which a quarter is saved."""
    last = {"started_at": "2026-11-04T10:00:00.000Z", "cost_picousd": 10**12}
    this = {"started_at": "2026-11-11T10:00:00.000Z", "cost_picousd": 3 * 10**12, "cache_saved_picousd": 10**12}
    longer = {"input_tokens": 200, "output_tokens": 20}
    rows = [
        *(_priced(**last, feature="chat") for _ in range(2)),
        *(_priced(**this, **longer, feature="chat") for _ in range(4)),
    ]
    return write(tmp_path / "weeks.db", [*rows, _priced(**last, feature="gone")])


def test_a_change_is_split_into_its_causes(two_weeks):
    """Twice the calls, of twice the tokens, at twice the price, of which the cache saves a quarter: each is told in
    dollars, and they add up to the change of each row and of all."""
    week = ["--since", "2026-11-09", "--until", "2026-11-16", "--compare", "--by", "feature", "--db", two_weeks]
    told = json.loads(run("report", *week, "--json").output)
    chat, gone = told["rows"]

    assert [chat[name] for name in ("before_usd", "cost_usd", "change_usd", "percent")] == [
        *("2.000000000000", "12.000000000000", "10.000000000000", 500)
    ]
    assert [Decimal(chat[f"{cause}_usd"]) for cause in ("volume", "tokens", "price", "cache")] == [2, 4, 8, -4]
    assert (gone["feature"], gone["change_usd"], gone["volume_usd"]) == ("gone", *["-1.000000000000"] * 2)
    assert Decimal(told["total"]["change_usd"]) == 9
    text = run("report", *week).output
    assert "+$10.0000" in text
    assert "2026-11-02 00:00 until 2026-11-09 00:00" in text
    assert "has no rows by time" in run("report", *week, "--by", "day").output


def test_latencies_are_compared(two_weeks):
    """p95 of this week stands beside that of the week before."""
    told = run("report", "--latency", "--since", "2026-11-09", "--until", "2026-11-16", "--compare", "--db", two_weeks)

    assert told.output.count("1.00 s") == 3 + 3
    assert "Answers without an error" in told.output


@pytest.mark.parametrize("id_", ["req_1", "msg_1", "ab" * 16, "AB" * 16, "cd" * 8, "s1", "batch_1", "call_1", "u1"])
def test_a_call_is_found_by_any_of_its_ids(tmp_path, id_):
    """Request, message, trace, span, session, batch, call or user: the call is shown with the parts of its cost."""
    part = {"name": "input_tokens", "model": "m", "quantity": 1000, "rate_picousd": 1_000_000, "picousd": 10**9}
    ids = {"request_id": "req_1", "message_id": "msg_1", "trace_id": "ab" * 16, "span_id": "cd" * 8, "user_id": "u1"}
    ids |= {"session_id": "s1", "batch_id": "batch_1", "custom_id": "c", "call_id": "call_1"}
    db = write(tmp_path / "found.db", [_priced(), _priced(**ids, cost_parts=json.dumps([part]))])
    told = run("find", id_, "--db", db)

    assert (told.exit_code, told.output.splitlines()[-1]) == (0, "1 call, $0.001000")
    assert re.search(r"input_tokens +m +1,000 +1 +\$0.001000", told.output)
    assert run("find", "nothing", "--db", db).exit_code == 1


@pytest.mark.parametrize("more", [[], ["--where", "feature=chat"], ["--since", "2026-11-09"], ["--where", "billing="]])
def test_the_sum_of_an_export_is_that_of_the_report(two_weeks, tmp_path, more):
    """Every format adds up to the report's total, exactly; CSV and JSON lines have a row for each call."""
    write(two_weeks, [_priced(feature="chat", billing="subscription")])
    since = [] if "--since" in more else ["--since", "all"]
    total = json.loads(run("report", *more, *since, "--json", "--db", two_weeks).output)["total"]
    rows = list(csv.DictReader(io.StringIO(run("export", "--format", "csv", *more, "--db", two_weeks).stdout)))
    lines = run("export", "--format", "jsonl", *more, "-o", tmp_path / "o.jsonl", "--db", two_weeks)

    assert lines.exit_code == 0
    parsed = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [row["id"] for row in parsed]
    for found in (rows, parsed):
        assert len(found) == total["responses"]
        assert sum(Decimal(row["spend_usd"]) for row in found) == Decimal(total["cost_usd"])


def test_an_export_to_what_is_no_file(two_weeks, tmp_path):
    """A pipe or a device is written to and stays what it is; a file is there once it is whole."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    told = run("export", "--format", "jsonl", "-o", pipe, "--db", two_weeks)

    assert (told.exit_code, pipe.is_fifo()) == (0, True)
    assert os.read(reader, 1 << 16).count(b"\n") == 7
    os.close(reader)


def test_a_bill_is_as_focus_wants_it(demo):
    """The bill has every column that FOCUS 1.2 demands and values that it allows, its charges add up to the report's
    total, and a call without a price is a charge of nothing that says so."""
    bill = list(csv.DictReader(io.StringIO(run("export", "--format", "focus", "--db", demo[0]).stdout)))
    total = json.loads(run("report", "--since", "all", "--json", "--db", demo[0]).output)["total"]

    assert sum(Decimal(row["BilledCost"]) for row in bill) == Decimal(total["cost_usd"])
    assert set(MANDATORY) <= set(bill[0]) <= {*FOCUS_COLUMNS}
    for row in bill:
        for name, allowed in MANDATORY.items():
            assert re.fullmatch(allowed, row[name]), (name, row[name])
        assert json.loads(row["Tags"])
        assert Decimal(row["ListCost"]) == Decimal(row["ConsumedQuantity"]) * Decimal(row["ListUnitPrice"] or 0)
        assert row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]


NUMBER, TEXT, TIME = r"-?\d+(\.\d+)?", r".+", r"\d{4}-\d\d-\d\dT00:00:00Z"
MANDATORY = {
    **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost", "PricingQuantity"), NUMBER),
    **dict.fromkeys(("BillingAccountId", "BillingAccountName", "ChargeDescription", "InvoiceIssuerName"), TEXT),
    **dict.fromkeys(("ProviderName", "PublisherName", "ServiceName", "PricingUnit"), TEXT),
    **dict.fromkeys(("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd"), TIME),
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage|Purchase|Tax|Credit|Adjustment",
    "ChargeClass": "|Correction",
    "ServiceCategory": "AI and Machine Learning",
}
"""The columns that FOCUS 1.2 demands of every bill, and what each may hold."""


def test_a_formula_in_a_tag_stays_text(tmp_path):
    """What a spreadsheet would run gets a quote before it, in the report's file and in the export's."""
    db = write(tmp_path / "formula.db", [_priced(customer="=1+1", feature="-5")])

    for words in (["report", "--by", "customer,feature", "--since", "all", "--csv"], ["export", "--format", "csv"]):
        (row,) = csv.DictReader(io.StringIO(run(*words, "--db", db).stdout))
        assert (row["customer"], row["feature"]) == ("'=1+1", "-5")


def test_a_flag_is_explained(tmp_path):
    """What leaves a cost open is told with what to do about it."""
    db = write(tmp_path / "flags.db", [unpriced_row({"input_tokens": 1}), _priced()])
    told = run("report", "--by", "flags,model", "--where", "cost_status!=priced", "--since", "all", "--db", db).output

    assert "unknown_model: no rate is known for the model" in told
    assert "claudetrace reprice" in told


def test_reading_takes_the_ledger_of_the_settings(two_weeks, tmp_path, monkeypatch):
    """Who reads in a folder with a claudetrace.toml reads its `db`; who deletes has to name the ledger, or the file."""
    (tmp_path / "claudetrace.toml").write_text('db = "weeks.db"\n')
    monkeypatch.chdir(tmp_path)
    whole = ["report", "--since", "all", "--json"]
    told = run("prune", "--before", "2026-11-10", "--yes")

    assert json.loads(run(*whole).output)["total"]["calls"] == 7
    assert f"{two_weeks}" in " ".join(run("doctor").output.split())
    assert (told.exit_code, "give --db to change a ledger" in told.output) == (2, True)
    assert len(Ledger(two_weeks).calls()) == 7
    monkeypatch.setenv("CLAUDETRACE_CONFIG", str(tmp_path / "claudetrace.toml"))
    assert "Removed 3 calls" in run("prune", "--before", "2026-11-10", "--yes").output


@pytest.mark.parametrize("words", [["prune", "--before", "2026-11-10"], ["forget", "--customer", "acme"]])
def test_what_deletes_asks(tmp_path, words):
    """Without --yes it says how many calls it is about; where nobody can answer it changes nothing, with status 2."""
    db = write(tmp_path / "asked.db", [_priced(customer="acme", started_at="2026-11-01T00:00:00.000Z")])
    told = run(*words, "--db", db)

    assert (told.exit_code, "1 call" in told.output, "add --yes" in told.output) == (2, True, True)
    assert [call.customer for call in Ledger(db).calls()] == ["acme"]


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["--customer", "acme"], (None, None, None, {})),
        (["--session", "s1"], ("acme", "u1", None, {"team": "a", "mail": "ada"})),
        (["--tag", "mail=ada"], ("acme", "u1", "s1", {"team": "a"})),
        (["--user", "u1"], ("acme", None, None, {})),
    ],
)
def test_what_is_forgotten(tmp_path, words, left):
    """A call no longer tells of the customer, session, tag or user that is forgotten, nor has an id that leads to it;
    others stay as they are, and so do all sums but those by it."""
    whose = {"customer": "acme", "user_id": "u1", "session_id": "s1", "tags": '{"team":"a","mail":"ada"}'}
    db = write(
        tmp_path / "ledger.db", [_priced(**whose, request_id="req_1"), _priced(customer="b", request_id="req_2")]
    )
    before = Ledger(db).spend("model", None)
    told = run("forget", *words, "--yes", "--db", db)
    calls = {call.customer == "b": call for call in Ledger(db).calls()}
    theirs = calls[False]

    assert (told.exit_code, "1 call" in told.output) == (0, True)
    assert (theirs.customer, theirs.user_id, theirs.session_id, dict(theirs.tags)) == left
    assert (theirs.request_id, calls[True].request_id) == (None, "req_2")
    assert Ledger(db).spend("model", None) == before
    assert words[1].encode() not in db.read_bytes() or words[0] == "--session"
    assert run("forget", *words, "--yes", "--db", db).exit_code == 1


def test_one_thing_is_forgotten_at_a_time(db):
    """None or several of what can be forgotten are refused."""
    for words in ([], ["--user", "a", "--customer", "b"], ["--tag", "mail"], ["--tag", "mail="]):
        assert run("forget", *words, "--yes", "--db", db).exit_code == 2


def test_what_is_pruned_is_missed_aloud(two_weeks):
    """Where calls would have to be read that are pruned, the answer says so; where sums have them, it does not."""
    assert run("prune", "--before", "2026-11-10", "--yes", "--db", two_weeks).exit_code == 0
    told = {
        words: run("report", *words.split(), "--since", "2026-11-01", "--db", two_weeks).output
        for words in ("--by feature", "--by session", "--by session --latency", "--by feature --latency", "--batch")
    }
    ledger = Ledger(two_weeks)

    assert [words for words, output in told.items() if "before 2026-11-05 (UTC) are pruned" in output] == [
        *("--by session", "--by session --latency", "--batch")
    ]
    assert ledger.spend("session", "2026-11-10").pruned_before is None
    assert ledger.spend("session", "2026-11-01").pruned_before == "2026-11-05"
    assert "2026-11-05" in run("export", "--format", "csv", "--db", two_weeks).stderr


@pytest.mark.parametrize(
    ("words", "left_out"),
    [
        ("--latency --top 3", "--top"),
        ("--compare --sort calls", "--sort"),
        ("--batch --latency", "--latency"),
        ("--trace abc --csv", "--csv"),
        ("--csv --json", "--json"),
    ],
)
def test_an_option_that_would_say_nothing_is_refused(two_weeks, words, left_out):
    """Options that cannot both be answered are refused, and none is passed over."""
    told = run("report", *words.split(), "--db", two_weeks)

    assert told.exit_code == 2
    assert f"{left_out} has no effect beside" in told.output


@pytest.mark.parametrize(("sort", "head"), [("tool-calls", "tool calls"), ("cache-read", "cache read")])
def test_what_rows_are_sorted_by_is_shown(two_weeks, narrow, sort, head):
    """The column that puts the rows in order is there on a narrow screen too."""
    assert head in run("report", "--since", "all", "--sort", sort, "--db", two_weeks).output.splitlines()[2]


def test_responses_of_a_call_in_another_row_have_no_cost_per_call(tmp_path):
    """A batch is one call: a customer of whom it has further responses is told their cost and none per call."""
    rows = [_priced(customer=name, call_id="batch") for name in ("a", "b")]
    path = write(tmp_path / "batch.db", rows)
    told = run("report", "--by", "customer", "--since", "all", "--sort", "per-call", "--db", path)

    assert [row.per_call_usd for row in Ledger(path).spend("customer", None)] == [Decimal("0.001"), None]
    assert told.output.splitlines()[4].split()[-2:] == ["$0.001000", "–"]


def test_days_of_another_zone_are_those_that_have_calls(two_weeks, monkeypatch):
    """Latencies and estimates by day look at no more days than there are between the first and the last call."""
    from claudetrace._ledger import _question

    looked = []
    monkeypatch.setattr(
        _question, "_shift", lambda at, zone, known=_question._shift: looked.append(at) or known(at, zone)
    )
    for words in ("--latency", "--batch"):
        told = run("report", words, "--by", "day", "--since", "all", "--timezone", "Asia/Tokyo", "--db", two_weeks)
        assert "2026-11-11" in told.output
    assert len(looked) < 40


def test_an_export_to_a_folder_that_is_not_there(two_weeks, tmp_path):
    """It is refused with the way out."""
    told = run("export", "--format", "csv", "-o", tmp_path / "none" / "calls.csv", "--db", two_weeks)

    assert (told.exit_code, "there is no folder" in told.output) == (2, True)


def test_progress_leaves_nothing_behind(two_weeks, monkeypatch):
    """On a screen the line that counts is gone before the answer, and is not there at all where that is quick."""
    monkeypatch.setattr(_options.sys.stderr, "isatty", lambda: True, raising=False)
    with _options.progress_of("reading") as quick:
        quick(1)
    shown = []
    monkeypatch.setattr(_options.click, "echo", lambda text, **_: shown.append(text))
    monkeypatch.setattr(_options, "SHOW_AFTER_S", -1.0)
    with _options.progress_of("reading") as slow:
        slow(12)

    assert shown == ["\rreading: 12 calls", "\r\x1b[K"]


def test_names_of_any_length_and_script_fit(tmp_path, narrow):
    """A long name beside short ones, and one of wide characters, are cut to what the screen has room for."""
    long = [_priced(feature="f" * 60, prompt="short-name-12", customer="c" * 14)]
    wide = [_priced(**dict.fromkeys(("feature", "prompt", "customer"), "日本" * 30))]
    path = write(tmp_path / "names.db", [*long, *wide])
    for where in ("customer!=x", "customer=" + "c" * 14):
        told = run("report", "--by", "feature,prompt,customer", "--where", where, "--since", "all", "--db", path)

        assert _widest(told.output, path) <= 80
