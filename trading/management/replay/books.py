"""The books of both sides, beside each other: what the broker's own file says and what our ledger says."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from trading.brokers import ids
from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.broker import Broker
from trading.models import BrokerPosition, CashMovement, Fill, TradeLedger, TradingAccount
from trading.states import Delivery, Side
from trading.types import AccountSnapshot

TRADES = (mt5.DEAL_TYPE_BUY, mt5.DEAL_TYPE_SELL)
MONEY = ("profit", "swap", "commission", "fee")
PRICE_STEP = Decimal("0.00000001")


def differences(
    account: TradingAccount, broker: Broker, truth: dict[str, Any], shown: AccountSnapshot
) -> Iterator[str]:
    """Compare everything, to the cent, and tell each difference in one line. Takes: what the adapter shows now, too."""
    deals = {str(deal["ticket"]): deal for deal in truth["deals"]}
    yield from _fills(account, broker, {ticket: deal for ticket, deal in deals.items() if deal["type"] in TRADES})
    yield from _cash(account, {ticket: deal for ticket, deal in deals.items() if deal["type"] not in TRADES})
    yield from _positions(account, broker, truth)
    yield from _orders(account, truth, deals)
    yield from _sums(account, truth, shown)


def balance(account: TradingAccount) -> Decimal:
    """Return the account's balance by our books alone: every movement of money, and every fill."""
    moved = sum((each.amount for each in CashMovement.objects.filter(account=account)), Decimal(0))
    fills = Fill.objects.filter(account=account)
    return moved + sum((getattr(fill, name) for fill in fills for name in MONEY), Decimal(0))


def _fills(account: TradingAccount, broker: Broker, deals: dict[str, Any]) -> Iterator[str]:
    ours = {fill.venue_fill_id: fill for fill in Fill.objects.filter(account=account)}
    for ticket in sorted(deals.keys() - ours.keys(), key=int):
        yield f"deal {ticket} is not in our ledger"
    for ticket in sorted(ours.keys() - deals.keys(), key=int):
        yield f"fill {ticket} is not at the broker"
    for ticket in sorted(ours.keys() & deals.keys(), key=int):
        fill, deal = ours[ticket], deals[ticket]
        digits = broker.instruments[deal["symbol"]].digits
        theirs = {name: _money(deal[name]) for name in MONEY} | {
            "symbol": deal["symbol"], "side": Side.SELL if deal["type"] else Side.BUY,
            "quantity": _money(deal["volume"]), "price": Decimal(deal["price"]).scaleb(-digits),
            "venue_position_id": str(deal["position_id"]),
        }  # fmt: skip
        for name, value in theirs.items():
            if getattr(fill, name) != value:
                yield f"deal {ticket}: {name} is {value} at the broker and {getattr(fill, name)} in our ledger"


def _cash(account: TradingAccount, deals: dict[str, Any]) -> Iterator[str]:
    ours = {each.venue_cash_id: each.amount for each in CashMovement.objects.filter(account=account)}
    theirs = {ticket: _money(deal["profit"]) for ticket, deal in deals.items()}
    for ticket in sorted(ours.keys() | theirs.keys(), key=int):
        if ours.get(ticket) != theirs.get(ticket):
            yield f"money {ticket} is {theirs.get(ticket)} at the broker and {ours.get(ticket)} in our ledger"


def _positions(account: TradingAccount, broker: Broker, truth: dict[str, Any]) -> Iterator[str]:
    ours = {
        each.venue_position_id: (each.quantity, each.price_open.quantize(PRICE_STEP), each.stop_loss, each.take_profit)
        for each in BrokerPosition.objects.filter(account=account, closed_at__isnull=True)
    }
    theirs = {}
    for row in truth["positions"]:
        digits = broker.instruments[row["symbol"]].digits
        levels = (Decimal(row[name]).scaleb(-digits) if row[name] else None for name in ("sl", "tp"))
        opened = Decimal(row["price_open"]).scaleb(-amounts.AVERAGE_DIGITS).quantize(PRICE_STEP)
        theirs[str(row["identifier"])] = (_money(row["volume"]) * (-1 if row["type"] else 1), opened, *levels)
    for name in sorted(ours.keys() | theirs.keys(), key=int):
        if ours.get(name) != theirs.get(name):
            there, here = _told(theirs.get(name)), _told(ours.get(name))
            yield f"position {name} is {there} at the broker and {here} in our ledger"


def _orders(account: TradingAccount, truth: dict[str, Any], deals: dict[str, Any]) -> Iterator[str]:
    executed: Counter[int] = Counter()
    for deal in deals.values():
        if deal["reason"] == mt5.DEAL_REASON_EXPERT:
            executed[deal["magic"]] += deal["volume"]
    waiting = {row["magic"] for row in truth["working"]}
    for order in TradeLedger.objects.filter(account=account).order_by("pk"):
        magic = ids.magic(order.client_order_id)
        if order.filled_quantity != _money(executed[magic]):
            yield f"{order} is filled with {_money(executed[magic])} there and {order.filled_quantity} here"
        if (order.delivery == Delivery.ACKED) != (magic in waiting):
            yield f"{order} is {order.status} here and {'waits' if magic in waiting else 'does not wait'} there"


def _sums(account: TradingAccount, truth: dict[str, Any], shown: AccountSnapshot) -> Iterator[str]:
    three = {
        "balance": (_money(truth["balance"]), shown.balance, balance(account)),
        "equity": (_money(truth["equity"]), shown.equity, None),
    }
    for name, (theirs, read, ours) in three.items():
        if read != theirs:
            yield f"the {name} is {theirs} at the broker and the adapter reads {read}"
        if ours is not None and ours != theirs:
            yield f"the {name} is {theirs} at the broker and {ours} by our ledger"


def _money(units: int) -> Decimal:
    return Decimal(units).scaleb(-8)


def _told(row: tuple[Decimal | None, ...] | None) -> str:
    return "not there" if row is None else " ".join("-" if cell is None else f"{cell.normalize():f}" for cell in row)
