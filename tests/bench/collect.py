"""What one `claudetrace collect` takes: requests as fast as they are answered, until all is loaded.

`python tests/bench/collect.py [RECORDS]` prints how many records a second were acknowledged and loaded, and the
size of the ledger.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collect.collecting import Collecting, ask, body
from collect.rows import row

BATCH, SENDERS = 200, 8


def main(records: int) -> None:
    with TemporaryDirectory() as folder:
        collector = Collecting(Path(folder) / "central.db", "--rate", "1000000")
        waiting = [
            body(*(row(user_id=f"u{number % 50}", service=f"s{number % 3}") for number in range(BATCH)), packed=True)
            for _ in range(records // BATCH)
        ]
        print(f"{records:,} records in requests of {BATCH}, {len(waiting[0]):,} bytes each")
        busy: list[int] = []

        def send() -> None:
            while waiting:
                content = waiting.pop()
                while (status := collector.post(content, content_encoding="gzip")[0]) != 200:
                    busy.append(status)
                    time.sleep(1)

        began = time.monotonic()
        senders = [threading.Thread(target=send) for _ in range(SENDERS)]
        for each in senders:
            each.start()
        for each in senders:
            each.join()
        acknowledged_s = time.monotonic() - began
        while ask(collector.db, "SELECT COUNT(*) FROM calls") != [(records,)]:
            time.sleep(0.1)
        loaded_s = time.monotonic() - began
        cpu_s = sum(map(int, Path(f"/proc/{collector.process.pid}/stat").read_text().split()[13:15])) / 100
        collector.end()
        size = collector.db.stat().st_size
        print(f"acknowledged {records / acknowledged_s:,.0f} a second, loaded {records / loaded_s:,.0f} a second")
        print(f"{cpu_s / records * 1e6:,.0f} µs of CPU a record, so {records / cpu_s:,.0f} a second on one core")
        print(f"{size / records:,.0f} bytes a record in the ledger; told to wait {len(busy)} times")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60_000)
