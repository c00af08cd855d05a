"""Tags of any kind: whatever a value is, the call goes on and the row is there."""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import claudetrace
from claudetrace._tags import tag_faults
from claudetrace.cli import main as cli

from ._api import say
from .conftest import Tags, all_tags


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


class Shouting(str):
    """A string whose text is another, and no plain string either."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


class Answering:
    """What gives an odd string as its text."""

    def __str__(self) -> str:
        return Shouting("odd")


class Plan(str, enum.Enum):  # noqa: UP042 - this is what users have
    PRO = "pro"


@pytest.fixture(autouse=True)
def faults() -> None:
    tag_faults.clear()


@pytest.fixture
def meter(start: Callable[..., claudetrace.Instrumentation]) -> claudetrace.Instrumentation:
    return start()


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (7, "7"),
        (True, "True"),
        (0, "0"),
        ("", ""),
        (1.5, "1.5"),
        (b"raw", "b'raw'"),
        ({"a": [1]}, "{'a': [1]}"),
        (Plan.PRO, "pro"),
        (Shouting("loud"), "loud"),
        (Answering(), "odd"),
        ("naïve 日本 🦊", "naïve 日本 🦊"),
        ("a\0b", "a?b"),
        ("line\nbreak\x1b[31m", "line\nbreak\x1b[31m"),
        ("half \ud800 pair", "half ? pair"),
        ("'; DROP TABLE calls; --", "'; DROP TABLE calls; --"),
        ("x" * 256, "x" * 256),
        ("x" * 10_000, "x" * 256),
        ("日" * 10_000, "日" * 256),
    ],
)
@pytest.mark.parametrize("name", ["user", "team"])
def test_a_value_is_stored_as_text(
    name: str, value: object, stored: str, client: anthropic.Anthropic, meter: Any, tags: Tags
) -> None:
    """Whatever a value is, its text is stored, cut to 256 characters, in a reserved column and in a free tag."""
    with claudetrace.tag(**{name: value}):
        say(client)

    assert (tags(), meter.health.lost) == ([{name: stored}], 0)


@pytest.mark.parametrize("value", [None, Unprintable()])
def test_a_value_without_text_is_no_tag(value: object, client: anthropic.Anthropic, meter: Any, tags: Tags) -> None:
    """`None` and what cannot be printed leave their tag out and the others in."""
    with claudetrace.tag(user="u", team=value):
        say(claudetrace.tagged(client, customer=value, feature="f"))

    assert tags() == [{"user": "u", "feature": "f"}]


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("", ""),
        ("with space.and-dot", "with space.and-dot"),
        ("quote\"'", "quote\"'"),
        ("\ud800", "?"),
        ("n" * 300, "n" * 256),
        (Shouting("loud"), "loud"),
    ],
)
def test_a_name_may_be_anything(name: str, stored: str, client: anthropic.Anthropic, meter: Any, tags: Tags) -> None:
    """Names are cleaned as values are."""
    with claudetrace.tag(**{name: "v"}):
        say(client)

    assert tags() == [{stored: "v"}]


def test_what_was_cut_or_left_out_is_counted(client: anthropic.Anthropic, meter: Any) -> None:
    """Health says how many tags were cut, too many or without text."""
    with claudetrace.tag(long="x" * 257, bad=Unprintable(), **{f"tag{n}": n for n in range(40)}):
        say(client)

    assert meter.health.tag_faults == {"cut": 1, "text": 1, "too many": 9}


def test_of_many_tags_the_first_32_stay_and_those_with_columns_before_all(
    client: anthropic.Anthropic, start: Callable[..., Any], tags: Tags
) -> None:
    """Forty tags of the process cannot push out who the call is for."""
    start(tags={f"tag{n:02}": n for n in range(40)})
    say(client)
    with claudetrace.tag(user="u"):
        say(claudetrace.tagged(client, customer="acme"))

    assert tags() == [
        {f"tag{n:02}": str(n) for n in range(32)},
        {"user": "u", "customer": "acme", **{f"tag{n:02}": str(n) for n in range(30)}},
    ]


def test_odd_process_tags_and_users_stop_nothing(
    client: anthropic.Anthropic, start: Callable[..., Any], tags: Tags, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values from the process, the environment and the request are cleaned like those of blocks."""
    monkeypatch.setenv("CLAUDETRACE_TAGS", f"long={'x' * 10_000}")
    start(tags={"a": Unprintable(), "b": None, "c": 7, 8: "eight"})
    say(client, metadata={"user_id": "u" * 10_000})

    assert tags() == [{"user": "u" * 256, "long": "x" * 256, "c": "7", "8": "eight"}]


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=50),
    st.text(st.characters(codec=None, categories=None), max_size=300),  # type: ignore[arg-type]  # also surrogates
    st.text(max_size=20).map(Shouting),
    st.lists(st.integers(), max_size=3),
    st.just(Unprintable()),
)
NAMES = st.one_of(st.sampled_from(["user", "session", "feature", "customer", "prompt"]), st.text(max_size=300))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(block=st.dictionaries(NAMES, ANYTHING, max_size=40), bound=st.dictionaries(NAMES, ANYTHING, max_size=40))
def test_no_tags_at_all_reach_the_caller_as_an_error(
    block: dict[str, Any], bound: dict[str, Any], client: anthropic.Anthropic, meter: Any
) -> None:
    """Whatever the tags are, the caller gets the answer and the row is made."""
    recorded = meter.health.recorded
    with claudetrace.tag(**block) as scope:
        answer = say(claudetrace.tagged(client, **bound))

    assert (answer.id, scope.calls, meter.health.recorded - recorded) == ("msg_demo_1", 1, 1)


def test_fuzzed_tags_are_all_in_the_ledger(
    client: anthropic.Anthropic, meter: Any, ledger: Callable[[], list[claudetrace.Call]]
) -> None:
    """After fuzzing, every row is in the ledger within the limits, and none was lost or set aside."""
    made: list[int] = []

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(block=st.dictionaries(NAMES, ANYTHING, max_size=40))
    def fuzz(block: dict[str, Any]) -> None:
        with claudetrace.tag(**block):
            say(client)
        made.append(1)

    fuzz()

    rows = [all_tags(call) for call in ledger()]
    assert (len(rows), meter.health.lost, meter.health.failures) == (len(made), 0, {})
    assert max(map(len, rows)) <= 32
    assert max(len(text) for row in rows for pair in row.items() for text in pair) <= 256


def test_a_nul_is_kept_out_of_the_ledger(
    client: anthropic.Anthropic, meter: Any, db: Path, ledger: Callable[[], list[claudetrace.Call]]
) -> None:
    """SQLite ends a text there: a session of that name was left in the sums when its calls were forgotten."""
    with claudetrace.tag(session="a\0b", user="é\0", team="\0"):
        say(client)
    meter.flush()
    (call,) = ledger()
    found = call.session_id, call.user_id, call.tags["team"]
    forgot = CliRunner().invoke(cli, ["forget", "--session", "a?b", "--yes", "--db", str(db)])
    with closing(sqlite3.connect(db)) as connection:
        left = connection.execute("SELECT COUNT(*) FROM rollup_sessions").fetchone()

    assert (found, forgot.exit_code, left) == (("a?b", "é?", "?"), 0, (0,)), forgot.output
