"""The pages: each is a list of panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace_dashboards.pages._bill import BILL
from claudetrace_dashboards.pages._budgets import BUDGETS
from claudetrace_dashboards.pages._cache import CACHE
from claudetrace_dashboards.pages._calls import CALLS
from claudetrace_dashboards.pages._changed import CHANGED
from claudetrace_dashboards.pages._cost import COST
from claudetrace_dashboards.pages._find import FIND
from claudetrace_dashboards.pages._latency import LATENCY
from claudetrace_dashboards.pages._overview import OVERVIEW
from claudetrace_dashboards.pages._reliability import RELIABILITY
from claudetrace_dashboards.pages._session import SESSION, SESSIONS
from claudetrace_dashboards.pages._statement import STATEMENT

if TYPE_CHECKING:
    from claudetrace_dashboards.pages._page import Page

ALL = (
    *(OVERVIEW, CHANGED, STATEMENT, COST, CACHE, LATENCY, RELIABILITY, SESSIONS, CALLS, SESSION, BUDGETS, BILL),
    FIND,
)
PAGES: dict[str, Page] = {page.name: page for page in ALL}
"""The pages by their names in the URL, in the order in which they are linked. The first has the shortest."""
