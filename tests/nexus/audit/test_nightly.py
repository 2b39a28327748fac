"""Each night the log is verified, and people are woken when it is not clean, or when nobody could look."""

from datetime import timedelta
from urllib.parse import quote

import pytest
from django.db import DataError
from django.utils.timezone import now

from nexus import watch
from nexus.alerts.models import Alert
from nexus.audit import selectors
from nexus.audit.models import AnchorMark, Verification
from nexus.audit.providers import File, named
from nexus.audit.services import keys
from nexus.audit.services.anchoring import seals_after
from nexus.audit.services.keys import KeyUnusable
from nexus.celery import app
from tests.nexus.audit.sealed import SIGNER, tamper

pytestmark = pytest.mark.django_db

NIGHT = timedelta(days=1)


@pytest.fixture
def anchor(log, tmp_path, settings):
    """Set verification up as production has it: a public key from outside, and an anchor that can be read here."""
    path = tmp_path / "an anchor.jsonl"
    File("f", path).keep("nexus", seals_after(-1, limit=1000))
    settings.AUDIT_ANCHORS = (f"file:{quote(str(path))}", "log:")
    AnchorMark.objects.create(name=named(settings.AUDIT_ANCHORS[0]).name, is_set=True, kept_to=log["last"])
    public = tmp_path / "public.pem"
    public.write_text(keys.as_public_pem(SIGNER.public))
    settings.AUDIT_PUBLIC_KEY_FILE = str(public)
    return path


@pytest.mark.usefixtures("anchor")
def test_a_clean_night_is_written_down_and_wakes_nobody(log, new_events):
    at = now()

    watch.verify_log(at=at, clock=now)

    done = Verification.objects.get()
    assert (done.verdict, done.asked_by, done.to_batch, done.counts) == ("clean", "verifier", log["last"], {})
    assert not any("believed" in note or "No anchor" in note for note in done.notes)
    assert not Alert.objects.exists()
    (event,) = new_events()
    assert (event.action, event.outcome, event.object_id) == ("audit.verified", "success", str(done.pk))


@pytest.mark.usefixtures("anchor", "log")
def test_a_night_is_verified_once_however_often_the_job_comes():
    at = now().replace(hour=2, minute=0, second=0, microsecond=0)

    for hours in (0, 1, 23):
        watch.verify_log(at=at + timedelta(hours=hours), clock=now)
    assert Verification.objects.count() == 1

    watch.verify_log(at=at + NIGHT, clock=now)
    assert Verification.objects.count() == 2


@pytest.mark.usefixtures("anchor", "log")
def test_a_person_may_have_it_verified_now():
    app.loader.import_default_modules()
    watch.verify_log(at=now(), clock=now)

    app.tasks["audit.verify_log"].apply(kwargs={"asked_by": "the-auditor"}, throw=True)

    assert list(Verification.objects.order_by("pk").values_list("asked_by", flat=True)) == ["verifier", "the-auditor"]
    assert selectors.last_verification() == Verification.objects.latest("pk")


@pytest.mark.usefixtures("anchor")
def test_a_tampered_log_wakes_people_until_a_night_is_clean_again(log):
    at = now()
    tamper("UPDATE audit.event SET canonical = canonical || ' ' WHERE id = %s", [log["ids"][2]])

    watch.verify_log(at=at, clock=now)

    alert = Alert.objects.get(kind="AUDIT_NOT_CLEAN")
    done = Verification.objects.get()
    assert (alert.severity, alert.closed_at) == ("CRITICAL", None)
    assert "event_modified 1" in alert.text
    assert done.verdict == "tampered"
    assert done.findings[0]["event_id"] == log["ids"][2]

    tamper("UPDATE audit.event SET canonical = left(canonical, -1) WHERE id = %s", [log["ids"][2]])
    watch.verify_log(at=at + NIGHT, clock=now)
    alert.refresh_from_db()
    assert alert.closed_at is not None


def test_an_anchor_that_is_gone_wakes_people(anchor):
    anchor.unlink()

    watch.verify_log(at=now(), clock=now)

    assert Alert.objects.filter(kind="AUDIT_NOT_CLEAN", text__contains="anchor_missing 1").exists()
    assert str(anchor) in Verification.objects.get().findings[0]["detail"]


def test_an_anchor_whose_end_is_gone_wakes_people(anchor, log):
    anchor.write_bytes(b"".join(anchor.read_bytes().splitlines(keepends=True)[:-1]))

    watch.verify_log(at=now(), clock=now)

    assert Verification.objects.get().findings[0]["batch_no"] == log["last"]


@pytest.mark.usefixtures("anchor", "log")
def test_a_key_that_cannot_be_read_wakes_people_and_a_verified_night_lets_them_sleep(settings):
    path, settings.AUDIT_PUBLIC_KEY_FILE = settings.AUDIT_PUBLIC_KEY_FILE, "/absent.pem"
    with pytest.raises(KeyUnusable):
        watch.verify_log(at=now(), clock=now)

    alert = Alert.objects.get(kind="AUDIT_UNVERIFIED")
    watch.watch_verification(at=now())
    alert.refresh_from_db()
    assert (alert.severity, alert.closed_at) == ("CRITICAL", None)
    assert "/absent.pem" in alert.text

    settings.AUDIT_PUBLIC_KEY_FILE = path
    watch.verify_log(at=now(), clock=now)
    alert.refresh_from_db()
    assert alert.closed_at is not None


@pytest.mark.usefixtures("anchor")
def test_whatever_breaks_the_verification_itself_wakes_people(log):
    tamper("UPDATE audit.event SET recorded_at = 'infinity' WHERE id = %s", [log["ids"][0]])

    with pytest.raises(DataError, match="timestamp too large"):
        watch.verify_log(at=now(), clock=now)

    assert Alert.objects.get(kind="AUDIT_UNVERIFIED").text.startswith("The audit log cannot be verified: DataError")


@pytest.mark.usefixtures("log")
def test_a_log_that_nobody_verified_for_a_night_wakes_people(settings):
    settings.AUDIT_ANCHORS = ()
    at = now()
    watch.watch_verification(at=at + timedelta(hours=25))
    assert not Alert.objects.exists()

    watch.watch_verification(at=at + timedelta(hours=27))
    assert Alert.objects.get(kind="AUDIT_UNVERIFIED").severity == "CRITICAL"

    watch.verify_log(at=at, clock=now)
    watch.watch_verification(at=now())
    assert not Alert.objects.filter(closed_at=None).exists()
    assert any("No anchor" in note for note in Verification.objects.get().notes)
