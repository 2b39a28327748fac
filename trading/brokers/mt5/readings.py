"""Readings through the gateway: how they are asked, and when their answers count."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from nexus.core.errors import Refused, Unreachable
from trading.brokers.base import MarginQuestion, ProfitQuestion, Side
from trading.brokers.mt5 import wire

NOT_FOUND = frozenset({1, -1, -4})  # with these the terminal says that a symbol does not exist
WINDOW_PAD_S = 26 * 3600  # covers every server zone without knowing it
UNIT_MAX = 64  # calls that the gateway takes as one unit


@dataclass(frozen=True, slots=True)
class Batch:
    """The answers of one unit, in the order of its calls, and the gateway's clock at its end.

    `unreconciled` names a worker whose books nobody has compared yet, so that it sends nothing: the gateway's run and
    the worker's number in it.
    """

    answers: Sequence[wire.Plain]
    utc_s: float
    unreconciled: tuple[str, int] | None = None
    pause_s: float = 0  # how long the gateway sends nothing, since the venue asked for less
    runs: Mapping[str, int] = field(default_factory=dict)  # how far its journal remembers
    trouble: str = ""  # what keeps the gateway from writing its journal, and so from sending anything

    def result(self, index: int) -> Any:
        """Return one result. Raises: Unreachable when that call failed: a failure is not an empty answer."""
        answer = self.answers[index]
        if answer["ok"] is not True or answer["result"] is None:
            raise Unreachable(f"the terminal answered {answer['last_error']}")
        return answer["result"]


def call(
    function: str, *args: object, where: Mapping[str, Sequence[object]] | None = None, **kwargs: object
) -> dict[str, Any]:
    """Describe one call. `where` keeps of a listing what has one of the values in any of the fields."""
    return {"function": function, "args": list(args), "kwargs": kwargs, "where": dict(where or {})}


def are_history(calls: Sequence[dict[str, Any]]) -> bool:
    """Tell whether some calls read history, which may take long and hold the terminal."""
    return any(each["function"].startswith("history_") for each in calls)


def select_call(symbol: str) -> dict[str, Any]:
    """Describe the call that puts a symbol into the Market Watch: a terminal that was restarted has forgotten it."""
    return call("symbol_select", symbol, True)  # noqa: FBT003 - the terminal's own argument


def quote_calls(symbols: Sequence[str]) -> list[dict[str, Any]]:
    """Describe the two calls that quote each symbol."""
    return [each for symbol in symbols for each in (select_call(symbol), call("symbol_info_tick", symbol))]


def pieces(symbols: Sequence[str], *, room: int = UNIT_MAX) -> Iterator[Sequence[str]]:
    """Cut symbols into pieces whose quotes fit into one unit each. Takes: the `room` that the first of them has."""
    first = room // 2
    yield symbols[:first]
    for begin in range(first, len(symbols), UNIT_MAX // 2):
        yield symbols[begin : begin + UNIT_MAX // 2]


def terms_calls(symbol: str) -> list[dict[str, Any]]:
    """Describe the two calls that read a symbol's own rules."""
    return [select_call(symbol), call("symbol_info", symbol)]


def margin_call(question: MarginQuestion, *, tick: int) -> dict[str, Any]:
    """Describe the call that answers a question on margin. Takes: `tick`, the place of the call for the price."""
    price = _price(question.price, side=question.side, tick=tick)
    return call("order_calc_margin", _action(question.side), question.symbol, float(question.quantity), price)


def profit_call(question: ProfitQuestion, *, tick: int) -> dict[str, Any]:
    """Describe the call that answers a question on profit. Takes: `tick`, as for the margin."""
    prices = (_price(question.price_open, side=question.side, tick=tick), float(question.price_close))
    return call("order_calc_profit", _action(question.side), question.symbol, float(question.quantity), *prices)


def questions(
    margin: MarginQuestion | None, profit: ProfitQuestion | None, *, ticks: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Describe the calls that answer what is asked about an order, by the name of the figure that each gives."""
    calls = {}
    if margin is not None:
        calls["margin_asked"] = margin_call(margin, tick=ticks[margin.symbol])
    if profit is not None:
        calls["profit_asked"] = profit_call(profit, tick=ticks[profit.symbol])
    return calls


def figures(asked: Mapping[str, object], batch: Batch) -> dict[str, Decimal]:
    """Return the figures of `questions`, whose answers end the unit; what the venue could not say is left out."""
    answers = zip(asked, batch.answers[len(batch.answers) - len(asked) :], strict=True)
    return {name: wire.number(answer["result"]) for name, answer in answers if answer["ok"] is True}


def _price(price: Decimal | None, *, side: Side, tick: int) -> object:
    return float(price) if price is not None else {"of_call": tick, "field": "ask" if side is Side.BUY else "bid"}


def _action(side: Side) -> int:
    return wire.BUY if side is Side.BUY else wire.SELL


def require_selected(symbol: str, answer: wire.Plain) -> None:
    """Read the answer to `select_call`. Raises: Refused when the venue does not know the symbol, else Unreachable."""
    if answer["result"] is True:
        return
    if wire.integer(answer["last_error"][0]) in NOT_FOUND:
        raise Refused(f"the venue does not know {symbol!r}", code="SYMBOL_UNKNOWN")
    raise Unreachable(f"the terminal answered {answer['last_error']}")


def is_not_there(answer: wire.Plain) -> bool:
    """Tell whether the terminal says of a symbol, or of its price, that there is none: an answer, and no failure."""
    return not answer["result"] and wire.integer(answer["last_error"][0]) in NOT_FOUND


def window(since_s: float, until_s: float) -> tuple[int, int]:
    """Return the bounds of a history reading, wide enough for any zone. The terminal wants positive integers."""
    return max(int(since_s) - WINDOW_PAD_S, 1), int(until_s) + WINDOW_PAD_S


def require_connected(terminal: wire.Plain) -> None:
    """Refuse to conclude anything while the terminal has lost its broker. Raises: Unreachable."""
    if terminal["connected"] is not True:
        raise Unreachable("the terminal is not connected to the broker")


@contextmanager
def reading() -> Iterator[None]:
    """Turn an answer that cannot be understood into Unreachable: a reading has changed nothing."""
    try:
        with wire.understanding():
            yield
    except wire.BadAnswer as exc:
        raise Unreachable(str(exc)) from exc
