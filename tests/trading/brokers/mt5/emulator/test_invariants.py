"""What is true after any story: books, positions, tickets, types, checks, restarts."""

import contextlib
import hashlib
import json
import os
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.trading.brokers.mt5.emulator.world import EVER, HEDGER, NETTER, PRICES, build, quote_all
from trading.brokers.mt5.emulator import BrokerProfile, judging, structures, valuation
from trading.brokers.mt5.emulator import constants as mt5

RUNS = int(os.environ.get("NEXUS_EMULATOR_RUNS", "40"))  # stories per test; a night's run takes thousands
FIRST = 2**53 + 1
PROFILE = BrokerProfile(selected=tuple(PRICES), first_ticket=FIRST)
ROUGH = replace(PROFILE, latency_ms=(20, 900), slippage_ticks=3, positive_slippage=True)
ACCOUNT = {
    "commission_per_lot": "3.5", "fee_per_deal": "0.1", "initial_balance": "20000", "requests_per_second": 10_000,
    "corrects_negative_balance": True,
}  # fmt: skip
SYMBOLS = ("EURUSD", "USDJPY", "XAUUSD", "BTCUSD", "US500")

deals = st.tuples(
    st.just("deal"),
    st.sampled_from(SYMBOLS),
    st.integers(0, 1),
    st.integers(1, 60) | st.just(950),
    st.integers(0, 3),
    st.integers(-3, 40),
)
moves = st.tuples(st.just("move"), st.integers(0, 5), st.integers(-200, 200), st.integers(-200, 200))
quotes = st.tuples(st.just("quote"), st.sampled_from(SYMBOLS), st.integers(-300, 300), st.integers(0, 30))
places = st.tuples(
    st.just("place"), st.sampled_from(SYMBOLS), st.integers(2, 7), st.integers(1, 30), st.integers(1, 60),
    st.integers(0, 3), st.integers(0, 5_000),
)  # fmt: skip
changes = st.tuples(st.just("change"), st.integers(0, 5), st.integers(-80, 80))
removals = st.tuples(st.just("remove"), st.integers(0, 5))
crossings = st.tuples(st.just("cross"), st.integers(0, 5), st.integers(0, 5))
thin_quotes = st.tuples(
    st.just("thin"), st.sampled_from(SYMBOLS), st.integers(-300, 300), st.integers(1, 40), st.integers(1, 4)
)
waits = st.tuples(st.just("wait"), st.integers(1, 100_000) | st.just(50_000_000))
busts = st.tuples(st.just("bust"), st.integers(0, 40))
cash = st.tuples(st.just("cash"), st.integers(-5_000, 5_000), st.sampled_from([2, 3, 5, 17]))
BROKER_FAULTS = (
    "timeout_before_accept", "timeout_after_accept", "retcode", "history_delay", "accept_late", "none_success",
    "requote", "duplicate_deal", "partial", "no_liquidity", "stops_dropped", "comment_drop", "magic_zero",
    "history_none", "pipe_cut", "close_only", "market_close",
)  # fmt: skip
TERMINAL_FAULTS = ("server_disconnect", "terminal_restart", "algo_off", "investor", "positions_delay", "orders_delay")
LASTING = ("close_only", "market_close", "server_disconnect", "algo_off", "investor")


def stories(*faults: str) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Return stories in which these faults happen."""
    breaks = st.tuples(st.just("fault"), st.sampled_from(faults))
    restarts = st.tuples(st.just("restart"))
    trades = st.one_of(deals, deals, places, places, crossings, moves, changes, removals)
    world = st.one_of(quotes, quotes, thin_quotes, waits, cash, busts, breaks, restarts)
    return st.lists(st.one_of(trades, world), min_size=8, max_size=40)


bounded = settings(max_examples=RUNS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
usual = stories(*BROKER_FAULTS, *TERMINAL_FAULTS)


class Story:
    """Play a story on a scripted broker, and look at the books after each step."""

    def __init__(self, login: int, path: Any, *, restarts: bool, house: BrokerProfile = PROFILE) -> None:
        self.login, self.path, self.restarts, self.house = login, path, restarts, house
        self.world = quote_all(self.open())

    def open(self) -> Any:
        return build(self.login, path=self.path, profile=self.house, account=ACCOUNT)

    def play(self, story: list[tuple[Any, ...]], *, looking: bool = True) -> None:
        for name, *rest in story:
            getattr(self, name)(*rest)
            self.world.mt5.initialize()
            if looking and not self.restarts:
                look(self.world)

    def deal(self, symbol: str, side: int, hundredths: int, target: int, stop: int) -> None:
        world = self.world
        fields: dict[str, Any] = {}
        held = world.mt5.positions_get(symbol=symbol)
        if world.mt5.symbol_info_tick(symbol) is None:
            return
        if target and held:
            fields["position"] = held[target % len(held)].ticket
        elif stop:
            tick, point = world.mt5.symbol_info_tick(symbol), world.mt5.symbol_info(symbol).point
            fields["sl"] = round((tick.bid - stop * 5 * point) if side == 0 else (tick.ask + stop * 5 * point), 5)
        world.deal(symbol, side, hundredths / 100, **fields)

    def move(self, index: int, sl: int, tp: int) -> None:
        world = self.world
        held = world.mt5.positions_get()
        if held:
            row = held[index % len(held)]
            point = world.mt5.symbol_info(row.symbol).point
            levels = (round(row.price_current + each * point, 5) for each in (sl, tp))
            world.move_stops(row.ticket, row.symbol, *levels)

    def quote(self, symbol: str, moved: int, spread: int) -> None:
        instrument = self.world.broker.instruments[symbol]
        bid = instrument.anchor + moved * max(1, instrument.reach // 100)
        text = instrument.price_text
        bid, ask = (each - each % instrument.tick_size for each in (bid, bid + spread))
        self.world.control.tick(symbol, text(bid), text(ask))

    def place(self, symbol: str, kind: int, hundredths: int, away: int, filling: int, expires_s: int) -> None:
        world = self.world
        tick, info = world.mt5.symbol_info_tick(symbol), world.mt5.symbol_info(symbol)
        if tick is None or info is None:
            return
        distance, buys = away * 7 * info.trade_tick_size, kind % 2 == 0
        below = buys == (kind in (2, 3))
        price = tick.ask - distance if below else tick.bid + distance
        limit = price - distance / 2 if buys else price + distance / 2
        fields: dict[str, Any] = {"stoplimit": _on(info, limit)} if kind > 5 else {}
        if expires_s % 2:
            fields |= {"type_time": 2, "expiration": tick.time + expires_s}
        lots = hundredths * max(info.volume_step, 0.01)
        world.place(symbol, kind, round(lots, 2), _on(info, price), type_filling=filling, **fields)

    def change(self, index: int, away: int) -> None:
        world, waiting = self.world, self.world.mt5.orders_get()
        if waiting:
            row = waiting[index % len(waiting)]
            info = world.mt5.symbol_info(row.symbol)
            price = _on(info, row.price_open + away * info.trade_tick_size)
            world.modify(row.ticket, price, stoplimit=row.price_stoplimit)

    def remove(self, index: int) -> None:
        waiting = self.world.mt5.orders_get()
        if waiting:
            self.world.remove(waiting[index % len(waiting)].ticket)

    def cross(self, first: int, second: int) -> None:
        world, held = self.world, self.world.mt5.positions_get()
        if held:
            one, other = held[first % len(held)], held[second % len(held)]
            fields = {"position": one.ticket, "position_by": other.ticket}
            world.mt5.order_send({"action": mt5.TRADE_ACTION_CLOSE_BY, "symbol": one.symbol, **fields})

    def thin(self, symbol: str, moved: int, tenths: int, levels: int) -> None:
        instrument = self.world.broker.instruments[symbol]
        bid = instrument.anchor + moved * max(1, instrument.reach // 100)
        bid -= bid % instrument.tick_size
        ask, lots, text = bid + 5 * instrument.tick_size, f"{tenths / 10}", instrument.price_text
        self.world.control.tick(symbol, text(bid), text(ask), bid_vol=lots, ask_vol=lots, levels=levels)

    def wait(self, milliseconds: int) -> None:
        self.world.control.advance(milliseconds / 1_000)

    def cash(self, cents: int, kind: int) -> None:
        self.world.control.balance(self.login, f"{cents / 100:.2f}", kind)

    def bust(self, index: int) -> None:
        rows = self.world.control.truth(self.login)["deals"]
        with contextlib.suppress(ValueError):  # no trade, canceled already, or something rests on it
            self.world.control.cancel_deal(self.login, rows[index % len(rows)]["ticket"])

    def fault(self, name: str) -> None:
        lasting: dict[str, Any] = {"seconds": 20} if name in LASTING else {}
        self.world.control.inject(name, **lasting)

    def restart(self) -> None:
        if self.restarts:
            self.world.broker.close()
            magics = self.world.magics
            self.world = self.open()
            self.world.magics = magics


def _on(info: Any, price: float) -> float:
    """Return a price on the symbol's ticks."""
    return float(round(round(price / info.trade_tick_size) * info.trade_tick_size, info.digits))


def look(world: Any) -> None:
    """Assert everything that must hold at any time."""
    truth = world.control.truth(world.login)
    look_at_money(world, truth)
    look_at_volumes(world, truth)
    look_at_prices(world, truth)
    look_at_tickets(truth)
    world.control.verify()


def look_at_money(world: Any, truth: dict[str, Any]) -> None:
    rows = truth["deals"]
    credit = sum(row["profit"] for row in rows if row["type"] == mt5.DEAL_TYPE_CREDIT)
    booked = sum(row["profit"] + row["swap"] + row["commission"] + row["fee"] for row in rows) - credit
    assert truth["balance"] == booked
    scene, books = world.broker.scene(), world.broker.books[world.login]
    floating = sum(valuation.floating(books.profile, row, scene.market) + row.swap for row in books.positions.values())
    assert truth["equity"] == booked + credit + floating


def look_at_volumes(world: Any, truth: dict[str, Any]) -> None:
    rows, finished, working = truth["deals"], truth["orders"], truth["working"]
    for symbol in SYMBOLS:
        standing = (row for row in rows if row["ticket"] not in truth["canceled"])
        net = sum(row["volume"] * (1 - 2 * row["type"]) for row in standing if row["symbol"] == symbol)
        assert net == sum(
            row["volume"] * (1 - 2 * row["type"]) for row in truth["positions"] if row["symbol"] == symbol
        )
    for order in (*finished, *working):
        done = sum(row["volume"] for row in rows if row["order_ticket"] == order["ticket"])
        wanted = order["volume_initial"] * (2 if order["type"] == mt5.ORDER_TYPE_CLOSE_BY else 1)
        assert (done == wanted) is (order["state"] == mt5.ORDER_STATE_FILLED)
        if order["type"] != mt5.ORDER_TYPE_CLOSE_BY:
            assert done == order["volume_initial"] - order["volume_current"] <= wanted
    assert all(row["state"] in (mt5.ORDER_STATE_PLACED, mt5.ORDER_STATE_PARTIAL) for row in working)
    assert all(not row["expires_us"] or row["expires_us"] > truth["now_us"] for row in working)
    traded = {row["position_id"] for row in rows if row["symbol"]}
    assert {row["identifier"] for row in truth["positions"]} <= traded
    assert traded <= {row["ticket"] for row in (*finished, *working)}


def look_at_prices(world: Any, truth: dict[str, Any]) -> None:
    for row in truth["deals"]:
        if not row["symbol"] or row["entry"] == mt5.DEAL_ENTRY_OUT_BY:
            continue
        instrument = world.broker.instruments[row["symbol"]]
        source, at_ms = world.broker.quotes, row["time_us"] // 1_000
        ticks = [source.at(row["symbol"], at_ms - 1), *source.between(row["symbol"], at_ms - 1, at_ms, 10**6)]
        step = instrument.tick_size if row["type"] == 0 else -instrument.tick_size
        offered = {each.entry_price(row["type"]) + n * step for each in ticks if each for n in range(each.levels)}
        assert row["price"] in offered
        assert row["volume"] % instrument.volume_step == row["price"] % instrument.tick_size == 0
        assert instrument.sessions.is_open(world.broker.profile.zone.to_server_ms(at_ms))


def look_at_tickets(truth: dict[str, Any]) -> None:
    deals_, orders = truth["deals"], [*truth["orders"], *truth["working"]]
    tickets = [row["ticket"] for row in deals_]
    assert tickets == sorted(set(tickets))
    assert len({row["ticket"] for row in orders}) == len(orders)
    assert all(FIRST <= row["ticket"] < truth["next_order"] for row in orders)
    assert all(FIRST <= ticket < truth["next_deal"] for ticket in tickets)


def checksum(world: Any) -> str:
    """Return a digest of every table of the broker's file."""
    return hashlib.sha256("\n".join(world.broker.store._sql.iterdump()).encode()).hexdigest()


def plain(value: Any) -> Any:
    """Turn a structure into what JSON carries, as a gateway does."""
    return (
        {name: plain(each) for name, each in value._asdict().items()}
        if isinstance(value, structures.Structure)
        else value
    )


@bounded
@given(story=usual, login=st.sampled_from([HEDGER, NETTER]))
@example(
    story=[("deal", "EURUSD", 0, 10, 0, 0), ("deal", "EURUSD", 1, 30, 0, -9), ("quote", "EURUSD", 299, 1)], login=NETTER
)
def test_books_hold_after_every_step(story, login):
    played = Story(login, ":memory:", restarts=False)
    played.play(story)
    played.world.broker.close()


@settings(bounded, max_examples=max(1, RUNS // 5), phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(story=stories(*BROKER_FAULTS), login=st.sampled_from([HEDGER, NETTER]), house=st.sampled_from([PROFILE, ROUGH]))
def test_a_story_with_restarts_ends_as_without(story, login, house, tmp_path_factory):
    folder = tmp_path_factory.mktemp("story")
    ends = []
    for name, restarts in (("with", True), ("without", False)):
        played = Story(login, folder / name, restarts=restarts, house=house)
        played.play(story, looking=False)
        ends.append(json.loads(json.dumps(played.world.control.truth(login))))
        played.world.broker.close()

    assert ends[0] == ends[1]


@bounded
@given(story=usual, request_=st.fixed_dictionaries({
    "action": st.integers(0, 11), "type": st.integers(0, 9), "symbol": st.sampled_from([*PRICES, "", "X"]),
    "volume": st.floats(allow_nan=True), "sl": st.floats(), "tp": st.floats(), "price": st.floats(),
    "type_filling": st.integers(0, 5), "position": st.integers(0, FIRST + 4), "order": st.integers(FIRST, FIRST + 4),
    "type_time": st.integers(0, 4), "expiration": st.integers(-5, 2**40), "stoplimit": st.floats(),
    "position_by": st.integers(FIRST, FIRST + 4),
}))  # fmt: skip
def test_check_and_refusals_change_nothing(story, request_):
    played = Story(HEDGER, ":memory:", restarts=False)
    played.play([step for step in story if step[0] != "fault"])
    world = played.world
    before = world.truth()

    assert world.mt5.order_check(request_) is not None
    assert world.truth() == before
    if world.mt5.order_send(request_).retcode not in judging.DONE:
        assert world.truth() == before
    look(world)
    world.broker.close()


@settings(bounded, max_examples=max(1, RUNS // 4))
@given(story=usual, login=st.sampled_from([HEDGER, NETTER]))
def test_same_story_gives_the_same_file(story, login):
    sums = set()
    for _ in range(2):
        played = Story(login, ":memory:", restarts=False, house=ROUGH)
        played.play(story, looking=False)
        sums.add(checksum(played.world))
        played.world.broker.close()

    assert len(sums) == 1


@settings(bounded, max_examples=max(1, RUNS // 2))
@given(story=stories(*BROKER_FAULTS), login=st.sampled_from([HEDGER, NETTER]))
def test_every_answer_has_its_types_and_survives_json(story, login):
    played = Story(login, ":memory:", restarts=False)
    played.play(story)
    api = played.world.mt5
    answers = [
        api.account_info(), api.terminal_info(), *api.symbols_get(), *api.positions_get(),
        *api.orders_get(), *api.history_deals_get(*EVER), *api.history_orders_get(*EVER),
        api.symbol_info_tick("EURUSD"),
        api.order_check(action=1, symbol="EURUSD", volume=0.01), played.world.buy("EURUSD", 0.01),
    ]  # fmt: skip
    for answer in filter(None, answers):
        assert [type(value) for value in answer] == list(type(answer).FIELDS.values())
        assert json.loads(json.dumps(plain(answer))) == plain(answer)
    played.world.broker.close()
