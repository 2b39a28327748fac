"""Links that two have agreed to, at the console: nobody who agrees is shown what opens one."""

import re

import pytest
from django.utils.timezone import now

from accounts.models import Enrolment
from accounts.services import approvals, enrolments, links, notices, staffing
from accounts.states import Role
from accounts.types import ClientInfo
from nexus.core.errors import NexusError
from tests.factories.accounts import PASSWORD
from tests.nexus.console.people import confirm, text


@pytest.fixture
def asked(operators):
    """The first operator asks for another one."""
    return staffing.ask_to_create(
        email="new@nexus.example", full_name="New", role=Role.OPERATOR, reason="She starts on Monday.",
        by=operators[0], at=now(),
    )  # fmt: skip


def at(asked, verb=""):
    return f"/admin/approvals/{asked.public_id}/{verb}"


def opens(page: str) -> list[str]:
    """Try every word of a page as the token of a link."""
    found = []
    for word in set(re.findall(r"[\w-]{8,}", page)):
        try:
            enrolments.enrol(token=word, password=PASSWORD, client=ClientInfo(), at=now())
        except NexusError:
            continue
        found.append(word)
    return found


@pytest.mark.threat(17)
@pytest.mark.parametrize("has_mail", [True, False])
def test_the_page_after_agreeing_and_every_one_after_it_hold_no_token(asked, other_console, settings, has_mail):
    settings.EMAIL_HOST = "mail.nexus.example" if has_mail else ""
    agreed = confirm(other_console, at(asked, "approve/"))
    pages = [agreed, *(other_console.get(path) for path in (at(asked), "/admin/approvals/"))]

    assert Enrolment.objects.get().is_mailed is has_mail
    assert agreed.status_code == (302 if has_mail else 200)
    assert not [word for page in pages for word in opens(text(page))]
    assert "Show your half" not in text(pages[1])


def test_who_asked_sees_the_other_half_once_and_the_two_together_open_it(asked, console, other_console):
    first = re.search(r"<code>([\w-]+)</code>", text(confirm(other_console, at(asked, "approve/"))))
    assert "your half waits" in text(console.get("/admin/approvals/"))
    assert "Show your half…" in text(console.get(at(asked)))

    page = confirm(console, at(asked, "half/"))
    second = re.search(r"<code>([\w-]+)</code>", text(page))

    assert first
    assert second
    assert not opens(f"{text(page)} {first[1]} {second[1]}")
    assert confirm(console, at(asked, "half/")).status_code == 409
    assert "Show your half…" not in text(console.get(at(asked)))
    assert opens(first[1] + second[1]) == [first[1] + second[1]]
    assert "used" in text(console.get(at(asked)))


def test_what_was_not_delivered_is_seen_and_sent_again(asked, console, operators, settings):
    settings.EMAIL_HOST, settings.EMAIL_BACKEND = "mail.nexus.example", "no.such.Backend"
    approvals.decide(public_id=asked.public_id, approve=True, by=operators[1], reason="Agreed.", at=now())
    assert notices.send_due(at=now()) == 0

    for path in ("/admin/approvals/", at(asked)):
        assert "not delivered: ModuleNotFoundError, tried 1 times" in text(console.get(path))
    assert confirm(console, at(asked, "send/")).status_code == 302
    assert "about to be sent" in text(console.get(at(asked)))
    found = links.delivery(asked.public_id)
    assert found is not None
    assert (found.fault, found.attempts) == ("", 0)
