"""Checks `rates.json`, and keeps the digest of every period that was once published.

After adding a model or a period, run `python tests/pricing/rate_data.py`: it refuses malformed rates and
changed ones, and writes down the new.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from claudetrace._pricing._list_check import alterations, digests, problems
from claudetrace._pricing._rates import RATES_FILE

PUBLISHED_FILE = Path(__file__).with_name("published.json")


def rates() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RATES_FILE.read_text())
    return found


def published() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PUBLISHED_FILE.read_text()) if PUBLISHED_FILE.exists() else {}
    return found


def main() -> int:
    data = rates()
    now = digests(data)
    if wrong := [*problems(data), *alterations(published(), now)]:
        print("\n".join(wrong))
        return 1
    PUBLISHED_FILE.write_text(json.dumps(now, indent=1) + "\n")
    print(f"{len(now)} periods are published")
    return 0


if __name__ == "__main__":
    sys.exit(main())
