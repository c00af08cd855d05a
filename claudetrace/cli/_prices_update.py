"""`claudetrace prices update`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from claudetrace._errors import ClaudetraceError
from claudetrace._text import without_password
from claudetrace.cli._options import DB

if TYPE_CHECKING:
    from claudetrace._pricing._rates import RateBook


@click.command(short_help="Take a newer price list.")
@click.argument("source", metavar="FILE|URL")
@DB
def update(source: str, db: Path | None) -> None:
    """Take the price list of FILE or URL and keep it beside the ledger.

    It has the form of the package's own rates.json and is checked as that is. An older list is refused, and so is one
    that changes prices of the past. A URL is https, or http on this machine.
    """
    from claudetrace._places import ledger_path
    from claudetrace._pricing._list import checked_list, keep_list, use_rates_of
    from claudetrace._pricing._rates import book

    path = ledger_path(db)
    assert path is not None
    content = _content(source)
    found = checked_list(content, without_password(source))
    use_rates_of(path)
    before = book()
    if found.as_of < before.as_of:
        raise ClaudetraceError(f"the list is of {found.as_of}, older than that of {before.as_of} in force")
    kept = keep_list(content, path)
    click.echo(_told(found, before))
    click.echo(
        f"Kept in {kept}. Programs use it from their next start; `claudetrace reprice` prices what had no price."
    )


def _told(found: RateBook, before: RateBook) -> str:
    digest = found.version.removeprefix(f"{found.as_of}-")
    new = [model for model in found.models if model not in before.models]
    changed = [
        model
        for model, row in found.models.items()
        if model in before.models and any(row[kind] != before.models[model][kind] for kind in ("periods", "fast"))
    ]
    lines = [f"Rates of {found.as_of}, before of {before.as_of}", f"SHA-256 {digest}"]
    lines += [f"{what}: {', '.join(models) or 'none'}" for what, models in (("New", new), ("Changed", changed))]
    return "\n".join(lines)


def _content(source: str) -> bytes:
    """The bytes of the list, and at most one more than a list may have."""
    from claudetrace._pricing._list import LARGEST_BYTES

    if "://" in source:
        return _fetched(source, LARGEST_BYTES + 1)
    file = Path(source)
    if not file.is_file():
        raise ClaudetraceError(f"{source} is no file")
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ClaudetraceError(f"{source} cannot be read: {error.strerror or error}") from error


def _fetched(url: str, most_bytes: int) -> bytes:
    from claudetrace._alerts._channels._http import get
    from claudetrace._alerts._channels._kinds import DeliveryFailed
    from claudetrace.cli._dashboard import is_loopback

    shown = without_password(url)
    try:
        there = urlsplit(url)
        safe = there.scheme == "https" or (there.scheme == "http" and is_loopback(there.hostname or ""))
    except ValueError:
        safe = False
    if not safe:
        raise ClaudetraceError(f"{shown} cannot be used: give a file, https://, or http:// on this machine")
    try:
        return get(url, most_bytes)
    except DeliveryFailed as failure:
        raise ClaudetraceError(f"{shown} cannot be fetched: {failure}") from failure
