"""`manage.py paper`, over a real gateway's process: what a tired stranger reads, and what is refused with words."""

import contextlib
import io
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count

import pytest
from django.core.management import CommandError, call_command

from nexus.core.errors import OutcomeUnknown, Unreachable
from nexus.local import servers
from tests.fakes import gate
from tests.trading.brokers.mt5.fake_terminal import LOGIN, SERVER
from tests.trading.brokers.mt5.gateway_in_thread import TAG, TOKEN
from tests.trading.brokers.mt5.test_gateway_process import Place, refuse_to_start
from trading.brokers import ids
from trading.brokers.base import OrderRequest, Side, VenueState
from trading.brokers.mt5.emulator import faults
from trading.brokers.mt5.gateway import bridge
from trading.brokers.mt5.gateway.config import TerminalConfig
from trading.management import paper_views

_numbers = count(1)
CONTROL_TOKEN = "a control token of the tests"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("PAPER_CONTROL_TOKEN", CONTROL_TOKEN)
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture
def address():
    return f"127.0.0.1:{servers.free_port()}"


def terminal(place, address, **changes):
    control = {"listen": address, "token_env": "PAPER_CONTROL_TOKEN"}
    return {
        "kind": "emulator", "store": str(place.folder / "broker.db"), "mode": "wall", "seed": 3, "login": LOGIN,
        "password": "paper-password", "server": SERVER, "tick_interval_ms": 100, "control": control,
    } | changes  # fmt: skip


@pytest.fixture
def gateway(place, address, settings):
    settings.PAPER_CONTROLS, settings.PAPER_CONTROL_TOKEN = address, CONTROL_TOKEN
    _, url = place.start(terminal=terminal(place, address))
    return url


@pytest.fixture
def paper(gateway):
    return say


def say(*words):
    out = io.StringIO()
    call_command("paper", *map(str, words), stdout=out)
    return out.getvalue()


def rows(text, title):
    """Return the rows of a table by the names of its columns, which stand where the heading stands."""
    lines = text.split("\n")
    at = next(index for index, line in enumerate(lines) if line.startswith(title))
    heading, found = lines[at + 1], []
    starts = [index for index, each in enumerate(heading) if each != " " and heading[index - 2 : index] == "  "]
    names = [heading[one:other].strip() for one, other in zip(starts, [*starts[1:], None], strict=True)]
    for line in lines[at + 2 :]:
        if not line.startswith("  "):
            break
        cells = [line[one:other].strip() for one, other in zip(starts, [*starts[1:], None], strict=True)]
        found.append(dict(zip(names, cells, strict=True)))
    return found


def test_plays_a_person_at_the_terminal(paper):
    assert "done. Order" in paper("trade", "buy", "EURUSD", "0.10", "--stop", "1.00000", "--by", "mobile")
    assert "done. Order" in paper("trade", "sell", "USDJPY", "0.2", "--by", "program")

    books = paper("books")

    positions = rows(books, "Positions")
    assert [(each["symbol"], each["side"], each["lots"], each["by"]) for each in positions] == [
        ("EURUSD", "BUY", "0.10", "mobile"), ("USDJPY", "SELL", "0.20", "program"),
    ]  # fmt: skip
    assert positions[0]["stop"] == "1.00000"
    ticket = positions[0]["ticket"]
    assert "Close 0.04" in paper("close", ticket, "--lots", "0.04")
    assert rows(paper("positions"), "Positions")[0]["lots"] == "0.06"
    paper("close", ticket)
    assert [each["symbol"] for each in rows(paper("positions"), "Positions")] == ["USDJPY"]
    assert [each["entry"] for each in rows(paper("deals", "--last", "2"), "Deals")] == ["OUT", "OUT"]
    assert "add up" in paper("verify")


def test_moves_money_and_charges_swap(paper):
    assert "balance is 10250.50" in paper("deposit", "250.50")
    assert "balance is 10000.00" in paper("withdraw", "250.5", "--comment", "To the bank")
    assert [each["comment"] for each in rows(paper("deals"), "Deals")] == ["Initial deposit", "Deposit", "To the bank"]
    paper("trade", "buy", "EURUSD", "0.10")
    assert "-0.65" in paper("swap")
    assert "-4.15" in paper("swap", "--amount", "-3.50")
    assert rows(paper("positions"), "Positions")[0]["swap"] == "-4.15"
    assert rows(paper("account"), "Money")[0]["balance"] == "10000.00"


def test_takes_a_deal_back_as_a_broker_does(paper):
    paper("trade", "buy", "EURUSD", "0.10")
    opened = rows(paper("deals"), "Deals")[-1]["deal"]
    position = rows(paper("positions"), "Positions")[0]["ticket"]
    paper("close", position, "--lots", "0.04")
    closed = rows(paper("deals"), "Deals")[-1]

    told = paper("bust", closed["deal"])

    assert f"Deal {closed['deal']} is canceled. Its result is paid back: " in told
    assert f"Position {position} is 0.10 lots." in told
    listed = rows(paper("deals"), "Deals")
    assert [each["type"] for each in listed] == ["BALANCE", "BUY", "SELL CANCELED", "BALANCE"]
    assert (listed[2]["lots"], listed[2]["profit"], listed[3]["comment"]) == (
        "0.04", "0.00", f"Canceled deal {closed['deal']}",
    )  # fmt: skip
    assert paper("bust", opened) == f"Deal {opened} is canceled. Its position is gone.\n"
    assert "add up" in paper("verify")
    with pytest.raises(CommandError, match="has no trade"):
        paper("bust", opened)


def test_lists_every_fault_and_injects_and_clears_it(paper):
    listed = paper("faults")
    assert [row["fault"] for row in rows(listed, "Faults")] == list(faults.KINDS)
    assert "Planned now: none" in listed

    assert "waits for its call" in paper("inject", "retcode", "retcode=10019", "executed=yes", "--times", "always")
    paper("inject", "comment_drop", "on=deal,position", "--symbol", "EURUSD", "--nth", "2")
    planned = rows(paper("faults"), "Planned now")
    assert [(row["fault"], row["with"], row["fired"]) for row in planned] == [
        ("retcode", "retcode=10019 executed=True", "0 of always"),
        ("comment_drop", "on=deal,position", "0 of 1"),
    ]
    assert "fires no more" in paper("clear", planned[0]["id"])
    assert "1 planned fault(s) lifted" in paper("clear")
    assert "Planned now: none" in paper("faults")


def test_every_fault_can_be_injected_by_its_name(paper):
    values = {"seconds": "1", "ticks": "5", "hours": "1"}

    for name in faults.KINDS:
        key = paper_views.needed(name)
        more = [f"{key}={values[key]}"] if key else []
        assert f"{name}, waits" in paper("inject", name, *more)
        paper("clear")


def test_a_cut_connection_is_seen_by_who_trades_and_comes_back(paper, place, gateway):
    broker = place.broker(gateway)
    assert "until `paper clear`" in paper("cut", "--seconds", "0")
    with pytest.raises(Unreachable, match="not connected to the broker"):
        broker.snapshot(symbols=[])
    assert [row["call"] for row in rows(paper("log"), "Fired")]

    paper("clear")

    assert broker.snapshot(symbols=[]).balance == 10_000


def test_an_account_that_a_person_switched_comes_back_when_it_is_cleared(paper, place, gateway):
    broker = place.broker(gateway)
    paper("inject", "relogin")
    with pytest.raises(Unreachable, match="another account answers"):
        broker.snapshot(symbols=[])

    paper("clear")

    with pytest.raises(Unreachable, match="does not say which account"):
        broker.snapshot(symbols=[])  # the pipe was cut, and the gateway connects again with the next call
    assert broker.snapshot(symbols=[]).balance == 10_000


def buy(broker):
    quote = broker.snapshot(symbols=["EURUSD"]).quotes["EURUSD"]
    name = ids.client_order_id(tag=TAG, number=next(_numbers))
    return OrderRequest(
        client_order_id=name, symbol="EURUSD", side=Side.BUY, quantity=Decimal("0.01"), reference_price=quote.ask,
        deviation=quote.ask / 100, stop_loss=None, take_profit=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "error", "state", "deals"),
    [
        (("bridge_drop",), OutcomeUnknown, {VenueState.NEVER_SENT, VenueState.NO_TRACE}, 0),
        (("bridge_drop", "point=response"), OutcomeUnknown, {VenueState.FILLED}, 1),
        (("bridge_drop", "point=middle"), OutcomeUnknown, {VenueState.FILLED}, 1),
        (("bridge_slow", "seconds=3"), OutcomeUnknown, {VenueState.NEVER_SENT, VenueState.NO_TRACE}, 0),
        (("bridge_dup_request",), None, {VenueState.FILLED}, 1),
        (("bridge_dup_request", "seconds=0.3"), None, {VenueState.FILLED}, 1),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else None,
)
def test_the_wire_breaks_as_it_is_told_and_an_order_is_executed_once(paper, place, gateway, words, error, state, deals):
    broker, sent_at = place.broker(gateway, deadline_s="1"), datetime.now(UTC)
    gate.free(gateway, TOKEN)
    order = buy(broker)
    paper("inject", *words)

    with contextlib.nullcontext() if error is None else pytest.raises(error):
        broker.submit(order)

    report = broker.order_report(client_order_id=order.client_order_id, symbol="EURUSD", sent_at=sent_at)
    assert report.state in state
    time.sleep(4 if "bridge_slow" in words else 1)  # whatever was kept back has arrived by now
    assert len(rows(paper("deals"), "Deals")) == 1 + deals
    assert [row["call"] for row in rows(paper("log"), "Fired")] == ["wire_send"]
    assert "Planned now: none" in paper("faults")


def test_the_wire_of_readings_breaks_when_it_is_named(paper, place, gateway):
    broker = place.broker(gateway, deadline_s="1")
    paper("inject", "bridge_slow", "seconds=2", "--function", "wire_read")

    with pytest.raises(Unreachable):
        broker.snapshot(symbols=[])

    assert place.broker(gateway).snapshot(symbols=[]).balance == 10_000  # this one waits no moment after a failure


def test_a_reading_that_is_cut_in_the_middle_is_no_answer(paper, place, gateway):
    paper("inject", "bridge_drop", "point=middle", "--function", "wire_read")

    with pytest.raises(Unreachable, match="IncompleteRead"):
        place.broker(gateway).snapshot(symbols=[])

    assert place.broker(gateway).snapshot(symbols=[]).balance == 10_000


def test_a_real_terminal_has_a_wire_on_which_nothing_breaks(tmp_path):
    config = TerminalConfig("metatrader5", LOGIN, "secret", SERVER, {"control": ("127.0.0.1:1", "x" * 20)})

    assert bridge.of_terminal(config) is bridge.sound
    assert bridge.of_terminal(replace(config, kind="emulator")) is not bridge.sound
    assert bridge.of_terminal(replace(config, kind="emulator", options={"control": None})) is bridge.sound


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("close", "77"), "Account 5001 has no position 77. Open are: none."),
        (("trade", "buy", "EURUSX", "0.1"), "no symbol EURUSX"),
        (("trade", "buy", "EURUSD", "0.001"), "refused with 10014, Invalid volume"),
        (("trade", "buy", "EURUSD", "50"), "refused with 10019, No money"),
        (("trade", "buy", "EURUSD", "0"), "not a number above zero"),
        (("trade", "hold", "EURUSD", "1"), "invalid choice"),
        (("inject", "meteor"), "There is no fault 'meteor'. `paper faults` lists them."),
        (
            ("inject", "retcode", "code=5"),
            "'code=5' is no parameter of retcode. It takes: retcode=10006 executed=False",
        ),
        (("inject", "retcode", "retcode=five"), "'five' is no value for retcode"),
        (("inject", "gap"), "gap does nothing without ticks"),
        (("inject", "history_delay"), "history_delay does nothing without seconds"),
        (
            ("inject", "bridge_drop", "point=end"),
            "the point of bridge_drop is one of request, response, middle, not end",
        ),
        (("inject", "bridge_slow"), "bridge_slow does nothing without seconds"),
        (("clear", "9"), "no fault 9 is planned"),
        (("deposit", "0.001"), "finer than the account's currency"),
        (("swap",), "no position is open"),
        (("--account", "7", "books"), "There is no paper account 7. There are: 5001."),
    ],
)
def test_refusals_name_what_is_wrong(paper, words, told):
    with pytest.raises(CommandError) as refused:
        paper(*words)

    assert told in str(refused.value)


def test_says_which_broker_it_cannot_reach(settings, address):
    settings.PAPER_CONTROLS = ""
    with pytest.raises(CommandError, match="No paper broker is known"):
        say("books")
    settings.PAPER_CONTROLS, settings.PAPER_CONTROL_TOKEN = address, CONTROL_TOKEN
    with pytest.raises(CommandError, match="does not answer"):
        say("books")


def test_wrong_secret_opens_nothing(gateway, settings):
    settings.PAPER_CONTROL_TOKEN = "another token of the tests"

    with pytest.raises(CommandError, match="wrong token"):
        say("books")


def test_several_accounts_are_told_apart(gateway, place, settings, tmp_path):
    other = servers.free_port()
    (tmp_path / "other").mkdir()
    second = Place(tmp_path / "other")
    changes = {"login": 5002, "currency": "EUR", "margin_mode": "netting", "symbols": {"EURUSD": {"spread": "0.00050"}}}
    second.start(terminal=terminal(second, f"127.0.0.1:{other}", **changes))
    try:
        settings.PAPER_CONTROLS += f",127.0.0.1:{other}"

        listed = rows(say("accounts"), "Paper accounts")

        assert [(row["login"], row["kind"], row["currency"]) for row in listed] == [
            ("5001", "hedging", "USD"), ("5002", "netting", "EUR"),
        ]  # fmt: skip
        with pytest.raises(CommandError, match="Say which account: --account with one of 5001, 5002"):
            say("books")
        say("--account", "5002", "trade", "buy", "EURUSD", "0.1")
        say("--account", "5002", "trade", "buy", "EURUSD", "0.1")
        assert [row["lots"] for row in rows(say("--account", "5002", "positions"), "Positions")] == ["0.20"]
        assert "Positions: none" in say("--account", "5001", "positions")
    finally:
        second.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"control": {"listen": "0.0.0.0:5555", "token_env": "PAPER_CONTROL_TOKEN"}}, "loopback"),
        ({"control": {"listen": "127.0.0.1:5555", "token_env": "NOT_SET"}}, "terminal.control.token_env"),
    ],
)
def test_the_strings_are_never_held_from_afar_or_without_a_secret(place, changes, words):
    assert words in refuse_to_start(place, *place.serve(terminal=terminal(place, "127.0.0.1:1", **changes)))


def test_a_real_terminal_has_no_strings(place):
    real = {
        "kind": "metatrader5", "path": "C:/t.exe", "login": 1, "password_env": "SECRET", "server": "Broker-Live",
        "control": {"listen": "127.0.0.1:5555", "token_env": "PAPER_CONTROL_TOKEN"},
    }  # fmt: skip
    assert "terminal.control: is not a known key" in refuse_to_start(
        place, *place.serve(terminal=real), SECRET="a password"
    )
    assert os.environ["PAPER_CONTROL_TOKEN"] == CONTROL_TOKEN


def test_an_address_that_is_taken_is_named(gateway, place, address, tmp_path):
    (tmp_path / "other").mkdir()
    second = Place(tmp_path / "other")
    words = refuse_to_start(second, *second.serve(terminal=terminal(second, address)))
    assert f"terminal.control: {address} cannot be bound" in words
    gate.free(gateway, TOKEN)
