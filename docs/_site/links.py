"""What is wrong with a site's links: those that lead nowhere, and what a page would load from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "source": "srcset", "iframe": "src", "video": "src"}
LOADING_LINKS = {"stylesheet", "preload", "preconnect", "icon", "modulepreload", "dns-prefetch"}


class Page(HTMLParser):
    """The ids, the links and what is loaded of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given:
            self.loaded.append(given[LOADED[tag]])
        if tag == "link" and given.get("rel", "") in LOADING_LINKS:
            self.loaded.append(given.get("href", ""))


def faults_of(site: Path) -> list[str]:
    """A line for each link that leads nowhere and each thing that is loaded from elsewhere."""
    pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    faults = []
    for path, page in pages.items():
        where = path.relative_to(site)
        faults += [f"{where} loads {url}" for url in page.loaded if is_elsewhere(url)]
        for url in (*page.links, *page.loaded):
            if not is_elsewhere(url) and not url.startswith(("mailto:", "data:", "javascript:")):
                faults += [f"{where} -> {url}: {why}" for why in nowhere(site, path, url, pages)]
    return faults


def is_elsewhere(url: str) -> bool:
    return bool(urlsplit(url).netloc)


def nowhere(site: Path, path: Path, url: str, pages: dict[Path, Page]) -> list[str]:
    split = urlsplit(url)
    target = path
    if split.path:
        start = site if split.path.startswith("/") else path.parent
        target = (start / unquote(split.path).lstrip("/")).resolve()
        target = target / "index.html" if target.is_dir() else target
    if not target.exists():
        return ["there is no such page"]
    anchor = unquote(split.fragment)
    if anchor and target in pages and anchor not in pages[target].ids:
        return ["the page has no such anchor"]
    return []
