"""The pages: each is a list of panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace_dashboards.pages._bill import BILL
from claudetrace_dashboards.pages._budgets import BUDGETS
from claudetrace_dashboards.pages._cache import CACHE
from claudetrace_dashboards.pages._calls import CALLS
from claudetrace_dashboards.pages._cost import COST
from claudetrace_dashboards.pages._find import FIND
from claudetrace_dashboards.pages._latency import LATENCY
from claudetrace_dashboards.pages._reliability import RELIABILITY
from claudetrace_dashboards.pages._session import SESSION, SESSIONS

if TYPE_CHECKING:
    from claudetrace_dashboards.pages._page import Page

PAGES: dict[str, Page] = {
    page.name: page for page in (COST, CACHE, LATENCY, RELIABILITY, SESSIONS, CALLS, SESSION, BUDGETS, BILL, FIND)
}
"""The pages by their names in the URL, in the order in which they are linked. The cost page has the shortest."""
