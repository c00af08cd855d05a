"""Who may send records: a token for each service, bound to it."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Container

VARIABLE = "CLAUDETRACE_COLLECT_TOKENS"
SHORTEST = 16
ANY = "*"
"""The service of a token for all: an OpenTelemetry collector's, which sends what others told it."""


class _All:
    def __contains__(self, _service: object) -> bool:
        return True


ALL: Container[object] = _All()


class Tokens:
    """What the variable says: `service=token` and further ones, with commas. Raises `ClaudetraceError`.

    A service may have several tokens, and a token several services: programs that share a ledger send for each other.
    """

    def __init__(self, said: str) -> None:
        self._services: dict[bytes, set[str]] = {}
        for pair in filter(None, map(str.strip, said.split(","))):
            service, _, token = pair.partition("=")
            if not service.strip() or len(token.strip()) < SHORTEST:
                raise ClaudetraceError(
                    f"{VARIABLE} holds service=token, with commas, and each token has {SHORTEST} characters or more; "
                    f"make one with: python -c 'import secrets; print(secrets.token_urlsafe())' ({service.strip()!r})"
                )
            self._services.setdefault(token.strip().encode(), set()).add(service.strip())

    def __bool__(self) -> bool:
        return bool(self._services)

    def services(self, authorization: str) -> Container[object] | None:
        """Those that the header `authorization` may send for, `None` where it says no token of ours. All where there
        are no tokens at all."""
        if not self._services:
            return ALL
        scheme, _, told = authorization.partition(" ")
        found = None
        for token, services in self._services.items():
            # Each of them, so that the time says nothing.
            if hmac.compare_digest(token, told.strip().encode()) and scheme.lower() == "bearer":
                found = services
        return ALL if found is not None and ANY in found else found
