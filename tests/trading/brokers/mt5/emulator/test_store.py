"""What was answered is on the disk, a restart changes nothing, and books that contradict themselves stop the broker."""

import json
import sqlite3
from typing import Any

import pytest

from tests.trading.brokers.mt5.emulator.world import HEDGER, NETTER, PASSWORD, TERMINAL, accounts, build, quote_all
from trading.brokers.mt5.emulator import BrokerProfile, BrokerStoppedError, open_broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.ledger import BooksDifferError
from trading.brokers.mt5.emulator.store import StoreBusyError, StoreMismatchError


@pytest.fixture
def path(tmp_path):
    """Return where a broker's file may be."""
    return tmp_path / "broker.sqlite3"


def act(world, step):
    """Do one thing of a story that touches everything."""
    world.mt5.initialize(TERMINAL, login=world.login, password=PASSWORD)
    match step:
        case 0:
            quote_all(world)
        case 1:
            world.buy("EURUSD", 0.3, sl=1.08, magic=2**64 - 1, comment="ü😀")
        case 2:
            world.sell("EURUSD", 0.5, magic=3)
        case 3:
            world.control.balance(world.login, "12.34")
        case 4:
            world.control.advance(0.5)
        case 5:
            world.buy("EURUSD", 999.0, magic=4)
        case 6:
            world.control.inject("history_delay", seconds=5)
        case 7:
            world.buy("USDJPY", 0.2, tp=151.0, magic=5)
        case 8:
            world.control.tick("USDJPY", "151.100", "151.120")
        case 9:
            world.sell("EURUSD", 0.1, magic=6)


@pytest.mark.parametrize("login", [HEDGER, NETTER])
def test_restart_anywhere_gives_the_same_truth(tmp_path, login):
    straight = build(login, path=tmp_path / "straight")
    for step in range(10):
        act(straight, step)
    truth = json.dumps(straight.control.truth(login), sort_keys=True)

    for stop in range(10):
        world = build(login, path=tmp_path / f"stopped-{stop}")
        for step in range(10):
            act(world, step)
            if step == stop:
                world.broker.close()
                world = build(login, path=tmp_path / f"stopped-{stop}")
        assert json.dumps(world.control.truth(login), sort_keys=True) == truth
        world.broker.close()


def test_answer_is_committed_before_it_is_given(path):
    world = quote_all(build(path=path))
    result = world.buy("EURUSD", 0.1)

    # No orderly end: a second process would find the file as a killed first one leaves it.
    world.broker.store.close()
    again = build(path=path)

    assert [deal.ticket for deal in again.deals()] == [result.deal]
    assert [row.ticket for row in again.mt5.positions_get()] == [result.order]


def test_failed_commit_answers_nothing_changes_nothing_and_stops_the_broker(hedger):
    before = hedger.truth()
    hedger.broker.store._sql.execute(
        "CREATE TRIGGER full BEFORE INSERT ON deals BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )

    with pytest.raises(sqlite3.IntegrityError, match="disk full"):
        hedger.buy("EURUSD", 0.1)

    with pytest.raises(BrokerStoppedError, match="disk full"):
        hedger.mt5.positions_get()
    counts = "SELECT (SELECT COUNT(*) FROM orders), (SELECT COUNT(*) FROM positions), (SELECT COUNT(*) FROM requests)"
    assert hedger.broker.store._sql.execute(counts).fetchone() == (0, 0, 0)
    assert len(hedger.broker.books[HEDGER].deals) == len(before["deals"])


def test_no_deal_is_ever_overwritten(hedger):
    hedger.broker._next_deal = 1  # the ticket of the deposit: only a bug could do this

    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        hedger.buy("EURUSD", 0.1)


def test_the_file_is_durable_and_has_one_writer(path):
    world = build(path=path)
    sql = world.broker.store._sql

    assert sql.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert sql.execute("PRAGMA synchronous").fetchone() == (2,)
    assert sql.execute("PRAGMA foreign_keys").fetchone() == (1,)
    with pytest.raises(StoreBusyError):
        build(path=path)


@pytest.mark.parametrize("statement", ["UPDATE deals SET profit = 1", "DELETE FROM deals"])
def test_deals_are_append_only(hedger, statement):
    with pytest.raises(sqlite3.IntegrityError, match="append only"):
        hedger.broker.store._sql.execute(statement)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE accounts SET balance = balance + 1",
        "UPDATE positions SET volume = volume * 2",
        "UPDATE positions SET price_open = price_open + 1",
        "UPDATE positions SET type = 1",
        "DELETE FROM positions",
        "DROP TRIGGER deals_never_go; DELETE FROM deals WHERE ticket = 2",
    ],
)
def test_books_that_contradict_their_deals_stop_the_broker(path, tampering):
    world = quote_all(build(path=path))
    world.buy("EURUSD", 0.1)
    world.broker.close()
    with sqlite3.connect(path) as sql:
        sql.executescript(tampering)
    sql.close()

    with pytest.raises(BooksDifferError):
        build(path=path)


def test_books_are_compared_on_demand(hedger):
    hedger.buy("EURUSD", 0.1)
    hedger.control.verify()
    hedger.broker.books[HEDGER].balance += 1

    with pytest.raises(BooksDifferError, match="balance"):
        hedger.control.verify()
    with pytest.raises(BrokerStoppedError):
        hedger.mt5.account_info()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"seed": 2}, "another seed"),
        ({"profile": BrokerProfile(always_open=True)}, "another seed"),
        ({"mode": "wall"}, "another seed"),
        ({"accounts": accounts(initial_balance="5")}, "founded"),
        ({"accounts": accounts()[:1]}, "not configured"),
    ],
)
def test_a_file_is_continued_as_it_was_founded_or_not_at_all(path, changes, why):
    options: dict[str, Any] = {"accounts": accounts(), "mode": "manual", "quotes": "scripted"}
    open_broker(path, **options).close()

    with pytest.raises(StoreMismatchError, match=why):
        open_broker(path, **(options | changes))
    open_broker(path, **options).close()


def test_passwords_may_change_and_are_not_in_the_file(path):
    build(path=path).broker.close()

    assert PASSWORD.encode() not in path.read_bytes()
    broker = open_broker(path, accounts=accounts(password="new"), mode="manual", quotes="scripted")
    assert broker.books[HEDGER].profile.password == "new"


def test_other_schema_is_refused(path):
    build(path=path).broker.close()
    with sqlite3.connect(path) as sql:
        sql.execute("UPDATE meta SET value = '0' WHERE key = 'schema'")
    sql.close()

    with pytest.raises(StoreMismatchError, match="schema 0"):
        build(path=path)


def test_a_file_from_before_deals_could_be_taken_back_is_brought_up_to_date(path):
    world = quote_all(build(path=path))
    world.buy("EURUSD", 0.1)
    before = world.truth()
    world.broker.close()
    with sqlite3.connect(path) as sql:
        sql.execute("DROP TABLE cancellations")
        sql.execute("UPDATE meta SET value = '2' WHERE key = 'schema'")
    sql.close()

    world = build(path=path)
    assert world.truth() == before
    world.control.cancel_deal(HEDGER, world.deals()[0].ticket)
    with pytest.raises(sqlite3.IntegrityError, match="append only"):
        world.broker.store._sql.execute("DELETE FROM cancellations")


def test_watched_symbols_and_the_rate_of_requests_survive(path):
    world = quote_all(build(path=path, profile=BrokerProfile()))
    world.mt5.symbol_select("EURUSD", True)
    for _ in range(20):
        world.buy("EURUSD", 0.01)
    world.broker.close()

    again = build(path=path, profile=BrokerProfile())
    assert again.mt5.symbol_info_tick("EURUSD").bid == 1.085
    assert again.buy("EURUSD", 0.01).retcode == mt5.TRADE_RETCODE_TOO_MANY_REQUESTS
