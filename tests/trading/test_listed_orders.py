"""Orders that rest are told of by one listing of their account; what is not as we have it is asked about by name."""

from datetime import timedelta
from decimal import Decimal

from django.utils.timezone import now

from tests.fakes.paper import LOGIN
from tests.trading.conftest import brief
from tests.trading.rounds import rounds
from tests.trading.test_shares import buy, client, emulator, owner
from trading.models import AccountFigures, TradeLedger, TradingAccount
from trading.services import resolution, watch
from trading.states import CancelState, OrderStatus, OrderType, TimeInForce

__all__ = ["client", "emulator", "owner"]


def test_a_listing_speaks_for_every_order_that_rests_as_we_have_it(execute, paper, account):
    rows = [
        execute(
            brief(
                order_type=OrderType.LIMIT, limit_price=Decimal(f"1.0{830 + number}"), entry_price=None,
                time_in_force=TimeInForce.GTC, quantity=Decimal("0.01"),
            )
        )
        for number in range(4)
    ]  # fmt: skip
    assert resolution.due() == [row.pk for row in rows]
    paper.control.manual_cancel(LOGIN, int(rows[0].venue_order_id))
    TradeLedger.objects.filter(pk=rows[1].pk).update(cancel=CancelState.REQUESTED)

    watch.look(account_id=account.pk, at=now())

    assert resolution.due() == [rows[0].pk, rows[1].pk]
    TradeLedger.objects.filter(pk=rows[2].pk).update(asked_at=now() - timedelta(seconds=1))  # nobody has looked since
    assert set(resolution.due()) == {rows[0].pk, rows[1].pk, rows[2].pk}


def test_of_an_account_whose_broker_does_not_answer_one_order_is_asked_about_in_one_of_three_rounds(
    execute, paper, account, monkeypatch
):
    rows = [
        execute(brief(order_type=OrderType.LIMIT, limit_price=Decimal("1.083"), entry_price=None,
                      time_in_force=TimeInForce.GTC, quantity=Decimal("0.01")))
        for _ in range(3)
    ]  # fmt: skip
    watch.look(account_id=account.pk, at=now())
    long_ago = now() - timedelta(seconds=30)
    TradeLedger.objects.update(asked_at=long_ago)
    TradeLedger.objects.filter(pk=rows[1].pk).update(asked_at=long_ago - timedelta(seconds=1))
    AccountFigures.objects.update(failing_since=now())
    assert len(resolution.due()) == 3  # it was read just now, and could not be valued

    AccountFigures.objects.update(read_at=long_ago)

    assert sorted(rounds(monkeypatch, resolution.due)) == [[], [], [rows[1].pk]]
    AccountFigures.objects.update(failing_since=None)
    assert len(resolution.due()) == 3


def test_many_resting_orders_of_shares_cost_one_listing(client, emulator):
    """Alpaca allows 200 requests a minute: asked one by one, twenty orders would take more than that."""
    for number in range(20):
        answer = buy(client, "1", type="LIMIT", limit_price=f"99.{60 + number}", time_in_force="DAY")
        assert answer.json()["delivery"] == "ACKED", answer.json()["reason"]
    account = TradingAccount.objects.get()
    assert len(resolution.due()) == 20
    watch.look(account_id=account.pk, at=now())
    emulator.requests.clear()

    watch.look(account_id=account.pk, at=now())
    for order_id in resolution.due():
        resolution.resolve(order_id=order_id, at=now())

    assert len(emulator.requests) <= 6, emulator.requests
    emulator.books.move("AAPL", "99.64", "99.65")
    watch.look(account_id=account.pk, at=now())
    filled = TradeLedger.objects.filter(status=OrderStatus.FILLED)
    assert {row.limit_price for row in filled} == {Decimal(99) + Decimal(cents) / 100 for cents in range(65, 80)}
