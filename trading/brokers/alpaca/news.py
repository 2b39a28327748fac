"""What is new at Alpaca since it was asked last: prices that changed, executions and movements of money."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from trading.brokers.alpaca import listings, wire
from trading.brokers.alpaca.session import Session
from trading.brokers.base import Mark, News

OVERLAP = timedelta(minutes=15)  # executions are listed late, and by the time at which they happened
CASH_PADDING = timedelta(days=2)  # a movement tells its day only
MOMENT = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read(session: Session, *, symbols: Sequence[str], since: datetime, mark: Mark | None) -> News:
    """Read what is new: one request for executions, one for money, one for prices. Raises: Unreachable."""
    session.require_account()
    told = frozenset[str]() if mark is None else mark.told
    after = since - OVERLAP if mark is None else EPOCH + mark.deals * MOMENT - OVERLAP
    executed = list(listings.activities(session.client, activity_types="FILL", after=after.isoformat()))
    day = (after - CASH_PADDING).date().isoformat()
    moved = list(listings.activities(session.client, category="non_trade_activity", after=day))
    with wire.reading():
        new = [entry for entry in executed if entry["id"] not in told]
        names = session.names(wire.text(entry["order_id"]) for entry in new)
        fills = [
            wire.fill(entry, venue_order_id=name.venue_order_id, client_order_id=name.client_order_id)
            for entry, name in ((entry, names[entry["order_id"]]) for entry in new)
        ]
        cash = tuple(each for entry in moved if wire.cash_key(entry) not in told for each in wire.cash(entry))
        quotes = session.quotes(symbols)
        times = {symbol: (quote.at - EPOCH) // MOMENT for symbol, quote in quotes.items()}
        seen = {} if mark is None else mark.quotes
        changed = {symbol: quote for symbol, quote in quotes.items() if times[symbol] != seen.get(symbol)}
        at = [(wire.moment(entry["transaction_time"]) - EPOCH) // MOMENT for entry in executed]
        newest = max([(after + OVERLAP - EPOCH) // MOMENT, *at])
        near = {entry["id"] for entry in executed} | {wire.cash_key(entry) for entry in moved}
    now = Mark({**seen, **times}, newest, frozenset(near), 0)
    return News(changed, tuple(each for each in fills if each is not None), cash, now, is_whole=mark is None)
