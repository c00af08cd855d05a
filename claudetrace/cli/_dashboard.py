"""`claudetrace dashboard`: serves a ledger's pages on this machine, by Datasette."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
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
from claudetrace._ledger._read import Ledger
from claudetrace._places import spool_of
from claudetrace.cli._options import DB, read_path

if TYPE_CHECKING:
    from datasette.app import Datasette

LOOPBACK = "127.0.0.1"
PORT = 8686
START = "/-/claudetrace"
PLUGIN = "claudetrace_dashboards"
AUTHENTICATION = ("datasette_auth_passwords", "datasette_auth_github", "datasette_auth0", "datasette_auth_tokens")
"""Plugins that authenticate users; `--config` can name others."""


@click.command()
@DB
@click.option("--host", default=LOOPBACK, show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help=f"The port. Default: {PORT}, or a free one if it is taken.")
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without authentication.")
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Also answer requests for this host, as behind a proxy. Can be repeated.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Datasette's settings in YAML or JSON: who may see what, plugins. Default: our descriptions of the tables.",
)
def dashboard(db: Path | None, no_open: bool, config: Path | None, **options: Any) -> None:
    """Open the ledger in the browser: what calls cost, the cache, latency, failures.

    Datasette serves it, read-only, until you press Ctrl-C. Nothing is loaded from elsewhere. Beyond this machine it
    listens only with authentication, or with --insecure.
    """
    serve(read_path(db).absolute(), browser=not no_open, settings=read_config(config), **options)


def serve(
    path: Path, *, host: str = LOOPBACK, port: int | None = None, browser: bool = True,
    insecure: bool = False, settings: dict[str, Any] | None = None, allow_hosts: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """Serves the pages of the ledger at `path` until it is interrupted."""
    settings = settings or {}
    refuse_open_host(host, settings, insecure)
    bring_up_to_date(path)
    listener = listen(host, port)
    run_pages(application(path, settings), listener, (host, *allow_hosts), browser)


def refuse_open_host(host: str, settings: dict[str, Any], insecure: bool, option: str = "--host") -> None:
    """Raises `ClaudetraceError` for an address that others reach, unless they have to log in."""
    if insecure or is_loopback(host) or asks_who(settings):
        return
    raise ClaudetraceError(
        f"{option} {host} shows what you spend to everybody who reaches it; give authentication with --config: "
        "an `allow` and a plugin that is installed here, such as datasette-auth-passwords (docs/dashboards.md has an "
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
    """Whether `settings` have a plugin that authenticates users, and an `allow` that does not let in everybody."""
    plugins = {name.replace("-", "_") for name in settings.get("plugins") or {}}
    has_plugin = any(name in plugins and find_spec(name) is not None for name in AUTHENTICATION)
    allow = settings.get("allow")
    return has_plugin and (allow is False or (isinstance(allow, dict) and "unauthenticated" not in allow))


def read_config(config: Path | None) -> dict[str, Any]:
    """The settings in the file, or none. Raises `ClaudetraceError` if they are no mapping."""
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
    """Loads what killed processes left, and migrates an older ledger where it can. What cannot be read is refused here,
    not on a page; without a ledger, the page says how to begin one."""
    if not path.exists() and not spool_of(path).is_dir():
        click.echo(f"There is no ledger at {path} yet; the page says how to begin one.")
        return
    Ledger(path).close()
    if not is_writable(path) and os.access(path.parent, os.W_OK):
        # Datasette opens it by SQLite alone, which would create a log here that locks the owner out.
        raise ClaudetraceError(
            f"{path} cannot be written by this user, and the dashboard would leave files beside it that stop its "
            "owner; have its owner start it, or look at a copy"
        )


def listen(host: str, port: int | None, option: str = "--host") -> socket.socket:
    """A listening socket on `port`, else on our own port, or on any free one if that is taken."""
    for number in [PORT, 0] if port is None else [port]:
        try:
            family, *_, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
            return socket.create_server(address, family=family, dualstack_ipv6=both)
        except socket.gaierror as error:
            raise ClaudetraceError(f"{option} {host} is no address: {error.strerror}") from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port is None and number:
                continue
            raise ClaudetraceError(
                f"cannot listen on {host}, port {number}: {os.strerror(error.errno or 0)}; "
                f"give {'--port' if option == '--host' else option} another"
            ) from error
    raise ClaudetraceError(f"no port of {host} is free")


def application(path: Path, settings: dict[str, Any]) -> Datasette:
    """Datasette with our plugin on the ledger at `path`, with our descriptions of its tables and `settings`."""
    if find_spec(PLUGIN) is None:  # a checkout has it beside the package
        beside = Path(__file__).resolve().parents[2] / "dashboards"
        if not (beside / PLUGIN).is_dir():
            raise ClaudetraceError("the dashboards are not installed; install claudetrace again")
        sys.path.append(str(beside))
    from claudetrace_dashboards.serving import datasette_on

    made: Datasette = datasette_on(path, settings)
    return made


def run_pages(datasette: Datasette, listener: socket.socket, hosts: tuple[str, ...], browser: bool) -> None:
    """Answers requests for `hosts`; the first is the one to listen on."""
    import uvicorn
    from claudetrace_dashboards._hosts import only_for

    shown = hosts[0] if hosts[0] not in ("0.0.0.0", "::") else LOOPBACK  # noqa: S104 - compared, not bound
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{listener.getsockname()[1]}{START}"
    click.echo(f"Claude usage is at {url} – Ctrl-C ends it.")
    config = uvicorn.Config(only_for(datasette.app(), hosts), log_level="warning", lifespan="on", proxy_headers=False)
    server = uvicorn.Server(config)
    if browser:
        # The socket listens already, so a browser that asks too early waits instead of showing an error.
        threading.Thread(target=_open, args=(url,), daemon=True).start()
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    sys.stdout.flush()


def _open(url: str) -> None:
    with suppress(webbrowser.Error, OSError):
        webbrowser.open(url)
