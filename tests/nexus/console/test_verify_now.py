"""A verification of the log that a person asks for: once, by a worker, and the verdict is on the page."""

import uuid
from datetime import timedelta

import pytest
from django.utils.timezone import now

from accounts.models import User
from nexus.audit import selectors
from nexus.audit.models import Event, Verification
from nexus.audit.services import verdicts
from nexus.audit.services.verdicts import VerificationBusy
from nexus.audit.types import Actor
from nexus.celery import app
from tests.nexus.audit.sealed import record, seal
from tests.nexus.console.people import confirm, seen, text
from tests.threads import together

PAGE, NOW = "/admin/audit/verification/", "/admin/audit/verification/now/"


@pytest.fixture(autouse=True)
def _asked_by_nobody_yet(monkeypatch) -> None:
    """Let each test begin before anybody has asked: what another one has committed stays in the log for good."""
    monkeypatch.setattr(selectors, "ASKED", f"tests.asked.{uuid.uuid4().hex}")


@pytest.fixture
def sent(monkeypatch) -> list[tuple[str, dict[str, str]]]:
    """What is handed to the workers."""
    jobs: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr(app, "send_task", lambda name, kwargs, **_rest: jobs.append((name, kwargs)))
    return jobs


def test_it_is_asked_for_done_by_a_worker_and_its_verdict_stands_there(officer, console, operator, sent):
    record(2)
    seal()
    assert "Verify now…" in text(officer.get(PAGE))

    answer = confirm(console, NOW)

    assert (answer.status_code, answer.url) == (302, PAGE)
    assert sent == [("audit.verify_log", {"asked_by": str(operator.public_id)})]
    waiting = text(officer.get(PAGE))
    assert "It is under way" in waiting
    assert operator.full_name or operator.email in waiting
    assert f'data-live="{PAGE}live/"' in waiting
    assert "Verify now…" not in waiting
    assert "Somebody has asked for it already" in text(officer.get(NOW))
    assert not Verification.objects.exists()

    app.loader.import_default_modules()
    app.tasks["audit.verify_log"].apply(kwargs=sent[0][1], throw=True)

    part = text(officer.get(f"{PAGE}live/"))
    assert "clean" in part
    assert "It is under way" not in part
    assert "Verify now…" in part
    assert Verification.objects.get().asked_by == str(operator.public_id)


def test_a_verdict_that_comes_while_the_page_is_made_stands_on_it(officer, console, sent, monkeypatch):
    """Else the page would neither show it nor look again."""
    record(2)
    seal()
    confirm(console, NOW)
    look = selectors.verification_asked

    def and_verify() -> Event | None:
        app.loader.import_default_modules()
        app.tasks["audit.verify_log"].apply(kwargs=sent[0][1], throw=True)
        return look()

    monkeypatch.setattr(selectors, "verification_asked", and_verify)

    page = text(officer.get(PAGE))

    assert "clean" in page
    assert "It was never verified" not in page


def test_a_second_one_is_refused_while_the_first_is_under_way_and_not_once_it_is_lost(console, officer, sent):
    version = seen(officer, NOW)
    confirm(console, NOW)

    refused = confirm(officer, NOW, version=version)

    assert refused.status_code == 409
    assert len(sent) == 1
    by = Actor.user(User.objects.latest("pk").public_id)
    verdicts.request(asked_by=by, reason="The first was lost.", at=now() + verdicts.GIVEN_UP_AFTER + timedelta(1))
    assert len(sent) == 2


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_exactly_one_asks(sent):
    def ask(number: int) -> str:
        try:
            verdicts.request(asked_by=Actor.user(f"person-{number}"), reason="At once.", at=now())
        except VerificationBusy:
            return "told"
        return "asked"

    assert sorted(together(2, ask)) == ["asked", "told"]
    assert Event.objects.filter(action=selectors.ASKED).count() == 1
