"""What is opened is told: after its commit, at least once, to whom it belongs, however workers and channels fail."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils.timezone import now

from nexus.alerts import rules
from nexus.alerts.models import Alert, Delivery
from nexus.alerts.providers import Channel
from nexus.alerts.services import alerts, delivery, outbox, telling
from nexus.alerts.states import Severity
from nexus.alerts.tasks import sweep
from nexus.core import statements
from tests.nexus.alerts.servers import Receiver, mailbox, receiver
from tests.threads import together

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bell() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


@pytest.fixture
def other() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


@pytest.fixture
def heard(settings) -> Callable[..., None]:
    """Return what sets the channels."""

    def put(**channels: Receiver) -> None:
        none = dict.fromkeys(("CRITICAL", "WARNING", "DIGEST", "ESCALATION"), ())
        settings.ALERT_CHANNELS = none | {name: (server.address,) for name, server in channels.items()}

    return put


def ring(severity: Severity = Severity.CRITICAL, *, key: str = "gateway:1", kind: str = "GATEWAY_DOWN") -> Alert:
    with transaction.atomic():
        alerts.open_alert(severity=severity, kind=kind, dedupe_key=key, text="It does not answer.", at=now())
    return Alert.objects.latest("pk")


def send_due() -> list[Any]:
    return [delivery.deliver(delivery_id=each, at=now()) for each in outbox.due()]


def hasten() -> None:
    """Let every pause be over."""
    Delivery.objects.update(next_at=now() - timedelta(seconds=1))


def test_an_alert_is_told_once_its_transaction_has_committed(bell, heard, monkeypatch):
    heard(CRITICAL=bell)
    jobs: list[Any] = []
    monkeypatch.setattr("nexus.core.jobs._publish", lambda name, _expires, words: jobs.append((name, words)))
    with transaction.atomic():
        alerts.open_alert(severity=Severity.CRITICAL, kind="STOP", dedupe_key="stop", text="Stopped.", at=now())
        transaction.set_rollback(True)
    assert (jobs, Delivery.objects.count()) == ([], 0)

    alert = ring()

    ((name, words),) = jobs
    assert name == outbox.DELIVER
    assert delivery.deliver(at=now(), **words) == "SENT"
    (message,) = bell.arrived
    assert message["title"] == "[CRITICAL] GATEWAY_DOWN (nexus)"
    assert "It does not answer." in message["message"]
    assert f"manage.py alerts acknowledge {alert.pk}" in message["message"]
    assert delivery.deliver(at=now(), **words) is None
    assert len(bell.arrived) == 1


@pytest.mark.parametrize("severity", Severity)
def test_whoever_is_told_of_the_loud_is_told_of_the_quiet_where_nobody_else_is(bell, heard, severity):
    heard(CRITICAL=bell)

    ring(severity)
    send_due()
    delivery.digest(at=now())

    (message,) = bell.arrived
    assert "GATEWAY_DOWN" in message["title"] + message["message"]


def test_a_message_speaks_the_language_of_who_receives_it_and_the_alert_stays_as_it_was(bell, heard, settings):
    settings.MESSAGE_LANGUAGE = "fr"
    heard(CRITICAL=bell, DIGEST=bell)
    text = "Order 7 filled for more than it asked."
    with transaction.atomic():
        for severity in (Severity.CRITICAL, Severity.INFO):
            alerts.open_alert(severity=severity, kind="OVERFILL", dedupe_key=severity, text=text, at=now())

    send_due()
    delivery.digest(at=now())

    message, quiet = bell.arrived
    assert message["title"] == "[CRITICAL] Un ordre a été exécuté pour plus qu'il ne demandait · OVERFILL (nexus)"
    assert "L'ordre 7 a été exécuté pour plus que demandé.\nDepuis le " in message["message"]
    assert "Que faire : " in message["message"]
    assert quiet["title"] == "[DIGEST] 1 alerte discrète (nexus)"
    assert "INFO OVERFILL: L'ordre 7 a été exécuté" in quiet["message"]
    assert {alert.text for alert in Alert.objects.all()} == {text}


def test_a_condition_seen_again_is_counted_and_not_told_again(bell, heard):
    heard(CRITICAL=bell)
    for _ in range(3):
        ring()
    send_due()

    assert Alert.objects.get().seen_count == 3
    assert len(bell.arrived) == 1

    with transaction.atomic():
        alerts.open_alert(
            severity=Severity.CRITICAL, kind="GATEWAY_DOWN", dedupe_key="gateway:1", text="It is on fire.", at=now()
        )
    assert send_due() == []
    assert (Alert.objects.get().text, Alert.objects.get().seen_count) == ("It is on fire.", 4)


def test_a_lost_job_is_found_by_the_sweep(bell, heard, monkeypatch):
    heard(CRITICAL=bell)
    monkeypatch.setattr("nexus.core.jobs._publish", lambda *_: None)
    alert = ring()
    jobs: list[Any] = []
    monkeypatch.setattr("nexus.core.jobs._publish", lambda _name, _expires, words: jobs.append(words))

    sweep()

    assert jobs == [{"delivery_id": alert.deliveries.get().pk}]


def test_eight_workers_send_one_message_once(bell, heard):
    heard(CRITICAL=bell)
    key = ring().deliveries.get().pk

    found = together(8, lambda _: delivery.deliver(delivery_id=key, at=now()))

    assert sorted(found, key=str) == [None] * 7 + ["SENT"]
    assert len(bell.arrived) == 1


def test_a_worker_that_is_killed_while_it_sends_leaves_the_message_to_the_next(bell, heard):
    heard(CRITICAL=bell)
    key = ring().deliveries.get().pk
    bell.go_on.clear()
    words = connection.settings_dict
    parameters = connection.get_connection_params()
    env = dict(os.environ) | {"ALERT_CRITICAL": bell.address, "TEST_DATABASE": words["NAME"], "KEY": str(key)}
    child = (
        "import os, django; from django.conf import settings; "
        "settings.DATABASES['default']['NAME'] = os.environ['TEST_DATABASE']; django.setup(); "
        "from django.utils.timezone import now; from nexus.alerts.services import delivery; "
        "delivery.deliver(delivery_id=int(os.environ['KEY']), at=now())"
    )
    assert parameters["dbname"] == words["NAME"]
    with subprocess.Popen([sys.executable, "-c", child], env=env, cwd=ROOT) as process:
        assert bell.began.wait(30)
        process.send_signal(signal.SIGKILL)
    bell.arrived.clear()
    bell.go_on.set()
    assert outbox.due() == []  # its lease still stands

    Delivery.objects.update(leased_until=now() - timedelta(seconds=1))

    assert send_due() == ["SENT"]
    assert Delivery.objects.get().attempts == 2


def test_a_refusal_is_tried_again_later_and_longer_each_time(bell, heard):
    heard(CRITICAL=bell)
    bell.status = 500
    row = ring().deliveries.get()
    assert send_due() == ["WAITING"]
    assert outbox.due() == []
    row.refresh_from_db()
    assert (row.attempts, "500" in row.fault) == (1, True)
    assert [rules.pause(n).total_seconds() for n in (1, 2, 3, 20)] == [5, 10, 20, 600]

    bell.status = 200
    hasten()
    assert send_due() == ["SENT"]
    row.refresh_from_db()
    assert (row.state, row.fault) == ("SENT", "")


def test_a_channel_that_fails_is_told_to_the_others_and_seen(bell, other, heard, settings):
    heard(CRITICAL=bell)
    settings.ALERT_CHANNELS["CRITICAL"] = (bell.address, other.address)
    bell.status = 500
    ring()
    for _ in range(rules.ATTEMPTS_TOLD):
        hasten()
        send_due()
    send_due()

    told = Alert.objects.get(kind="ALERT_NOT_DELIVERED")
    name = Channel(bell.address).name
    assert (told.object_id, [row.channel for row in told.deliveries.all()]) == (name, [Channel(other.address).name])
    assert [title.split()[1] for title in other.titles] == ["GATEWAY_DOWN", "ALERT_NOT_DELIVERED"]
    seen = {channel.name: channel for channel in telling.state().channels}
    assert (seen[name].waiting, seen[name].failing_since is not None, "500" in seen[name].fault) == (1, True, True)
    assert telling.state().is_heard  # by the other

    bell.status = 200
    hasten()
    send_due()
    told.refresh_from_db()
    assert told.closed_at is not None


def test_what_cannot_be_told_is_given_up_and_stays_to_be_seen(bell, heard):
    heard(CRITICAL=bell)
    bell.status = 500
    ring()
    for _ in range(rules.ATTEMPTS_MAX):
        hasten()
        send_due()

    assert Delivery.objects.get(alert__kind="GATEWAY_DOWN").state == "FAILED"
    (channel,) = telling.state().channels
    assert channel.given_up == 1
    assert Alert.objects.filter(kind="GATEWAY_DOWN", closed_at=None).exists()


def test_a_channel_that_hangs_holds_one_quiet_message_and_no_critical_one(bell, heard):
    heard(CRITICAL=bell, WARNING=bell)
    slow = ring(Severity.WARNING, key="a").deliveries.get()
    Delivery.objects.filter(pk=slow.pk).update(leased_until=now() + timedelta(seconds=60))  # somebody waits for it
    quiet, loud = ring(Severity.WARNING, key="b").deliveries.get(), ring(key="c").deliveries.get()

    assert delivery.deliver(delivery_id=quiet.pk, at=now()) is None
    assert delivery.deliver(delivery_id=loud.pk, at=now()) == "SENT"


def test_a_channel_that_hangs_keeps_no_critical_alert_from_another(bell, other, heard, settings, monkeypatch):
    """Twenty at once for the worker's eight threads: the mail server accepts and never answers, the other one does."""
    heard(CRITICAL=bell)
    settings.ALERT_CHANNELS["CRITICAL"] = (bell.address, other.address)
    bell.go_on.clear()

    def work(delivery_id: int) -> None:
        try:
            delivery.deliver(delivery_id=delivery_id, at=now())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as workers:
        monkeypatch.setattr(
            "nexus.core.jobs._publish", lambda _name, _expires, words: workers.submit(work, words["delivery_id"])
        )
        for number in range(20):
            ring(key=f"gateway:{number}")
        until = time.monotonic() + 5
        while len(other.arrived) < 20 and time.monotonic() < until:
            time.sleep(0.02)
        arrived = len(other.arrived)
        hanging = Delivery.objects.filter(channel=Channel(bell.address).name, leased_until__gte=now()).count()
        bell.go_on.set()

    assert arrived == 20
    assert hanging == delivery.CRITICAL_AT_ONCE


def test_a_channel_that_is_known_to_fail_is_given_one_message_at_a_time(bell, heard):
    heard(CRITICAL=bell)
    first, second, third = (ring(key=key).deliveries.get() for key in "abc")
    Delivery.objects.filter(pk=first.pk).update(fault="it did not answer", next_at=now() + timedelta(seconds=60))
    Delivery.objects.filter(pk=second.pk).update(leased_until=now() + timedelta(seconds=60))

    assert delivery.deliver(delivery_id=third.pk, at=now()) is None
    Delivery.objects.filter(pk=first.pk).update(fault="")
    assert delivery.deliver(delivery_id=third.pk, at=now()) == "SENT"


def test_a_key_that_flaps_is_told_once_in_a_while(bell, heard, settings):
    heard(CRITICAL=bell)
    settings.ALERT_THROTTLE_S = 300
    ring()
    send_due()
    alerts.close_alert(dedupe_key="gateway:1", at=now())
    again = ring().deliveries.get()

    assert send_due() == ["WAITING"]
    again.refresh_from_db()
    assert again.next_at > now() + timedelta(seconds=250)
    assert again.attempts == 0

    Delivery.objects.filter(state="SENT").update(sent_at=now() - timedelta(seconds=301))
    hasten()
    assert send_due() == ["SENT"]
    assert len(bell.arrived) == 2


def test_what_has_passed_before_it_was_told_again_goes_into_the_digest(bell, heard):
    heard(CRITICAL=bell, DIGEST=bell)
    ring()
    send_due()
    alerts.close_alert(dedupe_key="gateway:1", at=now())
    ring()
    alerts.close_alert(dedupe_key="gateway:1", at=now())

    assert send_due() == ["QUIET"]


def test_quiet_alerts_go_out_together(bell, heard):
    heard(WARNING=bell)
    ring(Severity.INFO, key="a", kind="LOGIN_NEW")
    ring(Severity.INFO, key="b", kind="EXPORT_DONE")
    assert outbox.due() == []

    assert delivery.digest(at=now()) == 1
    assert delivery.digest(at=now()) == 0

    (message,) = bell.arrived
    assert message["title"] == "[DIGEST] 2 quiet alerts (nexus)"
    assert "LOGIN_NEW" in message["message"]
    assert "EXPORT_DONE" in message["message"]


def test_a_critical_alert_that_nobody_takes_in_hand_is_escalated_once(bell, other, heard, settings):
    heard(CRITICAL=bell, ESCALATION=other)
    taken, left = ring(key="a"), ring(key="b")
    alerts.acknowledge(alert_id=taken.pk, by="somebody", note="on it", at=now())
    late = now() + timedelta(seconds=settings.ALERT_ESCALATE_S + 1)
    assert delivery.escalate(at=now()) == 0

    assert delivery.escalate(at=late) == 1
    assert delivery.escalate(at=late) == 0
    hasten()
    send_due()

    (message,) = other.arrived
    assert message["message"].startswith("Nobody has acknowledged this.")
    assert f"Alert {left.pk}," in message["message"]


def test_sweeps_at_once_escalate_once_and_none_fails(bell, other, heard, settings):
    heard(CRITICAL=bell, ESCALATION=other)
    for number in range(20):
        ring(key=str(number))
    late = now() + timedelta(seconds=settings.ALERT_ESCALATE_S + 1)

    together(4, lambda _: delivery.escalate(at=late))

    assert Delivery.objects.filter(word="ESCALATED").count() == 20


def test_mail_is_sent(heard, settings):
    heard()
    with mailbox() as (port, arrived):
        settings.ALERT_CHANNELS["CRITICAL"] = (
            f"mailto://127.0.0.1:{port}?from=nexus@desk.example&to=ops@desk.example",
        )
        ring()
        assert send_due() == ["SENT"]

    (mail,) = arrived
    assert "GATEWAY_DOWN" in mail
    assert "ops@desk.example" in mail


def test_neither_rows_nor_faults_nor_words_hold_an_address(bell, heard, capfd):
    heard(CRITICAL=bell)
    bell.status = 500
    ring()
    for _ in range(rules.ATTEMPTS_TOLD):
        hasten()
        send_due()

    held = statements.fetch("SELECT alert::text FROM alert UNION ALL SELECT d::text FROM alert_delivery d")
    out, err = capfd.readouterr()
    assert "s3cret" not in str(held) + out + err
    assert "s3cret" not in str(telling.state())


def test_without_channels_alerts_stand_and_nothing_is_heard(heard):
    heard()
    ring()

    assert Delivery.objects.count() == 0
    assert (telling.state().open_critical, telling.state().is_heard) == (1, False)
