"""People hear when the black box does not keep up."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils.timezone import now

from nexus import watch
from nexus.alerts.models import Alert
from nexus.audit.models import Event
from nexus.celery import app
from tests.nexus.audit.sealed import record, seal

pytestmark = pytest.mark.django_db


def test_events_that_wait_for_over_a_minute_wake_people_once_and_the_seal_lets_them_sleep():
    seal()
    (waits,) = record()
    recorded_at = Event.objects.get(pk=waits).recorded_at

    watch.watch_seals(at=recorded_at + timedelta(seconds=60))
    assert not Alert.objects.filter(kind="AUDIT_SEAL_LATE").exists()

    watch.watch_seals(at=recorded_at + timedelta(seconds=61))
    watch.watch_seals(at=recorded_at + timedelta(seconds=76))
    alert = Alert.objects.get(kind="AUDIT_SEAL_LATE")
    assert (alert.severity, alert.seen_count, alert.closed_at) == ("CRITICAL", 2, None)

    seal()
    watch.watch_seals(at=now())
    alert.refresh_from_db()
    assert alert.closed_at is not None


def test_the_clock_watches():
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    app.loader.import_default_modules()

    for task in ("audit.watch", "audit.verify_log"):
        assert task in scheduled
        app.tasks[task].apply(throw=True)


def test_the_lag_is_scraped():
    seal()

    lines = Client().get("/metrics").content.decode().splitlines()

    assert "nexus_audit_seal_lag_seconds 0.0" in lines
    assert any(line.startswith("nexus_audit_events_sealed ") for line in lines)
