"""What is true after any story: books, positions, tickets, types, checks, restarts."""

import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.trading.brokers.mt5.emulator.world import EVER, HEDGER, NETTER, PRICES, build, quote_all
from trading.brokers.mt5.emulator import BrokerProfile, structures
from trading.brokers.mt5.emulator import constants as mt5

FIRST = 2**53 + 1
PROFILE = BrokerProfile(selected=tuple(PRICES), first_ticket=FIRST)
ACCOUNT = {"commission_per_lot": "3.5", "initial_balance": "20000", "requests_per_second": 10_000}
SYMBOLS = ("EURUSD", "USDJPY", "XAUUSD", "BTCUSD")

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
waits = st.tuples(st.just("wait"), st.integers(1, 100_000))
cash = st.tuples(st.just("cash"), st.integers(-5_000, 5_000))
faults = st.tuples(
    st.just("fault"), st.sampled_from(["timeout_before_accept", "timeout_after_accept", "retcode", "history_delay"])
)
restarts = st.tuples(st.just("restart"))
steps = st.one_of(deals, deals, deals, moves, quotes, quotes, waits, cash, faults, restarts)
stories = st.lists(steps, min_size=8, max_size=40)
bounded = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Story:
    """Play a story on a scripted broker, and look at the books after each step."""

    def __init__(self, login: int, path: Any, *, restarts: bool) -> None:
        self.login, self.path, self.restarts = login, path, restarts
        self.world = quote_all(self.open())

    def open(self) -> Any:
        return build(self.login, path=self.path, profile=PROFILE, account=ACCOUNT)

    def play(self, story: list[tuple[Any, ...]]) -> None:
        for name, *rest in story:
            getattr(self, name)(*rest)
            self.world.mt5.initialize()
            if not self.restarts:
                look(self.world)

    def deal(self, symbol: str, side: int, hundredths: int, target: int, stop: int) -> None:
        world = self.world
        fields: dict[str, Any] = {}
        held = world.mt5.positions_get(symbol=symbol)
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
        self.world.control.tick(symbol, text(bid), text(bid + spread))

    def wait(self, milliseconds: int) -> None:
        self.world.control.advance(milliseconds / 1_000)

    def cash(self, cents: int) -> None:
        self.world.control.balance(self.login, f"{cents / 100:.2f}")

    def fault(self, name: str) -> None:
        self.world.control.inject(name)

    def restart(self) -> None:
        if self.restarts:
            self.world.broker.close()
            magics = self.world.magics
            self.world = self.open()
            self.world.magics = magics


def look(world: Any) -> None:
    """Assert everything that must hold at any time."""
    truth = world.control.truth(world.login)
    rows, orders, positions = truth["deals"], truth["orders"], truth["positions"]
    info = world.mt5.account_info()

    booked = sum(row["profit"] + row["swap"] + row["commission"] + row["fee"] for row in rows)
    assert truth["balance"] == booked
    floating = round(sum(row.profit for row in world.mt5.positions_get()), 2)
    assert round(info.balance + floating, 2) == info.equity

    for symbol in SYMBOLS:
        net = sum(row["volume"] * (1 - 2 * row["type"]) for row in rows if row["symbol"] == symbol)
        assert net == sum(row["volume"] * (1 - 2 * row["type"]) for row in positions if row["symbol"] == symbol)
    for order in orders:
        assert sum(row["volume"] for row in rows if row["order_ticket"] == order["ticket"]) == order["volume_initial"]
    traded = [row for row in rows if row["symbol"]]
    assert {row["identifier"] for row in positions} <= {row["position_id"] for row in traded}
    assert {row["position_id"] for row in traded} <= {row["ticket"] for row in orders}

    for row in traded:
        instrument = world.broker.instruments[row["symbol"]]
        source, at_ms = world.broker.quotes, row["time_us"] // 1_000
        ticks = [source.at(row["symbol"], at_ms - 1), *source.between(row["symbol"], at_ms - 1, at_ms, 10**6)]
        assert row["price"] in {each.entry_price(row["type"]) for each in ticks if each}
        assert row["volume"] % instrument.volume_step == row["price"] % instrument.tick_size == 0
        assert instrument.sessions.is_open(world.broker.profile.zone.to_server_ms(row["time_us"] // 1_000))

    for tickets in ([row["ticket"] for row in rows], [row["ticket"] for row in orders]):
        assert tickets == sorted(set(tickets))
        assert all(ticket >= FIRST for ticket in tickets)
    world.control.verify()


def plain(value: Any) -> Any:
    """Turn a structure into what JSON carries, as a gateway does."""
    return (
        {name: plain(each) for name, each in value._asdict().items()}
        if isinstance(value, structures.Structure)
        else value
    )


@bounded
@given(story=stories, login=st.sampled_from([HEDGER, NETTER]))
@example(
    story=[("deal", "EURUSD", 0, 10, 0, 0), ("deal", "EURUSD", 1, 30, 0, -9), ("quote", "EURUSD", 299, 1)], login=NETTER
)
def test_books_hold_after_every_step(story, login):
    played = Story(login, ":memory:", restarts=False)
    played.play(story)
    played.world.broker.close()


@settings(bounded, max_examples=12)
@given(story=stories, login=st.sampled_from([HEDGER, NETTER]))
def test_a_story_with_restarts_ends_as_without(story, login, tmp_path_factory):
    folder = tmp_path_factory.mktemp("story")
    ends = []
    for name, restarts in (("with", True), ("without", False)):
        played = Story(login, folder / name, restarts=restarts)
        played.play(story)
        ends.append(json.dumps(played.world.control.truth(login), sort_keys=True))
        played.world.broker.close()

    assert ends[0] == ends[1]


@bounded
@given(story=stories, request_=st.fixed_dictionaries({
    "action": st.integers(0, 11), "type": st.integers(0, 9), "symbol": st.sampled_from([*PRICES, "", "X"]),
    "volume": st.floats(allow_nan=True), "sl": st.floats(), "tp": st.floats(), "price": st.floats(),
    "type_filling": st.integers(0, 5), "position": st.integers(0, FIRST + 4),
}))  # fmt: skip
def test_check_and_refusals_change_nothing(story, request_):
    played = Story(HEDGER, ":memory:", restarts=False)
    played.play([step for step in story if step[0] != "fault"])
    world = played.world
    before = world.truth()

    assert world.mt5.order_check(request_) is not None
    assert world.truth() == before
    if world.mt5.order_send(request_).retcode != mt5.TRADE_RETCODE_DONE:
        assert world.truth() == before
    look(world)
    world.broker.close()


@settings(bounded, max_examples=25)
@given(story=stories, login=st.sampled_from([HEDGER, NETTER]))
def test_every_answer_has_its_types_and_survives_json(story, login):
    played = Story(login, ":memory:", restarts=False)
    played.play(story)
    api = played.world.mt5
    answers = [
        api.account_info(), api.terminal_info(), *api.symbols_get(), *api.positions_get(),
        *api.history_deals_get(*EVER), *api.history_orders_get(*EVER), api.symbol_info_tick("EURUSD"),
        api.order_check(action=1, symbol="EURUSD", volume=0.01), played.world.buy("EURUSD", 0.01),
    ]  # fmt: skip
    for answer in filter(None, answers):
        assert [type(value) for value in answer] == list(type(answer).FIELDS.values())
        assert json.loads(json.dumps(plain(answer))) == plain(answer)
    played.world.broker.close()
