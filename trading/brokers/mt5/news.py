"""What is new at the terminal since it was asked last: prices that changed, and deals, by watermarks.

Times are the server's own throughout: what is told does not depend on what we know of its clock.
"""

import contextlib
from collections.abc import Sequence
from datetime import datetime

from trading.brokers.base import Mark, News, Quote
from trading.brokers.mt5 import readings, wire
from trading.brokers.mt5.session import Session

# A deal may be listed seconds late, and in autumn a server's clock goes back by an hour.
OVERLAP_S = 2 * 3600
PAUSE_S_MAX = 3600  # after a longer pause, or when a clock was set, a mark is no beginning


def read(session: Session, *, symbols: Sequence[str], since: datetime, mark: Mark | None) -> News:
    """Read as one unit what is new. Raises: Unreachable."""
    if mark is not None:
        window = max(mark.deals - OVERLAP_S, 1), mark.asked + readings.WINDOW_PAD_S
        batch = _ask(session, symbols, window)
        if batch.unreconciled is None and abs(batch.utc_s - mark.asked) <= PAUSE_S_MAX:
            return _news(session, symbols, batch, mark, is_whole=False)
    now_s = session.batch([readings.call("terminal_info")], urgency="QUOTE").utc_s
    window = readings.window(min(since.timestamp(), now_s), now_s)
    batch = _ask(session, symbols, window)
    beginning = Mark({}, window[0] + OVERLAP_S, frozenset(), int(now_s))
    news = _news(session, symbols, batch, beginning, is_whole=True)
    session.compared("fills", batch)
    return news


def _ask(session: Session, symbols: Sequence[str], window: tuple[int, int]) -> readings.Batch:
    deals = readings.call("history_deals_get", *window)
    calls = [deals, readings.call("terminal_info"), *readings.quote_calls(symbols)]
    return session.batch(calls, urgency="QUOTE")


def _news(session: Session, symbols: Sequence[str], batch: readings.Batch, mark: Mark, *, is_whole: bool) -> News:
    with readings.reading():
        readings.require_connected(batch.result(1))
        listed = {str(wire.integer(deal["ticket"])): deal for deal in batch.result(0)}
        new = [deal for ticket, deal in listed.items() if ticket not in mark.told]
        newest = max([mark.deals, *(wire.integer(deal["time"]) for deal in listed.values())])
        near = {ticket for ticket, deal in listed.items() if wire.integer(deal["time"]) >= newest - OVERLAP_S}
        tag, zone = session.profile.tag, session.clock
        fills = (
            wire.fill(deal, zone=zone, client_order_id=wire.owner(deal, tag=tag)) for deal in new if wire.is_trade(deal)
        )
        cash = (wire.cash(deal, zone=zone) for deal in new if not wire.is_trade(deal))
        quotes, times = _quotes(session, symbols, batch, first=2)
        told = Mark({**mark.quotes, **times}, newest, frozenset(near), int(batch.utc_s))
        changed = {symbol: quote for symbol, quote in quotes.items() if times[symbol] != mark.quotes.get(symbol)}
        return News(changed, tuple(fills), tuple(cash), told, is_whole=is_whole)


def _quotes(
    session: Session, symbols: Sequence[str], batch: readings.Batch, *, first: int
) -> tuple[dict[str, Quote], dict[str, int]]:
    """Read the prices that there are, and their times: one symbol without a price silences no other."""
    quotes, times = {}, {}
    for index, symbol in enumerate(symbols):
        tick = batch.answers[first + 2 * index + 1]
        if tick["ok"] is not True or tick["result"] is None:
            continue
        with contextlib.suppress(wire.BadAnswer):
            at_ms = wire.integer(tick["result"]["time_msc"])
            quotes[symbol] = wire.quote(symbol, tick["result"], at=session.clock.utc_of_quote(at_ms))
            times[symbol] = at_ms
    return quotes, times
