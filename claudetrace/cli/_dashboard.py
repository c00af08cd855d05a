"""`claudetrace dashboard`: Datasette with our pages on a ledger, on this machine."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sqlite3
import sys
import threading
import webbrowser
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from claudetrace._errors import ClaudetraceError
from claudetrace._files import is_writable
from claudetrace.cli._options import DB, read_path

if TYPE_CHECKING:
    from datasette.app import Datasette

LOOPBACK = "127.0.0.1"
PORT = 8686
START = "/-/claudetrace"
PLUGIN = "claudetrace_dashboards"
AUTHENTICATION = ("datasette_auth_passwords", "datasette_auth_github", "datasette_auth0", "datasette_auth_tokens")
"""Plugins that ask who somebody is; others are told by `--config`."""


@click.command(short_help="Open the ledger's pages in the browser.")
@DB
@click.option("--host", default=LOOPBACK, show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help=f"The port. Default: {PORT}, or another where that is taken."
)
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without authentication.")
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Answer requests for this host too, as behind a proxy. Can be given several times.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Datasette's settings in YAML or JSON: who may see what, plugins. Default: our table descriptions alone.",
)
def dashboard(
    db: Path | None, host: str, port: int | None, no_open: bool, insecure: bool,
    allow_hosts: tuple[str, ...], config: Path | None,
) -> None:  # fmt: skip
    """Open the ledger in the browser: what calls cost, the cache, latency, failures.

    Served by Datasette, read-only, until you press Ctrl-C. Nothing is loaded from elsewhere. Beyond this machine it
    listens only with authentication, or with --insecure.
    """

    path = read_path(db).absolute()
    settings = read_config(config)
    serve(
        path, host=host, port=port, browser=not no_open, insecure=insecure, settings=settings, allow_hosts=allow_hosts
    )


def serve(
    path: Path, *, host: str = LOOPBACK, port: int | None = None, browser: bool = True,
    insecure: bool = False, settings: dict[str, Any] | None = None, allow_hosts: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """Serves the pages of the ledger at `path` until it is interrupted."""
    settings = settings or {}
    refuse_open_host(host, settings, insecure)
    bring_up_to_date(path)
    listener = listen(host, port)
    datasette = application(path, settings)
    run_pages(datasette, listener, (host, *allow_hosts), browser)


def refuse_open_host(host: str, settings: dict[str, Any], insecure: bool, option: str = "--host") -> None:
    """Raises `ClaudetraceError` for an address that others reach, unless they have to say who they are."""
    if insecure or is_loopback(host) or asks_who(settings):
        return
    raise ClaudetraceError(
        f"{option} {host} shows what you spend to everybody who reaches it; give authentication with --config: "
        "an `allow` and a plugin that is installed here, as datasette-auth-passwords (docs/dashboards.md has an "
        "example), or add --insecure"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def asks_who(settings: dict[str, Any]) -> bool:
    """Whether `settings` let in only who is known: a plugin that asks, and an `allow` that does not let in all."""
    plugins = {name.replace("-", "_") for name in settings.get("plugins") or {}}
    has_plugin = any(name in plugins and find_spec(name) is not None for name in AUTHENTICATION)
    allow = settings.get("allow")
    return has_plugin and (allow is False or (isinstance(allow, dict) and "unauthenticated" not in allow))


def read_config(config: Path | None) -> dict[str, Any]:
    """The settings in the file, or none. Raises `ClaudetraceError` for what is no YAML with names."""
    if config is None:
        return {}
    from datasette.utils import BadMetadataError, parse_metadata

    try:
        found = parse_metadata(config.read_text(encoding="utf-8"))
    except (BadMetadataError, ValueError) as error:
        raise ClaudetraceError(f"{config} is neither JSON nor YAML: {error}") from error
    if not isinstance(found, dict):
        raise ClaudetraceError(f"{config} has no settings by name; see docs/dashboards.md")
    return found


def bring_up_to_date(path: Path) -> None:
    """Takes in what killed processes left and leads an older ledger to this version, where that can be; what cannot
    be read is refused here rather than on a page. Without a ledger the page says what to do."""
    from claudetrace._ledger._read import Ledger

    if not path.exists() and not path.with_name(f"{path.name}.spool").is_dir():
        click.echo(f"There is no ledger at {path} yet; the page says how to begin one.")
        return
    Ledger(path).close()
    if not is_writable(path) and os.access(path.parent, os.W_OK):
        # Datasette opens it by SQLite alone, which would make a log here that shuts the owner out.
        raise ClaudetraceError(
            f"{path} cannot be written by this user, and the dashboard would leave files beside it that stop its "
            "owner; have its owner start it, or look at a copy"
        )


def listen(host: str, port: int | None, option: str = "--host") -> socket.socket:
    """A listening socket: on `port`, else on ours, or where that is taken on any."""
    wanted = [port] if port is not None else [PORT, 0]
    for number in wanted:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        except socket.gaierror as error:
            raise ClaudetraceError(f"{option} {host} is no address: {error.strerror}") from error
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE and number != wanted[-1]:
                continue
            raise ClaudetraceError(
                f"cannot listen on {host}, port {number}: {error.strerror}; "
                f"give {'--port' if option == '--host' else option} another"
            ) from error
        return listener
    raise ClaudetraceError(f"no port of {host} is free")


def application(path: Path, settings: dict[str, Any]) -> Datasette:
    """Datasette with our plugin on the ledger at `path`, described by our own `datasette.yaml` and `settings`."""
    _require_plugin()
    from claudetrace_dashboards.serving import datasette_on

    made: Datasette = datasette_on(path, settings)
    return made


def _require_plugin() -> None:
    """Makes the plugin known where claudetrace runs from a checkout."""
    if find_spec(PLUGIN) is None:
        beside = Path(__file__).resolve().parents[2] / "dashboards"
        if not (beside / PLUGIN).is_dir():
            raise ClaudetraceError("the dashboards are not installed; install claudetrace again")
        sys.path.append(str(beside))


def run_pages(datasette: Datasette, listener: socket.socket, hosts: tuple[str, ...], browser: bool) -> None:
    """Serves `hosts`, of which the first is the one that it listens on."""
    import uvicorn
    from claudetrace_dashboards._hosts import only_for

    host = hosts[0]
    port = listener.getsockname()[1]
    shown = host if host not in ("0.0.0.0", "::") else LOOPBACK  # noqa: S104 - compared, not bound
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}{START}"
    click.echo(f"Claude usage is at {url} – Ctrl-C ends it.")
    config = uvicorn.Config(only_for(datasette.app(), hosts), log_level="warning", lifespan="on", proxy_headers=False)
    server = uvicorn.Server(config)
    if browser:
        # A browser that is asked too early shows an error of its own: the socket listens already, so it waits.
        threading.Thread(target=_open, args=(url,), daemon=True).start()
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    sys.stdout.flush()


def _open(url: str) -> None:
    with suppress(webbrowser.Error, OSError, sqlite3.Error):
        webbrowser.open(url)
