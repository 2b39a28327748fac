"""The brake's doors: who may pull it where, what is answered, and the command that needs nothing but the database."""

import uuid
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.utils.timezone import now

from accounts.models import User
from accounts.states import Role
from risk.models import ControlRelease, TradingControl
from risk.services import control
from risk.states import ControlScope, StopLevel, Sweep
from tests import stops
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.terminal import Terminal
from tests.trading.conftest import TESTER, brief
from trading import tasks
from trading.models import SweepRun, TradeLedger, TradingAccount
from trading.services import sweeping
from trading.states import SweepState

STOP, RESUME = "/system/emergency-stop", "/system/resume"


@pytest.fixture
def operators(floor) -> tuple[User, User]:
    first, second = (UserFactory.create(role=Role.OPERATOR) for _ in range(2))
    return first, second


def switches() -> dict[tuple[str, str], tuple[str, str]]:
    """Return every switch that is not ACTIVE: its level and its sweep."""
    rows = TradingControl.objects.exclude(level=StopLevel.ACTIVE)
    return {(row.scope, row.key): (StopLevel(row.level).name, row.sweep) for row in rows}


def test_an_operator_stops_everything_with_nothing_but_a_reason(operators, execute, paper, account):
    paper.control.inject("timeout_after_accept")
    lost = execute()
    client = ApiClient().login(operators[0])

    answer = client.post(STOP, {"reason": "It runs away."})

    body = answer.json()
    assert (answer.status_code, body["scope"], body["level"], body["sweep"]) == (200, "SYSTEM", "HALTED", "CANCEL")
    assert (body["reason"], body["has_lock"], body["is_listed"]) == ("It runs away.", True, True)
    assert [each["order"] for each in body["was_in_flight"]] == [str(lost.public_id)]
    assert operators[0].email in body["set_by"]
    (sweep,) = body["sweeps"]
    assert (sweep["account"], sweep["kind"], sweep["state"]) == (str(account.public_id), "CANCEL", "RUNNING")
    assert execute(brief(), key=uuid.uuid4().hex).reason == "TRADING_HALTED"


@pytest.mark.parametrize("path", [STOP, "/trading/disable"])
def test_a_trader_stops_his_own_account_and_nothing_else(trader, account, path, operators):
    client = ApiClient().login(trader)
    other = TradingAccount.objects.create(
        user=operators[0], name="Other", venue="mt5", venue_account="1", server="x", currency="USD", mode="HEDGING",
        created_at=now(),
    )  # fmt: skip

    for body in (
        {"scope": "SYSTEM"}, {"scope": "USER", "target": str(trader.public_id)},
        {"scope": "INSTRUMENT", "target": "EURUSD"},
    ):  # fmt: skip
        assert client.post(path, body | {"reason": "Mine?"}).status_code == 403
    hidden = client.post(path, {"scope": "ACCOUNT", "target": str(other.public_id), "reason": "Mine?"})
    assert hidden.status_code == 404
    assert switches() == {}

    answer = client.post(path, {"reason": "Enough for today."})

    sweep = "CANCEL" if path == STOP else "NONE"
    assert (answer.status_code, answer.json()["target"]) == (200, str(account.public_id))
    assert switches() == {("ACCOUNT", str(account.pk)): ("HALTED", sweep)}


def test_a_bot_stops_nothing_and_that_is_kept(paper, new_events):
    client = ApiClient().login(UserFactory.create(role=Role.BOT))

    assert client.post(STOP, {"reason": "A bug."}).status_code == 403
    assert switches() == {}
    assert "access.denied" in [event.action for event in new_events()]


def test_compliance_stops_and_sees_but_does_not_ease(operators, account):
    client = ApiClient().login(UserFactory.create(role=Role.COMPLIANCE))
    stopped = client.post(STOP, {"scope": "BROKER", "target": "mt5", "reason": "An audit.", "level": "REDUCE_ONLY"})

    assert stopped.json()["level"] == "REDUCE_ONLY"
    assert switches() == {("BROKER", "mt5"): ("REDUCE_ONLY", "NONE")}
    assert client.post(RESUME, {"scope": "BROKER", "target": "mt5", "reason": "Done."}).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {}, {"reason": " "}, {"reason": "x", "level": "ACTIVE"}, {"reason": "x", "scope": "PLANET"},
        {"reason": "x", "sweep": "BURN"}, {"reason": "x", "unknown": 1}, {"reason": "x" * 501},
    ],
)  # fmt: skip
def test_refuses_what_it_does_not_understand(operators, body):
    answer = ApiClient().login(operators[0]).post(STOP, body)

    assert answer.status_code == 400
    assert switches() == {}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"scope": "SYSTEM", "target": "x"}, 422), ({"scope": "BROKER", "target": "nobody"}, 422),
        ({"scope": "ACCOUNT", "target": str(uuid.UUID(int=1))}, 404), ({"scope": "USER", "target": "me"}, 422),
        ({"scope": "STRATEGY", "target": "x"}, 422), ({"level": "REDUCE_ONLY", "sweep": "FLATTEN"}, 422),
    ],
)  # fmt: skip
def test_refuses_a_stop_of_nothing(operators, body, status):
    answer = ApiClient().login(operators[0]).post(STOP, {"reason": "A test."} | body)

    assert (answer.status_code, switches()) == (status, {})


@pytest.mark.threat(26)
def test_two_operators_resume_through_the_door(operators, account, execute):
    first, second = (ApiClient().login(person) for person in operators)
    first.post(STOP, {"reason": "It runs away."})
    sweeping.run(sweep_id=SweepRun.objects.get().pk, at=now())
    proposed = second.post(RESUME, {"reason": "Mended."})
    assert proposed.status_code == 202
    failing = [check["name"] for check in proposed.json()["checks"] if not check["passed"]]
    assert failing == ["RECONCILED", "LOSS_BELOW_LIMIT", "EQUITY_USABLE"]
    number = proposed.json()["proposal"]

    own = first.post(RESUME, {"proposal": number, "reason": "Agreed."})
    assert (own.status_code, own.json()["code"]) == (403, "second_person_needed")  # who set the stop
    third = ApiClient().login(UserFactory.create(role=Role.OPERATOR))
    early = third.post(RESUME, {"proposal": number, "reason": "Agreed."})
    assert (early.status_code, early.json()["code"]) == (409, "stop_not_releasable")
    assert [check["name"] for check in early.json()["checks"]] == failing

    stops.reconciled(account)
    eased = third.post(RESUME, {"proposal": number, "reason": "Agreed."})

    assert (eased.status_code, eased.json()["level"]) == (200, "ACTIVE")
    assert switches() == {}
    assert execute().status == "FILLED"


def test_disable_and_enable_are_the_same_switch(operators, account):
    first, second = (ApiClient().login(person) for person in operators)
    disabled = first.post("/trading/disable", {"reason": "Maintenance."}).json()
    assert (disabled["level"], disabled["sweep"], disabled["sweeps"]) == ("HALTED", "NONE", [])
    stops.reconciled(account)

    proposed = first.post("/trading/enable", {"reason": "Done."}).json()
    refused = second.post("/trading/enable", {"proposal": proposed["proposal"], "approve": False, "reason": "Wait."})

    assert (refused.status_code, refused.json()["state"]) == (202, "REFUSED")
    assert switches() == {("SYSTEM", ""): ("HALTED", "NONE")}
    assert ControlRelease.objects.get().state == "REFUSED"


@pytest.mark.parametrize("path", ["/system/status", "/trading/status"])
def test_the_state_says_who_when_why_and_what_is_on_its_way(operators, execute, paper, account, trader, path):
    client = ApiClient().login(operators[0])
    before = client.get(path).json()
    assert (before["trading"], before["reason"], before["stops"]) == ("ACTIVE", "Installed.", [])
    paper.control.inject("timeout_after_accept")
    execute()
    client.post(STOP, {"reason": "It runs away.", "scope": "USER", "target": str(trader.public_id)})
    client.post(STOP, {"reason": "Nobody else's.", "scope": "USER", "target": str(operators[1].public_id)})

    seen = {stop["reason"]: stop for stop in client.get(path).json()["stops"]}
    own = ApiClient().login(trader).get(path).json()["stops"]

    assert len(seen["It runs away."]["in_flight"]) == 1
    assert seen["It runs away."]["target"] == str(trader.public_id)
    assert [stop["reason"] for stop in own] == ["It runs away."]
    assert (own[0]["set_by"], own[0]["release"]) == ("a person", None)


def test_a_stranger_sees_nothing_of_others_under_a_stop_of_all(operators, execute, paper, account):
    paper.control.inject("timeout_after_accept")
    execute()
    ApiClient().login(operators[0]).post(STOP, {"reason": "It runs away."})

    (seen,) = ApiClient().login(UserFactory.create()).get("/trading/status").json()["stops"]

    assert (seen["was_in_flight"], seen["in_flight"], seen["sweeps"]) == ([], [], [])


def test_nobody_stops_or_looks_without_a_login(anonymous, paper):
    for path in (STOP, RESUME, "/trading/enable", "/trading/disable"):
        assert anonymous.post(path, {"reason": "x"}).status_code == 401
    assert anonymous.get("/system/status").status_code == 401


# the command


@pytest.fixture
def run(operators, monkeypatch, settings) -> Any:
    """Run the command as the first operator, or the second; with no broker and no queue to be reached."""
    monkeypatch.setattr("getpass.getpass", Terminal())

    def call(*words: str, by: int | None = 0) -> str:
        said = StringIO()
        person = [] if by is None else ["--as", operators[by].email, "--reason", "A test."]
        call_command("emergency_stop", *words, *person, stdout=said)
        return said.getvalue()

    return call


@pytest.mark.threat(26)
def test_the_command_stops_while_everything_else_is_down(
    run, operators, execute, paper, account, settings, monkeypatch
):
    paper.control.inject("timeout_after_accept")
    lost = execute()
    good, settings.MT5_GATEWAY_URL = settings.MT5_GATEWAY_URL, "http://127.0.0.1:1"
    monkeypatch.setattr("nexus.core.jobs.current_app", None)  # a queue that would be asked fails

    said = run("stop", "--flatten")

    assert switches() == {("SYSTEM", ""): ("HALTED", "FLATTEN")}
    for words in ("STOPPED. This is committed", "HALTED, sweep FLATTEN, since", operators[0].email, "A test.",
                  "on the way when it came: 1", f"UNKNOWN  {lost}", "two operators"):  # fmt: skip
        assert words in said, words
    settings.MT5_GATEWAY_URL = good
    assert "PROVEN" in run("sweep", by=None)
    assert TradeLedger.objects.open().count() == 0


@pytest.mark.parametrize(
    ("place", "switch"),
    [
        (["--account", "5001"], "ACCOUNT"), (["--user", "trader"], "USER"), (["--broker", "mt5"], "BROKER"),
        (["--instrument", "EURUSD"], "INSTRUMENT"), ([], "SYSTEM"),
    ],
)  # fmt: skip
def test_the_command_stops_any_one_thing(run, account, trader, place, switch):
    run("stop", "--reduce-only", *[trader.email if word == "trader" else word for word in place])

    keys = {"ACCOUNT": str(account.pk), "USER": str(trader.pk), "BROKER": "mt5", "INSTRUMENT": "EURUSD", "SYSTEM": ""}
    assert switches() == {(switch, keys[switch]): ("REDUCE_ONLY", "NONE")}


def test_the_command_says_what_to_do_where_nobody_can_type_a_password(run, account, monkeypatch):
    def nobody(_prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("getpass.getpass", nobody)

    with pytest.raises(CommandError, match="Nothing was done"):
        run("stop")

    assert switches() == {}


def test_the_command_eases_with_a_second_person(run, account, operators):
    run("stop")
    said = run("propose")
    number = ControlRelease.objects.get().pk
    assert "FAILS  RECONCILED" in said
    assert "holds  ORDERS_KNOWN" in said
    assert f"proposal {number} waits for a second operator" in run("show", by=None)
    with pytest.raises(CommandError, match="Another operator decides"):
        run("approve", str(number))
    setter = TradingControl.objects.get(scope="SYSTEM").set_by
    TradingControl.objects.update(set_by=str(operators[1].public_id))
    with pytest.raises(CommandError, match="You set this stop"):
        run("approve", str(number), by=1)
    TradingControl.objects.update(set_by=setter)
    with pytest.raises(CommandError, match=r"The stop stays\. RECONCILED"):
        run("approve", str(number), by=1)
    stops.reconciled(account)

    assert "is applied: SYSTEM: ACTIVE" in run("approve", str(number), by=1)
    assert switches() == {}
    assert "Trading is ACTIVE as a whole" in run("show", by=None)


def test_the_command_refuses_what_makes_no_sense(run, account):
    for words in (
        ["stop", "--reduce-only", "--flatten"], ["stop", "--account", "404"], ["stop", "--user", "nobody@x"],
        ["propose"], ["refuse", "1"],
    ):  # fmt: skip
        with pytest.raises(CommandError):
            run(*words)

    assert switches() == {}


def test_the_command_lets_no_stranger_in(run, monkeypatch, account):
    monkeypatch.setattr("getpass.getpass", lambda _: "a guess of somebody else")

    with pytest.raises(CommandError, match="The email or the password is wrong"):
        run("stop")

    assert switches() == {}


@pytest.mark.threat(26)
def test_the_command_says_how_to_reach_a_database_without_a_free_connection(run, account):
    def refuse(*_: Any) -> None:
        raise OperationalError("remaining connection slots are reserved")

    with connection.execute_wrapper(refuse), pytest.raises(CommandError) as told:
        run("stop")

    assert "a superuser's address" in str(told.value)
    assert "remaining connection slots" in str(told.value)
    assert switches() == {}


def test_the_clock_does_what_a_dead_door_has_left(account, execute):
    execute()
    control.set_level(
        scope=ControlScope.SYSTEM, key="", level=StopLevel.HALTED, sweep=Sweep.FLATTEN, reason="A test.", actor=TESTER,
        at=now(),
    )  # fmt: skip

    tasks.follow_stops()
    tasks.run_sweeps()

    assert SweepRun.objects.get().state == SweepState.PROVEN
