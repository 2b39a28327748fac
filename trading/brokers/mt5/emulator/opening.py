"""Open a broker: make its file or continue it, and join clock, quotes and books."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from trading.brokers.mt5.emulator import amounts, bars, rates, recordings
from trading.brokers.mt5.emulator.books import AccountBooks
from trading.brokers.mt5.emulator.broker import Broker
from trading.brokers.mt5.emulator.clock import Clock, ManualClock, Mode, PacedClock, WallClock, wall_us
from trading.brokers.mt5.emulator.instruments import Instrument, offered
from trading.brokers.mt5.emulator.looped import LoopedQuotes
from trading.brokers.mt5.emulator.profiles import AccountProfile, BrokerProfile
from trading.brokers.mt5.emulator.quotes import GeneratedQuotes, Quotes
from trading.brokers.mt5.emulator.records import Cancellation, Deal, Order, Position, Tick, WorkingOrder
from trading.brokers.mt5.emulator.scripted import ScriptedQuotes
from trading.brokers.mt5.emulator.store import Changes, Store, StoreMismatchError

DEFAULT_START = datetime(2025, 1, 8, 12, tzinfo=UTC)
DEFAULT_PROFILE = BrokerProfile()


def open_broker(
    path: Path | str,
    *,
    accounts: Sequence[AccountProfile],
    profile: BrokerProfile = DEFAULT_PROFILE,
    mode: Mode = "wall",
    quotes: Literal["generated", "scripted"] = "generated",
    seed: int = 1,
    csv: Mapping[str, Path] | None = None,
    start: datetime | None = None,
    speed: int | None = None,
    wall: Callable[[], int] = wall_us,
    sleep: Callable[[float], None] = time.sleep,
) -> Broker:
    """Open the broker of a file, or found it.

    Takes: `csv`: one recording per symbol, needed by mode `replay`; mode `wall` plays it from the founding on, again
    and again; `start`: where time begins in modes `manual` and `replay`; `speed`: let a replay flow that many times as
    fast as the wall.
    Raises: StoreBusyError, StoreMismatchError, BadRecordingError, BooksDifferError,
    LookupError (a currency without a pair).
    """
    if (mode == "replay" and csv is None) or (mode == "manual" and csv is not None):
        raise ValueError("recordings belong to the modes `replay`, which needs them, and `wall`")
    if speed is not None and mode != "replay":
        raise ValueError("a speed belongs to mode `replay`")
    if start is not None and start.tzinfo is None:
        raise ValueError("`start` needs its time zone")
    instruments = offered(profile.instruments, always_open=profile.always_open)
    _require_conversions(instruments, accounts)
    begin_us = wall() if mode == "wall" else round((start or DEFAULT_START).timestamp()) * 1_000_000
    recording = _recording(csv, instruments, profile) if csv is not None else None
    tape = recording if mode == "replay" else None
    if tape is not None and start is None:
        begin_us = tape.first_ms * 1_000
    market = "recorded" if recording is not None and tape is None else quotes
    store = Store(path)
    try:
        _found(store, profile, profile.fingerprint(seed, f"{mode} {market}"), begin_us)
        beneath: Quotes | None = tape
        if recording is not None and tape is None:
            others = _generated(profile, instruments, seed)
            beneath = LoopedQuotes(recording, int(store.meta()["founded_us"]) // 1_000, others)
        elif recording is None and quotes == "generated":
            beneath = _generated(profile, instruments, seed)
        scripted = ScriptedQuotes(beneath, store.load(Tick))
        broker = Broker(
            profile=profile, instruments=instruments, books=_books(store, accounts), quotes=scripted,
            clock=_clock(mode, speed, wall), store=store, tape=tape, sleep=sleep, seed=seed,
        )  # fmt: skip
        broker.load_books = partial(_books, store, accounts)
        broker.reopen = partial(
            open_broker, accounts=accounts, profile=profile, mode=mode, quotes=quotes, seed=seed, csv=csv,
            start=start, speed=speed, wall=wall, sleep=sleep,
        )  # fmt: skip
    except BaseException:
        store.close()
        raise
    for account in accounts:
        if not broker.books[account.login].deals:
            broker.pay(account.login, amounts.units(account.initial_balance), comment="Initial deposit")
    return broker


def _recording(
    csv: Mapping[str, Path], instruments: Mapping[str, Instrument], profile: BrokerProfile
) -> recordings.RecordedQuotes:
    """Read one file per symbol, of ticks or of bars."""
    of_bars = {symbol: path for symbol, path in csv.items() if bars.are_bars(path)}
    ticks = [tick for symbol, path in of_bars.items() for tick in bars.read(path, symbol, instruments)]
    of_ticks = {symbol: path for symbol, path in csv.items() if symbol not in of_bars}
    return recordings.load(of_ticks, instruments, profile.zone, also=ticks)


def _generated(profile: BrokerProfile, instruments: Mapping[str, Instrument], seed: int) -> Quotes:
    lots = amounts.units(profile.generated_lots)
    return GeneratedQuotes(seed, instruments, profile.zone, profile.tick_interval_ms, lots)


def _found(store: Store, profile: BrokerProfile, fingerprint: str, begin_us: int) -> None:
    """Write the first values of a new file, or refuse to continue one that was made with other quotes."""
    meta = store.meta()
    if "fingerprint" not in meta:
        first = str(profile.first_ticket)
        counters = {"next_order": first, "next_deal": first}
        store.commit(Changes(begin_us, {"fingerprint": fingerprint, "founded_us": str(begin_us), **counters}))
    elif meta["fingerprint"] != fingerprint:
        raise StoreMismatchError(
            "the file was made with another seed, mode or market; open it as it was, or use a new one"
        )


def _books(store: Store, accounts: Sequence[AccountProfile]) -> dict[int, AccountBooks]:
    """Load the books of every account, founding those that are new."""
    profiles = {account.login: account for account in accounts}
    known = store.accounts()
    if missing := known.keys() - profiles.keys():
        raise StoreMismatchError(f"the file holds accounts that are not configured: {sorted(missing)}")
    for login, (founding, _) in known.items():
        if founding != profiles[login].founding:
            raise StoreMismatchError(f"account {login} was founded as {founding}, not {profiles[login].founding}")
    new = {login: each.founding for login, each in profiles.items() if login not in known}
    store.commit(Changes(int(store.meta()["now_us"]), new_accounts=new))
    books = {login: AccountBooks(profile, known.get(login, ("", 0))[1]) for login, profile in profiles.items()}
    for deal in store.load(Deal):
        books[deal.login].deals.append(deal)
    for canceled in store.load(Cancellation):
        books[canceled.login].canceled.add(canceled.ticket)
    for order in store.load(Order):
        books[order.login].orders.append(order)
    for waiting in store.load(WorkingOrder):
        books[waiting.login].working[waiting.ticket] = waiting
    for position in store.load(Position):
        books[position.login].positions[position.ticket] = position
    return {login: each.loaded() for login, each in books.items()}


def _clock(mode: Mode, speed: int | None, wall: Callable[[], int]) -> Clock:
    if mode == "wall":
        return WallClock(wall)
    return PacedClock(speed, wall) if speed is not None else ManualClock()


def _require_conversions(instruments: Mapping[str, Instrument], accounts: Sequence[AccountProfile]) -> None:
    """Refuse at the start an account whose currency some symbol cannot be converted to."""
    for account in accounts:
        for instrument in instruments.values():
            for currency in (instrument.profit, instrument.margin):
                rates.path(instruments.values(), currency, account.currency)
