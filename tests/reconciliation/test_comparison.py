"""The comparison in one statement, beside a plain one in Python."""

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories.accounts import UserFactory
from trading.models import BrokerPosition, CashMovement, Fill, TradableInstrument, TradingAccount
from trading.services import comparison
from trading.services.comparison import Shown
from trading.states import CashKind, FillKind, PositionMode, Side
from trading.types import VenuePosition

AT = now()
TICK = Decimal("0.00001")
QUIET = timedelta(seconds=5)

lots = st.integers(-300, 300).filter(bool).map(lambda number: Decimal(number) / 100)
prices = st.integers(100_000, 100_004).map(lambda number: Decimal(number) / 100_000)
ours_of = st.dictionaries(st.integers(1, 6), st.tuples(st.sampled_from(["EURUSD", "USDJPY"]), lots, prices))


@pytest.fixture
def account(db: None) -> TradingAccount:
    """An account that met EURUSD, and never USDJPY."""
    row = TradingAccount.objects.create(
        user=UserFactory.create(), name="Compared", venue="mt5", venue_account=uuid.uuid4().hex[:8], server="S",
        currency="USD", mode=PositionMode.HEDGING, created_at=AT,
    )  # fmt: skip
    TradableInstrument.objects.create(
        account=row, symbol="EURUSD", base_currency="EUR", profit_currency="USD", margin_currency="EUR",
        contract_size=100_000, tick_size=TICK, digits=5, quantity_min=1, quantity_max=1, quantity_step=1,
        stops_distance_min=0, is_tradable=True, read_at=AT,
    )  # fmt: skip
    return row


def hold(account: TradingAccount, ours: dict[int, tuple[str, Decimal, Decimal]]) -> None:
    """Let our books hold just this."""
    BrokerPosition.objects.filter(account=account).delete()
    BrokerPosition.objects.bulk_create(
        BrokerPosition(
            account=account, venue_position_id=str(name), symbol=symbol, quantity=quantity, price_open=price,
            opened_at=AT - timedelta(hours=1),
        )
        for name, (symbol, quantity, price) in ours.items()
    )  # fmt: skip


def shown(name: int, symbol: str, quantity: Decimal, price: Decimal, **facts: Any) -> VenuePosition:
    """Return a position as the broker shows it."""
    usual: dict[str, Any] = {
        "venue_position_id": str(name), "symbol": symbol, "side": Side.BUY if quantity > 0 else Side.SELL,
        "quantity": abs(quantity), "price_open": price, "price_current": Decimal("1.1"), "stop_loss": None,
        "take_profit": None, "profit": Decimal(0), "swap": Decimal(0), "client_order_id": "",
        "opened_at": AT - timedelta(hours=1),
    }  # fmt: skip
    return VenuePosition(**(usual | facts))


def reference(mode: PositionMode, ours: Any, theirs: Any) -> dict[str, tuple[Any, ...]]:
    """Compare as one would by hand."""

    def summed(side: Any) -> dict[str, tuple[Decimal, Decimal | None]]:
        sums: dict[str, list[Decimal]] = {}
        for name, (symbol, quantity, price) in side.items():
            entry = sums.setdefault(symbol if mode is PositionMode.NETTING else str(name), [Decimal(0), Decimal(0)])
            entry[0] += quantity
            entry[1] += quantity * price
        return {
            key: (quantity, (value / quantity).quantize(Decimal("1E-10")) if quantity else None)
            for key, (quantity, value) in sums.items()
        }

    mine, other = summed(ours), summed(theirs)
    symbols = {(symbol if mode is PositionMode.NETTING else str(name)): symbol for name, (symbol, *_) in ours.items()}
    symbols |= {
        (symbol if mode is PositionMode.NETTING else str(name)): symbol for name, (symbol, *_) in theirs.items()
    }
    found = {}
    for key in mine.keys() | other.keys():
        (quantity, price), (venue_quantity, venue_price) = (side.get(key, (Decimal(0), None)) for side in (mine, other))
        least = TICK if symbols[key] == "EURUSD" else Decimal("1E-10")
        is_price = price is not None and venue_price is not None and abs(price - venue_price) >= least
        if quantity != venue_quantity or is_price:
            found[key] = (quantity, price, venue_quantity, venue_price)
    return found


@pytest.mark.parametrize("mode", list(PositionMode))
@given(ours=ours_of, theirs=ours_of)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_finds_what_a_plain_comparison_finds(mode, account, ours, theirs):
    account.mode = mode
    hold(account, ours)
    positions = [shown(name, *each) for name, each in theirs.items()]

    found = comparison.differences(account, positions, quiet_since=AT)

    plain = reference(mode, ours, theirs)
    assert {each.key: (each.quantity, each.price, each.venue_quantity, each.venue_price) for each in found} == plain
    assert [each.key for each in found] == sorted(plain)
    for each in found:
        met = each.symbol == "EURUSD"
        assert each.contract_size == (100_000 if met else None)
        assert (each.conversion is not None) == met


def test_nothing_on_either_side_is_no_difference(account):
    assert comparison.differences(account, [], quiet_since=AT) == []


def test_closed_positions_and_other_accounts_are_not_compared(account):
    other = TradingAccount.objects.get(pk=account.pk)
    other.pk, other.public_id, other.venue_account = None, uuid.uuid4(), "other"
    other.save()
    hold(account, {1: ("EURUSD", Decimal(1), Decimal(1))})
    BrokerPosition.objects.update(closed_at=AT, quantity=0)
    hold(other, {2: ("EURUSD", Decimal(1), Decimal(1))})

    assert comparison.differences(account, [], quiet_since=AT) == []


def test_a_position_that_the_broker_has_just_opened_is_busy(account):
    late = shown(1, "EURUSD", Decimal(1), Decimal(1), opened_at=AT)
    early = shown(2, "EURUSD", Decimal(1), Decimal(1), opened_at=AT - timedelta(seconds=6))

    found = comparison.differences(account, [late, early], quiet_since=AT - QUIET)

    assert [each.is_busy for each in found] == [True, False]


def test_what_was_booked_after_the_answer_began_and_is_not_in_it_is_in_neither_sum(account):
    for number, (name, booked_at) in enumerate({"old": AT - QUIET, "shown": AT, "later": AT + QUIET}.items()):
        Fill.objects.create(
            account=account, venue_fill_id=name, symbol="EURUSD", side=Side.BUY, quantity=1, price=1,
            profit=10**number, kind=FillKind.ORDER, filled_at=AT, booked_at=booked_at,
        )  # fmt: skip
        CashMovement.objects.create(
            account=account, venue_cash_id=name, kind=CashKind.TRANSFER, amount=1000 * 10**number,
            moved_at=AT, booked_at=booked_at - timedelta(seconds=59),
        )  # fmt: skip
    CashMovement.objects.create(
        account=account, venue_cash_id="credit", kind=CashKind.CREDIT, amount=7, moved_at=AT,
        booked_at=AT - timedelta(days=1),
    )  # fmt: skip

    shown = Shown(Decimal(0), AT, ["shown"], ["shown", "old"])

    assert comparison.balance_missing(account, shown) == -(1 + 10 + 1000 + 10_000)
