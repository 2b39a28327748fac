"""A cheap look at an account of which somebody has a page open: has anything moved, and was something dealt there?

What was dealt is booked by the watch, which is asked to look at once instead of within its seconds.
"""

from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from nexus.core.errors import OutsideError
from nexus.core.jobs import enqueue
from trading import selectors
from trading.brokers.base import Broker
from trading.models import TradingAccount
from trading.services import accounts, watch
from trading.services.news import Reader

SINCE = timedelta(hours=1)  # how far back the first glance looks
STILL = timedelta(seconds=5)  # what moves without a price or a deal (swap, a resting order) is shown by then
BOOKED_WITHIN_S = 5

reader = Reader()
_shown_at: WeakKeyDictionary[Broker, datetime] = WeakKeyDictionary()


def has_moved(account: TradingAccount, *, symbols: list[str], at: datetime) -> bool:
    """Tell whether the account may look different from the last time that this was true. Network, as `live`."""
    try:
        broker = accounts.broker_of(account)
        news = reader.read(broker, symbols=symbols, since=at - SINCE, clock=at)
    except OutsideError:
        return True  # the look that follows says what is the matter
    ours = [each for each in news.fills if each.filled_at >= watch.begins_at(account)]
    is_dealt = not selectors.are_booked(account, ours)
    if is_dealt or (news.cash and not news.is_whole):
        enqueue("trading.watch_account", expires_s=BOOKED_WITHIN_S, account_id=account.pk)
    reader.keep(broker, news, clock=at)
    shown_at = _shown_at.get(broker)
    is_still = shown_at is not None and timedelta(0) <= at - shown_at < STILL
    if is_still and not (news.quotes or news.fills or news.cash):
        return False
    _shown_at[broker] = at
    return True
