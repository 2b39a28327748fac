"""A recording goes through the whole system, and the books of both sides are compared to the cent."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils.timezone import now

from trading.brokers.mt5 import adapter
from trading.management.replay import books, script
from trading.models import Fill
from trading.services import accounts, watch

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).with_name("eurusd-ticks-sample.csv")
HEADER = ",".join(script.HEADER)
BEGIN = datetime(2020, 1, 2, 22, 0, tzinfo=UTC)  # of the sample


NOBODYS_QUEUE = "redis://127.0.0.1:1/0"  # of an installation: what a replay sends to it fails, and is told


def replay(tmp_path, recording, lines, *more):
    orders = tmp_path / "orders.csv"
    orders.write_text("\n".join([HEADER, *lines]) + "\n")
    environment = os.environ | {"LOG_LEVEL": "ERROR", "CELERY_BROKER_URL": NOBODYS_QUEUE}
    return subprocess.run(
        [sys.executable, "manage.py", "replay", str(recording), "--orders", str(orders), *more],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def at(seconds):
    return (BEGIN + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize("netting", [False, True])
def test_the_books_of_both_sides_agree_after_a_replay(tmp_path, netting):
    done = replay(
        tmp_path,
        SAMPLE,
        [
            f"{at(10)},order,first,EURUSD,BUY,0.02,MARKET,,1.11000,1.13000",
            f"{at(12)},order,tight,EURUSD,SELL,0.02,MARKET,,1.13000,1.10000",
            f"{at(14)},order,wait,EURUSD,BUY,0.02,LIMIT,1.11800,1.11000,",
            f"{at(16)},order,huge,EURUSD,BUY,5,MARKET,,1.11000,",
            f"{at(20)},close,first,,,0.01,,,,",
            f"{at(25)},cancel,wait,,,,,,,",
            f"{at(30)},close,huge,,,,,,,",
        ],
        "--commission", "3.50", *(["--netting"] if netting else []),
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert "The books of both sides agree, to the cent." in done.stdout
    assert "ticks a second" in done.stdout
    outcomes = {line.strip().partition("  ")[2] for line in done.stdout.splitlines() if line.startswith("   ")}
    assert {"order FILLED", "order PENDING", "order REJECTED POSITION_SIZE_EXCEEDS_LIMIT"} <= outcomes
    assert "close not played: its position is not open" in outcomes


def test_a_month_of_minutes_is_replayed_and_what_stops_closed_meanwhile_is_found(tmp_path):
    bars = tmp_path / "eurusd-m1.csv"
    prices = [110000 + (index * 7) % 900 for index in range(3000)]
    start = datetime(2020, 1, 1, 17, 0, tzinfo=UTC)
    with bars.open("w") as file:
        for index, price in enumerate(prices):
            high, low = price + 30, price - 30
            moment = start + timedelta(minutes=index)
            cells = (f"{value / 100000:.6f}" for value in (price, high, low, price))
            file.write(f"{moment:%Y%m%d %H%M%S};{';'.join(cells)};0\n")
    day = start + timedelta(hours=5)  # the file's clock is New York's winter
    done = replay(
        tmp_path,
        bars,
        [
            f"{(day + timedelta(minutes=10)).isoformat()},order,a,EURUSD,BUY,0.02,MARKET,,1.09000,1.10500",
            f"{(day + timedelta(hours=30)).isoformat()},order,b,EURUSD,BUY,0.02,MARKET,,1.09000,1.12000",
            f"{(day + timedelta(hours=40)).isoformat()},close,b,,,,,,,",
        ],
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "12000 ticks" in done.stdout
    assert "agree, to the cent" in done.stdout


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "holds no order"),
        (["soon,order,a,EURUSD,BUY,0.1,MARKET,,,"], "line 2: Invalid isoformat string"),
        (["2020-01-02T22:00:00,order,a,EURUSD,BUY,0.1,MARKET,,,"], "a time needs its zone"),
        ([f"{at(1)},order,a,EURUSD,HOLD,0.1,MARKET,,,"], "HOLD"),
        ([f"{at(1)},order,a,EURUSD,BUY,0.1,LIMIT,,,"], "needs a price"),
        ([f"{at(1)},order,a,EURUSD,BUY,-1,MARKET,,,"], "not above zero"),
        ([f"{at(1)},close,a,,,,,,,"], "which is no earlier order"),
        ([f"{at(1)},order,a,EURUSD,BUY,0.1,MARKET,,,"] * 2, "two orders are called 'a'"),
    ],
)
def test_names_the_line_that_cannot_be_played(tmp_path, lines, words):
    path = tmp_path / "orders.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n")

    with pytest.raises(script.BadScript, match=words):
        script.read(path)


def test_every_kind_of_difference_is_told(paper, trader, account, execute):
    execute()
    watch.look(account_id=account.pk, at=now())
    shown = accounts.broker_of(account).snapshot(symbols=[])
    broker, truth = paper.control._broker, paper.truth()

    assert list(books.differences(account, broker, truth, shown)) == []

    truth["balance"] += 10**6  # a cent
    assert sum("balance" in each for each in books.differences(account, broker, truth, shown)) == 2
    truth = paper.truth()
    truth["positions"][0]["volume"] //= 2
    truth["deals"][1]["price"] += 1
    truth["deals"][1]["profit"] += 10**6
    truth["deals"].append(dict(truth["deals"][1], ticket=99))
    told = "\n".join(books.differences(account, broker, truth, shown))
    for words in ("position 1 is 0.05", "price is", "profit is", "deal 99 is not in our ledger", "is filled with"):
        assert words in told, told
    truth = paper.truth()
    truth["deals"][0]["profit"] += 1
    assert any(each.startswith("money 1 is") for each in books.differences(account, broker, truth, shown))


def test_finds_a_stop_that_was_hit_long_before_an_order_of_ours(paper, trader, account, execute, monkeypatch):
    """The watch slept; what an order booked meanwhile must not hide the deals that nobody asked for before it."""
    monkeypatch.setattr(watch, "OVERLAP", timedelta(0))  # as if hours had passed
    monkeypatch.setattr(adapter, "CLOCK_CHANGE", timedelta(0))
    first = execute()
    watch.look(account_id=account.pk, at=now())
    stopped = Fill.objects.get(order=first)
    paper.quote("EURUSD", "1.07990", "1.08000")
    paper.quote("EURUSD", "1.08490", "1.08500")
    execute()

    assert watch.look(account_id=account.pk, at=now()) == 1
    assert Fill.objects.filter(order=None, venue_position_id=stopped.venue_position_id).count() == 1
