"""What one kill has done, by the broker's own books: lost, sent twice, or left behind."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from nexus.alerts.models import Alert
from nexus.idempotency.models import IdempotencyRecord
from tests.crash.points import Ends
from trading.brokers import ids
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import Fill, TradeLedger
from trading.states import Delivery, OrderStatus

TRADES = (mt5.DEAL_TYPE_BUY, mt5.DEAL_TYPE_SELL)


@dataclass
class Judgement:
    """What was found wrong, counted by its kind and told in words."""

    found: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)

    def check(self, holds: object, kind: str, words: str) -> None:
        """Note a fault when something does not hold."""
        if not holds:
            self.found[kind] += 1
            self.words.append(f"{kind}: {words}")


def judge(
    ends: Ends,
    *,
    order: TradeLedger,
    stored: TradeLedger | None,
    answers: list[str],
    was_unknown: bool,
    found_later: int,
    truth: dict[str, Any],
) -> Judgement:
    """Judge one order after everything has come back. Takes: `stored`, the order that the dead process left, if any;
    `answers`, the order's id as each retry of the client was told; `found_later`, fills that only the watcher found.
    """
    result = Judgement()
    check = result.check
    if ends is Ends.IF_STORED:
        ends = Ends.RETRIED if stored is None else Ends.NOT_AT_BROKER
    magic = ids.magic(order.client_order_id)
    deals = [deal for deal in truth["deals"] if deal["magic"] == magic]
    sent = [request for request in map(_request, truth["requests"]) if request.get("magic") == magic]

    check(len(sent) <= 1, "twice", f"the broker was asked {len(sent)} times for {order}")
    check(len(deals) <= 1, "twice", f"the broker executed {order} {len(deals)} times")
    check(len(set(answers)) == 1, "twice", f"one key made the orders {sorted(set(answers))}")
    check((stored is None) == (ends is Ends.RETRIED), "lost", f"the dead process left {stored}")
    if stored is not None:
        check(answers[0] == str(stored.public_id), "lost", f"{stored} was stored, and its client was told of {order}")
    check(order.delivery == Delivery.DONE, "lost", f"{order} is {order.state} in the end")
    check(was_unknown == (ends is Ends.UNKNOWN), "lost", f"{order} had to wait for a proof: {was_unknown}")
    check(not found_later, "lost", f"the resolver had missed {found_later} fills")
    _check_end(check, ends, order, has_deal=bool(deals))
    _check_books(check, order, truth)
    _check_remains(check, order)
    return result


def _request(row: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(row[1])
    return body


def _check_end(check: Any, ends: Ends, order: TradeLedger, *, has_deal: bool) -> None:
    is_filled = order.status == OrderStatus.FILLED
    check(is_filled == has_deal, "lost", f"{order} is {order.status}; the broker executed it: {has_deal}")
    check(is_filled or order.reason == "NOT_AT_BROKER", "lost", f"{order} is {order.status} for {order.reason}")
    if ends is not Ends.EITHER:
        wanted = ends in (Ends.FILLED, Ends.RETRIED)
        check(is_filled == wanted, "lost", f"{order} is {order.status} ({order.reason}), not {ends}")


def _check_books(check: Any, order: TradeLedger, truth: dict[str, Any]) -> None:
    """Compare the account's fills with the broker's deals, each way."""
    theirs = {str(deal["ticket"]): deal for deal in truth["deals"] if deal["type"] in TRADES}
    ours = {
        fill.venue_fill_id: fill for fill in Fill.objects.select_related("order").filter(account_id=order.account_id)
    }
    check(theirs.keys() == ours.keys(), "lost", f"deals booked or made by one side only: {theirs.keys() ^ ours.keys()}")
    for ticket in theirs.keys() & ours.keys():
        owner = ours[ticket].order
        mine = owner is not None and ids.magic(owner.client_order_id) == theirs[ticket]["magic"]
        check(mine, "lost", f"deal {ticket} is booked on {owner}")
        same = int(ours[ticket].quantity.scaleb(8)) == theirs[ticket]["volume"]
        check(same, "lost", f"deal {ticket} is booked with {ours[ticket].quantity} lots")


def _check_remains(check: Any, order: TradeLedger) -> None:
    reserving = TradeLedger.objects.filter(account_id=order.account_id, delivery=Delivery.DONE, reserved__gt=0)
    check(not reserving.exists(), "left", f"closed orders reserve: {list(reserving)}")
    check(order.reserved == 0, "left", f"{order} reserves {order.reserved}")
    open_keys = IdempotencyRecord.objects.filter(object_id=str(order.public_id), expires_at__isnull=True)
    check(not open_keys.exists(), "left", f"the key of {order} never expires")
    alarms = Alert.objects.filter(object_id=str(order.public_id), kind="ORDER_UNKNOWN", closed_at__isnull=True)
    check(not alarms.exists(), "left", f"people are still told that {order} is unknown")
