"""What is new at the terminal since it was asked last: prices that changed, and deals, by watermarks.

Times are the server's own throughout: what is told does not depend on what we know of its clock.
"""

import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime

from trading.brokers.base import Mark, News, Quote
from trading.brokers.mt5 import history, readings, wire
from trading.brokers.mt5.session import Session

# A deal may be listed seconds late, and in autumn a server's clock goes back by an hour.
OVERLAP_S = 2 * 3600
PAUSE_S_MAX = 3600  # after a longer pause, or when a clock was set, a mark is no beginning


def read(session: Session, *, symbols: Sequence[str], since: datetime, mark: Mark | None) -> News:
    """Read what is new: from a mark as one unit, from the beginning piece by piece. Raises: Unreachable."""
    if mark is not None:
        window = max(mark.deals - OVERLAP_S, 1), mark.asked + readings.WINDOW_PAD_S
        calls = [readings.call("history_deals_get", *window), readings.call("terminal_info")]
        quoted, *more = readings.pieces(symbols, room=readings.UNIT_MAX - len(calls))
        batch = session.batch([*calls, *readings.quote_calls(quoted)], urgency="QUOTE")
        if batch.unreconciled is None and abs(batch.utc_s - mark.asked) <= PAUSE_S_MAX:
            with readings.reading():
                readings.require_connected(batch.result(1))
            ticks = [*batch.answers[len(calls) :], *_ticks(session, more)]
            return _news(session, symbols, batch.result(0), ticks, mark, asked=int(batch.utc_s), is_whole=False)
    deals, last = history.deals(session, since.timestamp(), urgency="QUOTE")
    ticks = _ticks(session, readings.pieces(symbols)) if symbols else []
    beginning = Mark({}, max(int(since.timestamp()) - readings.WINDOW_PAD_S, 1), frozenset(), int(last.utc_s))
    news = _news(session, symbols, deals, ticks, beginning, asked=int(last.utc_s), is_whole=True)
    session.compared("fills", last)
    return news


def _ticks(session: Session, pieces: Iterable[Sequence[str]]) -> list[wire.Plain]:
    """Ask for the quotes of symbols, each piece of them as one unit. Raises: Unreachable."""
    return [
        answer for piece in pieces for answer in session.batch(readings.quote_calls(piece), urgency="QUOTE").answers
    ]


def _news(
    session: Session,
    symbols: Sequence[str],
    deals: Sequence[wire.Plain],
    ticks: Sequence[wire.Plain],
    mark: Mark,
    *,
    asked: int,
    is_whole: bool,
) -> News:
    """Leave out what was told. Takes: the answers on the quotes of `symbols`, and when all this was asked."""
    with readings.reading():
        listed = {wire.deal_key(deal): deal for deal in deals}
        new = [deal for key, deal in listed.items() if key not in mark.told]
        newest = max([mark.deals, *(wire.integer(deal["time"]) for deal in listed.values())])
        near = {key for key, deal in listed.items() if wire.integer(deal["time"]) >= newest - OVERLAP_S}
        tag, zone = session.profile.tag, session.clock
        fills = (
            fill
            for deal in new
            if wire.is_trade(deal)
            for fill in wire.fills(deal, zone=zone, client_order_id=wire.owner(deal, tag=tag))
        )
        cash = (wire.cash(deal, zone=zone) for deal in new if not wire.is_trade(deal))
        quotes, times = _quotes(session, symbols, ticks)
        told = Mark({**mark.quotes, **times}, newest, frozenset(near), asked)
        changed = {symbol: quote for symbol, quote in quotes.items() if times[symbol] != mark.quotes.get(symbol)}
        return News(changed, tuple(fills), tuple(cash), told, is_whole=is_whole)


def _quotes(
    session: Session, symbols: Sequence[str], ticks: Sequence[wire.Plain]
) -> tuple[dict[str, Quote], dict[str, int]]:
    """Read the prices that there are, and their times: one symbol without a price silences no other."""
    quotes, times = {}, {}
    for index, symbol in enumerate(symbols):
        tick = ticks[2 * index + 1]
        if tick["ok"] is not True or tick["result"] is None:
            continue
        with contextlib.suppress(wire.BadAnswer):
            at_ms = wire.integer(tick["result"]["time_msc"])
            quotes[symbol] = wire.quote(symbol, tick["result"], at=session.clock.utc_of_quote(at_ms))
            times[symbol] = at_ms
    return quotes, times
