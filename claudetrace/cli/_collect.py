"""`claudetrace collect`."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

import click

from claudetrace._errors import ClaudetraceError
from claudetrace.cli._dashboard import (
    LOOPBACK,
    application,
    bring_up_to_date,
    is_loopback,
    read_config,
    refuse_open_host,
    run_pages,
)
from claudetrace.cli._dashboard import listen as bound
from claudetrace.cli._options import DB

PORT = 4318


def address(context: click.Context, param: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """`HOST:PORT`, or a port alone on loopback; for click."""
    if value is None:
        return None
    host, colon, port = value.rpartition(":")
    if not port.isdigit() or int(port) > 65535 or (colon and not host):
        raise click.BadParameter(f"{value} is neither HOST:PORT nor a port", context, param)
    return host.strip("[]") or LOOPBACK, int(port)


@click.command()
@click.option(
    "--listen",
    callback=address,
    metavar="[HOST:]PORT",
    default=f"{LOOPBACK}:{PORT}",
    show_default=True,
    help="Where records come in. Beyond this machine CLAUDETRACE_COLLECT_TOKENS has to be set.",
)
@DB
@click.option("--retention", metavar="90d", help="Remove calls that are older; their sums by hour and day stay.")
@click.option(
    "--rate",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="How many records a second one sender may send, over a minute.",
)
@click.option(
    "--dashboard", "pages", callback=address, metavar="[HOST:]PORT", help="Serve the ledger's pages there too."
)
@click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME", help="As of `claudetrace dashboard`.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Datasette's settings for the pages: beyond this machine they need authentication.",
)
@click.option("--insecure", is_flag=True, help="Serve the pages beyond this machine without authentication.")
def collect(
    listen: tuple[str, int], db: Path | None, retention: str | None, rate: int, pages: tuple[str, int] | None,
    allow_hosts: tuple[str, ...], config: Path | None, insecure: bool,
) -> None:  # fmt: skip
    """Take the records of many programs, on many hosts, into one ledger, until Ctrl-C or SIGTERM.

    Each program sends its rows with instrument(records="otlp") to where OTEL_EXPORTER_OTLP_LOGS_ENDPOINT says,
    http://HOST:4318/v1/logs, directly or through an OpenTelemetry collector: OTLP over HTTP, protobuf, plain or gzip.
    A record is acknowledged once it is in the journal on the disk; one that comes again is told by its id. /healthz
    answers while the process lives, /readyz while it takes records; anything else is 404, spans and metrics too.

    Beyond this machine each service has a token, CLAUDETRACE_COLLECT_TOKENS="desk=…,search=…", and sends it as
    OTEL_EXPORTER_OTLP_LOGS_HEADERS="Authorization=Bearer%20…". A service may have two, while one replaces the other.
    The service * is an OpenTelemetry collector's, which sends for all. Put TLS in front.
    """
    from claudetrace._collect._app import serve, tokens_of
    from claudetrace._config import resolve
    from claudetrace._guard import Guard
    from claudetrace._ledger._store import Store
    from claudetrace._usable import UnusableError

    settings = resolve({"db": db, "retention": retention})
    if settings.db is None:
        raise ClaudetraceError("the settings say that there is no ledger; name one with --db")
    tokens = tokens_of(listen[0], is_loopback=is_loopback(listen[0]))
    described = read_config(config)
    if pages is not None:
        refuse_open_host(pages[0], described, insecure, "--dashboard")
    # What can be no ledger is refused before anything is acknowledged; for a disk that is full now, rows can wait.
    with suppress(sqlite3.Error, UnusableError), closing(Store(settings.db, Guard())) as store:
        store.connection()
    listener = bound(*listen, "--listen")
    if pages is not None:
        bring_up_to_date(settings.db)
        shown, datasette = bound(*pages, "--dashboard"), application(settings.db, described)
        hosts = (pages[0], *allow_hosts)
        threading.Thread(target=run_pages, args=(datasette, shown, hosts, False), daemon=True).start()
    host, port = listener.getsockname()[:2]
    click.echo(f"Taking records at http://{f'[{host}]' if ':' in host else host}:{port} into {settings.db}.")
    serve(settings.db, settings, tokens, listener, rate)
