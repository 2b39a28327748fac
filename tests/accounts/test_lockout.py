"""The lockout: what is charged before a password is looked at, and what strangers cannot do to an owner."""

import json

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils.timezone import now

from accounts.models import KnownPair, LoginGate
from accounts.services import gates, lockout
from accounts.services.gates import Charge
from accounts.states import Role
from accounts.tasks import purge_tokens
from nexus.audit.models import Event, Pii
from nexus.audit.types import Actor
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, WRONG, UserFactory
from tests.hashers import CountedArgon2
from tests.terminal import Terminal
from tests.threads import together

OWN, STRANGE = "198.51.100.7", "203.0.113.66"


def attempt(email, password=WRONG, *, ip=OWN, **headers):
    """Knock at the API as it really is, from an address."""
    return Client(REMOTE_ADDR=ip).post(
        "/api/v1/auth/login",
        json.dumps({"email": email, "password": password}),
        content_type="application/json",
        headers=headers or None,
    )


@pytest.mark.threat(1)
@pytest.mark.django_db(transaction=True)
def test_forty_guesses_at_once_are_five_hashes(user):
    before = CountedArgon2.hashed

    answers = together(40, lambda number: attempt(user.email, f"guess-{number}").status_code)

    assert CountedArgon2.hashed - before == 5
    assert sorted(answers) == [401] * 5 + [429] * 35
    assert LoginGate.objects.get(kind="pair").failures == 6  # the one that shut it, and none after that


@pytest.mark.django_db(transaction=True)
def test_both_doors_count_together(user):
    operator = UserFactory.create(role=Role.OPERATOR)
    for _ in range(3):
        assert attempt(operator.email).status_code == 401
    for _ in range(2):
        form = {"username": operator.email.upper(), "password": WRONG, "code": "000000"}
        page = Client(REMOTE_ADDR=OWN).post("/admin/login/", form)
        assert page.status_code == 200

    form = {"username": operator.email, "password": PASSWORD, "code": "000000"}
    console = Client(REMOTE_ADDR=OWN).post("/admin/login/", form)
    api = attempt(operator.email, PASSWORD)

    for refused, kind in ((console, "text/html; charset=utf-8"), (api, "application/problem+json")):
        assert (refused.status_code, refused["Content-Type"]) == (429, kind)
        assert 0 < int(refused["Retry-After"]) <= 900
    assert api.json()["code"] == "login_locked"
    assert "Logins are locked for now" in console.content.decode()
    assert [event.action for event in Event.objects.order_by("-id")[:2]] == ["auth.login.locked"] * 2
    assert attempt(user.email, PASSWORD).status_code == 200  # the lock is of that name from there


@pytest.mark.threat(2)
@pytest.mark.django_db
def test_sixty_addresses_lock_a_name(user):
    answers = [attempt(user.email, ip=f"203.0.113.{number}").status_code for number in range(1, 61)]

    assert answers == [401] * 50 + [429] * 10
    assert attempt(user.email, PASSWORD, ip="192.0.2.9").status_code == 429


@pytest.mark.threat(3)
@pytest.mark.django_db
def test_a_hostile_address_locks_nobody_out_elsewhere(user):
    assert attempt(user.email, PASSWORD).status_code == 200

    answers = [attempt(user.email, ip=STRANGE).status_code for _ in range(100)]

    assert answers == [401] * 5 + [429] * 95
    assert attempt(user.email, PASSWORD).status_code == 200
    assert LoginGate.objects.get(kind="user").failures == 5  # what never reached a hash is not counted against a name


@pytest.mark.threat(3)
@pytest.mark.django_db
def test_where_an_owner_has_come_in_the_lock_of_the_name_does_not_hold(user):
    assert attempt(user.email, PASSWORD).status_code == 200
    for number in range(1, 61):
        attempt(user.email, ip=f"203.0.113.{number}")

    assert attempt(user.email, PASSWORD, ip="192.0.2.9").status_code == 429
    assert attempt(user.email, PASSWORD).status_code == 200


@pytest.mark.threat(4)
@pytest.mark.django_db
@pytest.mark.parametrize("proxies", [[], ["10.0.0.0/8"]])
def test_a_forged_forwarded_address_changes_nothing(user, settings, proxies):
    settings.TRUSTED_PROXY_CIDRS = proxies
    hop = "10.0.0.5" if proxies else STRANGE
    real = f", {STRANGE}" if proxies else ""

    answers = [
        attempt(user.email, ip=hop, x_forwarded_for=f"192.0.2.{number}{real}").status_code for number in range(1, 21)
    ]

    assert answers == [401] * 5 + [429] * 15
    assert LoginGate.objects.filter(kind="pair").count() == 1


@pytest.mark.django_db
def test_an_unreadable_address_is_a_place_and_version_six_counts_by_its_network(user):
    for number in range(5):
        assert attempt(user.email, ip="").status_code == 401, number
    assert attempt(user.email, ip="").status_code == 429
    for number in range(1, 6):
        assert attempt(user.email, ip=f"2001:db8::{number}").status_code == 401
    assert attempt(user.email, ip="2001:db8::ffff").status_code == 429
    assert lockout.network_of("::ffff:192.0.2.1") == lockout.network_of("192.0.2.1")


@pytest.mark.threat(5)
@pytest.mark.django_db
def test_a_name_that_nobody_has_is_locked_as_one_that_somebody_has(user):
    answers: dict[str, list[tuple[int, object]]] = {}
    for email in (user.email, "nobody@nexus.example"):
        bodies = [attempt(email, ip=STRANGE) for _ in range(7)]
        for body in bodies:
            document = body.json()
            document.pop("instance")
            answers.setdefault(email, []).append((body.status_code, document))

    assert answers[user.email] == answers["nobody@nexus.example"]


@pytest.mark.django_db
def test_success_forgets_the_pair_and_gives_the_rest_back(user):
    for _ in range(4):
        attempt(user.email)
    assert attempt(user.email, PASSWORD).status_code == 200

    assert not LoginGate.objects.filter(kind="pair").exists()
    assert dict(LoginGate.objects.values_list("kind", "failures")) == {"ip": 4, "user": 4}
    assert KnownPair.objects.count() == 1
    for _ in range(5):
        assert attempt(user.email).status_code == 401
    assert attempt(user.email).status_code == 429


@pytest.mark.django_db
def test_a_locked_attempt_reaches_no_hash_and_prolongs_nothing(user):
    for _ in range(6):
        attempt(user.email)
    until = LoginGate.objects.get(kind="pair").locked_until
    before = CountedArgon2.hashed

    assert attempt(user.email, PASSWORD).status_code == 429

    assert LoginGate.objects.get(kind="pair").locked_until == until
    assert CountedArgon2.hashed == before


@pytest.mark.django_db
def test_a_lock_ends_and_a_window_too(user):
    for _ in range(6):
        attempt(user.email)
    LoginGate.objects.filter(kind="pair").update(locked_until="2026-01-01T00:00:00Z")
    assert attempt(user.email).status_code == 401
    assert LoginGate.objects.get(kind="pair").failures == 1

    LoginGate.objects.filter(kind="pair").update(failures=5, window_started_at="2026-01-01T00:00:00Z")
    assert attempt(user.email).status_code == 401


@pytest.mark.threat(26)
@pytest.mark.django_db
def test_what_is_live_stays_live_under_a_lock(user, api):
    for _ in range(6):
        attempt(user.email, ip="127.0.0.1")

    assert api.get("/auth/profile").status_code == 200
    assert api.post("/system/emergency-stop", {"reason": "It runs away."}).status_code != 429


@pytest.mark.django_db
def test_an_operator_unlocks_with_a_reason(user, new_events):
    operator = ApiClient().login(UserFactory.create(role=Role.OPERATOR))
    for _ in range(6):
        attempt(user.email)

    refused = operator.post("/auth/unlock", {"email": user.email})
    done = operator.post("/auth/unlock", {"email": user.email.upper(), "reason": "It was I, on the phone."})

    assert (refused.status_code, done.status_code) == (400, 200)
    assert done.json() == {"gates_opened": 1}
    assert attempt(user.email, PASSWORD).status_code == 200
    (event,) = [each for each in new_events() if each.action == "auth.login.unlocked"]
    assert event.object_id == str(user.public_id)
    assert user.email not in event.canonical
    assert ApiClient().login(user).post("/auth/unlock", {"email": "a@b.example", "reason": "x"}).status_code == 403


@pytest.mark.django_db
def test_an_address_is_unlocked_from_the_command_line(user, monkeypatch, capsys):
    operator = UserFactory.create(role=Role.OPERATOR)
    for number in range(101):
        attempt(f"person-{number}@nexus.example")
    assert attempt(user.email, PASSWORD).status_code == 429
    monkeypatch.setattr("getpass.getpass", Terminal())

    call_command("unlock_login", operator.email, "--ip", OWN, "--reason", "Our office.")

    assert "1" in capsys.readouterr().out
    assert attempt(user.email, PASSWORD).status_code == 200


@pytest.mark.django_db
def test_a_lock_is_kept_without_names(user):
    for _ in range(6):
        attempt(user.email)

    event = Event.objects.latest("id")
    assert (event.action, event.outcome) == ("auth.login.locked", "denied")
    assert user.email not in event.canonical
    assert json.loads(Pii.objects.get(event=event).data) == {"ip": OWN, "email": user.email}


@pytest.mark.django_db(transaction=True)
def test_charges_and_gifts_in_every_order_never_wait_for_each_other():
    charges = [Charge(lockout.PAIR, "a"), Charge(lockout.ADDRESS, "b"), Charge(lockout.NAME, "c")]

    def act(number):
        mine = charges if number % 2 else charges[::-1]
        for _ in range(10):
            gates.charge(mine)
            gates.give_back(mine, forget=mine[:1])

    together(8, act)

    assert LoginGate.objects.get(kind="ip").failures == 0


@pytest.mark.django_db
def test_a_purge_leaves_what_is_shut(user):
    for _ in range(6):
        attempt(user.email)
    LoginGate.objects.update(window_started_at="2026-01-01T00:00:00Z")

    purge_tokens()

    assert list(LoginGate.objects.values_list("kind", flat=True)) == ["pair"]
    lockout.unlock(email=user.email, reason="Test.", actor=Actor.system("tests"), at=now())
    assert not LoginGate.objects.exists()


@pytest.mark.threat(12)
@pytest.mark.django_db
def test_nobody_unlocks_himself(new_events):
    """A stolen session would try five codes, open the lock, and try five more."""
    operator = UserFactory.create(role=Role.OPERATOR)
    client = ApiClient().login(operator)
    for _ in range(6):
        attempt(operator.email)

    answer = client.post("/auth/unlock", {"email": operator.email.upper(), "reason": "It is I, believe me."})

    assert (answer.status_code, answer.json()["code"]) == (403, "own_lock")
    assert attempt(operator.email, PASSWORD).status_code == 429
    assert [event.outcome for event in new_events() if event.action == "auth.login.unlocked"] == ["denied"]
