"""A link that two have agreed to reaches its owner: by mail, or in two halves. Neither of the two can use it."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from accounts.models import Enrolment, Notice, User
from accounts.services import links, notices
from accounts.states import Role
from accounts.tasks import send_notices
from nexus.alerts.models import Alert
from nexus.core import ciphers
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.links import token_of
from tests.threads import together

pytestmark = pytest.mark.django_db

ANOTHER = "a-swim-across-the-lake-9"
NEW = "new@nexus.example"
BODY = {"email": NEW, "role": "OPERATOR", "reason": "Hired."}


@pytest.fixture
def operators(db: None) -> tuple[ApiClient, ApiClient]:
    """Two operators, logged in: the first asks, the second agrees."""
    first, second = (ApiClient().login(UserFactory.create(role=Role.OPERATOR)) for _ in range(2))
    return first, second


@pytest.fixture
def mailed(settings) -> None:
    """An installation with a mail server."""
    settings.EMAIL_HOST = "mail.nexus.example"


def create(operators: tuple[ApiClient, ApiClient]) -> dict[str, Any]:
    asked = operators[0].post("/users", BODY)
    return agree(operators, asked.json()["id"])


def agree(operators: tuple[ApiClient, ApiClient], number: str) -> dict[str, Any]:
    agreed = operators[1].post(f"/approvals/{number}/approve", {"reason": "Agreed."})
    assert agreed.status_code == 200, agreed.content
    held: dict[str, Any] = agreed.json()
    return held


def strings(value: Any) -> list[str]:
    """Every text in an answer, however deep."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in strings(each)]
    return [str(value)]


def enrols(token: str) -> bool:
    return bool(ApiClient().post("/auth/enrol", {"token": token, "password": ANOTHER}).status_code == 204)


def resets(token: str) -> bool:
    return bool(ApiClient().post("/auth/password/reset", {"token": token, "password": ANOTHER}).status_code == 204)


def sent_token() -> str:
    return str(mail.outbox[-1].body).strip().rsplit("\n", 1)[-1]


def no_secret_is_kept() -> bool:
    kept = Notice.objects.exclude(sealed="").exists() or Enrolment.objects.exclude(sealed_half="").exists()
    return not kept


@pytest.mark.threat(17)
@pytest.mark.parametrize("has_mail", [True, False])
def test_what_who_agrees_sees_opens_nothing(operators, settings, has_mail):
    settings.EMAIL_HOST = "mail.nexus.example" if has_mail else ""
    agreed = create(operators)
    read = [operators[1].get(f"/approvals/{agreed['id']}{part}").json() for part in ("", "/link")]
    half = operators[1].post(f"/approvals/{agreed['id']}/link/half")

    assert half.status_code == 403
    seen = set(strings([agreed, *read, half.json()]))
    assert not [text for text in seen if enrols(text)]
    hashes = [bytes(each.token_sha256).hex() for each in Enrolment.objects.all()]
    assert hashes
    assert not seen.intersection(hashes)


@pytest.mark.threat(17)
def test_neither_half_opens_it_and_the_two_together_do_once(operators, new_events):
    agreed = create(operators)
    asking = operators[0].post(f"/approvals/{agreed['id']}/link/half")
    first, second = agreed["result"]["first_half"], asking.json()["second_half"]

    assert not [text for text in (first, second, second + first) if enrols(text)]
    assert no_secret_is_kept()
    again = operators[0].post(f"/approvals/{agreed['id']}/link/half")
    assert (again.status_code, again.json()["code"]) == (409, "link_unavailable")
    assert (enrols(first + second), enrols(first + second)) == (True, False)
    assert not [event for event in new_events() if first in event.canonical or second in event.canonical]
    assert [event.action for event in new_events()].count("accounts.link.half_shown") == 1


def test_the_second_half_is_at_rest_under_our_cipher_and_for_nobody_else(operators):
    third = ApiClient().login(UserFactory.create(role=Role.OPERATOR))
    compliance = ApiClient().login(UserFactory.create(role=Role.COMPLIANCE))
    agreed = create(operators)
    kept = Enrolment.objects.get().sealed_half
    answers = [each.post(f"/approvals/{agreed['id']}/link/half") for each in (operators[1], third, compliance)]

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    half = operators[0].post(f"/approvals/{agreed['id']}/link/half").json()["second_half"]
    assert half not in kept
    assert ciphers.unseal(kept) == half


@pytest.mark.django_db(transaction=True)
def test_of_many_looks_at_once_one_sees_the_half():
    operators = tuple(ApiClient().login(UserFactory.create(role=Role.OPERATOR)) for _ in range(2))
    agreed, asked = create((operators[0], operators[1])), operators[0].user
    assert asked is not None

    def look(_number: int) -> str:
        try:
            return links.show_half(approval_id=agreed["id"], by=asked, at=now())
        except links.LinkUnavailable:
            return ""

    seen = together(8, look)

    assert len([half for half in seen if half]) == 1


def test_a_half_that_nobody_fetched_ends_with_its_link(operators):
    agreed = create(operators)
    Enrolment.objects.update(expires_at=now())

    assert operators[0].post(f"/approvals/{agreed['id']}/link/half").status_code == 409
    send_notices()
    assert no_secret_is_kept()


def test_what_waits_is_read_by_the_new_key_once_the_old_one_has_gone(operators, settings, capsys):
    halved = create(operators)
    settings.EMAIL_HOST = "mail.nexus.example"
    asked = operators[0].post("/users", {**BODY, "email": "other@nexus.example"})
    agree(operators, asked.json()["id"])
    old, token = settings.FIELD_ENCRYPTION_KEYS, ciphers.unseal(Notice.objects.exclude(sealed="").get().sealed)
    settings.FIELD_ENCRYPTION_KEYS = ["n" * 40, *old]

    call_command("second_factor", "reseal")

    settings.FIELD_ENCRYPTION_KEYS = ["n" * 40]
    assert "Links that wait, encrypted with the first key: 2." in capsys.readouterr().out
    second = ciphers.unseal(Enrolment.objects.exclude(sealed_half="").get().sealed_half)
    assert enrols(halved["result"]["first_half"] + second)
    notices.send_due(at=now())
    assert token in "".join(str(letter.body) for letter in mail.outbox)


def test_by_mail_the_token_goes_to_its_owner_and_is_kept_nowhere_once_sent(operators, mailed):
    agreed = create(operators)
    kept = Notice.objects.get(kind="ENROLMENT_LINK")

    assert agreed["result"] == {"user": str(User.objects.get(email=NEW).public_id), "sent_to": NEW}
    assert Enrolment.objects.get().sealed_half == ""
    assert (notices.send_due(at=now()), mail.outbox[0].to) == (1, [NEW])
    token = sent_token()
    assert ciphers.unseal(kept.sealed) == token
    assert token not in kept.text + kept.sealed
    assert no_secret_is_kept()
    link = operators[0].get(f"/approvals/{agreed['id']}/link").json()
    assert (link["way"], link["is_used"], link["fault"]) == ("mail", False, "")
    assert link["sent_at"] is not None
    assert enrols(token)
    assert operators[0].get(f"/approvals/{agreed['id']}/link").json()["is_used"]


def test_the_database_keeps_no_secret_with_a_message_that_was_sent(operators, mailed):
    create(operators)
    with pytest.raises(IntegrityError), transaction.atomic():
        Notice.objects.update(sent_at=now())


def test_a_mail_that_fails_is_seen_and_sent_again_with_another_token(operators, mailed, settings):
    agreed = create(operators)
    path = f"/approvals/{agreed['id']}/link"
    old = ciphers.unseal(Notice.objects.get().sealed)
    settings.EMAIL_BACKEND = "no.such.Backend"
    assert notices.send_due(at=now()) == 0
    failed = operators[1].get(path).json()
    assert (failed["sent_at"], failed["attempts"], failed["fault"]) == (None, 1, "ModuleNotFoundError")
    assert [each.has_failed for each in links.on_their_way(at=now())] == [True]

    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    again = operators[1].post(f"{path}/send", {"reason": "The server is back."})

    assert (again.status_code, again.json()["fault"], again.json()["attempts"]) == (200, "", 0)
    assert (notices.send_due(at=now()), len(mail.outbox)) == (1, 1)
    assert (enrols(old), enrols(sent_token())) == (False, True)
    after = operators[1].post(f"{path}/send", {"reason": "Once more."})
    assert (after.status_code, after.json()["code"]) == (409, "link_unavailable")


def test_operators_are_told_of_a_link_that_fails_thrice_and_no_more_once_it_has_gone(operators, mailed, settings):
    create(operators)
    settings.EMAIL_BACKEND, at = "no.such.Backend", now()
    for number in range(1, 4):
        notices.send_due(at=at + timedelta(hours=number))
        told = list(Alert.objects.filter(kind="LINK_NOT_DELIVERED").values_list("closed_at", flat=True))
        assert told == ([] if number < 3 else [None])
    assert ciphers.unseal(Notice.objects.get().sealed) not in Alert.objects.get().text

    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert notices.send_due(at=at + timedelta(hours=5)) == 1
    assert not Alert.objects.filter(closed_at__isnull=True).exists()


def test_a_message_that_comes_too_late_is_not_sent_and_its_secret_is_forgotten(operators, mailed, settings):
    create(operators)
    Enrolment.objects.update(expires_at=now())

    send_notices()

    assert no_secret_is_kept()
    assert (notices.send_due(at=now() + timedelta(days=1)), mail.outbox) == (0, [])
    assert [each.fault for each in links.on_their_way(at=now())] == ["too late"]


def test_a_link_is_sent_again_for_three_days_and_not_when_another_came_after_it(operators, mailed, user):
    path = f"/users/{user.public_id}/reset-password"
    first = agree(operators, operators[0].post(path, {"reason": "Lost."}).json()["id"])
    second = agree(operators, operators[0].post(path, {"reason": "Again."}).json()["id"])
    send = {"reason": "It did not come."}

    assert Notice.objects.filter(kind="PASSWORD_LINK").count() == 1  # that of the first is void, and stays unsent
    assert operators[0].post(f"/approvals/{first['id']}/link/send", send).status_code == 409
    assert operators[0].post(f"/approvals/{second['id']}/link/send", send).status_code == 200
    with pytest.raises(links.LinkUnavailable):
        links.send_again(approval_id=second["id"], reason="Late.", by=operators[0].user, at=now() + timedelta(hours=73))
    notices.send_due(at=now())
    assert resets(sent_token())
    assert not User.objects.get(pk=user.pk).check_password(PASSWORD)


def test_whoever_never_came_in_gets_another_first_link_when_two_agree(operators):
    old = token_of(create(operators), operators[0])
    path = f"/users/{User.objects.get(email=NEW).public_id}/reset-password"
    new = token_of(agree(operators, operators[0].post(path, {"reason": "Too late."}).json()["id"]), operators[0])

    assert (enrols(old), resets(new), enrols(new)) == (False, False, True)
