"""The routes' answers: pages, single panels, their data, and the static files."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from datasette.utils.asgi import Forbidden, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from claudetrace_dashboards import _call, _export, _rows, _search
from claudetrace_dashboards._access import Ledger, Problem, examine, may_see
from claudetrace_dashboards._choices import LABELS, OPTIONS, chips, choices_of, kinds_of
from claudetrace_dashboards._filters import PRESETS, Filters
from claudetrace_dashboards._panel import BASE, OF_PAGES, Scope, show, show_all
from claudetrace_dashboards._reading import DeniedError
from claudetrace_dashboards._waiting import awaited
from claudetrace_dashboards.pages import PAGES
from claudetrace_dashboards.pages._find import asked
from claudetrace_dashboards.queries._filters import HOSTS

if TYPE_CHECKING:
    from pathlib import Path

    from datasette.app import Datasette
    from datasette.utils.asgi import Request


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}
KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


def not_yet(path: Path) -> Problem:
    """That there is no ledger at `path` yet, and how to begin one."""
    return Problem(
        "No calls are recorded yet",
        f"The ledger will be {path}. Call claudetrace.instrument() in a program that calls Claude, or start it with "
        "“claudetrace run app.py”; then load this page again. “claudetrace demo” makes a ledger of its own to look at.",
    )


NO_LEDGER = Problem(
    "There is no ledger here",
    "Call claudetrace.instrument() in a program, or start it with “claudetrace run app.py”: its calls go to a ledger, "
    "which “claudetrace dashboard” opens. “claudetrace demo” makes one to look at.",
    404,
)
PANELS = {panel.name: panel for page in PAGES.values() for panel in page.panels}


@cache
def templates() -> Environment:
    """Our own environment, in which everything is escaped.

    The templates are in a folder of their own, since Datasette would take a `base.html` of ours for its own.
    """
    environment = Environment(
        loader=PackageLoader("claudetrace_dashboards", "templates/claudetrace"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["presets"] = PRESETS
    return environment


@cache
def asset(name: str) -> bytes | None:
    """A static file of ours, by a name that has no folder."""
    folder = files("claudetrace_dashboards") / "static"
    return next((each.read_bytes() for each in folder.iterdir() if each.name == name and each.is_file()), None)


def asset_url(datasette: Datasette, name: str) -> str:
    """Where the file is, with a mark that changes when it does."""
    mark = hashlib.sha256(asset(name) or b"").hexdigest()[:12]
    return f"{datasette.urls.path(f'{BASE}/static/{name}')}?{mark}"


async def static(request: Request) -> Response:
    """A file of `static/`, kept by the browser."""
    name = request.url_vars["name"]
    body = asset(name)
    if body is None:
        return Response("Not found", status=404, content_type="text/plain")
    kind = KINDS.get(name.rpartition(".")[2], "text/plain; charset=utf-8")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(body.decode(), content_type=kind, headers=headers)


async def ledgers_of(datasette: Datasette, actor: dict[str, Any] | None) -> tuple[list[Ledger], list[Problem]]:
    """The ledgers that `actor` may see, and why others of those databases cannot be shown."""
    ledgers, problems = [], []
    if (path := awaited(datasette)) is not None:
        problems.append(not_yet(path))
    for name, db in list(datasette.databases.items()):
        if name.startswith("_") or db.path is None or not await may_see(datasette, actor, name):
            continue
        found = await examine(name, db)
        if isinstance(found, Ledger):
            ledgers.append(found)
        elif found is not None:
            problems.append(found)
    return ledgers, problems


async def hides(datasette: Datasette, actor: dict[str, Any] | None) -> bool:
    """Whether there is a database of a file that `actor` may not see."""
    names = [name for name, db in datasette.databases.items() if db.path is not None and not name.startswith("_")]
    return any([not await may_see(datasette, actor, name) for name in names])


async def scope_of(datasette: Datasette, request: Request) -> Scope | list[Problem]:
    """What is asked for, of the ledger that is named or of the first that the reader may see; else why not."""
    arguments = {name: request.args[name] for name in request.args}
    if "columns" in arguments:
        arguments["columns"] = ",".join(request.args.getlist("columns"))
    ledgers, problems = await ledgers_of(datasette, request.actor)
    if not ledgers and not problems and await hides(datasette, request.actor):
        # Datasette's own way: a plugin that asks who somebody is may send them to its form.
        raise Forbidden("view-database")
    if not ledgers:
        return problems
    wanted = arguments.get("db") or ledgers[0].name
    named = next((each for each in ledgers if each.name == wanted), None)
    if named is None:
        names = ", ".join(each.name for each in ledgers)
        told = f"There is no ledger “{wanted[:60]}” here that you may see; there are {names}."
        return [Problem("There is no such ledger", told, 404)]
    return Scope(
        datasette=datasette,
        ledger=named,
        actor=request.actor,
        filters=Filters.read(arguments),
        arguments=arguments,
        ledgers=tuple(each.name for each in ledgers),
    )


async def page(datasette: Datasette, request: Request) -> Response:
    """A page with all its panels."""
    name = request.url_vars.get("page") or ""
    shown = PAGES.get(name)
    if shown is None:
        return problem(datasette, Problem("No such page", f"There is no page “{name[:60]}” here.", 404))
    scope = await scope_of(datasette, request)
    if isinstance(scope, list):
        return no_ledger(datasette, scope)
    enter(scope, name)
    scope.patient = False
    choices = await choices_of(scope)
    if name == "calls":
        choices |= await kinds_of(scope)
    if name == "find" and (only := await only_hit(scope)) is not None:
        return Response.redirect(only)
    panels = await show_all(scope, shown.panels)
    return html(
        "page.html",
        scope,
        page=shown,
        panels=panels,
        choices=choices,
        kept=OF_PAGES.get(name, ()),
        chosen=dict([*((name, getattr(scope.filters, name)) for name in OPTIONS), *scope.filters.extra]),
        labels=LABELS,
        chips=chips(scope),
        heading=_heading(scope),
        request_url=request.full_path,
    )


async def only_hit(scope: Scope) -> str | None:
    """Where the search leads, if to one page; `None` where its own page has to say more."""
    try:
        urls = {hit.url for hit in await _search.hits(scope, asked(scope))} if asked(scope) else set()
    except (sqlite3.Error, OSError, DeniedError):
        return None
    return urls.pop() if len(urls) == 1 else None


async def suggest(datasette: Datasette, request: Request) -> Response:
    """What begins with the text in the search box, as JSON."""
    scope = await scope_of(datasette, request)
    if isinstance(scope, list):
        return nothing(scope)
    await choices_of(scope)
    try:
        text = scope.arguments.get("text", "").strip()
        hits = await _search.suggested(scope, text) if text else []
    except (sqlite3.Error, OSError, DeniedError):
        # The page of the search says why.
        hits = []
    body = json.dumps([hit._asdict() for hit in hits])
    return Response(body, content_type="application/json; charset=utf-8", headers=HEADERS)


def _heading(scope: Scope) -> str | None:
    """What the page is about, where that is more than its name."""
    return f"Session {scope.filters.session}" if scope.page == "session" and scope.filters.session else None


async def call(datasette: Datasette, request: Request) -> Response:
    """The page of one call."""
    scope = await scope_of(datasette, request)
    if isinstance(scope, list):
        return no_ledger(datasette, scope)
    scope.page = "call"
    found = await _call.found(scope, unquote(request.url_vars["id"]))
    return problem(datasette, found) if isinstance(found, Problem) else html("call.html", scope, **found)


async def panel(datasette: Datasette, request: Request) -> Response:
    """One panel alone, as the page would have it."""
    wanted = PANELS.get(request.url_vars["panel"])
    scope = await scope_of(datasette, request)
    if wanted is None or isinstance(scope, list):
        return nothing(scope)
    enter(scope, request.args.get("page") or "")
    await choices_of(scope)
    return html("_panel.html", scope, shown=await show(scope, wanted))


def enter(scope: Scope, page: str) -> None:
    """The scope is that of this page; a list of calls has filters of its own."""
    scope.page = page
    if page == "calls":
        scope.filters = replace(scope.filters, extra=_rows.kept(scope.arguments))


def nothing(scope: Scope | list[Problem]) -> Response:
    """That there is no such panel, or no ledger that it could be of, in a line."""
    problems = scope if isinstance(scope, list) else []
    told, status = (problems[0].text, 503) if problems else ("There is no such panel here.", 404)
    return Response(f"{told}\n", status=status, content_type="text/plain; charset=utf-8", headers=HEADERS)


async def data(datasette: Datasette, request: Request) -> Response:
    """The rows behind a panel, as CSV or JSON."""
    wanted, kind = PANELS.get(request.url_vars["panel"]), request.url_vars["kind"]
    scope = await scope_of(datasette, request)
    if wanted is None or isinstance(scope, list) or not (wanted.asks or wanted.exported):
        return nothing(scope)
    return await _export.exported(scope, wanted, kind)


def html(template: str, scope: Scope, status: int = 200, **more: Any) -> Response:
    """The template with what every page has."""
    text = (
        templates()
        .get_template(template)
        .render(
            scope=scope,
            filters=scope.filters,
            pages=PAGES.values(),
            hosts=HOSTS,
            asset=lambda name: asset_url(scope.datasette, name),
            urls=scope.datasette.urls,
            **more,
        )
    )
    return Response.html(text, status=status, headers=HEADERS)


def problem(datasette: Datasette, *problems: Problem) -> Response:
    """A page that says why there is nothing else on it."""
    text = (
        templates()
        .get_template("problem.html")
        .render(problems=problems, asset=lambda name: asset_url(datasette, name), urls=datasette.urls)
    )
    return Response.html(text, status=problems[0].status, headers=HEADERS)


def no_ledger(datasette: Datasette, problems: list[Problem]) -> Response:
    """What to do where no ledger can be shown."""
    return problem(datasette, *(problems or [NO_LEDGER]))
