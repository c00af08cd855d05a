"""Lists of sessions: the dearest, and those in which tools went round and round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import Column, link, shortened, spend
from claudetrace_dashboards._times import local_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from markupsafe import Markup

    from claudetrace_dashboards._panel import Answer, Row, Scope


def _columns(scope: Scope) -> dict[str, Column]:
    def session(row: Row) -> Markup:
        return link(scope.url("session", scope.filters.but(session=row["session_id"])), row["session_id"])

    def prompts(row: Row) -> str:
        least, most = row["least_prompt_tokens"], row["most_prompt_tokens"]
        return show.UNKNOWN if least is None else f"{show.count_text(least)} – {show.count_text(most)}"

    return {
        "session": Column("Session", session),
        "began": Column("Began", lambda row: local_time(row["first_at"]), css="time", minor=True),
        "feature": Column("Feature", lambda row: row["feature"] or "", minor=True),
        "user": Column("User", lambda row: row["user"] or "", minor=True),
        "calls": Column("Calls", lambda row: show.count(row["calls"]), number=True),
        "tools": Column("Tool stops", lambda row: show.count(row["tool_stops"]), number=True),
        "prompts": Column("Prompt tokens", prompts, number=True, minor=True),
        "cost": Column("Cost", spend, number=True),
    }


def _draw(caption: str, *names: str, most: int = 9) -> Callable[[Scope, Mapping[str, Answer]], Markup | None]:
    def draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
        columns = _columns(scope)
        rows = answers["sessions"].rows
        return shortened(caption, [columns[name] for name in names], rows, "calls", most) if rows else None

    return draw


DEAREST = Panel(
    name="dearest_sessions",
    title="Dearest sessions",
    about="Begun in the range, each as a whole",
    width="wide",
    asks={"sessions": Ask("dearest_sessions")},
    draw=_draw("Dearest sessions", "session", "began", "feature", "user", "calls", "cost"),
    empty="No call in this range has a session.",
)
TOOL_LOOPS = Panel(
    name="tool_loops",
    title="Tool loops",
    about="Sessions with ten or more answers that asked for a tool",
    width="full",
    asks={"sessions": Ask("tool_loops")},
    draw=_draw("Tool loops", "session", "began", "user", "tools", "prompts", "cost"),
    empty="No session asked for tools ten times or more.",
)
SESSION_LIST = Panel(
    name="sessions",
    title="Dearest sessions",
    about="Begun in the range, each as a whole",
    width="full",
    asks={"sessions": Ask("dearest_sessions")},
    draw=_draw("Dearest sessions", "session", "began", "feature", "user", "calls", "tools", "prompts", "cost", most=20),
    empty="No call in this range has a session.",
)
