"""Where a call goes, as far as its price depends on it: platform, region, and the setting `[hosts]`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from claudetrace._hosts import NO_HOST, host_said
from claudetrace._pricing._terms import Terms
from claudetrace._seam._operations import platform_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from claudetrace._hosts import Host
    from claudetrace._pricing._own import OwnRates

_REGION = {"bedrock": "aws_region", "vertex": "region", "google_cloud": "_location"}
"""The attribute that holds a cloud client's region. Model ids do not always tell it."""
_LOCATION = re.compile(r"/locations/([^/]+)/")
_AWS_HOST = re.compile(r"(?:^|\.)(?:amazonaws\.com|api\.aws)$")
_GOVCLOUD_REGION = re.compile(r"(?:^|\.)us-gov-[a-z]+-\d+(?:\.|$)")
_PORTS = {"https": 443, "http": 80}
_MOST_PLACES = 256


class Where(NamedTuple):
    """Where a call goes, as far as its price depends on it."""

    platform: str
    """By the client's class."""
    region: str | None
    host: str
    port: int | None


TermsOfCalls: TypeAlias = "Callable[[Where, bool, str | None], Terms]"


_places: dict[tuple[type, int], tuple[Any, Where]] = {}
"""By a client's class and the id of its base URL, which is kept beside, so that no other gets its id."""


def where_to(client: Any, url: str) -> Where:
    """Where a request of `client` for `url` goes."""
    base_url = client.base_url
    known = _places.get((type(client), id(base_url)))
    if known is not None and "://" not in url:
        return known[1]
    platform = platform_of(client)
    if "://" in url:
        there = urlsplit(url)
        region = _region(client, platform, url) if platform in _REGION else None
        return Where(platform, region, there.hostname or "", there.port or _PORTS.get(there.scheme))
    port = base_url.port or _PORTS.get(base_url.scheme)
    if platform in _REGION:
        return Where(platform, _region(client, platform, url), base_url.host, port)
    where = Where(platform, None, base_url.host, port)
    if len(_places) < _MOST_PLACES:
        _places[type(client), id(base_url)] = base_url, where
    return where


def terms_of_calls(
    hosts: Mapping[str, Host] | None = None, own_rates: OwnRates | None = None, data_zone: str | None = None
) -> TermsOfCalls:
    """A function that returns the pricing terms of a call by where it goes, whether it is a batch, and who pays."""

    @lru_cache(maxsize=256)
    def terms(where: Where, batch: bool, payer: str | None) -> Terms:
        said = host_said(hosts or {}, where.host, where.port) or NO_HOST
        platform = said.platform or where.platform
        return Terms(
            platform=platform,
            batch=batch,
            endpoint_scope=said.endpoint_scope or _endpoint_scope(where),
            data_zone=data_zone if platform == "foundry" else None,
            billed_to=payer,
            told_platform=said.platform is not None,
            free_host=said.free,
            replays=said.replays,
        ).with_own_rates(own_rates)

    return terms


def _region(client: Any, platform: str, url: str) -> str | None:
    """The region that `client` calls: the path's, else the client's own."""
    region = getattr(client, _REGION[platform], None)
    if platform == "google_cloud":
        url = f"{client.base_url.path}{url}"
    if "/locations/" in url and (found := _LOCATION.search(url)):
        region = found[1]
    return region if isinstance(region, str) and region else None


def _endpoint_scope(where: Where) -> str | None:
    """The endpoint's scope, as far as region and host tell it. The model's id may tell more."""
    _, region, host, _ = where
    if _GOVCLOUD_REGION.search(host):
        return "us-gov"
    if region is None:
        return None
    if where.platform == "bedrock":
        # The hosts of AWS name their region. Behind any other host, it is the region that requests are signed for.
        return "us-gov" if region.startswith("us-gov-") and not _AWS_HOST.search(host) else None
    return "global" if region == "global" else "regional"
