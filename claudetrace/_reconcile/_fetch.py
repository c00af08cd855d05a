"""Reads Anthropic's figures: from its APIs, with an Admin key, or from files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from claudetrace._errors import ClaudetraceError
from claudetrace._reconcile._figures import Figures, csv_items

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from anthropic import Anthropic

API = "https://api.anthropic.com"
KEY_VARIABLE = "ANTHROPIC_ADMIN_KEY"
ANALYTICS, ADMIN = "analytics API", "Admin API"
LONGEST_RANGE_DAYS = 31
LONGEST_KEY = 4096
RETRIES = 5
GROUP_BY = ("model", "workspace_id", "service_tier", "speed", "inference_geo")
ADMIN_REPORTS: Mapping[str, tuple[str, ...]] = {
    "/v1/organizations/usage_report/messages": GROUP_BY,
    "/v1/organizations/cost_report": ("workspace_id", "description"),
}
NOT_FOR_THIS_ORGANIZATION = (400, 403, 404)
"""How the analytics API answers an organization or a key that cannot use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which figures to read: UTC days from `since` until before `until`, of these workspaces and keys, or of all."""

    since: date
    until: date
    workspace_ids: tuple[str, ...] = ()
    api_key_ids: tuple[str, ...] = ()

    @property
    def scope(self) -> str:
        """The ids of its workspaces and keys; empty for the whole organization."""
        return " ".join((*sorted(self.workspace_ids), *sorted(self.api_key_ids)))

    def chunks(self) -> Iterator[dict[str, str]]:
        """The days in ranges that the APIs accept."""
        since, now = self.since, datetime.now(UTC)
        while since < self.until:
            until = min(self.until, since + timedelta(days=LONGEST_RANGE_DAYS))
            ending = min(datetime.combine(until, datetime.min.time(), UTC), now)
            yield {"starting_at": f"{since}T00:00:00Z", "ending_at": f"{ending:%Y-%m-%dT%H:%M:%SZ}"}
            since = until

    def filters(self) -> dict[str, list[str]]:
        """The filters for analytics and the usage report."""
        named = {"workspace_ids": [*self.workspace_ids], "api_key_ids": [*self.api_key_ids]}
        return {name: ids for name, ids in named.items() if ids}


def admin_key(fd: int | None) -> str:
    """The Admin key, from the file descriptor `fd` or the environment. Raises `ClaudetraceError` if there is none."""
    key = os.environ.get(KEY_VARIABLE, "")
    if fd is not None:
        try:
            key = os.read(fd, LONGEST_KEY).decode("ascii", "replace")
        except OSError as error:
            raise ClaudetraceError(f"no key can be read from file descriptor {fd}: {error.strerror}") from error
    if not key.strip():
        raise ClaudetraceError(
            f"no Admin key: set {KEY_VARIABLE}, give --key-fd, or read an export of the Console with --from FILE"
        )
    return key.strip()


def fetch(asked: Asked, key: str, base_url: str | None, api: str | None) -> Figures:
    """Anthropic's figures. Without an `api`, analytics is asked first. Raises `ClaudetraceError`."""
    import anthropic

    # A base URL in the environment may be a gateway's, which must not see an Admin key.
    client = anthropic.Anthropic(api_key=key, base_url=base_url or API, max_retries=RETRIES)
    analytics = getattr(getattr(client.beta, "organization", None), "analytics", None)
    if api == ANALYTICS and not hasattr(analytics, "cost"):
        raise ClaudetraceError("this anthropic SDK has no analytics API; install anthropic 2.14, or give --api admin")
    try:
        if api != ADMIN and hasattr(analytics, "cost"):
            try:
                return _analytics(analytics, asked)
            except anthropic.APIStatusError as error:
                if api == ANALYTICS or error.status_code not in NOT_FOR_THIS_ORGANIZATION:
                    raise
                return _admin(client, asked, f"{ADMIN}, since the {ANALYTICS} answered {error.status_code}")
        return _admin(client, asked, ADMIN)
    except anthropic.APIStatusError as error:
        raise ClaudetraceError(f"Anthropic refused {_told(error.status_code)}: {error.message}") from error
    except anthropic.APIError as error:
        raise ClaudetraceError(f"Anthropic's figures could not be read: {error}") from error
    finally:
        client.close()


def _told(status: int) -> str:
    ways_out = {401: f"the key in {KEY_VARIABLE}; the Console makes Admin keys", 429: "to answer now; try in a minute"}
    return ways_out.get(status, f"with status {status}")


def _analytics(analytics: Any, asked: Asked) -> Figures:
    # Both are told even if the answer is that there is nothing.
    figures = Figures(ANALYTICS, has_cost=True, has_usage=True)
    for reports, group_by, take in (
        (analytics.usage, GROUP_BY, figures.add),
        (analytics.cost, (*GROUP_BY, "cost_type", "token_type"), figures.add),
        (analytics.cost, ("api_key_id",), figures.add_keys),
    ):
        for chunk in asked.chunks():
            first = reports.list(**chunk, **asked.filters(), group_by=[*group_by], time_bucket_width="1d", limit=1000)
            for page in first.iter_pages():
                take(item.to_dict(mode="json") for item in page.data)
                if (at := page.data_refreshed_at) is not None:
                    figures.refreshed_at = min(figures.refreshed_at or at, at)
    return figures


def _admin(client: Anthropic, asked: Asked, source: str) -> Figures:
    if asked.api_key_ids:
        raise ClaudetraceError("the Admin API has no cost by key; leave out --api-key-id, or name a workspace")
    figures = Figures(source, has_cost=True, has_usage=True)
    for path, group_by in ADMIN_REPORTS.items():
        for chunk in asked.chunks():
            params: dict[str, Any] = {**chunk, "group_by": [*group_by], "bucket_width": "1d", "limit": 31}
            if asked.workspace_ids and "description" not in group_by:
                params["workspace_ids"] = [*asked.workspace_ids]
            for page in _pages(client, path, params):
                figures.add(_of_workspaces(page["data"], asked.workspace_ids))
    return figures


def _pages(client: Anthropic, path: str, params: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    while True:
        # Lists as the API wants them: the SDK's own encoding depends on its version.
        pairs = [(f"{name}[]" if isinstance(value, list) else name, value) for name, value in params.items()]
        page: Any = client.get(f"{path}?{urlencode(pairs, doseq=True)}", cast_to=object)
        if not isinstance(page, Mapping) or not isinstance(page.get("data"), list):
            raise ClaudetraceError(f"{path} answered with something other than figures")
        yield page
        if not page.get("has_more") or not page.get("next_page"):
            return
        params = {**params, "page": page["next_page"]}


def _of_workspaces(buckets: Iterable[Mapping[str, Any]], ids: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
    # The cost report cannot be filtered.
    for bucket in buckets:
        results = [each for each in bucket["results"] if not ids or each.get("workspace_id") in ids]
        yield {**bucket, "results": results}


def read_files(paths: Iterable[Path]) -> Figures:
    """The figures in saved answers of either API and in the Console's CSV files. Raises `ClaudetraceError`."""
    figures = Figures("")
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8-sig")
            figures.add(_items(text))
        except OSError as error:
            raise ClaudetraceError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ClaudetraceError(
                f"{path} holds no figures of Anthropic's: give a CSV of the Console's cost or usage page, or JSON of "
                f"the analytics or Admin API ({error!r:.200})"
            ) from error
        figures.source = ", ".join(filter(None, (figures.source, path.name)))
    return figures


def _items(text: str) -> Iterable[Mapping[str, Any]]:
    """The rows of a CSV file, an answer, a list of answers, or one answer a line."""
    if "usage_date_utc" in text.partition("\n")[0]:
        return csv_items(csv.DictReader(text.splitlines()))
    try:
        told = json.loads(text)
    except ValueError:
        told = [json.loads(line) for line in text.splitlines() if line.strip()]
    pages = told if isinstance(told, list) else [told]
    if not pages:
        raise ValueError("it is empty")
    return chain.from_iterable(page.get("data", [page]) for page in pages)
