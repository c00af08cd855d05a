"""Sends alerts through apprise's services, such as e-mail. Needs the extra `[alerts]`."""

from __future__ import annotations

import logging
import threading
import warnings
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from claudetrace._alerts._channel import Channel, DeliveryFailed, Notice, wire_name
from claudetrace._errors import ClaudetraceError

# In the URLs of most services the host is a token.
WITH_A_HOST = frozenset(("mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms"))
LOUD = ("apprise", "urllib3.connectionpool", "urllib3.util.retry", "requests")
"""Loggers that write addresses with their tokens at level DEBUG."""


class AppriseChannel(Channel):
    """Sends an alert's message through one service of apprise."""

    def __init__(self, where: str, scheme: str, url: str) -> None:
        try:
            service = _instantiate(url)
        except ImportError:
            raise ClaudetraceError(
                f'{where} of the scheme {scheme} needs apprise: pip install "claudetrace[alerts]"'
            ) from None
        if service is None:
            raise ClaudetraceError(f"{where} of the scheme {scheme} cannot be used: apprise does not take this URL")
        if getattr(service, "redirects", None):
            service.redirects = False
        self.name = wire_name(scheme, _host(url) if scheme in WITH_A_HOST else None, url)
        self.target = url
        self._service: Any = service

    def send(self, notice: Notice) -> None:
        took, body = False, "\n".join([*notice.lines(), notice.sender()])
        with _quiet, suppress(Exception):  # its words may hold the address
            took = self._service.notify(body=body, title=notice.headline(), notify_type="warning")
        if not took:
            raise DeliveryFailed("apprise could not deliver it")


class _Quiet(threading.local, logging.Filter):
    """While entered, drops what this thread writes to `LOUD`; other threads' records pass."""

    depth = 0

    def __init__(self) -> None:
        logging.Filter.__init__(self)

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_exception: object) -> None:
        self.depth -= 1

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - logging's signature
        return self.depth == 0


_quiet = _Quiet()


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _instantiate(url: str) -> Any:
    """The service of `url`, or `None` if apprise knows none."""
    with _quiet, warnings.catch_warnings():
        # What apprise still uses of an old Python is nothing that its users can change.
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise  # type: ignore[import-not-found,unused-ignore]  # an extra, not there everywhere

        for name in LOUD:
            logging.getLogger(name).addFilter(_quiet)  # only once: logging keeps a filter that is there
        asset = apprise.AppriseAsset(app_id="claudetrace", app_desc="claudetrace", async_mode=False)
        return apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
