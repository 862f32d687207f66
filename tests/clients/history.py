"""A log to page through: more than a thousand rows, up to four in one millisecond, of nine event types."""

import json
import random
import time
from collections import Counter
from types import SimpleNamespace

from world import PLUG, points, status_of

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
TYPES = "1,2,3,4,5,6,7,8,9,10"


def rows_of(device, now_ms):
    begin = now_ms - 20 * HOUR_MS
    rows = []

    def add(time_ms, kind, source=1, code=None, value=None):
        row = {"device_id": device, "time": time_ms, "type": kind, "from": source}
        rows.append(row if code is None else row | {"code": code, "value": value})

    for n in range(400):
        time_ms = begin + n * 97_003
        add(time_ms, 7, 1, "switch_1", n % 2 == 0)
        add(time_ms, 7, 1, "cur_power", n)
        match n % 8:
            case 0:
                add(time_ms, 7, 1, "note", f"第{n}行 \"quoted\" +/=")
            case 1:
                add(time_ms, 5, 4, "switch_1", n % 2 != 0)
            case kind:
                add(time_ms, {2: 1, 3: 2, 4: 6, 5: 8, 6: 9, 7: 10}[kind], 16 if kind == 7 else 1)
        if n % 50 == 0:
            add(time_ms, 7, 1, "colour_data", json.dumps({"h": n, "s": 1000}))
    # Older than a day, and older than the week that a query without a start reaches.
    for n in range(30):
        add(now_ms - 3 * DAY_MS - n, 7, 1, "fault", n % 4)
    for n in range(5):
        add(now_ms - 8 * DAY_MS + n, 3, 1)
    # History need not come in order.
    random.Random(1).shuffle(rows)
    return rows


def expected(row):
    """How the log shows an imported row: numbers and switches as text, text as it is."""
    shown = {"event_time": row["time"], "event_id": row["type"], "event_from": str(row["from"]), "status": "1"}
    if "code" in row:
        value = row["value"]
        shown |= {"code": row["code"], "value": value if isinstance(value, str) else json.dumps(value)}
    return shown


def assert_log(shown, rows):
    """Exactly these rows, newest first. Which comes first within one millisecond is the server's choice."""
    def as_set(logs):
        return Counter(json.dumps(row, sort_keys=True) for row in logs)

    times = [row["event_time"] for row in shown]
    assert times == sorted(times, reverse=True)
    gaps, repeats = as_set(map(expected, rows)) - as_set(shown), as_set(shown) - as_set(map(expected, rows))
    assert not gaps and not repeats, f"{len(gaps)} rows are missing, {len(repeats)} are too many: {gaps} {repeats}"


def imported(world):
    now_ms = time.time_ns() // 1_000_000
    device = world.home.devices["plug"]
    rows = rows_of(device, now_ms)
    # Two files, the first with what is newer in part: the second fills in between.
    world.import_events(rows[:700])
    world.import_events(rows[700:])
    said = {row["code"]: row["value"] for row in sorted(rows, key=lambda row: row["time"]) if row["type"] == 7}
    return SimpleNamespace(world=world, project=world.home, device=device, rows=rows, now_ms=now_ms,
                           status=points(status_of(PLUG, said)))
