"""The deals of a window, piece by piece: one listing of a busy day holds the terminal, and orders wait for it."""

from trading.brokers.mt5 import readings, wire
from trading.brokers.mt5.session import Session

PIECE = 1000  # deals in one unit: some tens of milliseconds
SPAN_S_MIN = 60  # a piece is not cut further, however much was dealt in it


def deals(session: Session, since_s: float, *, urgency: str = "") -> tuple[list[wire.Plain], readings.Batch]:
    """Return everything from then to now, wide enough for any zone, and the last unit's answers.

    Raises: Unreachable, also when the terminal was cut off meanwhile.
    """
    now_s = session.batch([readings.call("terminal_info")], urgency=urgency).utc_s
    listed: list[wire.Plain] = []
    left = [readings.window(min(since_s, now_s), now_s)]
    while left:
        begin, end = left.pop()
        counted = session.batch([readings.call("history_deals_total", begin, end)], urgency=urgency)
        with readings.reading():
            if wire.integer(counted.result(0)) > PIECE and end - begin > SPAN_S_MIN:
                middle = (begin + end) // 2
                left += [(middle + 1, end), (begin, middle)]
                continue
            calls = [readings.call("history_deals_get", begin, end), readings.call("terminal_info")]
            batch = session.batch(calls, urgency=urgency)
            readings.require_connected(batch.result(1))
            listed += batch.result(0)
    return listed, batch
