"""An account that was put aside: what it has lost today stays lost, for the gate, the stop and whoever asks."""

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from risk.models import TradingControl
from risk.states import LimitKind, StopLevel
from risk.types import Check, Figure
from tests.factories.accounts import UserFactory
from tests.trading.conftest import brief, limit
from tests.trading.desk import LIMIT, MARKET, act, place, position_of
from trading.models import (
    AccountFigures,
    BrokerPosition,
    ChangeRequest,
    TradeLedger,
    TradingAccount,
)
from trading.services import accounts, figures, headroom, instruments, orders, signals, watch
from trading.services import aside as put_asides
from trading.states import Side

SMALL = brief(quantity=Decimal("0.01"))


def put_aside(user) -> TradingAccount:
    """Make an account of the user that lost 60 USD today, could lose 40 more, and was put aside then."""
    other = TradingAccount.objects.create(
        user=user, name="Broken", venue="mt5", venue_account="7", server="S", currency="USD", mode="HEDGING",
        is_active=False, created_at=now(),
    )  # fmt: skip
    AccountFigures.objects.create(
        account=other, trading_date=now().date(), loss_today=Decimal(60), loss_known=Decimal(60), open_risk=Decimal(40)
    )
    return other


@pytest.fixture
def aside(account):
    """Another account of the trader, put aside."""
    return put_aside(account.user)


def asked_for(user, account) -> Check:
    checks = headroom.read(user=user, account=account, symbol="EURUSD", at=now()).checks
    return next(each for each in checks if each.name == "DAILY_LOSS")


def test_its_loss_of_today_is_given_back_to_nobody(aside, account, trader, execute):
    assert asked_for(trader, account).used == 60
    limit(LimitKind.DAILY_LOSS, "65", user=trader)  # the order risks between 5 and 10

    order = execute(SMALL)

    assert (order.status, order.reason) == ("REJECTED", "DAILY_LOSS_EXCEEDS_LIMIT")
    (check,) = (each for each in order.checks if each["name"] == "DAILY_LOSS")
    assert (check["used"], Decimal(check["asked"]) > 5) == ("60", True)
    assert check["detail"] == "60 USD of what is used were lost, or may be, on accounts put aside."


def test_with_it_the_day_s_loss_is_held_to_the_cent(aside, execute, settings):
    settings.DAILY_LOSS_LIMIT = Decimal(60)
    (refused,) = (each for each in execute(SMALL).checks if each["name"] == "DAILY_LOSS")
    settings.DAILY_LOSS_LIMIT = 60 + Decimal(refused["asked"]) - Decimal("0.01")
    assert execute(SMALL).reason == "DAILY_LOSS_EXCEEDS_LIMIT"

    settings.DAILY_LOSS_LIMIT += Decimal("0.01")

    assert execute(SMALL).status == "FILLED"


def test_it_stops_its_user_with_what_the_others_lose(aside, account, trader):
    limit(LimitKind.DAILY_LOSS, "60", user=trader)

    watch.look(account_id=account.pk, at=now())

    stop = TradingControl.objects.get(scope="USER", key=str(trader.pk))
    assert stop.level == StopLevel.HALTED
    assert f"counted as last known: {aside}" in stop.reason


def test_a_loss_of_yesterday_is_none_of_today(aside, account, trader):
    AccountFigures.objects.filter(account=aside).update(trading_date=now().date() - timedelta(days=1))

    assert asked_for(trader, account).used == 0
    assert figures.loss_of(trader.pk, at=now()) == 0


def test_the_last_loss_that_was_known_counts_where_none_is(aside, account, trader):
    AccountFigures.objects.filter(account=aside).update(loss_today=None)

    assert asked_for(trader, account).used == 60


def test_a_wider_stop_has_no_more_room_than_an_order(aside, client, trader):
    place(client, MARKET)
    limit(LimitKind.DAILY_LOSS, "78", user=trader)  # the position risks about 16, and 3 more then
    path = f"/trading/positions/{position_of(client)['id']}"

    answer = act(client, path, {"stop_loss": "1.0790"}, method="patch")

    assert (answer.status_code, answer.json()["code"]) == (422, "change_refused")
    assert "DAILY_LOSS_EXCEEDS_LIMIT" in answer.json()["detail"]


def test_people_are_told_no_more_headroom_than_there_is(aside, account):
    watch.look(account_id=account.pk, at=now())
    before = left_of_the_loss()
    AccountFigures.objects.filter(account=aside).update(loss_today=Decimal(0))

    assert left_of_the_loss() - before == 60


@pytest.mark.django_db
def test_what_stands_there_may_still_be_lost():
    other, today = put_aside(UserFactory.create()), now().date()
    held = BrokerPosition.objects.create(
        account=other, venue_position_id="1", symbol="EURUSD", quantity=Decimal("0.1"), price_open=Decimal("1.1"),
        opened_at=now(),
    )  # fmt: skip
    costs = [put_asides.cost(user_id=other.user_id, trading_date=today)]
    BrokerPosition.objects.filter(pk=held.pk).update(closed_at=now())
    costs += [put_asides.cost(user_id=other.user_id, trading_date=today)]
    seen = put_asides.cost(user_id=other.user_id, trading_date=today, seen=[other.pk])

    assert [*costs, seen] == [100, 60, 0]


def test_what_is_taken_up_while_an_order_is_judged_counts_as_if_it_were_not(aside, execute, trader, monkeypatch):
    """Its facts were not read, and nobody would count it."""
    limit(LimitKind.DAILY_LOSS, "65", user=trader)
    admit = orders._admit

    def taken_up(**given: Any) -> Any:
        TradingAccount.objects.update(is_active=True)
        return admit(**given)

    monkeypatch.setattr(orders, "_admit", taken_up)

    assert execute(SMALL).reason == "DAILY_LOSS_EXCEEDS_LIMIT"


@pytest.fixture
def met(aside, account):
    """The account put aside, on which the instrument is known."""
    row = instruments.get(account=account, broker=accounts.broker_of(account), symbol="EURUSD", at=now())
    row.pk, row.account, row._state.adding = None, aside, True
    row.save()
    return row.account


def used_of(execute, **changes: Any) -> list[str]:
    """Return how an order that is too large is held against positions."""
    refused = execute(brief(quantity=Decimal(50), entry_price=None, take_profit=None, **changes))
    assert refused.status == "REJECTED"
    used = {each["name"]: each["used"] for each in refused.checks}
    return [used["POSITION_SIZE"], used["POSITION_COUNT"]]


def test_what_it_holds_stays_part_of_the_position(execute, met):
    held = BrokerPosition.objects.create(
        account=met, venue_position_id="1", symbol="EURUSD", quantity=Decimal("0.1"), price_open=Decimal("1.1"),
        opened_at=now(),
    )  # fmt: skip

    used = used_of(execute), used_of(execute, side=Side.SELL, stop_loss=Decimal("1.0900"))
    held.delete()  # it was made of no fills

    assert used == (["10000", "1"], ["0", "1"])


def test_what_waits_there_stays_part_of_the_position(client, execute, met, account):
    place(client, LIMIT | {"quantity": "0.02", "account": str(account.public_id)})
    waiting = TradeLedger.objects.filter(status="PENDING")
    waiting.update(account=met)

    used = used_of(execute), used_of(execute, side=Side.SELL, stop_loss=Decimal("1.0900"))
    waiting.update(account=account)

    assert used == (["2000", "1"], ["0", "1"])


def cost(account) -> Figure:
    return put_asides.cost(user_id=account.user_id, trading_date=now().date())


def test_what_has_filled_and_what_was_widened_after_the_last_look_may_still_be_lost(client, account):
    watch.look(account_id=account.pk, at=now())
    order = place(client, MARKET)
    waiting = place(client, LIMIT)
    path = f"/trading/positions/{position_of(client)['id']}"
    assert act(client, path, {"stop_loss": "1.0700"}, method="patch").json()["state"] == "DONE"
    TradingAccount.objects.update(is_active=False)

    risk, extra = TradeLedger.objects.get(public_id=order["id"]).risk, ChangeRequest.objects.get().extra_risk

    assert (risk, extra) == (Decimal("17.49"), Decimal("29.99"))
    assert cost(account) == risk + extra
    assert waiting["status"] == "PENDING"  # it counts by itself


def test_what_nothing_bounds_may_be_lost_whole(client, paper, account):
    place(client, MARKET)
    (held,) = paper.truth()["positions"]
    paper.control.manual_modify(paper.login, held["ticket"])
    watch.look(account_id=account.pk, at=now())
    TradingAccount.objects.update(is_active=False)

    assert AccountFigures.objects.get(account=account).open_risk is None
    assert cost(account) == Decimal("3255.00")  # 0.30 of the spread, and 3,000 units at 1.08490


def test_what_nobody_can_value_there_holds_up_whatever_is_new(met, account, execute):
    watch.look(account_id=account.pk, at=now())
    AccountFigures.objects.filter(account=met).update(open_risk=None)
    held = BrokerPosition.objects.create(
        account=met, venue_position_id="1", symbol="EURUSD", quantity=Decimal("0.01"), price_open=Decimal("1.1"),
        opened_at=now(),
    )  # fmt: skip

    order = execute(SMALL)
    is_told = [kind for _, kind, _ in signals.headroom(at=now()) if kind == "DAILY_LOSS"]
    held.delete()  # it was made of no fills

    assert (order.status, order.reason) == ("REJECTED", "OPEN_RISK_NOT_BOUNDED")
    (check,) = (each for each in order.checks if each["name"] == "DAILY_LOSS")
    assert check["detail"] == "of an account that was put aside"
    assert not is_told


def left_of_the_loss() -> Decimal:
    return next(left for _, kind, left in signals.headroom(at=now()) if kind == "DAILY_LOSS")


def test_a_position_of_it_is_still_protected_and_no_stop_widened(client, paper, account):
    """Nobody looks at it any more, and its broker still takes what only protects."""
    place(client, MARKET)
    position = BrokerPosition.objects.get()
    TradingAccount.objects.update(is_active=False)

    wider = act(client, f"/trading/positions/{position.public_id}", {"stop_loss": "1.0700"}, method="patch")
    assert (wider.status_code, wider.json()["code"]) == (422, "change_refused")
    tighter = act(client, f"/trading/positions/{position.public_id}", {"stop_loss": "1.0830"}, method="patch")

    assert (tighter.status_code, tighter.json()["state"]) == (200, "DONE")
    (held,) = paper.truth()["positions"]
    assert held["sl"] == 108300


def test_its_owner_can_still_reduce_what_stands_there_and_nothing_else(client, paper, account):
    place(client, MARKET)
    waiting = place(client, LIMIT)
    path = f"/trading/positions/{position_of(client)['id']}/close"
    TradingAccount.objects.update(is_active=False)

    part = act(client, path, {"quantity": "0.01"}).json()
    whole = act(client, path).json()
    canceled = act(client, f"/trading/orders/{waiting['id']}/cancel", {"reason": "Left."})

    assert (part["status"], whole["status"], whole["quantity"]) == ("FILLED", "FILLED", "0.02")
    assert canceled.json()["status"] == "CANCELED"
    truth = paper.truth()
    assert (truth["positions"], truth["working"]) == ([], [])
    beyond = {"symbol": "EURUSD", "action": "BUY", "quantity": "0.01", "stop_loss": "1.0800"}
    refused = client.post(
        "/trading/execute", beyond | {"account": str(account.public_id)}, idempotency_key=uuid.uuid4().hex
    )
    assert refused.status_code == 404


def test_what_is_closed_there_gives_nothing_back_today(client, paper, account):
    watch.look(account_id=account.pk, at=now())
    place(client, MARKET)
    watch.look(account_id=account.pk, at=now())
    path = f"/trading/positions/{position_of(client)['id']}/close"
    TradingAccount.objects.update(is_active=False)
    before = cost(account)
    paper.quote("EURUSD", "1.08100", "1.08110")

    assert act(client, path).json()["status"] == "FILLED"

    row = AccountFigures.objects.get(account=account)
    lost = 100_000 - Decimal(paper.truth()["balance"]).scaleb(-8)
    assert lost > Decimal(10) > (row.loss_today or 0)
    assert isinstance(before, Decimal)
    assert cost(account) == before >= lost
    assert put_asides.cost(user_id=account.user_id, trading_date=now().date() + timedelta(days=1)) == 0
