"""Every page and every act of the console: no GET changes anything, and each holds its callers to the matrix."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.timezone import now

from accounts.models import ApiKey, ApprovalRequest, Enrolment, LoginGate, User
from accounts.rules import MATRIX, Action, Reach, Step, may
from accounts.services import approvals, staffing
from accounts.states import Role
from nexus.alerts.models import Alert
from nexus.audit.models import Event, Export
from nexus.audit.services import exports
from nexus.audit.types import Actor, Selection
from nexus.console import urls
from nexus.console.acts import Act
from nexus.core.operator import KeysetChangeList, RecordAdmin
from reconciliation.models import Review
from risk.models import ControlRelease, LimitChange, RiskLimit, SuspicionClearance, TradingControl
from risk.states import ControlScope, StopLevel
from tests.factories.accounts import UserFactory
from tests.nexus.console.people import enter, text
from tests.reconciliation.conftest import a_week_later, paper, quiet, reconcile
from tests.reconciliation.test_acting import shift_average
from tests.stops import stop
from trading.models import BrokerPosition, ChangeDecision, ChangeRequest, TradeLedger, TradingAccount
from trading.services import resuming

__all__ = ["a_week_later", "paper", "quiet", "reconcile"]

WRITES = re.compile(
    r"^\s*(INSERT|UPDATE|DELETE|TRUNCATE|WITH .*\b(INSERT|UPDATE|DELETE)\b)|FOR (NO KEY )?UPDATE",
    re.IGNORECASE | re.DOTALL,
)
DJANGO_S_OWN = {
    "login",
    "logout",
    "password_change",
    "password_change_done",
    "jsi18n",
    "view_on_site",
    "index",
    "app_list",
    "autocomplete",
}


@pytest.fixture
def places(operators, execute, reconcile, quiet, settings) -> dict[str, object]:
    """Something of everything that a page can be about."""
    execute()
    reconcile()
    shift_average("200")
    reconcile()
    stop(reason="A test of every page.")
    release, _ = resuming.propose(
        scope=ControlScope.SYSTEM, key="", level=StopLevel.ACTIVE, reason="It is over.", by=operators[1], at=now()
    )
    asked = staffing.ask_to_create(
        email="new@nexus.example", full_name="", role=Role.TRADER, reason="A test.", by=operators[1], at=now()
    )
    someone = UserFactory.create(role=Role.TRADER)
    agreed = staffing.ask_to_reset_password(public_id=someone.public_id, reason="A test.", by=operators[0], at=now())
    approvals.decide(public_id=agreed.public_id, approve=True, by=operators[1], reason="A test.", at=now())
    settings.REVIEWED_SUSPICIONS = ["BURST"]
    alert = Alert.objects.create(
        severity="CRITICAL", kind="SUSPICION_BURST", dedupe_key="x", text="x", object_id=str(someone.public_id),
        opened_at=now(), last_seen_at=now(),
    )  # fmt: skip
    for _ in range(6):
        Client().post(
            "/admin/login/", {"username": "nobody@nexus.example", "password": "wrong-wrong-wrong", "code": "000000"}
        )
    gate = LoginGate.objects.get(kind="pair", locked_until__isnull=False)
    export = exports.request(selection=Selection(), asked_by=Actor.user(uuid.uuid4()), reason="A test.", at=now())
    key = ApiKey.objects.create(
        key_id="k" * 16, secret_sha256=b"0" * 32, user=someone, name="bot", mode="paper", scopes=["orders:read"],
        created_at=now(),
    )  # fmt: skip
    change = ChangeRequest.objects.create(
        change_id="lost-S", kind="STOPS", state="UNKNOWN", position=BrokerPosition.objects.get(),
        before={"stop_loss": "1.08"}, after={"stop_loss": "1.07"}, requested_by="tests", requested_at=now(),
        sent_at=now() - timedelta(hours=1),
    )  # fmt: skip
    return {
        "scope": "PLATFORM",
        "change_id": change.public_id,
        "kind": "DAILY_LOSS",
        "user_id": someone.public_id,
        "key_id": key.public_id,
        "export_id": export.pk,
        "event_id": Event.objects.latest("id").pk,
        "control_id": TradingControl.objects.get(scope="SYSTEM").pk,
        "release_id": release.pk,
        "review_id": Review.objects.get().public_id,
        "decision": "KEEP_OURS",
        "order_id": TradeLedger.objects.get().public_id,
        "approval_id": asked.public_id,
        "agreed_id": agreed.public_id,
        "alert_id": alert.pk,
        "account_id": TradingAccount.objects.get().public_id,
        "name": "orders",
        "page_name": "audit",
        "bucket": bytes(gate.bucket).hex(),
    }


def pages(places):
    """Yield every page of ours with its address."""
    for route, page, name in urls.PAGES:
        address = re.sub(r"<\w+:(\w+)>", lambda found: str(places[found[1]]), route)
        yield f"/admin/{address}", page, name


@pytest.fixture
def desk(console, officer):
    """Return the console of somebody who may do what a page does: an operator's, but for what only compliance does."""
    return lambda page: console if page is None or may(Role.OPERATOR, page.action) else officer


def state():
    """Return what an act could change, to see that it has not."""
    return [
        *TradingControl.objects.order_by("pk").values_list("version", "level"),
        *ControlRelease.objects.order_by("pk").values_list("state", flat=True),
        *Review.objects.order_by("pk").values_list("state", "owner"),
        *ApprovalRequest.objects.order_by("pk").values_list("kind", "state"),
        *Alert.objects.order_by("pk").values_list("acknowledged_by", flat=True),
        SuspicionClearance.objects.count(),
        LoginGate.objects.filter(locked_until__gt=now()).count(),
        *TradeLedger.objects.values_list("status", "delivery"),
        *ChangeRequest.objects.order_by("pk").values_list("state", flat=True),
        ChangeDecision.objects.count(),
        *User.objects.order_by("pk").values_list("role", "is_active", "token_version"),
        *ApiKey.objects.order_by("pk").values_list("revoked_at", flat=True),
        *RiskLimit.objects.order_by("pk").values_list("value", "ended_at"),
        *LimitChange.objects.order_by("pk").values_list("state", flat=True),
        *Export.objects.order_by("pk").values_list("state", flat=True),
        *Enrolment.objects.order_by("pk").values_list("sealed_half", "used_at", "expires_at"),
    ]


@pytest.mark.threat(19)
def test_no_get_of_any_page_writes_a_row_and_none_has_anything_inline(places, desk):
    for address, page, name in [*pages(places), ("/admin/", None, "index"), ("/admin/tables/", None, "tables")]:
        console = desk(page)
        console.get(address)
        with CaptureQueriesContext(
            connection,
        ) as asked:
            answer = console.get(address, {"reason": "A GET that wants to act.", "version": "1", "level": "ACTIVE"})
        assert answer.status_code == 200, (name, text(answer)[:600])
        assert len(asked) > 3, name
        wrote = [each["sql"] for each in asked if WRITES.search(each["sql"]) and "django_session" not in each["sql"]]
        assert not wrote, (name, wrote)
        body = answer.content.decode()
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", body), name
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", body)), name


@pytest.mark.threat(19)
def test_every_get_leaves_everything_as_it_is_and_a_post_to_a_page_is_refused(places, desk):
    before = state()

    for address, page, name in pages(places):
        console = desk(page)
        for method in ("get", "head", "options"):
            getattr(console, method)(address)
        for method in ("put", "patch", "delete"):
            assert getattr(console, method)(address).status_code == 405, name
        if not issubclass(page, Act):
            assert console.post(address).status_code == 405, name

    assert state() == before


@pytest.mark.threat(18)
def test_no_act_is_done_without_a_reason_or_on_another_version(places, desk):
    before = state()
    words = {
        "scope": "SYSTEM",
        "level": "ACTIVE",
        "sweep": "NONE",
        "to": "REJECTED",
        "outcome": "REFUSED",
        "role": "BOT",
        "email": "a@b.example",
    }

    for address, page, name in pages(places):
        if not issubclass(page, Act):
            continue
        console = desk(page)
        if page.asks_reason:
            for reason in ("", "short", "x" * 501):
                assert console.post(address, {**words, "version": "", "reason": reason}).status_code == 422, name
        if name != "console_stop":
            answer = console.post(address, {**words, "version": "another", "reason": "A reason that is long enough."})
            assert answer.status_code == 409, name
            assert "Nothing was done" in text(answer), name

    assert state() == before


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.COMPLIANCE, Role.TRADER, Role.BOT])
def test_every_page_holds_every_role_to_the_matrix(places, role):
    client = enter(UserFactory.create(role=role))
    before = state()

    for address, page, name in pages(places):
        answer: Any = client.get(address)
        if role in (Role.TRADER, Role.BOT):
            assert answer.status_code == 302, name
            assert answer.url.startswith("/admin/login/"), name
            assert client.post(address, {"reason": "A reason that is long enough."}).status_code == 302, name
            continue
        allowed = may(role, page.action)
        assert answer.status_code == (200 if allowed else 403), name
        if issubclass(page, Act) and not allowed:
            form = {"reason": "A reason that is long enough.", "version": "1"}
            assert client.post(address, form).status_code == 403, name

    assert state() == before


def test_acts_need_what_the_api_asks_for_the_same():
    """An act is an operator's, but for stops and verifications, which both do, and what compliance alone does."""
    of_compliance_alone = {Action.AUDIT_EXPORT, Action.PII_REVEAL}
    for _, page, name in urls.PAGES:
        if not issubclass(page, Act):
            continue
        rule = MATRIX[page.action]
        assert (rule.operator is Reach.ALL) == (page.action not in of_compliance_alone), name
        assert rule.trader is not Reach.ALL, name
        of_compliance = {Action.TRADING_STOP, Action.AUDIT_VERIFY, Action.SEARCH_KEEP, *of_compliance_alone}
        assert (rule.compliance is Reach.ALL) == (page.action in of_compliance), name


@pytest.mark.threat(20)
def test_a_fresh_code_is_asked_for_by_one_function_where_the_matrix_wants_one(places, desk, monkeypatch):
    from nexus.core.errors import Denied  # noqa: PLC0415 - only here

    asked = []

    def refuse(request, **given):
        if given["step"] is not Step.NONE:
            asked.append(request.path)
            raise Denied("Show a code.")

    monkeypatch.setattr("accounts.services.step_up.require_typed", refuse)
    before = state()
    for address, page, name in pages(places):
        if not issubclass(page, Act) or name == "console_stop":
            continue
        console = desk(page)
        shown = console.get(address).content.decode()
        found = re.search(r'name="version" (?:value="([^"]*)")?', shown)
        if found is None:
            continue  # it is not offered to this person
        wants = MATRIX[page.action].step is not Step.NONE
        assert ('name="otp"' in shown) is wants, name
        if not wants:
            continue
        form = {
            "reason": "A reason that is long enough.",
            "version": found[1] or "",
            "level": "ACTIVE",
            "to": "REJECTED",
            "outcome": "REFUSED",
            "role": "BOT",
            "email": "a@b.example",
        }
        assert console.post(address, form).status_code == 403, name
        assert asked[-1] == address, name
    assert len(asked) >= 3
    assert state() == before


def test_nothing_else_answers_under_the_console_and_no_table_has_an_act(operators):
    """Walks every URL and every registered action: what is not ours is Django's own reading of tables."""
    site: Any = get_resolver().url_patterns
    (console,) = [each for each in site if str(each.pattern) == "admin/"]
    ours = {name for _, _, name in urls.PAGES} | {"console_tables"}

    def walk(patterns):
        for each in patterns:
            if isinstance(each, URLResolver):
                yield from walk(each.url_patterns)
            elif isinstance(each, URLPattern):
                yield each

    for each in walk(console.url_patterns):
        name = each.name or ""
        is_table = bool(re.search(r"_(changelist|add|history|delete|change)$", name))
        assert name in ours | DJANGO_S_OWN or is_table or not name, name
    for model, page in admin.site._registry.items():
        assert isinstance(page, RecordAdmin), model  # libraries bring forms and acts of their own
        assert not page.actions, model
        assert page.date_hierarchy is None, model


@pytest.mark.threat(27)
def test_a_list_page_takes_at_most_ten_statements_however_long(places, console, operators):
    for number in range(30):
        Alert.objects.create(
            severity="WARNING", kind="X", dedupe_key=f"d{number}", text="x", opened_at=now(), last_seen_at=now(),
            acknowledged_at=now(), acknowledged_by=str(operators[0].public_id),
        )  # fmt: skip
        staffing.ask_to_create(
            email=f"n{number}@nexus.example",
            full_name="",
            role=Role.TRADER,
            reason="A test.",
            by=operators[1],
            at=now(),
        )
    lists = [
        "audit/",
        "audit/?outcome=denied",
        "audit/exports/",
        "audit/verification/",
        "users/",
        "keys/",
        "venues/accounts/",
        "venues/positions/?standing=",
        "limits/",
        "limits/?scope=PLATFORM",
        "limits/PLATFORM/DAILY_LOSS/",
        "stops/",
        "reviews/",
        "orders/unknown/",
        "approvals/",
        "alerts/",
        "logins/",
    ]
    tables = [f"{model._meta.app_label}/{model._meta.model_name}/" for model in admin.site._registry]

    for path in [*lists, *tables]:
        console.get(f"/admin/{path}")
        with CaptureQueriesContext(connection) as asked:
            assert console.get(f"/admin/{path}").status_code == 200, path
        assert len(asked) <= 10, (path, [each["sql"][:60] + each["sql"][-160:] for each in asked])


@pytest.mark.threat(27)
def test_large_tables_are_turned_by_their_keys_and_never_counted(console, operators, monkeypatch):
    monkeypatch.setattr(RecordAdmin, "list_per_page", 3)
    for number in range(7):
        Alert.objects.create(
            severity="INFO", kind=f"K{number}", dedupe_key=f"d{number}", text="x", opened_at=now(), last_seen_at=now(),
            closed_at=now() + timedelta(seconds=1),
        )  # fmt: skip
    shown, path = [], "/admin/alerts/alert/"
    with CaptureQueriesContext(connection) as asked:
        page = console.get(path)
    asked_for = [each["sql"] for each in asked]
    assert any('FROM "alert"' in sql for sql in asked_for)
    assert not [sql for sql in asked_for if "COUNT(" in sql or "OFFSET" in sql]
    while True:
        assert isinstance(page.context["cl"], KeysetChangeList)
        shown += [row.kind for row in page.context["cl"].result_list]
        if not page.context["cl"].older_url:
            break
        page = console.get(path + page.context["cl"].older_url)
    assert shown == [f"K{number}" for number in range(6, -1, -1)]
    back = console.get(path + page.context["cl"].newer_url)
    assert [row.kind for row in back.context["cl"].result_list] == ["K3", "K2", "K1"]
    assert console.get(path + "?before=x").status_code == 302  # as Django answers any nonsense in an address
    kept = console.get(path + "?severity__exact=INFO")
    assert "severity__exact=INFO" in kept.context["cl"].older_url


def test_every_table_that_grows_without_end_is_turned_by_its_key():
    tables: dict[Any, Any] = admin.site._registry
    endless = {
        "Event", "TradeLedger", "OrderEvent", "Fill", "ReconciliationLog", "Alert", "ChangeRequest",
        "IdempotencyRecord", "ApprovalRequest", "ApprovalDecision", "BookCorrection", "CashMovement",
        "SweepRun", "RiskAdjustment",
    }  # fmt: skip

    counted = {model.__name__ for model, page in tables.items() if not page.is_keyset}

    assert not endless & counted, counted
    for model, page in tables.items():
        for name in page.list_filter if page.is_keyset else ():
            field = model._meta.get_field(name if isinstance(name, str) else name[0])
            is_known = field.choices or field.get_internal_type() in {"BooleanField", "DateField"}
            assert is_known or not isinstance(name, str), (model, name)  # else its values are read off the whole table


@pytest.mark.threat(20)
def test_what_people_wrote_is_text_and_never_a_script(console, operators):
    nasty = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    stop(reason=nasty)
    control = TradingControl.objects.get(scope="SYSTEM")

    for path in ("/admin/", "/admin/stops/", f"/admin/stops/{control.pk}/", "/admin/stop/", "/admin/audit/event/"):
        body = console.get(path).content.decode()
        assert not any(text in body for text in ("<script>alert", "<img src=x")), path


def test_refusals_at_the_console_are_kept(console, officer, places, new_events):
    officer.post(f"/admin/releases/{places['release_id']}/approve/", {"reason": "I would like to.", "version": "1"})

    assert [each.action for each in new_events()].count("access.denied") == 1
