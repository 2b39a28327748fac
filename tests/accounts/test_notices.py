"""What people are told about their own accounts: once, by e-mail, and again when the mail server was down."""

import uuid
from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.utils.timezone import now

from accounts.models import Notice, TotpDevice, User
from accounts.services import notices
from accounts.states import NoticeKind, Role
from accounts.tasks import purge_tokens, send_notices
from nexus.core import ciphers, sentences
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, WRONG, UserFactory
from tests.factories.second_factor import code_at, enrolled, fresh_code
from tests.threads import together

pytestmark = pytest.mark.django_db


def told(user: User) -> list[str]:
    return list(Notice.objects.filter(user=user).order_by("pk").values_list("kind", flat=True))


def log_in(user: User, address: str, password: str = PASSWORD) -> int:
    body = {"email": user.email, "password": password}
    answer = Client(REMOTE_ADDR=address).post("/api/v1/auth/login", body, content_type="application/json")
    return answer.status_code


def test_a_login_from_a_new_network_is_told_and_the_first_of_all_is_not(user):
    assert log_in(user, "198.51.100.7") == 200
    assert told(user) == []

    assert log_in(user, "203.0.113.9") == 200
    assert log_in(user, "203.0.113.9") == 200
    assert log_in(user, "198.51.100.7") == 200

    assert told(user) == ["NEW_ADDRESS"]


def test_the_console_is_a_login_too():
    operator = UserFactory.create(role=Role.OPERATOR)
    assert log_in(operator, "198.51.100.7") == 200

    form = {"username": operator.email, "password": PASSWORD, "code": fresh_code(operator)}
    Client(REMOTE_ADDR="203.0.113.9").post("/admin/login/?next=/admin/", form)

    assert told(operator) == ["NEW_ADDRESS"]


def test_a_lock_is_told_once_in_a_quarter_of_an_hour(user):
    assert [log_in(user, "203.0.113.9", WRONG) for _ in range(8)] == [401] * 5 + [429] * 3

    assert told(user) == ["LOGIN_LOCKED"]
    Notice.objects.update(created_at=now() - timedelta(minutes=16))
    assert log_in(user, "203.0.113.9", WRONG) == 429
    assert told(user) == ["LOGIN_LOCKED"] * 2


def test_nobody_is_told_of_a_lock_of_a_name_that_nobody_has(db):
    for _ in range(7):
        body = {"email": "nobody@nexus.example", "password": WRONG}
        Client(REMOTE_ADDR="203.0.113.9").post("/api/v1/auth/login", body, content_type="application/json")

    assert not Notice.objects.exists()


@pytest.mark.threat(6)
def test_a_token_that_came_twice_is_told(user, api):
    refresh = api.tokens["refresh_token"]
    for _ in range(3):
        ApiClient().post("/auth/refresh", {"refresh_token": refresh})

    assert told(user) == ["TOKEN_REUSED"]


def test_codes_that_are_locked_are_told(user):
    enrolled(user)
    client = ApiClient(shows_codes=False).login(user)
    for _ in range(8):
        client.post("/auth/2fa/verify", {"code": "not-a-code"})

    assert told(user) == ["CODES_LOCKED"]


def test_what_somebody_changes_of_the_own_account_is_told(user):
    client = ApiClient(shows_codes=False).login(user)
    secret_of = {"password": PASSWORD}
    begun = client.post("/auth/2fa/enrol", secret_of)
    assert begun.status_code == 201
    code = fresh_code_of_new(user)
    confirmed = client.post("/auth/2fa/confirm", {"code": code}).json()
    client.tokens = confirmed["tokens"]

    def header() -> dict[str, str]:
        return {"x_nexus_otp": fresh_code(user)}

    assert client.post("/auth/2fa/verify", {"code": confirmed["recovery_codes"][0]}).status_code == 204
    assert client.post("/auth/2fa/recovery-codes", secret_of, **header()).status_code == 200
    key = {"name": "My bot", "mode": "paper", "scopes": ["orders:read"]}
    made = client.post("/auth/api-keys", key, idempotency_key=uuid.uuid4().hex, **header())
    assert made.status_code == 201
    rotated = client.post(
        f"/auth/api-keys/{made.json()['id']}/rotate", {"overlap_s": 0}, idempotency_key=uuid.uuid4().hex, **header()
    )
    assert rotated.status_code == 201
    change = {"password": PASSWORD, "new_password": "another-walk-in-the-woods-9"}
    client.tokens = client.post("/auth/password", change, **header()).json()
    assert client.post("/auth/2fa/remove", {"password": change["new_password"]}, **header()).status_code == 200

    assert told(user) == [
        "SECOND_FACTOR_ON", "RECOVERY_CODE_USED", "RECOVERY_CODES_NEW", "API_KEY_CREATED", "API_KEY_CREATED",
        "PASSWORD_CHANGED", "SECOND_FACTOR_OFF",
    ]  # fmt: skip


def fresh_code_of_new(user: User) -> str:
    return code_at(ciphers.unseal(TotpDevice.objects.get(user=user, confirmed=False).seed))


def test_it_goes_out_once_with_the_time_and_what_to_do_and_no_secret(user):
    notices.tell(user_id=user.pk, kind=NoticeKind.API_KEY_CREATED, at=now(), detail="My bot")

    send_notices()
    send_notices()

    (letter,) = mail.outbox
    assert letter.to == [user.email]
    assert letter.subject == "Nexus: An API key was made"
    assert "My bot" in letter.body
    assert notices.ADVICE in letter.body
    assert Notice.objects.get().sent_at is not None


def test_a_letter_speaks_the_language_of_letters_and_what_is_kept_stays(user, settings):
    settings.MESSAGE_LANGUAGE = "fr"
    notices.tell(user_id=user.pk, kind=NoticeKind.API_KEY_CREATED, at=now(), detail="Key: My bot (PAPER)")

    send_notices()

    (letter,) = mail.outbox
    assert letter.subject == "Nexus: Une clé API a été faite"
    assert "Clé : My bot (PAPER)" in letter.body
    assert "Si ce n'était pas vous" in letter.body
    assert "Heure : " in letter.body
    assert notices.ADVICE in Notice.objects.get().text


@pytest.mark.parametrize("kind", NoticeKind)
def test_every_letter_is_known_in_french(kind):
    for line in (str(kind.label), notices.TEXTS[kind], notices.ADVICE):
        assert sentences.said(line, "fr") not in {None, line}


@pytest.mark.django_db(transaction=True)
def test_8_workers_at_once_send_each_letter_once():
    users = [UserFactory.create() for _ in range(5)]
    for each in users * 4:
        notices.tell(user_id=each.pk, kind=NoticeKind.API_KEY_CREATED, at=now())

    sent = together(8, lambda _: notices.send_due(at=now()))

    assert sum(sent) == 20
    assert len(mail.outbox) == 20


def test_what_the_server_refused_is_tried_again_later_and_not_for_ever(user, monkeypatch):
    def down(*_args, **_kwargs):
        raise OSError("no route to user@example.com")

    at = now()
    notices.tell(user_id=user.pk, kind=NoticeKind.LOGIN_LOCKED, at=at)
    with monkeypatch.context() as patched:
        patched.setattr(notices, "send_mail", down)
        assert notices.send_due(at=at) == 0
        row = Notice.objects.get()
        assert (row.sent_at, row.fault, row.attempts) == (None, "OSError", 1)
        assert notices.send_due(at=at + timedelta(seconds=59)) == 0
        assert Notice.objects.get().attempts == 1
    assert notices.send_due(at=at + timedelta(minutes=2)) == 1

    Notice.objects.update(sent_at=None, attempts=notices.ATTEMPTS_MAX, next_at=at)
    assert notices.send_due(at=at + timedelta(days=1)) == 0


def test_a_worker_that_died_with_a_letter_leaves_it_to_another(user, monkeypatch):
    class Dead(BaseException):
        pass

    def die(*_args, **_kwargs):
        raise Dead

    at = now()
    notices.tell(user_id=user.pk, kind=NoticeKind.LOGIN_LOCKED, at=at)
    with monkeypatch.context() as patched:
        patched.setattr(notices, "send_mail", die)
        with pytest.raises(Dead):
            notices.send_due(at=at)

    assert notices.send_due(at=at) == 0
    assert notices.send_due(at=at + notices.CLAIMED) == 1


def test_without_a_mail_server_they_wait_in_production(user, settings):
    settings.NEXUS_ENV, settings.EMAIL_HOST = "production", ""
    notices.tell(user_id=user.pk, kind=NoticeKind.LOGIN_LOCKED, at=now())
    assert notices.send_due(at=now()) == 0
    assert Notice.objects.get().attempts == 0

    settings.EMAIL_HOST = "mail.example"

    assert notices.send_due(at=now()) == 1


def test_old_ones_are_forgotten(user):
    notices.tell(user_id=user.pk, kind=NoticeKind.LOGIN_LOCKED, at=now() - timedelta(days=31))
    notices.tell(user_id=user.pk, kind=NoticeKind.LOGIN_LOCKED, at=now() - timedelta(days=29))

    purge_tokens()

    assert Notice.objects.count() == 1
