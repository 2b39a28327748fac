"""The doors of alerts: who reads them, who takes them in hand, and that every condition people wait for is one."""

import re
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils.timezone import now

from accounts.states import Role
from nexus import checks
from nexus.alerts import rules
from nexus.alerts.models import Alert
from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from tests.client import ApiClient
from tests.factories.accounts import UserFactory

ROOT = Path(__file__).resolve().parents[2]
LIST = "/system/alerts"
# What people are to be told of, and the kinds that say so.
CONDITIONS = {
    "high slippage": {"HIGH_SLIPPAGE"},
    "discrepancy": {"DISCREPANCY_REVIEW", "DISCREPANCY_STOPPED", "FLEET_DISCREPANCY"},
    "health degraded": {"HEALTH_DEGRADED", "STOP_NOT_FOLLOWED", "ALERT_NOT_DELIVERED"},
    "stop": {"TRADING_STOPPED", "SWEEP_NOT_PROVEN"},
    "unknown order": {"ORDER_UNKNOWN", "CHANGE_UNKNOWN"},
    "gateway down": {"ACCOUNT_NOT_WATCHED"},
    "reconciliation stale": {"RECONCILIATION_STALE", "RECONCILIATION_STOPPED", "RECONCILIATION_FAILED"},
    "late fill": {"LATE_FILL"},
    "overfill": {"OVERFILL"},
    "external trade": {"EXTERNAL_FILL"},
}


def client(role: Role) -> ApiClient:
    return ApiClient().login(UserFactory.create(role=role))


def ring(kind: str = "ORDER_UNKNOWN", severity: Severity = Severity.CRITICAL) -> Alert:
    with transaction.atomic():
        alerts.open_alert(severity=severity, kind=kind, dedupe_key=kind, text="Somebody must look.", at=now())
    return Alert.objects.get(kind=kind, closed_at=None)


def test_every_condition_that_people_wait_for_opens_an_alert_and_is_explained():
    sources = [
        path.read_text()
        for app in ("trading", "risk", "reconciliation", "nexus")
        for path in (ROOT / app).rglob("*.py")
    ]
    opened = {kind for source in sources if "open_alert" in source for kind in re.findall(r'"([A-Z][A-Z_]+)"', source)}

    for condition, kinds in CONDITIONS.items():
        assert kinds <= opened, condition
        for kind in kinds:
            assert rules.runbook(kind) != rules.INDEX, kind


def test_operators_and_compliance_read_alerts_the_newest_first(db):
    first, second = ring("A_FIRST"), ring("B_SECOND", Severity.WARNING)
    alerts.close_alert(dedupe_key="A_FIRST", at=now())

    page = client(Role.COMPLIANCE).get(LIST + "?limit=1").json()
    assert ([each["id"] for each in page["items"]], page["before"]) == ([second.pk], second.pk)
    operator = client(Role.OPERATOR)
    page = operator.get(f"{LIST}?limit=1&before={page['before']}").json()
    assert [each["id"] for each in page["items"]] == [first.pk]
    assert [each["kind"] for each in operator.get(LIST + "?is_open=true").json()["items"]] == ["B_SECOND"]
    assert operator.get(LIST + "?severity=CRITICAL&is_open=true").json() == {"items": [], "before": None}
    assert operator.get(LIST + "?limit=201").status_code == 400
    for role in (Role.TRADER, Role.BOT):
        assert client(role).get(LIST).status_code == 403


def test_an_operator_takes_an_alert_in_hand_once_and_it_is_audited(db, new_events):
    alert = ring()
    person, later = UserFactory.create(role=Role.OPERATOR), client(Role.OPERATOR)
    path = f"{LIST}/{alert.pk}/acknowledge"

    taken = ApiClient().login(person).post(path, {"note": "calling the broker"})

    assert taken.status_code == 200
    assert (taken.json()["acknowledged_by"], taken.json()["note"]) == (str(person.public_id), "calling the broker")
    assert later.post(path, {"note": "me too"}).json()["acknowledged_by"] == str(person.public_id)
    assert [event.action for event in new_events() if event.action.startswith("alert.")] == ["alert.acknowledged"]
    assert later.post(f"{LIST}/999999/acknowledge", {}).status_code == 404


@pytest.mark.parametrize("role", [Role.TRADER, Role.BOT, Role.COMPLIANCE])
def test_nobody_else_takes_an_alert_in_hand(db, new_events, role):
    alert = ring()

    assert client(role).post(f"{LIST}/{alert.pk}/acknowledge", {}).status_code == 403

    alert.refresh_from_db()
    assert alert.acknowledged_at is None
    assert new_events()[-1].action == "access.denied"


def test_the_status_says_whether_people_are_told_and_only_to_those_who_watch(db, settings):
    ring()
    shown = client(Role.OPERATOR).get("/system/status").json()["alerts"]
    assert shown == {"open_critical": 1, "unacknowledged": 1, "is_heard": False, "channels": []}
    settings.ALERT_CHANNELS = settings.ALERT_CHANNELS | {"CRITICAL": ("json://u:s3cret@127.0.0.1:9",)}

    shown = client(Role.OPERATOR).get("/system/status").json()["alerts"]

    assert (shown["is_heard"], shown["channels"][0]["name"].partition("-")[0]) == (True, "json")
    assert "s3cret" not in str(shown)
    assert client(Role.TRADER).get("/system/status").json()["alerts"] is None


def test_the_command_lists_takes_in_hand_and_shows_channels(db):
    alert, operator, out = ring(), UserFactory.create(role=Role.OPERATOR), StringIO()

    call_command("alerts", "list", stdout=out)
    call_command("alerts", "acknowledge", str(alert.pk), "--as", operator.email, "--note", "on it", stdout=out)
    call_command("alerts", "list", stdout=out)
    call_command("alerts", "channels", stdout=out)

    words = out.getvalue()
    assert "CRITICAL ORDER_UNKNOWN: Somebody must look." in words
    assert "taken: on it" in words
    assert "No channel is set" in words
    with pytest.raises(CommandError, match="no user"):
        call_command("alerts", "acknowledge", str(alert.pk), "--as", "nobody@x.example")


def test_a_channel_that_nobody_can_speak_to_is_refused_at_boot_without_its_password(settings):
    settings.ALERT_CHANNELS = settings.ALERT_CHANNELS | {"WARNING": ("json://127.0.0.1", "nosuch://u:s3cret@x")}

    (error,) = [each for each in checks.check_settings() if each.id == "nexus.E016"]

    assert error.msg == "ALERT_WARNING holds an address that apprise does not know: number 2."
