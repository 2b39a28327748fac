"""What an order in doubt counts: never less than its R, and more where its position can cost more."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from risk.states import LimitKind
from tests.client import ApiClient
from tests.model.worst import Rules, Sight, worst
from tests.trading.conftest import brief, limit
from tests.trading.desk import LIMIT, MARKET, act, ask_about_everything, place, position_of
from tests.trading.test_closing import alter
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BrokerPosition, Fill, TradeLedger
from trading.services import accounts, facts, headroom, watch
from trading.services import unlisted as unlisted_positions
from trading.services.facts import AccountFacts
from trading.services.unlisted import Newest
from trading.states import OrderType, Side, TimeInForce
from trading.types import VenuePosition

THREE = LIMIT | {"quantity": "0.03"}  # R = (1.08400 − 1.07900·0.9995)·3000 + 0.21 of fees = 16.83
OTHER = MARKET | {"quantity": "0.01"}


def fill_a_third(client: ApiClient, paper) -> None:
    """Let a resting order of three fill one of them."""
    place(client, THREE)
    paper.control.tick("EURUSD", "1.08390", "1.08400", bid_vol="0.01", ask_vol="0.01")
    ask_about_everything()
    paper.quote("EURUSD", "1.08420", "1.08430")
    assert TradeLedger.objects.get().status == "PARTIALLY_FILLED"


def daily_loss(client: ApiClient) -> dict[str, Any]:
    """Return how the next order is held against the daily loss."""
    found: dict[str, Any] = next(check for check in place(client, OTHER)["checks"] if check["name"] == "DAILY_LOSS")
    return found


def test_a_partly_filled_order_counts_its_whole_r(client, paper):
    fill_a_third(client, paper)

    assert daily_loss(client)["used"] == "16.83"


def test_a_stop_widened_on_the_filled_part_counts_as_it_is_now(client, paper):
    fill_a_third(client, paper)

    answer = act(client, f"/trading/positions/{position_of(client)['id']}", {"stop_loss": "1.0600"}, method="patch")

    assert answer.json()["state"] == "DONE"
    # 24.53 from 1.08400 to 1.0600·0.9995 on a thousand units, and two thirds of R: 24.53 + 11.22
    assert daily_loss(client)["used"] == "35.75"


@pytest.fixture
def lost(client, paper) -> int:
    """An order of 0.03 whose answer was lost, filled at 1.08500, and the ticket of its position. R = 17.49."""
    paper.control.inject("timeout_after_accept")
    place(client, MARKET)
    (held,) = paper.truth()["positions"]
    ticket: int = held["ticket"]
    return ticket


def test_a_loss_that_floats_counts_beside_what_a_stop_moved_at_the_terminal_leaves_open(client, paper, lost):
    assert daily_loss(client)["used"] == "17.49"
    paper.control.manual_modify(paper.login, lost, sl="1.0600")
    paper.quote("EURUSD", "1.06490", "1.06500")

    # 60.30 have floated from 1.08500 to 1.06490, and 16.29 are left to 1.0600·0.9995
    assert daily_loss(client)["used"] == "76.59"


def test_a_tighter_stop_counts_no_less_than_r(client, paper, lost):
    paper.control.manual_modify(paper.login, lost, sl="1.0840")

    assert daily_loss(client)["used"] == "17.49"


def test_a_stop_taken_away_at_the_terminal_has_no_bound(client, paper, lost):
    paper.control.manual_modify(paper.login, lost)

    assert daily_loss(client)["reason"] == "OPEN_RISK_NOT_BOUNDED"


def test_positions_that_the_terminal_shows_late_count_what_their_orders_could_cost(client, paper, trader):
    limit(LimitKind.DAILY_LOSS, "45", user=trader)
    place(client, OTHER)  # shown, so that the list is not empty
    paper.control.inject("positions_delay", seconds=5, times=None)

    answers = [place(client, MARKET) for _ in range(4)]

    # 5.54 of the one that is shown; of the others R = (1.08500 + 0.00033 − 1.0800·0.9995)·3000 + 0.21 each
    assert [answer["reason"] for answer in answers] == ["", "", *["DAILY_LOSS_EXCEEDS_LIMIT"] * 2]
    assert len(paper.truth()["positions"]) == 3


def test_what_was_closed_since_counts_no_more(client, paper):
    place(client, MARKET)
    act(client, f"/trading/positions/{position_of(client)['id']}/close")

    assert daily_loss(client)["used"] == "0.3"  # of the spread


def test_a_list_that_is_empty_yet_lacks_what_was_booked_last(client, account):
    asked = facts.database_clock()
    place(client, MARKET)
    shown = accounts.broker_of(account).snapshot(symbols=[])

    def since(positions: tuple[VenuePosition, ...]) -> datetime:
        owned = facts.owned_by(account.user_id)
        return facts.unseen_since(owned, [AccountFacts(account, replace(shown, positions=positions))])

    booked_at = Fill.objects.values_list("booked_at", flat=True).get()
    assert since(()) == booked_at > asked
    assert since(shown.positions) > booked_at


def test_what_a_netted_position_does_not_show_yet_is_found_by_what_it_was_before():
    parts, held = ("0.1", "-0.3", "0.2"), Decimal("0.5")  # the newest first; 0.5 before them, 0.5 after
    times = [now() - timedelta(seconds=back) for back in (1, 2, 3)]
    newest = [Newest(1, "7", held, Decimal(part), at) for part, at in zip(parts, times, strict=True)]

    def unseen(quantity: str) -> list[datetime]:
        return unlisted_positions.unseen(newest, apart={1: {"7": Decimal(quantity)}})

    assert unseen("0.5") == []  # as our books have it
    assert unseen("0.4") == times[:1]
    assert unseen("0.7") == times[1:2]
    assert unseen("0.6") == []  # somebody else has traded: it is no older state of ours


def test_what_waits_needs_the_margin_that_its_broker_asks_for_such_an_order(client, paper, settings):
    settings.MAX_POSITION_SIZE = settings.DAILY_LOSS_LIMIT = Decimal(10**6)
    alter(paper, calc_mode=mt5.SYMBOL_CALC_MODE_FOREX_NO_LEVERAGE)  # 32,520 an order, where leverage says 325.20
    orders = [place(client, LIMIT | {"quantity": "0.30"}) for _ in range(3)]
    path = f"/trading/orders/{orders[0]['id']}"

    assert [order["reason"] for order in orders] == ["", "", "MARGIN_EXCEEDS_FREE"]
    assert act(client, path, {"limit_price": "1.08300"}, method="patch").json()["state"] == "DONE"
    paper.quote("EURUSD", "1.08290", "1.08300")
    ask_about_everything()
    assert place(client, LIMIT | {"limit_price": "1.08200"})["reason"] == ""  # 65,000 are bound now, and 23,000 left


def test_people_are_shown_the_margin_of_what_waits_as_the_next_order_meets_it(client, paper, settings):
    settings.MAX_POSITION_SIZE = settings.DAILY_LOSS_LIMIT = Decimal(10**6)
    alter(paper, calc_mode=mt5.SYMBOL_CALC_MODE_FOREX_NO_LEVERAGE)
    place(client, LIMIT | {"quantity": "0.30"})

    def margin(checks: list[dict[str, Any]]) -> dict[str, Any]:
        return next(check for check in checks if check["name"] == "MARGIN")

    shown = margin(client.get("/trading/limits?symbol=EURUSD").json()["results"])
    met = margin(place(client, MARKET | {"quantity": "1"})["checks"])

    assert abs(Decimal(shown["used"]) - Decimal(met["used"])) < 1
    assert Decimal(shown["used"]) > 32_000
    assert shown["limit"] == met["limit"]


@pytest.fixture
def two(client, paper, monkeypatch) -> list[str]:
    """Two positions of 0.01 that are older than what terminals show late."""
    monkeypatch.setattr(facts, "LISTED_WITHIN", timedelta())
    for _ in range(2):
        place(client, OTHER)
    return list(BrokerPosition.objects.order_by("pk").values_list("venue_position_id", flat=True))


@pytest.fixture
def unlisted(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What the terminal leaves out of its list of positions."""
    left_out: set[str] = set()
    whole = Mt5Broker.snapshot

    def part(self: Mt5Broker, **words: Any) -> Any:
        shown = whole(self, **words)
        return replace(shown, positions=tuple(p for p in shown.positions if p.venue_position_id not in left_out))

    monkeypatch.setattr(Mt5Broker, "snapshot", part)
    return left_out


def counted(client: ApiClient) -> list[str]:
    """Return how an order that is too large is held against what stands."""
    answer = place(client, MARKET | {"quantity": "2"})
    assert answer["status"] == "REJECTED"
    used = {check["name"]: check["used"] for check in answer["checks"]}
    return [used[name] for name in ("DAILY_LOSS", "POSITION_SIZE", "POSITION_COUNT")]


def test_an_older_position_that_the_terminal_does_not_list_counts_as_last_seen(client, paper, two, unlisted):
    paper.quote("EURUSD", "1.08600", "1.08610")  # what has been won since can be lost again
    whole = counted(client)

    for left_out in two:
        unlisted |= {left_out}
        assert counted(client) == whole
        unlisted.clear()


def test_what_only_our_books_know_of_is_learned_and_valued(client, paper, two, unlisted):
    paper.quote("USDJPY", "150.000", "150.010")
    unlisted |= {two[0]}
    held = BrokerPosition.objects.filter(venue_position_id=two[0])
    held.update(symbol="USDJPY", stop_loss=149)

    used = counted(client)
    held.update(symbol="EURUSD", stop_loss=Decimal("1.0800"))

    # 0.20 of both spreads, 5.44 of the one that is listed; from 150 to 149·0.9995 on 1,000 USD: 7.17
    assert used == ["12.81", "1000", "2"]


def test_a_price_that_cannot_be_read_of_what_is_not_listed_holds_up_no_close(client, paper, two, unlisted, monkeypatch):
    paper.quote("XAUUSD", "1900.00", "1900.10")
    unlisted |= {two[0]}
    held = BrokerPosition.objects.filter(venue_position_id=two[0])
    held.update(symbol="XAUUSD", stop_loss=1890)
    module = paper.desk._hands.module
    tick = module.symbol_info_tick

    def failing(name: str) -> Any:
        return tick(name) if name != "XAUUSD" else 1 / 0

    monkeypatch.setattr(module, "symbol_info_tick", failing)

    listed = BrokerPosition.objects.get(venue_position_id=two[1])
    answer = act(client, f"/trading/positions/{listed.public_id}/close").json()
    held.update(symbol="EURUSD", stop_loss=Decimal("1.0800"))

    assert (answer["status"], answer["reason"]) == ("FILLED", "")


def test_somebody_else_s_trade_counts_while_the_terminal_lists_it_late(client, paper, account, unlisted):
    place(client, OTHER)
    paper.control.manual_trade(paper.login, "EURUSD", mt5.ORDER_TYPE_BUY, "0.1", sl="1.0800")
    for _ in range(2):  # its deal, then its stop
        watch.look(account_id=account.pk, at=now())
    whole = counted(client)

    unlisted |= {BrokerPosition.objects.latest("pk").venue_position_id}

    assert counted(client) == whole


def test_what_is_not_listed_and_has_no_price_is_not_bounded(client, paper, two, unlisted, monkeypatch):
    """What it has won since it was opened can be lost again, and nobody knows how much that is."""
    module = paper.desk._hands.module
    tick = module.symbol_info_tick
    paper.quote("XAUUSD", "1900.00", "1900.10")
    unlisted |= {two[0]}
    held = BrokerPosition.objects.filter(venue_position_id=two[0])
    held.update(symbol="XAUUSD", stop_loss=1890, price_open=1890)
    known = counted(client)

    def unpriced(name: str) -> Any:
        shown = tick(name)
        gone = {**shown._asdict(), "bid": 0.0, "ask": 0.0}
        return type(shown)(gone.values()) if name == "XAUUSD" else shown

    monkeypatch.setattr(module, "symbol_info_tick", unpriced)
    check = daily_loss(client)
    held.update(symbol="EURUSD", stop_loss=Decimal("1.0800"), price_open=Decimal("1.0850"))

    assert Decimal(known[0]) > 10  # from 1,900 to 1,890·0.9995, on one ounce
    assert (check["passed"], check["reason"]) == (False, "OPEN_RISK_NOT_BOUNDED")


def test_a_position_whose_close_was_taken_back_counts_while_it_is_listed_late(
    client, paper, account, two, unlisted, monkeypatch
):
    """The order of its last fills is the close, which reserves nothing."""
    whole = counted(client)
    position = BrokerPosition.objects.get(venue_position_id=two[0])
    assert act(client, f"/trading/positions/{position.public_id}/close").json()["status"] == "FILLED"
    paper.control.cancel_deal(paper.login, int(Fill.objects.latest("pk").venue_fill_id))
    unlisted |= {two[0]}
    monkeypatch.setattr(facts, "LISTED_WITHIN", timedelta(seconds=10))

    watch.look(account_id=account.pk, at=now())

    position.refresh_from_db()
    assert position.quantity > 0
    assert counted(client)[1:] == whole[1:]


def test_part_of_a_close_that_was_taken_back_counts_while_the_list_lacks_it(client, paper, account, monkeypatch):
    place(client, MARKET)
    whole = counted(client)
    position = BrokerPosition.objects.get()
    close = act(client, f"/trading/positions/{position.public_id}/close", {"quantity": "0.02"})
    assert close.json()["status"] == "FILLED"
    listed = Mt5Broker.snapshot
    monkeypatch.setattr(Mt5Broker, "snapshot", lambda *given, **words: replace(
        shown := listed(*given, **words),
        positions=tuple(replace(each, quantity=Decimal("0.01")) for each in shown.positions),
    ))  # fmt: skip
    before = counted(client)

    paper.control.cancel_deal(paper.login, int(Fill.objects.latest("pk").venue_fill_id))
    watch.look(account_id=account.pk, at=now())

    assert before[1] == "1000"
    assert counted(client)[1] == whole[1] == "3000"


def test_what_is_not_listed_is_nothing_to_close(client, two, unlisted):
    unlisted |= {two[0]}
    position = BrokerPosition.objects.get(venue_position_id=two[0])

    answer = act(client, f"/trading/positions/{position.public_id}/close")

    assert answer.json()["status"] == "REJECTED"


def test_a_stop_that_was_hit_counts_until_it_is_booked_and_no_longer(client, paper, account, two):
    limit(LimitKind.DAILY_LOSS, "45", user=account.user)
    before = counted(client)
    paper.quote("EURUSD", "1.07990", "1.08000")  # both are closed there
    assert len(paper.truth()["positions"]) == 0
    unbooked = counted(client)

    watch.look(account_id=account.pk, at=now())

    assert unbooked[2] == before[2] == "2"
    assert counted(client)[1:] == ["0", "0"]


@pytest.mark.parametrize(("is_back", "is_listed"), [(False, False), (True, False), (False, True)])
def test_a_waiting_order_that_has_filled_counts_from_the_price_now_while_its_position_is_not_listed(
    execute, paper, account, settings, is_back, is_listed
):
    """Neither a gap that its trigger has filled in nor a profit that may be gone is in what it reserves."""
    settings.MAX_POSITION_SIZE, settings.DAILY_LOSS_LIMIT = Decimal(10**6), Decimal(5000)
    bare: dict[str, Any] = {"entry_price": None, "take_profit": None}
    execute(brief(side=Side.SELL, quantity=Decimal("0.5"), stop_loss=Decimal("1.1"), **bare))
    waits: dict[str, Any] = {"order_type": OrderType.STOP, "stop_price": Decimal("1.086")}
    if is_back:
        waits = {"order_type": OrderType.LIMIT, "limit_price": Decimal("1.084")}
    bare |= waits
    own = execute(brief(quantity=Decimal("0.1"), stop_loss=Decimal("1.065"), time_in_force=TimeInForce.GTC, **bare))
    assert own.delivery == "ACKED"
    TradeLedger.objects.filter(pk=own.pk).update(sent_at=now() - timedelta(minutes=1))
    broker = paper.control._broker
    broker.profile = replace(broker.profile, positions_delay_ms=9000, orders_delay_ms=9000 if is_listed else 0)
    for bid, ask in (("1.07490", "1.07500"), ("1.08490", "1.08500")) if is_back else (("1.09490", "1.09500"),):
        paper.quote("EURUSD", bid, ask)
    truth = paper.truth()
    assert (len(truth["positions"]), truth["working"]) == (2, [])

    found = headroom.read(user=account.user, account=account, symbol="EURUSD", at=now())

    used = next(each.used for each in found.checks if each.name == "DAILY_LOSS")
    least = worst(
        truth, start=Decimal(100_000), is_netting=False,
        sights={"EURUSD": Sight(Decimal(bid), Decimal(ask), 5, Decimal(100_000), Decimal(100_000))},
        rules=Rules(settings.GAP_ALLOWANCE, Decimal(1)),
    )[0]  # fmt: skip
    assert used is not None
    assert used >= least
