"""Windows by the calendar of a time zone, and rolling ones."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claudetrace._budgets._windows import bucket_s, window_of
from claudetrace._errors import ClaudetraceError

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Cairo")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("per", "zone", "moment", "start", "end"),
    [
        ("hour", "UTC", "2026-03-29T01:30:00+00:00", "2026-03-29T01:00:00+00:00", "2026-03-29T02:00:00+00:00"),
        (
            "hour",
            "Asia/Kathmandu",
            "2026-01-01T00:20:00+00:00",
            "2026-01-01T00:15:00+00:00",
            "2026-01-01T01:15:00+00:00",
        ),
        (
            "hour",
            "Europe/Berlin",
            "2026-10-25T01:30:00+00:00",
            "2026-10-25T01:00:00+00:00",
            "2026-10-25T02:00:00+00:00",
        ),
        ("day", "Europe/Berlin", "2026-03-29T12:00:00+00:00", "2026-03-28T23:00:00+00:00", "2026-03-29T22:00:00+00:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00:00+00:00", "2026-10-24T22:00:00+00:00", "2026-10-25T23:00:00+00:00"),
        ("day", "Africa/Cairo", "2026-04-24T12:00:00+00:00", "2026-04-23T22:00:00+00:00", "2026-04-24T21:00:00+00:00"),
        ("week", "UTC", "2026-11-22T23:59:59+00:00", "2026-11-16T00:00:00+00:00", "2026-11-23T00:00:00+00:00"),
        (
            "month",
            "America/New_York",
            "2026-03-01T03:00:00+00:00",
            "2026-02-01T05:00:00+00:00",
            "2026-03-01T05:00:00+00:00",
        ),
        ("month", "UTC", "2024-02-29T12:00:00+00:00", "2024-02-01T00:00:00+00:00", "2024-03-01T00:00:00+00:00"),
    ],
)
def test_a_window_has_the_edges_of_its_calendar(per: str, zone: str, moment: str, start: str, end: str) -> None:
    """Hours, days, weeks and months begin and end as clocks on the wall say, also where those change."""
    window = window_of(per, zone, at(moment))

    assert (window.start_at, window.end_at) == (datetime.fromisoformat(start), datetime.fromisoformat(end))


def test_the_window_of_all_time_has_no_end() -> None:
    """`total` is one window, now and ever."""
    assert window_of("total", "UTC", 5).end_at is None
    assert window_of("total", "UTC", 5) == window_of("total", "UTC", 2e9)


@given(
    per=st.sampled_from(("hour", "day", "week", "month")),
    zone=st.sampled_from(ZONES),
    moment=st.integers(int(at("2015-01-01T00:00:00+00:00")), int(at("2035-01-01T00:00:00+00:00"))),
)
def test_every_moment_is_in_its_window(per: str, zone: str, moment: int) -> None:
    """A window holds the moment that it was asked for, and its first second has the same window."""
    window = window_of(per, zone, moment)

    assert window.end is not None
    assert window.start <= moment < window.end
    assert window_of(per, zone, window.start).start == window.start


@given(
    length=st.sampled_from(("rolling:1m", "rolling:90m", "rolling:24h", "rolling:7d", "rolling:100m")),
    first=st.integers(0, 2 * 10**9),
    later=st.integers(0, 400_000),
)
def test_two_charges_within_a_rolling_length_see_each_other(length: str, first: int, later: int) -> None:
    """Whatever is less than the length apart counts together, whichever way the clock was set."""
    minutes = {"rolling:1m": 1, "rolling:90m": 90, "rolling:24h": 1440, "rolling:7d": 10080, "rolling:100m": 100}[
        length
    ]
    one, other = window_of(length, "UTC", first), window_of(length, "UTC", first + later)

    if later < minutes * 60:
        assert other.since <= one.slot <= other.until
        assert one.since <= other.slot <= one.until
    elif later > minutes * 60 + 2 * bucket_s(minutes * 60):
        assert one.slot < other.since


@pytest.mark.parametrize("per", ["rolling:", "rolling:0h", "rolling:30s", "rolling:24", "rolling:-1h", "rolling:3000d"])
def test_a_rolling_length_that_makes_no_sense_is_refused(per: str) -> None:
    """Lengths are from a minute to a year."""
    with pytest.raises(ClaudetraceError, match="write rolling:30m"):
        window_of(per, "UTC", datetime.now(UTC).timestamp())


CHANGES = [
    ("Australia/Lord_Howe", "2026-04-04T15:00:00+00:00"),  # half an hour back
    ("Australia/Lord_Howe", "2026-10-03T15:30:00+00:00"),  # half an hour on
    ("Pacific/Chatham", "2026-04-04T14:00:00+00:00"),  # an hour back at a quarter to four
    ("Pacific/Chatham", "2026-09-26T14:00:00+00:00"),  # an hour on at a quarter to three
    ("Europe/Berlin", "2026-10-25T01:00:00+00:00"),
    ("Asia/Singapore", "1932-12-31T17:00:00+00:00"),  # twenty minutes on
    ("Europe/Amsterdam", "1937-06-30T23:40:00+00:00"),  # 28 seconds on
    ("Africa/Monrovia", "1972-01-07T00:44:30+00:00"),  # 44 minutes and a half on
    ("Asia/Kathmandu", "1985-12-31T18:30:00+00:00"),  # a quarter on
    ("America/Caracas", "2007-12-09T07:00:00+00:00"),  # half an hour back
    ("America/Caracas", "2016-05-01T07:00:00+00:00"),  # half an hour on
    ("Asia/Pyongyang", "2018-05-04T15:00:00+00:00"),
    ("America/St_Johns", "1988-04-03T03:31:00+00:00"),  # two hours on at a minute past midnight
    ("America/St_Johns", "2010-11-07T02:31:00+00:00"),  # an hour back at a minute past midnight
    ("Antarctica/Troll", "2026-10-25T01:00:00+00:00"),  # two hours back
    ("Pacific/Apia", "2011-12-30T10:00:00+00:00"),  # a day on
    ("Pacific/Kwajalein", "1993-08-21T12:00:00+00:00"),
    ("Africa/Cairo", "2026-04-23T22:00:00+00:00"),
]


@pytest.mark.parametrize(("zone", "moment"), CHANGES)
@pytest.mark.parametrize("per", ["hour", "day", "week", "month"])
def test_windows_follow_each_other_where_clocks_change(per: str, zone: str, moment: str) -> None:
    """Each second around a change, by whatever it is, is in one window, which all of its seconds agree on, and the
    next begins where it ends; an hour has one name on the wall, and no window is longer than twice its kind."""
    change, longest = int(at(moment)), {"hour": 3600, "day": 90_000, "week": 8 * 86_400, "month": 32 * 86_400}[per]
    steps = range(change - 5 * 3600, change + 5 * 3600, 613)
    for second in sorted({*steps, *range(change - 3, change + 3)}):
        window = window_of(per, zone, second)
        assert window.end is not None
        assert window.start <= second < window.end <= window.start + 2 * longest
        for other in (window.start, (window.start + window.end) // 2, window.end - 1):
            assert window_of(per, zone, other) == window
        assert window_of(per, zone, window.end).start == window.end
        if per == "hour":
            shown = {datetime.fromtimestamp(each, ZoneInfo(zone)).hour for each in (window.start, window.end - 1)}
            assert len(shown) == 1
