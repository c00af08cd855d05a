"""`make docs`: the pages of `docs/`, with what is generated from the code, as a site in `.docs/site`.

Warnings are errors, every link has to lead somewhere, and nothing on a page is loaded from elsewhere.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reference
from links import faults_of

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MADE = ROOT / ".docs"
PAGES = MADE / "pages"
MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(\.\./[^)#]+)(#[^)]*)?(?=\))")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".sql": "sql", ".toml": "toml", ".json": "json"}


def main() -> int:
    """Builds and checks the site; 1 where something is wrong with it."""
    shutil.rmtree(MADE, ignore_errors=True)
    shutil.copytree(DOCS, PAGES, ignore=shutil.ignore_patterns("*.py", "__pycache__", "zensical.toml"))
    for page in sorted(PAGES.rglob("*.md")):
        page.write_text(led_inside(MARKER.sub(lambda found: reference.PARTS[found[1]](), page.read_text())))
    shutil.copy(DOCS / "_site" / "zensical.toml", MADE / "zensical.toml")
    command = [str(Path(sys.executable).parent / "zensical"), "build", "--strict", "-f", str(MADE / "zensical.toml")]
    built = subprocess.run(command, cwd=MADE, capture_output=True, text=True, check=False, env=environment())
    said = built.stdout + built.stderr
    if built.returncode or re.search(r"\bwarning\b", said, re.IGNORECASE):
        print(said, file=sys.stderr)
        return 1
    faults = faults_of(MADE / "site")
    for fault in faults:
        print(fault, file=sys.stderr)
    count = len(list((MADE / "site").rglob("*.html")))
    print(f"{count} pages in {MADE / 'site'}, {len(faults)} faults")
    return int(bool(faults))


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("CLAUDETRACE_")}


def led_inside(text: str) -> str:
    """`text` with links to files of the repository led to pages that show them."""

    def page(found: re.Match[str]) -> str:
        source = (DOCS / found[1]).resolve()
        name = source.relative_to(ROOT)
        shown = PAGES / "files" / name.parent / f"{name.name.removesuffix('.md')}.md"
        if not shown.exists():
            shown.parent.mkdir(parents=True, exist_ok=True)
            shown.write_text(as_page(source, name))
        return f"{shown.relative_to(PAGES)}{found[2] or ''}"

    return LINK.sub(page, text)


def as_page(source: Path, name: Path) -> str:
    if source.is_dir():
        return f"# `{name}`\n\n" + "".join(f"- `{each.name}`\n" for each in sorted(source.iterdir()))
    content = source.read_text()
    if source.suffix == ".md":
        # Its own links lead about the repository, which is not part of the site.
        content = re.sub(r"<picture>.*?</picture>", "", content, flags=re.DOTALL)
        return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", content)
    return f"# `{name}`\n\n````{LANGUAGES.get(source.suffix, '')}\n{content}````\n"


if __name__ == "__main__":
    sys.exit(main())
