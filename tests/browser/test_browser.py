"""The pages in a real browser: what is on the screen, whether it can be used, and that nothing leaves the machine."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.dashboards._made import HOSTILE

from .conftest import Tab, serve

PAGES = {
    "overview": "", "changed": "/changed?range=7d", "statement": "/statement?split=feature",
    "cost": "/cost", "cache": "/cache", "latency": "/latency", "reliability": "/reliability", "calls": "/calls",
    "budgets": "/budgets", "find": "/find?id=nobody", "sessions": "/sessions",
    "one-session": "/session?session={session}", "call": "/call/{call}",
}  # fmt: skip
WIDTHS = (390, 768, 1024, 1400)
Open = Callable[..., Tab]


def asked(path: Path, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


def url_of(name: str, desk: Path) -> str:
    """The page's path, of a session and a call that there are."""
    ((session, call),) = asked(
        desk,
        "SELECT session_id, MAX(id) FROM calls WHERE feature = 'agent' GROUP BY 1 ORDER BY ABS(COUNT(*) - 9) LIMIT 1",
    )
    return PAGES[name].format(session=session, call=call)


def spend(desk: Path, days: int = 30, **equal: str) -> tuple[int, int]:
    """The picodollars and the number of calls of the last days."""
    since = f"{datetime.now(UTC) - timedelta(days=days - 1):%Y-%m-%d}"
    conditions = "".join(f" AND {name} = :{name}" for name in equal)
    sql = "SELECT COALESCE(SUM(spend_picousd), 0), COUNT(DISTINCT call_id) FROM calls WHERE started_at >= :since"
    ((picousd, calls),) = asked(desk, sql + conditions, since=since, **equal)
    return picousd, calls


def figures(tab: Tab) -> tuple[int, int]:
    """The spend and the calls that are on the screen."""
    usd, calls = (
        tab.page.locator(f"#kpi .card:nth-child({place}) .figure data").get_attribute("value") for place in (1, 2)
    )
    whole, _, rest = usd.partition(".")
    return int(whole) * 10**12 + int(rest.ljust(12, "0")), int(calls)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_each_page_looks_right(open_tab: Open, desk: Path, name: str, scheme: str) -> None:
    """A page fits every window, no panel of it failed, axe finds nothing with all details open; pictures are kept."""
    tab = open_tab(WIDTHS[-1], scheme)
    answer = tab.go(url_of(name, desk))
    wide = {}
    for width in WIDTHS:
        tab.page.set_viewport_size({"width": width, "height": 900})
        tab.shot(f"{name}-{width}-{scheme}")
        wide[width] = tab.overflow()

    assert answer.status == 200
    assert wide == dict.fromkeys(WIDTHS, 0)
    assert tab.page.locator(".is-failed, .is-denied").count() == 0
    tab.page.set_viewport_size({"width": WIDTHS[-1] if scheme == "light" else WIDTHS[0], "height": 900})
    assert tab.axe() == []


def test_the_figures_are_those_of_the_calls(open_tab: Open, desk: Path) -> None:
    """The spend and the calls on the screen equal SQL over the raw calls, for each preset."""
    tab = open_tab()
    for preset, days in {"7d": 7, "30d": 30, "90d": 90}.items():
        tab.go("")
        tab.page.get_by_role("group", name="Range").get_by_role("link", name=preset, exact=True).click()
        tab.settle()

        assert figures(tab) == spend(desk, days)


def test_each_filter_narrows(open_tab: Open, desk: Path) -> None:
    """Model, feature and platform apply at once and together; the figures are those of such calls."""
    tab = open_tab()
    tab.go("")
    chosen: dict[str, str] = {}
    for name, value in {"platform": "bedrock", "feature": "translate", "model": "claude-sonnet-5-5"}.items():
        with tab.page.expect_navigation():
            tab.page.locator(f"select[name={name}]").select_option(value)
        tab.settle()
        chosen[name] = value

        assert figures(tab) == spend(desk, **chosen)
        assert f"{name}={value}" in tab.page.url
    tab.page.get_by_label("Remove the filter model").click()
    tab.settle()
    assert figures(tab) == spend(desk, platform="bedrock", feature="translate")


def test_user_session_and_tag(open_tab: Open, desk: Path) -> None:
    """A user, a tag and a session can be asked for; no panel goes blank for it."""
    ((user, customer, session),) = asked(
        desk, "SELECT user_id, customer, session_id FROM calls WHERE feature = 'chat' ORDER BY id DESC LIMIT 1"
    )
    tab = open_tab()
    for field, value, column in (
        ("User", user, "user_id"), ("Tag", f"customer:{customer}", "customer"), ("Session", session, "session_id"),
    ):  # fmt: skip
        tab.go("")
        tab.page.get_by_text("More", exact=True).click()
        tab.page.locator(f"input[name={field.lower()}]").fill(value)
        with tab.page.expect_navigation():
            tab.page.locator(".drop button:visible").click()
        tab.settle()

        assert figures(tab) == spend(desk, **{column: value.rpartition(":")[2]})
        tab.go(f"/reliability?{field.lower()}={value}")
        assert tab.page.locator(".is-failed, .is-narrow").count() == 0


def test_own_days(open_tab: Open, desk: Path) -> None:
    """Days of one's own can be chosen, steps to the days before and after keep their number."""
    first, last = (f"{datetime.now(UTC) - timedelta(days=ago):%Y-%m-%d}" for ago in (12, 9))
    tab = open_tab()
    tab.go("?model=claude-opus-5-5")
    tab.page.locator("summary", has_text="Custom").click()
    tab.page.locator("input[name=first]").fill(first)
    tab.page.locator("input[name=last]").fill(last)
    with tab.page.expect_navigation():
        tab.page.get_by_role("button", name="Show these days").click()
    tab.settle()
    sql = "SELECT SUM(spend_picousd) FROM calls WHERE model = :model AND SUBSTR(started_at, 1, 10) BETWEEN :a AND :b"

    assert figures(tab)[0] == asked(desk, sql, a=first, b=last, model="claude-opus-5-5")[0][0]
    tab.page.get_by_label("Period before").click()
    tab.settle()
    before = [f"{datetime.now(UTC) - timedelta(days=ago):%Y-%m-%d}" for ago in (16, 13)]
    assert [part in tab.page.url for part in (f"from={before[0]}", f"to={before[1]}", "model=")] == [True] * 3
    tab.page.get_by_label("Next period").click()
    tab.settle()
    assert f"from={first}" in tab.page.url


def test_hours_and_what_is_none_stay(open_tab: Open) -> None:
    """A range of hours, and calls without a feature, stay when a filter changes or Enter is pressed in a field."""
    tab = open_tab()
    day = f"{datetime.now(UTC) - timedelta(days=9):%Y-%m-%d}"
    tab.go(f"?range=custom&from={day}T05&to={day}T06&no_feature=1")
    with tab.page.expect_navigation():
        tab.page.locator("select[name=platform]").select_option("bedrock")
    kept = (f"from={day}T05", f"to={day}T06", "no_feature=1", "platform=bedrock")
    assert [part for part in kept if part not in tab.page.url] == []
    tab.page.locator("summary", has_text="More").click()
    tab.page.locator("input[name=user]").fill("nobody")
    with tab.page.expect_navigation():
        tab.page.locator("input[name=user]").press("Enter")
    assert [part for part in (*kept, "user=nobody") if part not in tab.page.url] == []


def test_from_a_bar_to_a_call_and_back(open_tab: Open, desk: Path) -> None:
    """A bar leads to its calls, a call to its parts and its session; going back finds the chart as it was."""
    tab = open_tab()
    tab.go("?range=7d")
    tab.page.locator("#cost_by_time .target").nth(3).click()
    tab.settle()
    assert "/changed?" in tab.page.url
    tab.page.get_by_role("link", name="Now", exact=True).click()
    tab.settle()
    assert "/calls?" in tab.page.url
    tab.page.locator("td.time a").first.click()
    tab.settle()
    id_ = re.findall(r"/call/([^?]+)", tab.page.url)[0]
    ((picousd, session),) = asked(desk, "SELECT cost_picousd, session_id FROM calls WHERE id = :id", id=id_)
    usd = tab.page.locator(".figure data").get_attribute("value")
    assert round(float(usd) * 10**12) == picousd
    tab.page.get_by_role("link", name="The session").click()
    tab.settle()
    assert session in tab.page.locator("h1").inner_text()
    for _ in range(4):
        tab.page.go_back()
    tab.settle()
    assert "range=7d" in tab.page.url
    assert tab.page.locator("#cost_by_time .target").count() == 7


def test_hostile_names_do_nothing(open_tab: Open, desk: Path) -> None:
    """Script in models, tags, users, sessions and errors runs on no page, nor in Datasette's own tables."""
    tab = open_tab()
    ((call,),) = asked(desk, "SELECT id FROM calls WHERE feature = :f AND usage IS NOT NULL", f=HOSTILE["feature"])
    for path in ("", "/cache", "/latency", "/reliability", "/sessions", "/calls", f"/call/{call}"):
        tab.go(f"{path}?range=24h")
        for details in tab.page.locator("details:not(.custom)").all():
            details.evaluate("each => { each.open = true }")
        for target in tab.page.locator("[data-tip]").all()[-4:]:
            target.dispatch_event("pointermove")
        assert tab.hacked() is None
    tab.page.goto(f"{tab.base}/ledger/calls?feature={HOSTILE['feature'].replace('<', '%3C')}")
    assert tab.hacked() is None
    tab.wrong.clear()  # Datasette's own pages may say what they like in the console


def test_the_pointer_finds_the_figures(open_tab: Open) -> None:
    """Under the pointer stands what the bar is made of."""
    tab = open_tab()
    tab.go("?range=30d")
    tab.page.locator("#cost_by_time .target").nth(20).hover()

    assert "claude-" in tab.page.locator("#tip").inner_text()
    assert "$" in tab.page.locator("#tip").inner_text()


def test_the_keyboard_is_enough(open_tab: Open) -> None:
    """The first tab stop skips to the content, focus can be seen, and a chart's table is reached and opened by keys."""
    tab = open_tab()
    tab.go("")
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.className") == "skip"
    summary = tab.page.locator("#cost_by_time summary")
    summary.focus()
    tab.page.keyboard.press("Enter")
    assert tab.page.locator("#cost_by_time table").is_visible()
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Tab")
    focused = tab.page.evaluate(
        "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
    )
    assert focused in (["A", "solid"], ["BUTTON", "solid"])


def test_refresh_keeps_the_place(open_tab: Open) -> None:
    """Refreshing leaves the scroll position and what was opened as they are, and says when it was."""
    tab = open_tab()
    tab.go("")
    tab.page.locator("#cost_by_time summary").click()
    tab.page.evaluate("scrollTo(0, 300)")
    tab.page.locator("[data-refresh]").dispatch_event("click")
    tab.page.get_by_text("Refreshed at").wait_for(state="attached")

    assert tab.page.evaluate("scrollY") == 300
    assert tab.page.locator("#cost_by_time details").evaluate("each => each.open") is True


def test_times_carry_their_zone(open_tab: Open, desk: Path) -> None:
    """A time is of UTC and says so; a switch shows it by the browser's clock. The range says that it is UTC."""
    ((call, at),) = asked(desk, "SELECT id, started_at FROM calls ORDER BY started_at LIMIT 1 OFFSET 100")
    tab = open_tab(timezone_id="Asia/Tokyo")
    tab.go(f"/call/{call}")
    local = datetime.fromisoformat(at) + timedelta(hours=9)

    assert f"{at[:10]} {at[11:19]} UTC" in tab.page.locator("h1 + p").inner_text()
    tab.page.locator("[data-zone]").click()
    assert f"{local:%Y-%m-%d %H:%M:%S} UTC+9" in tab.page.locator("h1 + p").inner_text()
    assert tab.page.locator("time").first.get_attribute("title") == f"{at[:10]} {at[11:19]} UTC"
    tab.go("")
    assert "UTC" in tab.page.locator(".when").inner_text()


def test_panels_that_come_late_or_not(open_tab: Open) -> None:
    """A panel that loads says so and comes; one that cannot be had says so and can be asked for again."""
    tab = open_tab()
    late = '<section class="panel is-loading" id="x" aria-busy="true" data-src="{}"><p class="message">…</p></section>'
    tab.page.route("**/-/claudetrace?late", lambda route: _with_panel(route, late.format("/-/claudetrace/panel/kpi")))
    tab.go("?late")
    assert tab.page.locator("#kpi .figure").count() >= 6
    tab.page.route("**/-/claudetrace?never", lambda route: _with_panel(route, late.format("/-/claudetrace/panel/none")))
    tab.go("?never")
    assert "could not be loaded" in tab.page.locator("#x .message").inner_text()
    assert tab.page.get_by_role("button", name="Try again").is_visible()
    tab.wrong[:] = [each for each in tab.wrong if "404" not in each]


def _with_panel(route: Any, panel: str) -> None:
    answer = route.fetch(url=route.request.url.partition("?")[0])
    html = re.sub(r'(<div class="panels"[^>]*>).*(</main>)', rf"\1{panel}</div>\2", answer.text(), flags=re.DOTALL)
    route.fulfill(response=answer, body=html)


def test_an_empty_ledger_and_none(open_tab: Open, tmp_path: Path) -> None:
    """Without a ledger the page says what to do; once one is there, it is shown, and empty panels say so."""
    from tests.dashboards._made import plain_row, write

    path = tmp_path / "ledger.db"
    for base in serve(path):
        tab = open_tab(base=base)
        tab.go("")
        assert "claudetrace.instrument()" in tab.page.locator("main").inner_text()
        tab.shot("no-ledger")
        write(path, [plain_row(1_700_000_000 * 10**9)])
        tab.go("")
        assert "No calls in this range" in tab.page.locator("main").inner_text()
        assert tab.axe() == []
        tab.shot("empty")


def test_keys_on_a_closed_list_do_not_reload(open_tab: Open) -> None:
    """An arrow key on a closed list chooses and stays; Enter, or the button that appears, applies what is chosen."""
    tab = open_tab()
    tab.go("")
    apply = tab.page.locator(".filters > button.plain")
    assert not apply.is_visible()
    tab.page.locator("select[name=model]").focus()
    url = tab.page.url
    tab.page.keyboard.press("ArrowDown")
    tab.page.keyboard.press("ArrowDown")
    chosen = tab.page.locator("select[name=model]").input_value()
    assert chosen
    assert tab.page.url == url
    assert apply.is_visible()
    with tab.page.expect_navigation():
        tab.page.keyboard.press("Enter")
    assert f"model={chosen}" in tab.page.url


def test_the_search_box_suggests_and_finds(open_tab: Open, desk: Path) -> None:
    """What is typed is completed from users, sessions and tags; keys choose, Escape closes, and an id leads to its
    call."""
    ((user, id_, message),) = asked(
        desk, "SELECT user_id, id, message_id FROM calls WHERE user_id IS NOT NULL AND message_id IS NOT NULL LIMIT 1"
    )
    tab = open_tab()
    tab.go("/cache")
    tab.page.keyboard.press("/")
    tab.page.keyboard.type(user[:6])
    tab.page.locator("#suggested li").first.wait_for()
    tab.page.keyboard.press("Escape")
    assert not tab.page.locator("#suggested").is_visible()
    tab.page.keyboard.type(user[6:])
    tab.page.locator("#suggested li", has_text=user).first.wait_for()
    assert tab.axe() == []
    tab.page.keyboard.press("ArrowDown")
    assert tab.page.locator("[aria-selected=true]").count() == 1
    with tab.page.expect_navigation():
        tab.page.keyboard.press("Enter")
    assert "user=" in tab.page.url
    tab.page.get_by_role("combobox", name="Search").fill(message)
    with tab.page.expect_navigation():
        tab.page.keyboard.press("Enter")
    assert f"/call/{id_}" in tab.page.url


def test_the_list_of_calls_is_sorted_and_shows_what_is_chosen(open_tab: Open, desk: Path) -> None:
    """A click on a head sorts, columns can be chosen, and the filters stay through both as chips."""
    ((most,),) = asked(desk, "SELECT id FROM calls WHERE outcome = 'ok' ORDER BY cost_picousd DESC, id DESC LIMIT 1")
    tab = open_tab()
    tab.go("/calls?range=90d&outcome=ok")
    tab.page.locator("th a", has_text="Cost").click()
    tab.settle()
    assert most in tab.page.locator("td.time a").first.get_attribute("href")
    tab.page.locator("summary", has_text="Columns").click()
    tab.page.get_by_label("Prompt").check()
    tab.page.get_by_role("button", name="Show these").click()
    tab.settle()
    assert tab.page.locator("th", has_text="Prompt").is_visible()
    assert "sort=cost" in tab.page.url
    assert tab.page.locator(".chips li").all_inner_texts() == ["outcome: ok ×"]
    tab.page.get_by_label("Remove the filter outcome").click()
    tab.settle()
    assert "sort=cost" in tab.page.url
    assert "outcome" not in tab.page.url
