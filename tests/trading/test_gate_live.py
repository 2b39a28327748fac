"""The gate in front of a paper broker: cooldown, freshness, suspicions, and what one's limits look like."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils.timezone import now

from accounts.models import TokenFamily
from nexus.alerts.models import Alert
from nexus.core.errors import Unreachable
from nexus.idempotency.services.records import RequestKey
from reconciliation.services import cycles
from reconciliation.states import Trigger
from risk.models import AccountSight, UserDailyStats
from risk.rules import gate
from risk.states import LimitKind
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.fakes.paper import LOGIN
from tests.trading.conftest import brief, limit
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BrokerPosition, TradeLedger, TradingAccount
from trading.services import dispatch, facts, headroom, orders, watch
from trading.services.facts import Missing
from trading.states import OrderType, Side, TimeInForce

SMALL = brief(quantity=Decimal("0.01"))
SELL = brief(side=Side.SELL, quantity=Decimal("0.01"), stop_loss=Decimal("1.0900"), take_profit=Decimal("1.0800"))


def test_an_order_carries_every_check_with_its_figures(execute):
    order = execute()

    assert [check["name"] for check in order.checks] == [rule.name for rule in gate.GATE]
    assert all(check["passed"] for check in order.checks)
    figures = {check["name"]: check for check in order.checks}
    assert figures["DAILY_LOSS"] | {"scope": ""} == {
        "name": "DAILY_LOSS", "passed": True, "reason": "", "unit": "USD", "scope": "", "detail": "",
        "limit": "1000", "used": "0", "asked": "58.3", "headroom": "1000",
    }  # fmt: skip
    assert (figures["MARGIN"]["limit"], figures["MARGIN"]["asked"]) == ("90000", "108.5")


def test_a_broker_that_cannot_be_read_refuses_with_every_check_present(execute, monkeypatch):
    monkeypatch.setattr(facts, "read", lambda **_: Missing("BROKER_UNAVAILABLE", "it is down"))

    order = execute()

    assert order.reason == "BROKER_UNAVAILABLE"
    assert [check["name"] for check in order.checks] == [rule.name for rule in gate.GATE]


def test_somebody_else_s_order_in_an_instrument_that_we_have_not_met_is_counted(execute, paper):
    paper.quote("USDJPY", "150.000", "150.010")
    paper.control.manual_order(LOGIN, "USDJPY", mt5.ORDER_TYPE_BUY_LIMIT, "0.01", "149.000", sl="148.000")

    order = execute(SMALL)

    assert (order.status, order.reason) == ("FILLED", "")
    # 149.000 − 148.000·0.9995 on 1,000 units, at 1 / 150.000
    figures = {check["name"]: check for check in order.checks}
    assert figures["DAILY_LOSS"]["used"] == "7.16"


def test_somebody_else_s_stop_limit_is_counted_at_the_price_at_which_it_may_open(execute, paper, settings):
    settings.UNSTOPPED_MOVE = Decimal("0.05")
    far, kind = "1.16800", mt5.ORDER_TYPE_SELL_STOP_LIMIT  # it is touched at 1.08000, and sells at 1.16800 or better
    paper.control.manual_order(LOGIN, "EURUSD", kind, "0.01", "1.08000", stoplimit=far)

    order = execute(SMALL)

    used = next(check["used"] for check in order.checks if check["name"] == "DAILY_LOSS")
    assert used == "58.4"  # 5 % of 1.168 on 1,000 units, and not of 1.08


def test_an_empty_list_beside_margin_in_use_admits_nothing(execute, paper, monkeypatch, settings):
    """A position whose risk takes the whole limit is not gone because the terminal lists nothing."""
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "2", sl="1.0803")
    assert execute(SMALL).reason == "DAILY_LOSS_EXCEEDS_LIMIT"
    monkeypatch.setattr(paper.desk._hands.module, "positions_get", lambda *_, **__: ())

    order = execute(SMALL)

    assert (order.status, order.reason) == ("REJECTED", "BROKER_UNAVAILABLE")
    assert next(each["detail"] for each in order.checks if each["name"] == "DAILY_LOSS") == facts.HIDES


def test_three_failures_in_a_row_ask_for_a_pause(execute, paper, settings):
    paper.control.inject("retcode", times=3, retcode=10019)
    for _ in range(3):
        assert execute(SMALL).rejected_by == "BROKER"

    assert execute(SMALL).reason == "COOLDOWN_NOT_OVER"

    TradeLedger.objects.filter(rejected_by="BROKER").update(closed_at=now() - timedelta(seconds=settings.COOLDOWN_S))
    assert execute(SMALL).status == "FILLED"


@pytest.mark.parametrize(
    ("name", "set_to", "reason"),
    [
        ("PRICE_BANDS", (Decimal("1.0850"), Decimal("1.2")), "QUOTE_OUTSIDE_BAND"),
        ("PRICE_BANDS", (Decimal("1.0849"), Decimal("1.0850")), ""),
        ("SPREADS_MAX", (Decimal("0.00009"),), "SPREAD_EXCEEDS_LIMIT"),
        ("SPREADS_MAX", (Decimal("0.0001"),), ""),
    ],
)
def test_nothing_is_opened_on_a_quote_that_its_instrument_cannot_have_and_closes_pass(
    execute, account, settings, name, set_to, reason
):
    execute(SMALL)
    held = BrokerPosition.objects.get().venue_position_id
    queued = {"user": account.user, "account": account, "intent": SMALL, "at": now()}
    request = RequestKey(principal="p", account=str(account.public_id), key="k", fingerprint=bytes(32))
    waiting = orders.accept(key=request, **queued).order
    setattr(settings, name, {"EURUSD": set_to})

    assert execute(SMALL).reason == reason
    sent = dispatch.dispatch(order_id=waiting.pk, at=now())
    assert sent is not None
    assert (sent.status, sent.reason) == (("REJECTED", reason) if reason else ("FILLED", ""))
    close = brief(side=Side.SELL, quantity=SMALL.quantity, stop_loss=None, take_profit=None, venue_position_id=held)
    assert execute(close).status == "FILLED"


def test_closes_that_fail_are_no_trades_that_fail(execute, paper):
    """They may be a sweep's or protection's, and no pause holds them back either."""
    execute(SMALL)
    held = BrokerPosition.objects.get().venue_position_id
    close = brief(side=Side.SELL, quantity=SMALL.quantity, stop_loss=None, take_profit=None, venue_position_id=held)
    paper.control.inject("retcode", times=3, retcode=10018)
    assert [execute(close).rejected_by for _ in range(3)] == ["BROKER"] * 3

    assert execute(SMALL).status == "FILLED"
    paper.control.inject("retcode", times=2, retcode=10018)
    assert [execute(SMALL).rejected_by for _ in range(2)] == ["BROKER"] * 2
    assert execute(close).status == "FILLED"  # nor does one that does not fail end the row
    paper.control.inject("retcode", retcode=10018)
    execute(SMALL)
    assert execute(SMALL).reason == "COOLDOWN_NOT_OVER"


def test_what_the_adapter_refuses_before_anything_is_sent_is_no_trade_that_failed(execute, paper, account, settings):
    settings.REFUSALS_MAX = 3
    for number in range(3):
        far = brief(
            quantity=SMALL.quantity, order_type=OrderType.LIMIT, limit_price=Decimal("1.0840"), entry_price=None,
            time_in_force=TimeInForce.GTD, expires_at=now() + timedelta(days=400 + number),
        )  # fmt: skip
        order = execute(far)
        assert (order.rejected_by, order.reason) == ("LOCAL", "BROKER_EXPIRY_BEYOND_CLOCK_CHANGE")
    watch.look(account_id=account.pk, at=now())

    assert paper.truth()["requests"] == []
    assert execute(SMALL).status == "FILLED"


def test_an_order_that_does_not_fail_ends_the_row(execute, paper):
    for _ in range(2):
        paper.control.inject("retcode", times=2, retcode=10019)
        assert [execute(SMALL).rejected_by for _ in range(2)] == ["BROKER"] * 2
        assert execute(SMALL).status == "FILLED"


def test_a_user_switched_off_meanwhile_is_refused(execute, trader):
    trader.is_active = False
    trader.save(update_fields=["is_active"])

    assert execute().reason == "USER_NOT_ACTIVE"


def test_an_account_that_was_never_reconciled_admits_nothing_until_it_is(execute, account):
    AccountSight.objects.update(seen_at=now() - timedelta(seconds=181))
    assert execute(SMALL).reason == "RECONCILIATION_STALE"
    AccountSight.objects.all().delete()
    assert execute(SMALL).reason == "RECONCILIATION_STALE"

    watch.look(account_id=account.pk, at=now())
    assert execute(SMALL).reason == "RECONCILIATION_STALE"  # a look compares nothing
    cycles.run(account_id=account.pk, trigger=Trigger.CLOCK, at=now())

    assert execute(SMALL).status == "FILLED"


def test_a_run_that_fails_is_no_sight(account, paper, monkeypatch):
    AccountSight.objects.all().delete()
    monkeypatch.setattr("trading.services.accounts.broker_of", _unreachable)

    cycles.run(account_id=account.pk, trigger=Trigger.CLOCK, at=now())

    assert not AccountSight.objects.exists()


def _unreachable(_account: TradingAccount) -> None:
    raise Unreachable("It is down.")


def test_figures_read_too_long_ago_admit_nothing(execute, monkeypatch):
    real = facts.owned_by

    def long_ago(user_id: int) -> facts.Owned:
        owned = real(user_id)
        return replace(owned, read_at=owned.read_at - timedelta(seconds=11))

    monkeypatch.setattr(facts, "owned_by", long_ago)

    assert execute(SMALL).reason == "SNAPSHOT_STALE"


def test_an_opposite_order_is_told_and_passes(execute, trader):
    assert [execute(SMALL).status, execute(SELL).status] == ["FILLED", "FILLED"]

    alert = Alert.objects.get()
    assert (alert.kind, alert.object_id) == ("SUSPICION_OPPOSITE_ORDERS", str(trader.public_id))


def test_an_opposite_order_is_refused_where_it_is_to_be_reviewed(execute, paper, settings):
    settings.REVIEWED_SUSPICIONS = ["OPPOSITE_ORDERS"]
    execute(SMALL)

    assert execute(SELL).reason == "REVIEW_DEMANDED"
    assert len(paper.deals()) == 1
    assert Alert.objects.get().kind == "SUSPICION_OPPOSITE_ORDERS"


def test_a_burst_is_told_once_however_long_it_lasts(execute, settings):
    settings.BURST_ORDERS = 3

    for _ in range(4):
        execute(SMALL)

    assert [(alert.kind, alert.seen_count) for alert in Alert.objects.all()] == [("SUSPICION_BURST", 2)]


def test_a_large_trade_from_a_new_network_is_told_and_one_from_a_known_network_is_not(trader, settings):
    settings.NEW_NETWORK_VALUE = Decimal(1000)
    client = ApiClient().login(trader)  # from 127.0.0.1, just now
    order = '{"symbol": "EURUSD", "action": "BUY", "quantity": 0.01, "stop_loss": 1.0800}'

    assert client.post("/trading/execute", order, idempotency_key="the-first-one").json()["status"] == "FILLED"
    assert Alert.objects.get().kind == "SUSPICION_NEW_NETWORK"

    Alert.objects.all().delete()
    TokenFamily.objects.update(created_at=now() - timedelta(days=1), ip="127.0.0.77")
    assert client.post("/trading/execute", order, idempotency_key="the-second-one").json()["status"] == "FILLED"
    assert not Alert.objects.exists()


def test_the_broker_itself_says_what_margin_an_order_takes(execute, settings, monkeypatch):
    snapshot = Mt5Broker.snapshot

    def answer(margin: Decimal | None) -> None:
        """Let the reading of the facts answer the question on margin like this."""
        monkeypatch.setattr(
            Mt5Broker, "snapshot", lambda self, **words: replace(snapshot(self, **words), margin_asked=margin)
        )

    def fail(*_: object, **__: object) -> Decimal:
        raise Unreachable("It is down.")

    monkeypatch.setattr(Mt5Broker, "margin", fail)  # it is asked by itself only where the reading did not tell
    answer(Decimal("90000.01"))
    assert execute(SMALL).reason == "MARGIN_EXCEEDS_FREE"
    answer(None)
    assert execute(SMALL).reason == "MARGIN_UNKNOWN"
    monkeypatch.setattr(Mt5Broker, "margin", lambda *_, **__: Decimal("90000.01"))
    assert execute(SMALL).reason == "MARGIN_EXCEEDS_FREE"
    settings.MARGIN_FROM_BROKER = False
    assert execute(SMALL).status == "FILLED"


def test_a_size_unlike_the_users_own_is_told(execute, trader):
    UserDailyStats.objects.create(
        user=trader, trading_date=now().date() - timedelta(days=3), orders_admitted=10, value_admitted=Decimal(1000)
    )  # fmt: skip

    assert execute(SMALL).status == "FILLED"

    assert Alert.objects.get().kind == "SUSPICION_UNUSUAL_SIZE"


def test_limits_show_what_the_next_verdict_will_show(execute, trader, account):
    execute()
    execute(brief(quantity=Decimal("0.01")))  # refused: the position is full

    shown = headroom.read(user=trader, account=account, symbol="EURUSD", at=now())

    judged = {check["name"]: check for check in execute().checks}
    assert [check.name for check in shown.checks] == list(gate.LIMITS)
    for check in shown.checks:
        same = judged[check.name]
        figures = check.as_dict()
        moving = {"ORDERS_PER_SECOND"}  # the looks above were requests too
        if check.name not in moving:
            assert (figures["limit"], figures["used"], figures["headroom"]) == (
                same["limit"], same["used"], same["headroom"],
            ), check.name  # fmt: skip


def test_one_reads_ones_limits_through_the_door(execute, trader, account):
    limit(LimitKind.DAILY_LOSS, "300", user=trader)
    execute()

    answer = ApiClient().login(trader).get("/trading/limits?symbol=EURUSD")

    assert answer.status_code == 200
    body = answer.json()
    rows = {row["name"]: row for row in body["results"]}
    assert (body["account"], body["symbol"], body["missing"]) == (str(account.public_id), "EURUSD", "")
    assert rows["POSITION_SIZE"] == {
        "name": "POSITION_SIZE", "limit": "10000", "used": "10000", "headroom": "0", "unit": "base units",
        "scope": "PLATFORM",
    }  # fmt: skip
    assert (rows["DAILY_LOSS"]["limit"], rows["DAILY_LOSS"]["scope"]) == ("300", "USER")
    assert (rows["ORDERS_PER_HOUR"]["used"], rows["ORDERS_PER_HOUR"]["headroom"]) == ("1", "99")
    assert rows["DAILY_VALUE"]["used"] == "10852.2"


def test_limits_without_a_broker_say_what_is_missing(trader, account, monkeypatch):
    monkeypatch.setattr(facts, "read", lambda **_: Missing("BROKER_UNAVAILABLE", "it is down"))

    body = ApiClient().login(trader).get("/trading/limits").json()

    rows = {row["name"]: row for row in body["results"]}
    assert body["missing"] == "BROKER_UNAVAILABLE"
    assert (rows["DAILY_LOSS"]["used"], rows["DAILY_LOSS"]["limit"]) == (None, "1000")
    assert rows["ORDERS_PER_DAY"]["used"] == "0"


def test_nobody_reads_the_limits_of_another(account):
    stranger = ApiClient().login(UserFactory.create())

    assert stranger.get(f"/trading/limits?account={account.public_id}").status_code == 404
    assert stranger.get("/trading/limits?nosuch=1").status_code == 400


@pytest.mark.parametrize("path", ["/trading/limits"])
def test_a_stranger_reads_nothing(path, anonymous):
    assert anonymous.get(path).status_code == 401
