"""Taking an alert in hand: what goes on stays open, what has only happened is over."""

import pytest
from django.db import transaction
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.alerts.services import alerts
from nexus.alerts.states import Severity

pytestmark = pytest.mark.django_db(transaction=True)


def opened(kind: str) -> Alert:
    with transaction.atomic():
        alerts.open_alert(severity=Severity.WARNING, kind=kind, dedupe_key=f"{kind}:1", text="A test.", at=now())
    return Alert.objects.latest("pk")


@pytest.mark.parametrize("kind", ["LATE_FILL", "EXTERNAL_FILL", "HIGH_SLIPPAGE", "API_KEY_ADDRESS", "SUSPICION_BURST"])
def test_what_has_happened_closes_when_somebody_takes_it_and_opens_anew_when_it_happens_again(kind):
    at, first = now(), opened(kind)

    taken = alerts.acknowledge(alert_id=first.pk, by="somebody", note="Asked him.", at=at)

    assert (taken.acknowledged_at, taken.closed_at) == (at, at)
    assert opened(kind).pk != first.pk


@pytest.mark.parametrize("kind", ["TRADING_STOPPED", "ORDER_UNKNOWN", "STOPS_MISSING", "MARGIN_LEVEL_LOW"])
def test_what_goes_on_stays_open_until_its_cause_is_gone(kind):
    first = opened(kind)

    assert alerts.acknowledge(alert_id=first.pk, by="somebody", note="At it.", at=now()).closed_at is None
    assert opened(kind).pk == first.pk


def test_what_was_taken_before_anything_closed_it_closes_when_it_is_taken_again():
    first = opened("LATE_FILL")
    Alert.objects.filter(pk=first.pk).update(acknowledged_at=now(), acknowledged_by="somebody")

    again = alerts.acknowledge(alert_id=first.pk, by="another", note="", at=now())

    assert again.closed_at is not None
    assert again.acknowledged_by == "somebody"


def test_who_takes_it_second_changes_nothing():
    first = opened("LATE_FILL")
    alerts.acknowledge(alert_id=first.pk, by="somebody", note="Asked him.", at=now())

    again = alerts.acknowledge(alert_id=first.pk, by="another", note="Me too.", at=now())

    assert (again.acknowledged_by, again.note) == ("somebody", "Asked him.")
