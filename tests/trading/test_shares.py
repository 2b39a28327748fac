"""Shares through the public API, at a broker of another family: whole ones and parts of one.

Nothing here is told which broker it is, but for the link.
"""

import contextvars
import json
import time
import uuid
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db.models import F
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.audit.types import Actor
from risk.services import sights
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.trading.brokers.alpaca.emulator import KEY, SECRET, Fault, serving
from trading.brokers import registry
from trading.brokers.alpaca.client import Client
from trading.brokers.alpaca.wire import EXCHANGE_ZONE
from trading.models import BrokerPosition, CashMovement, Fill, TradableInstrument, TradeLedger, TradingAccount
from trading.services import accounts, figures, orders, resolution, terms, watch
from trading.states import Side

CENT = Decimal("0.01")


@pytest.fixture
def emulator(floor, settings):
    with serving() as running:
        settings.ALPACA_ENABLED = True
        settings.ALPACA_KEYS = f"{running.books.number}:{KEY}:{SECRET}"
        settings.UNSTOPPED_MOVE = Decimal("0.1")
        settings.BROKER_DEADLINE_S = 1
        yield running
        registry.close()


@pytest.fixture
def owner(emulator):
    user = UserFactory.create()
    account = accounts.link(
        user_id=user.pk, name="Shares", venue="alpaca", venue_account=emulator.books.number, server=emulator.address,
        is_live=False, actor=Actor.system("tests"), at=now(),
    )  # fmt: skip
    sights.note(account_id=account.pk)
    return user


@pytest.fixture
def client(owner):
    return ApiClient().login(owner)


def send(client, path="/trading/execute", **body):
    return client.post(path, body, idempotency_key=uuid.uuid4().hex)


def buy(client, quantity, **more):
    return send(client, **({"symbol": "AAPL", "action": "BUY", "quantity": quantity} | more))


def assert_both_books_agree(emulator):
    """Every share and every cent: orders, fills and positions of ours are those of the broker."""
    books = emulator.books
    ours = {fill.venue_fill_id: (fill.quantity, fill.price) for fill in Fill.objects.all()}
    theirs = {
        each["id"]: (Decimal(each["qty"]), Decimal(each["price"])) for each in books.activities if "price" in each
    }
    assert ours == theirs
    held = {row.symbol: row.quantity for row in BrokerPosition.objects.filter(closed_at__isnull=True)}
    assert held == {symbol: quantity for symbol, (quantity, _) in books.positions.items()}
    for row in BrokerPosition.objects.filter(closed_at__isnull=True):
        assert abs(row.price_open - books.positions[row.symbol][1]) < Decimal("1e-9")
    spent = sum((fill.quantity * fill.price * Side(fill.side).direction for fill in Fill.objects.all()), Decimal(0))
    assert (books.cash - (Decimal(10000) - spent)).quantize(CENT) == 0


def test_a_part_of_a_share_and_a_whole_one_from_order_to_closed_position(client, emulator, owner):
    part, whole = buy(client, 0.37, entry_price=100.01), buy(client, 2)

    assert [(answer.status_code, answer.json()["status"]) for answer in (part, whole)] == [(201, "FILLED")] * 2
    assert [answer.json()["filled_quantity"] for answer in (part, whole)] == ["0.37", "2"]
    assert [order["qty"] for order in emulator.books.orders] == ["0.37", "2"]
    assert_both_books_agree(emulator)

    (position,) = client.get("/trading/positions").json()["results"]
    assert (position["symbol"], position["quantity"], position["price_open"]) == ("AAPL", "2.37", "100.01")
    (shown,) = client.get("/trading/accounts").json()["results"]
    assert Decimal(shown["equity"]) == (Decimal(10000) - Decimal("2.37") * CENT * 2).quantize(
        CENT, rounding="ROUND_FLOOR"
    )

    emulator.books.move("AAPL", "105.00", "105.02")
    path = f"/trading/positions/{position['id']}/close"
    assert send(client, path, quantity=0.37).json()["status"] == "FILLED"
    assert send(client, path).json()["status"] == "FILLED"

    assert client.get("/trading/positions").json()["results"] == []
    assert emulator.books.positions == {}
    assert emulator.books.cash == Decimal(10000) + Decimal("2.37") * Decimal("4.99")
    assert_both_books_agree(emulator)
    assert [row["status"] for row in client.get("/trading/ledger").json()["results"]] == ["FILLED"] * 4
    assert watch.look(account_id=TradingAccount.objects.get(user=owner).pk, at=now()) == 0  # nothing that we missed
    assert not Alert.objects.exists()


@pytest.mark.parametrize("seen", ["by its sender", "by the watch"])
def test_a_position_that_is_opened_again_is_a_new_one_to_whoever_looks(client, emulator, seen):
    buy(client, 1)
    (first,) = client.get("/trading/positions").json()["results"]
    send(client, f"/trading/positions/{first['id']}/close")
    if seen == "by its sender":
        buy(client, 3)
    else:
        emulator.books.place({"symbol": "AAPL", "side": "buy", "type": "market", "time_in_force": "day", "qty": "3"})
        watch.look(account_id=TradingAccount.objects.get().pk, at=now())

    (second,) = client.get("/trading/positions").json()["results"]

    assert (second["quantity"], second["price_open"]) == ("3", "100.01")
    assert second["opened_at"] > first["opened_at"]


def test_a_share_reserves_no_lot_s_commission(client, emulator):
    order = buy(client, 2).json()

    # 10 % of two shares at 100.01 and 0.03 of deviation; a lot's 7 USD of commission would be 14 more.
    assert order["risk"] == "20.01"
    assert TradableInstrument.objects.get().commission_per_lot == 0


@pytest.mark.parametrize("symbol", ["F", "BRK.B"])
def test_a_share_may_have_one_letter_or_a_class(client, emulator, symbol):
    emulator.books.list_asset(symbol, "11.99", "12.00")

    assert buy(client, 1, symbol=symbol).json()["status"] == "FILLED"
    assert client.get(f"/trading/quotes/{symbol}").json()["ask"] == "12"


@pytest.mark.parametrize("field", ["stop_loss", "take_profit"])
def test_a_stop_that_would_not_be_there_is_refused(client, emulator, field):
    answer = buy(client, 1, **{field: {"stop_loss": 95, "take_profit": 105}[field]})

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{field}")
    assert emulator.books.orders == []
    buy(client, 1)
    (position,) = client.get("/trading/positions").json()["results"]
    path = f"/api/v1/trading/positions/{position['id']}"
    headers = {"authorization": f"Bearer {client.tokens['access_token']}", "idempotency-key": uuid.uuid4().hex}
    refused = client.http.patch(path, json.dumps({field: 95}), content_type="application/json", headers=headers)
    assert refused.status_code == 422
    assert "carry no stops" in refused.json()["detail"]


def test_a_resting_order_is_changed_canceled_and_keeps_its_name(client, emulator, owner):
    placed = buy(client, 3, type="LIMIT", limit_price=99.6, time_in_force="GTC").json()
    order = TradeLedger.objects.get()
    assert (placed["status"], order.delivery) == ("PENDING", "ACKED")

    change = terms.change(
        order_id=order.pk,
        terms={"limit_price": Decimal("99.7")},
        user=owner,
        reason="",
        at=now(),
    )
    assert change.state == "DONE"
    assert [each["status"] for each in emulator.books.orders] == ["replaced", "new"]

    canceled = client.post(f"/trading/orders/{placed['id']}/cancel", {}, idempotency_key=uuid.uuid4().hex)
    assert canceled.status_code in (200, 202)
    resolution.resolve(order_id=order.pk, at=now())
    order.refresh_from_db()
    assert (order.status, order.cancel, order.reserved) == ("CANCELED", "DONE", 0)
    assert order.venue_order_id == emulator.books.orders[0]["id"]


def test_a_change_that_was_held_up_for_too_long_is_not_sent(client, emulator, owner, monkeypatch):
    buy(client, 3, type="LIMIT", limit_price=99.6, time_in_force="GTC")
    monkeypatch.setattr(orders, "SEND_WITHIN_S", 0.0)

    change = terms.change(
        order_id=TradeLedger.objects.get().pk, terms={"limit_price": Decimal("99.7")}, user=owner, reason="", at=now()
    )

    assert (change.state, [each["status"] for each in emulator.books.orders]) == ("REFUSED", ["new"])


def test_a_fill_after_a_change_is_booked_on_the_order(client, emulator, owner):
    buy(client, 3, type="LIMIT", limit_price=99.6, time_in_force="GTC")
    order = TradeLedger.objects.get()
    terms.change(
        order_id=order.pk,
        terms={"limit_price": Decimal("99.7")},
        user=owner,
        reason="",
        at=now(),
    )

    emulator.books.move("AAPL", "99.65", "99.70")
    watch.look(account_id=order.account_id, at=now())

    order.refresh_from_db()
    assert (order.status, order.filled_quantity, order.late_fill) == ("FILLED", 3, False)
    assert not Alert.objects.exists()
    assert_both_books_agree(emulator)


def test_an_order_whose_answer_is_lost_is_found_and_was_sent_once(client, emulator):
    emulator.faults.plan(Fault("drop", {"executed": True}))

    answer = buy(client, 0.37)

    assert (answer.status_code, answer.json()["status"]) == (202, "UNKNOWN")
    order = resolution.resolve(order_id=TradeLedger.objects.get().pk, at=now())
    assert (order.status, order.filled_quantity, emulator.sends()) == ("FILLED", Decimal("0.37"), 1)
    assert_both_books_agree(emulator)


def test_absence_needs_two_searches_and_time(client, emulator):
    emulator.faults.plan(Fault("drop"))
    buy(client, 1)
    order = TradeLedger.objects.get()
    states = []
    for passed_s in (10, 51, 120):  # 10, 61 and 181 seconds after sending
        span = timedelta(seconds=passed_s)
        row = TradeLedger.objects.filter(pk=order.pk)
        row.update(sent_at=F("sent_at") - span, absent_since=F("absent_since") - span)
        states.append(str(resolution.resolve(order_id=order.pk, at=now()).public_status))

    assert states == ["UNKNOWN", "UNKNOWN", "REJECTED"]
    order.refresh_from_db()
    assert (order.reason, order.reserved, emulator.sends()) == ("NOT_AT_BROKER", 0, 1)


def test_who_is_held_up_until_the_order_is_proven_absent_sends_it_no_more(client, emulator, monkeypatch):
    """Its process froze between the mark and the last step; the resolver has searched meanwhile, and found nothing."""
    real = Client.clock

    def freeze(self):
        row = TradeLedger.objects.all()
        for passed_s in (61, 25, 25, 25, 25, 25):
            span = timedelta(seconds=passed_s)
            row.update(**{name: F(name) - span for name in ("sent_at", "absent_since", "absent_at")})
            # Another process does this: the time that the request has left is not its.
            contextvars.Context().run(resolution.resolve, order_id=row.get().pk, at=now())
        time.sleep(0.2)
        return real(self)

    monkeypatch.setattr(Client, "clock", freeze)
    monkeypatch.setattr(orders, "SEND_WITHIN_S", 0.1)

    answer = buy(client, 1)

    order = TradeLedger.objects.get()
    assert (order.status, order.reason, order.reserved) == ("REJECTED", "NOT_AT_BROKER", 0)
    assert (answer.json()["status"], emulator.sends()) == ("REJECTED", 0)


def test_who_is_held_up_for_too_long_says_that_nothing_was_sent(client, emulator, monkeypatch):
    monkeypatch.setattr(orders, "SEND_WITHIN_S", 0.0)

    answer = buy(client, 1)

    order = TradeLedger.objects.get()
    assert (order.status, order.rejected_by, order.reason) == ("REJECTED", "LOCAL", "BROKER_UNREACHABLE")
    assert (answer.json()["status"], order.reserved, emulator.sends()) == ("REJECTED", 0, 0)


def test_an_answer_of_rubbish_after_the_order_is_none(client, emulator, monkeypatch):
    monkeypatch.setattr(Client, "order_by_client_id", lambda *_, **__: {"id": "a"})

    answer = buy(client, 1)

    assert (answer.status_code, answer.json()["status"]) == (201, "PENDING")
    monkeypatch.undo()
    order = resolution.resolve(order_id=TradeLedger.objects.get().pk, at=now())
    assert (order.status, emulator.sends()) == ("FILLED", 1)


def test_what_others_do_at_the_broker_is_booked_as_theirs(client, emulator, owner):
    request = {"symbol": "MSFT", "side": "buy", "type": "market", "time_in_force": "day", "qty": "0.123456789"}
    emulator.books.place(request)
    emulator.books.pay("CSD", "500")

    # Its cash is dated by days alone: paid on the day of the link, it counts as opening at some hours of the clock.
    TradingAccount.objects.filter(user=owner).update(created_at=now() - timedelta(days=2))

    assert watch.look(account_id=TradingAccount.objects.get(user=owner).pk, at=now()) == 1

    fill = Fill.objects.get()
    assert (fill.order, fill.quantity) == (None, Decimal("0.12345678"))  # what our books can hold of it
    assert Alert.objects.get().kind == "EXTERNAL_FILL"
    assert CashMovement.objects.get().amount == 500


@pytest.mark.parametrize("linked", ["today", "days ago"])
def test_money_that_is_dated_by_its_day_alone_hides_no_loss_and_is_none(client, emulator, owner, linked):
    account = TradingAccount.objects.get(user=owner)
    if linked == "days ago":
        TradingAccount.objects.update(created_at=now() - timedelta(days=5))
    buy(client, 10)
    emulator.books.move("AAPL", "79.99", "80.01")
    watch.look(account_id=account.pk, at=now())
    lost = [figures.loss_of(owner.pk, at=now())]

    for kind, amount in (("CSD", "500"), ("CSW", "-700")):  # its day began before the first look at this one
        emulator.books.pay(kind, amount, date=f"{now().astimezone(EXCHANGE_ZONE):%Y-%m-%d}")
        watch.look(account_id=account.pk, at=now())
        lost.append(figures.loss_of(owner.pk, at=now()))

    assert lost == [Decimal("200.20")] * 3
    assert CashMovement.objects.count() == 2


def test_it_is_off_until_somebody_switches_it_on(client, emulator, settings):
    settings.ALPACA_ENABLED = False
    registry.close()

    answer = buy(client, 1)

    assert answer.status_code == 503
    assert "ALPACA_ENABLED" in answer.json()["detail"]
    assert emulator.sends() == 0


def test_what_is_no_share_and_is_not_listed_any_more_holds_up_no_close(client, emulator, owner):
    """An option that has expired: it is gone from the list, and no trade of it says so."""
    option = "AAPL261120C00100000"
    buy(client, 1)
    (share,) = client.get("/trading/positions").json()["results"]
    expired = BrokerPosition.objects.create(
        account=TradingAccount.objects.get(), venue_position_id=option, symbol=option, quantity=1, price_open=5,
        opened_at=now() - timedelta(days=1),
    )  # fmt: skip

    opened = buy(client, 1).json()
    closed = send(client, f"/trading/positions/{share['id']}/close").json()
    expired.delete()

    assert (opened["status"], opened["reason"]) == ("REJECTED", "INSTRUMENT_UNKNOWN")  # nothing is opened beside it
    assert closed["status"] == "FILLED"
