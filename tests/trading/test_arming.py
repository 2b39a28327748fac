"""Real money moves only while its account is armed, and by a person only with a code. A paper broker passes as live."""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction
from django.utils.timezone import now

from accounts.models import Notice, TokenFamily, User
from accounts.states import Role
from risk.services import control
from risk.states import ControlScope, StopLevel, Sweep
from tests import stops
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.factories.second_factor import enrolled, fresh_code
from tests.threads import together
from trading.models import TradeLedger, TradingAccount
from trading.services import accounts, admission, arming, dispatch, emergency
from trading.states import Delivery
from trading.types import Link

ORDER = {
    "symbol": "EURUSD", "action": "BUY", "quantity": "0.1", "entry_price": "1.0850", "stop_loss": "1.0800",
    "take_profit": "1.0900",
}  # fmt: skip


@pytest.fixture
def live(account: TradingAccount, settings: Any, monkeypatch: pytest.MonkeyPatch) -> TradingAccount:
    """The trader's account, as if there were money in it; its broker, which takes none, is told that it has none."""
    link_of = accounts.link_of

    def as_paper(of: TradingAccount) -> Link:
        it = copy(of)
        it.is_live = False
        return link_of(it)

    settings.LIVE_TRADING_ENABLED = True
    monkeypatch.setattr(accounts, "link_of", as_paper)
    TradingAccount.objects.filter(pk=account.pk).update(is_live=True)
    account.refresh_from_db()
    return account


@pytest.fixture
def client(trader: User) -> ApiClient:
    """The trader, who has a device and shows its codes only where the test does."""
    enrolled(trader)
    return ApiClient(shows_codes=False).login(trader)


def armed(account: TradingAccount) -> TradingAccount:
    return arming.arm(public_id=account.public_id, lifetime=None, by=account.user, at=now())


def place(client: ApiClient, *, key: str = "", **headers: str) -> Any:
    return client.post("/trading/execute", ORDER, idempotency_key=key or uuid.uuid4().hex, **headers)


def show_code(client: ApiClient, user: User) -> None:
    assert client.post("/auth/2fa/verify", {"code": fresh_code(user)}).status_code == 204


def arm(client: ApiClient, account: TradingAccount, body: Any = None, **headers: str) -> Any:
    return client.post(f"/trading/accounts/{account.public_id}/arm", body, **headers)


def disarm(client: ApiClient, account: TradingAccount, reason: str = "") -> Any:
    return client.post(f"/trading/accounts/{account.public_id}/disarm", {"reason": reason} if reason else {})


def is_armed(account: TradingAccount) -> bool:
    with transaction.atomic():
        return arming.is_armed(account)


def test_arming_takes_a_code_of_its_own_and_is_told_and_kept(client, live, trader, new_events):
    assert arm(client, live).json()["code"] == "step_up_required"
    show_code(client, trader)
    assert arm(client, live).json()["code"] == "step_up_required"  # lately is not enough
    before = now()

    answer = arm(client, live, x_nexus_otp=fresh_code(trader))

    assert answer.status_code == 200, answer.content
    live.refresh_from_db()
    assert timedelta(hours=24) <= live.armed_until - before < timedelta(hours=24, minutes=1)
    (event,) = (each for each in new_events() if each.action == "account.live_armed")
    assert event.object_id == str(live.public_id)
    assert json.loads(event.canonical)["detail"]["before"] == {"armed_until": None}
    assert Notice.objects.filter(user=trader, kind="LIVE_ARMED").count() == 1
    shown = client.get("/trading/accounts").json()["results"][0]
    assert shown["armed_until"] == answer.json()["armed_until"]


def test_it_may_be_shorter_and_never_longer(client, live, trader):
    assert arm(client, live, {"for_s": 86_401}, x_nexus_otp=fresh_code(trader)).status_code == 422
    assert not is_armed(live)

    assert arm(client, live, {"for_s": 60}, x_nexus_otp=fresh_code(trader)).status_code == 200

    live.refresh_from_db()
    assert live.armed_until - now() <= timedelta(seconds=60)
    TradingAccount.objects.filter(pk=live.pk).update(armed_until=now() - timedelta(microseconds=1))
    assert not is_armed(live)


@pytest.mark.threat(21)
@pytest.mark.parametrize(("role", "status"), [("OPERATOR", 403), ("COMPLIANCE", 403), ("TRADER", 404), ("BOT", 403)])
def test_nobody_arms_somebody_elses_account(live, role, status):
    client = ApiClient().login(UserFactory.create(role=role))

    assert arm(client, live).status_code == status
    assert not is_armed(live)


@pytest.mark.parametrize("because", ["paper", "switched off", "stopped", "put aside"])
def test_it_is_not_armed_where_nothing_could_be_traded(client, live, trader, settings, because):
    if because == "paper":
        TradingAccount.objects.update(is_live=False)
    if because == "switched off":
        settings.LIVE_TRADING_ENABLED = False
    if because == "stopped":
        stops.put(StopLevel.REDUCE_ONLY, scope=ControlScope.USER, key=str(trader.pk))
    if because == "put aside":
        TradingAccount.objects.update(is_active=False)

    answer = arm(client, live, x_nexus_otp=fresh_code(trader))

    assert (answer.status_code, answer.json()["code"]) == (409, "not_armable")
    assert TradingAccount.objects.get().armed_until is None


def test_a_paper_account_is_armed_by_nobody_not_even_by_sql(account):
    with pytest.raises(DatabaseError, match="trading_account_armed_is_live"), transaction.atomic():
        TradingAccount.objects.filter(pk=account.pk).update(armed_until=now())


def test_a_person_needs_both_a_code_lately_and_an_armed_account(client, live, trader):
    assert place(client).json()["code"] == "step_up_required"
    assert not TradeLedger.objects.exists()
    show_code(client, trader)
    refused = place(client).json()
    assert (refused["status"], refused["reason"]) == ("REJECTED", "LIVE_NOT_ARMED")
    armed(live)

    assert place(client).json()["status"] == "FILLED"

    TokenFamily.objects.update(stepped_up_at=now() - timedelta(minutes=16))
    answer = place(client)
    assert (answer.status_code, answer.json()["code"]) == (401, "step_up_required")
    assert 'max_age="900"' in answer["WWW-Authenticate"]
    assert place(client, x_nexus_otp=fresh_code(trader)).status_code == 201


def test_a_repetition_needs_no_code(client, live, trader):
    armed(live)
    key = uuid.uuid4().hex
    assert place(client, key=key).json()["code"] == "step_up_required"
    made = place(client, key=key, x_nexus_otp=fresh_code(trader))
    TokenFamily.objects.update(stepped_up_at=None)

    again = place(client, key=key)

    assert (again.status_code, again["Idempotency-Replayed"]) == (201, "true")
    assert again.json()["id"] == made.json()["id"]
    assert TradeLedger.objects.count() == 1


def test_paper_asks_for_neither(client, account):
    assert place(client).json()["status"] == "FILLED"


def test_a_bot_needs_no_code_and_an_armed_account(client, live, trader):
    body = {
        "name": "Bot", "mode": "live", "scopes": ["orders:write:live", "orders:read"], "networks": ["127.0.0.1/32"],
        "expires_at": (now() + timedelta(days=30)).isoformat(),
    }  # fmt: skip
    headers = {"idempotency_key": uuid.uuid4().hex, "x_nexus_otp": fresh_code(trader)}
    made = client.post("/auth/api-keys", body, **headers)
    assert made.status_code == 201, made.content
    bot = ApiClient(shows_codes=False)
    bot.tokens = {"access_token": made.json()["secret"]}

    assert place(bot).json()["reason"] == "LIVE_NOT_ARMED"
    armed(live)
    assert place(bot).json()["status"] == "FILLED"
    TradingAccount.objects.filter(pk=live.pk).update(armed_until=now() - timedelta(seconds=1))
    assert place(bot).json()["reason"] == "LIVE_NOT_ARMED"
    assert arm(bot, live).status_code == 403


def test_what_takes_risk_away_asks_for_neither(client, live, trader, paper):
    armed(live)
    show_code(client, trader)
    assert place(client).json()["status"] == "FILLED"
    TokenFamily.objects.update(stepped_up_at=None)
    disarm(client, live)
    position = client.get("/trading/positions").json()["results"][0]["id"]

    answer = client.post(f"/trading/positions/{position}/close", {}, idempotency_key=uuid.uuid4().hex)

    assert answer.json()["status"] == "FILLED"


def test_stops_are_changed_with_a_code_and_only_tightened_while_disarmed(client, live, trader):
    armed(live)
    show_code(client, trader)
    place(client)
    position = client.get("/trading/positions").json()["results"][0]["id"]
    path = f"/trading/positions/{position}"
    disarm(client, live)
    TokenFamily.objects.update(stepped_up_at=None)
    assert client.send("PATCH", path, {"stop_loss": "1.0810"}).json()["code"] == "step_up_required"
    show_code(client, trader)

    wider = client.send("PATCH", path, {"stop_loss": "1.0790"})
    tighter = client.send("PATCH", path, {"stop_loss": "1.0810"})

    assert (wider.status_code, wider.json()["code"]) == (422, "change_refused")
    assert "not armed" in wider.json()["detail"]
    assert tighter.json()["state"] == "DONE"


def test_a_working_order_is_changed_only_while_armed(client, live, trader):
    armed(live)
    show_code(client, trader)
    body = {"symbol": "EURUSD", "action": "BUY", "quantity": "0.1", "type": "LIMIT", "limit_price": "1.0800",
            "stop_loss": "1.0750"}  # fmt: skip
    order = client.post("/trading/execute", body, idempotency_key=uuid.uuid4().hex).json()
    assert order["status"] == "PENDING", order
    path = f"/trading/orders/{order['id']}"
    assert client.send("PATCH", path, {"limit_price": "1.0801"}).json()["state"] == "DONE"
    disarm(client, live)

    refused = client.send("PATCH", path, {"limit_price": "1.0802"})

    assert (refused.status_code, refused.json()["code"]) == (422, "change_refused")
    assert "LIVE_NOT_ARMED" in refused.json()["detail"]
    TokenFamily.objects.update(stepped_up_at=None)
    assert client.send("PATCH", path, {"limit_price": "1.0802"}).json()["code"] == "step_up_required"
    assert client.post(f"{path}/cancel").status_code == 200  # asks for nothing


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.COMPLIANCE])
def test_operators_and_compliance_disarm_any_account_and_say_why(live, role, new_events):
    armed(live)
    client = ApiClient(shows_codes=False).login(UserFactory.create(role=role))

    assert disarm(client, live).status_code == 422
    assert is_armed(live)
    assert disarm(client, live, "He is on holiday.").json()["armed_until"] is None
    assert disarm(client, live, "Again.").status_code == 200

    assert not is_armed(live)
    (event,) = (each for each in new_events() if each.action == "account.live_disarmed")
    assert json.loads(event.canonical)["detail"]["reason"] == "He is on holiday."


def test_somebody_elses_account_is_disarmed_by_no_trader(live):
    armed(live)

    assert disarm(ApiClient().login(UserFactory.create()), live, "Mine.").status_code == 404
    assert is_armed(live)


@pytest.mark.parametrize(("scope", "is_covered"), [
    (ControlScope.SYSTEM, True), (ControlScope.BROKER, True), (ControlScope.USER, True), (ControlScope.ACCOUNT, True),
    (ControlScope.INSTRUMENT, False),
])  # fmt: skip
def test_a_stop_disarms_every_account_that_it_covers(live, trader, new_events, scope, is_covered):
    armed(live)
    other = TradingAccount.objects.create(
        user=UserFactory.create(), name="Other", venue="alpaca", venue_account="1", server="x", currency="USD",
        mode=live.mode, is_live=True, armed_until=now() + timedelta(hours=1), created_at=now(),
    )  # fmt: skip
    keys = {
        ControlScope.SYSTEM: "", ControlScope.BROKER: live.venue, ControlScope.USER: str(trader.pk),
        ControlScope.ACCOUNT: str(live.pk), ControlScope.INSTRUMENT: "EURUSD",
    }  # fmt: skip

    stopped = emergency.stop(
        scope=scope, key=keys[scope], level=StopLevel.HALTED, sweep=Sweep.NONE, reason="A test.", actor=stops.TESTER,
        at=now(),
    )  # fmt: skip

    assert stopped.is_listed
    assert is_armed(live) is not is_covered
    assert is_armed(other) is (scope is not ControlScope.SYSTEM)
    told = [each.object_id for each in new_events() if each.action == "account.live_disarmed"]
    assert (str(live.public_id) in told) is is_covered


def test_after_a_stop_the_owner_arms_anew(client, live, trader):
    armed(live)
    emergency.stop(
        scope=ControlScope.ACCOUNT, key=str(live.pk), level=StopLevel.HALTED, sweep=Sweep.NONE, reason="A test.",
        actor=stops.TESTER, at=now(),
    )  # fmt: skip
    stops.put(StopLevel.ACTIVE, scope=ControlScope.ACCOUNT, key=str(live.pk))
    show_code(client, trader)

    assert place(client).json()["reason"] == "LIVE_NOT_ARMED"


def test_an_accepted_order_is_not_sent_once_its_account_is_disarmed(client, live, trader):
    armed(live)
    show_code(client, trader)
    accepted = place(client, prefer="respond-async").json()
    order = TradeLedger.objects.get(public_id=accepted["id"])
    assert order.delivery == Delivery.QUEUED
    disarm(client, live)

    sent = dispatch.dispatch(order_id=order.pk, at=now())

    assert sent is not None
    assert (sent.public_status, sent.reason) == ("REJECTED", "LIVE_NOT_ARMED")


def test_what_was_judged_while_armed_is_not_sent_after_the_disarming(client, live, trader, monkeypatch):
    """Disarm between the judgement and the mark: the mark asks once more, under the lock."""
    armed(live)
    show_code(client, trader)
    judge, judged = admission.judge, []

    def and_disarm(question: Any) -> Any:
        judgement = judge(question)
        judged.append(judgement.verdict.allowed)
        if len(judged) == 1:
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
        return judgement

    def elsewhere() -> None:
        arming.disarm(public_id=live.public_id, reason="", by=trader, at=now())
        connections.close_all()

    monkeypatch.setattr(admission, "judge", and_disarm)

    answer = place(client).json()

    assert (answer["status"], answer["reason"]) == ("REJECTED", "LIVE_NOT_ARMED")
    assert judged == [True, False]


@pytest.fixture
def submitting() -> Iterator[threading.Event]:
    """Somebody who holds the stop lock, as whoever marks an order does."""
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            control.lock_shared()
            held.set()
            over.wait(10)
        connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    yield over
    over.set()
    thread.join()


def test_a_disarming_that_cannot_wait_holds_all_the_same_and_says_so(live, trader, submitting, new_events):
    armed(live)

    arming.disarm(public_id=live.public_id, reason="", by=trader, at=now())

    assert not is_armed(live)
    (event,) = (each for each in new_events() if each.action == "account.live_disarmed")
    assert json.loads(event.canonical)["detail"]["has_lock"] is False


def test_8_who_arm_and_8_who_stop_leave_it_disarmed(live, trader):
    def act(number: int) -> None:
        if number % 2:
            emergency.stop(
                scope=ControlScope.ACCOUNT, key=str(live.pk), level=StopLevel.HALTED, sweep=Sweep.NONE,
                reason="A test.", actor=stops.TESTER, at=now(),
            )  # fmt: skip
            return
        with suppress(arming.NotArmable):
            armed(live)

    together(16, act)

    assert not is_armed(live)
