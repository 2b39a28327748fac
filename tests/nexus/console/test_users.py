"""Users and API keys at the console: found, read whole, changed by two, and what only protects done at once."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from accounts.models import ApiKey, ApprovalRequest, TotpDevice, User
from accounts.services import sessions
from accounts.states import Role
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.factories.second_factor import fresh_code
from tests.nexus.console.people import confirm, enter, seen, text
from tests.threads import together
from trading.models import TradingAccount

SEED_AND_HASH = ("argon2", "pbkdf2", "md5$", "secret_sha256")


@pytest.fixture
def someone(floor) -> User:
    """A trader with a second factor."""
    user = UserFactory.create(email="someone@nexus.example", full_name="Some One")
    fresh_code(user)
    return user


@pytest.fixture
def key(someone) -> ApiKey:
    return ApiKey.objects.create(
        key_id="abcdefgh12345678", secret_sha256=b"0" * 32, user=someone, name="night bot", mode="paper",
        scopes=["orders:read"], created_at=now(),
    )  # fmt: skip


def at(user, verb="") -> str:
    return f"/admin/users/{user.public_id}/{verb}"


def test_users_are_found_by_the_beginning_of_an_address_by_role_and_by_status(console, someone):
    UserFactory.create(email="other@nexus.example", role=Role.COMPLIANCE, is_active=False)

    def found(**given) -> set[str]:
        page = text(console.get("/admin/users/", given))
        return {name for name in ("someone@", "other@") if f">{name}nexus.example</a>" in page}

    assert found() == {"someone@", "other@"}
    assert found(email="Some") == {"someone@"}
    assert found(email="nexus") == set()
    assert found(role="COMPLIANCE") == {"other@"}
    assert found(standing="inactive") == {"other@"}
    assert found(standing="active", role="TRADER") >= {"someone@"}
    assert "errorlist" in text(console.get("/admin/users/", {"role": "KING"}))


def test_the_list_of_users_is_turned_by_its_keys(console, monkeypatch):
    monkeypatch.setattr("nexus.console.users.SHOWN", 2)
    made = [UserFactory.create().email for _ in range(5)][::-1]
    shown, path = [], "/admin/users/?role=TRADER"
    while path:
        page = console.get(path)
        shown += [row.email for row, _, _ in page.context["rows"]]
        path = "/admin/users/" + page.context["older"] if page.context["older"] else ""
    assert shown == made


def test_one_user_is_read_whole_and_no_hash_or_seed_is_shown(console, officer, someone, key):
    TradingAccount.objects.create(
        user=someone, name="Main", venue="mt5", venue_account="777", server="Demo", currency="USD", mode="HEDGING",
        created_at=now(),
    )  # fmt: skip
    trail.record_denied(action="access.denied", actor=Actor.user(someone.public_id), target=Target("order", "secret-1"))

    for client in (console, officer):
        page = text(client.get(at(someone)))
        for words in (
            "someone@nexus.example", "2nd factor on", "Trader", "Main (mt5 777)", "night bot", "access.denied",
            "secret-1", "Nothing about this user waits",
        ):  # fmt: skip
            assert words in page, words
        for words in (*SEED_AND_HASH, TotpDevice.objects.get(user=someone).seed, someone.password):
            assert words not in page, words
    assert "End all sessions…" in text(console.get(at(someone)))
    assert "…</a>" not in text(officer.get(at(someone)))  # nothing is offered


def test_a_role_is_changed_by_two_and_by_nobody_alone(console, other_console, someone):
    answer = confirm(console, at(someone, "role/"), role="COMPLIANCE")
    asked = ApprovalRequest.objects.get()
    assert (answer.status_code, answer.url) == (302, f"/admin/approvals/{asked.public_id}/")
    someone.refresh_from_db()
    assert someone.role == Role.TRADER
    assert "Give a user another role" in text(console.get(at(someone)))
    assert confirm(console, f"/admin/approvals/{asked.public_id}/approve/", version="x").status_code in (403, 409)

    assert confirm(other_console, f"/admin/approvals/{asked.public_id}/approve/").status_code == 302
    someone.refresh_from_db()
    assert someone.role == Role.COMPLIANCE


def test_nobody_changes_himself_nor_the_break_glass_account(console, operator):
    glass = User.objects.create_superuser("glass@nexus.example", "a-long-walk-on-the-beach-9")
    for user, words in ((operator, "This is you"), (glass, "break-glass account is not changed here")):
        other = enter(UserFactory.create(role=Role.OPERATOR))
        for verb in ("role/", "deactivate/", "reset-second-factor/"):
            page = text(console.get(at(user, verb)))
            assert words in page, verb
            assert "<textarea" not in page, verb
        version = seen(other, at(operator, "role/"))
        answer = confirm(console, at(operator, "role/"), version=version, role="COMPLIANCE")
        assert answer.status_code == 422
        assert "Nothing was done" in text(answer)
    assert not ApprovalRequest.objects.exists()
    operator.refresh_from_db()
    assert operator.role == Role.OPERATOR


def test_a_user_is_shut_out_and_let_in_again_by_two(console, other_console, someone):
    for verb, is_active in (("deactivate/", False), ("activate/", True)):
        assert confirm(console, at(someone, verb)).status_code == 302
        asked = ApprovalRequest.objects.get(state="PENDING")
        someone.refresh_from_db()
        assert someone.is_active is not is_active
        assert confirm(other_console, f"/admin/approvals/{asked.public_id}/approve/").status_code == 302
        someone.refresh_from_db()
        assert someone.is_active is is_active
        assert "already" in text(console.get(at(someone, verb)))  # and offers no second time
    ApiClient().login(someone)  # and comes in


def test_an_activation_is_void_when_the_user_was_changed_meanwhile(console, other_console, someone):
    User.objects.filter(pk=someone.pk).update(is_active=False)
    confirm(console, at(someone, "activate/"))
    asked = ApprovalRequest.objects.get(state="PENDING")
    User.objects.filter(pk=someone.pk).update(role=Role.OPERATOR)

    answer = confirm(other_console, f"/admin/approvals/{asked.public_id}/approve/")

    assert answer.status_code == 409
    someone.refresh_from_db()
    assert not someone.is_active


def test_a_lost_second_factor_is_removed_by_two(console, other_console, someone):
    assert confirm(console, at(someone, "reset-second-factor/")).status_code == 302
    asked = ApprovalRequest.objects.get()
    assert TotpDevice.objects.filter(user=someone).exists()
    assert confirm(other_console, f"/admin/approvals/{asked.public_id}/approve/").status_code == 302
    assert not TotpDevice.objects.filter(user=someone).exists()
    assert "The user has no second factor" in text(console.get(at(someone, "reset-second-factor/")))


def test_a_new_user_is_asked_for_and_the_token_is_shown_to_who_agrees(console, other_console):
    answer = confirm(console, "/admin/users/new/", email="new@nexus.example", full_name="New", role="TRADER")
    assert answer.status_code == 302
    assert not User.objects.filter(email="new@nexus.example").exists()

    page = confirm(other_console, f"{answer.url}approve/")

    assert "This is shown once" in text(page)
    assert User.objects.get(email="new@nexus.example").role == Role.TRADER
    taken = confirm(console, "/admin/users/new/", email="new@nexus.example", role="TRADER")
    assert taken.status_code == 409


def test_a_change_of_a_user_who_has_changed_is_a_409_and_asks_for_nothing(console, someone):
    version = seen(console, at(someone, "role/"))
    User.objects.filter(pk=someone.pk).update(is_active=False)

    answer = confirm(console, at(someone, "role/"), version=version, role="COMPLIANCE")

    assert answer.status_code == 409
    assert "deactivated" in text(answer)  # how things stand now
    assert not ApprovalRequest.objects.exists()


def test_of_two_who_ask_at_once_one_wins_and_the_other_is_told(console, other_console, someone):
    version = seen(console, at(someone, "role/"))
    people = (console, other_console)
    answers = together(
        2, lambda n: confirm(people[n], at(someone, "role/"), version=version, role="COMPLIANCE").status_code
    )
    assert sorted(answers) == [302, 409]
    assert ApprovalRequest.objects.count() == 1


def test_all_sessions_are_ended_at_once_and_by_one_of_two(console, other_console, someone, key, new_events):
    api = ApiClient().login(someone)
    assert api.get("/auth/sessions").status_code == 200
    version = seen(console, at(someone, "end-sessions/"))
    people = (console, other_console)

    answers = together(2, lambda n: confirm(people[n], at(someone, "end-sessions/"), version=version).status_code)

    assert sorted(answers) == [302, 409]
    assert api.get("/auth/sessions").status_code == 401
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert [each.action for each in new_events()].count("auth.sessions.ended_by_operator") == 1


def test_sessions_that_end_at_the_last_moment_are_not_ended_again(console, someone, monkeypatch):
    """Between the comparison of the versions and the lock of the user."""
    path = at(someone, "end-sessions/")
    version = seen(console, path)
    real = sessions.end_of

    def meanwhile(**given) -> int:
        real(**{**given, "seen": None})
        return real(**given)

    monkeypatch.setattr("accounts.services.sessions.end_of", meanwhile)
    assert confirm(console, path, version=version).status_code == 409
    someone.refresh_from_db()
    assert someone.token_version == 2


def test_keys_are_found_by_owner_name_and_status(console, officer, someone, key):
    dead = ApiKey.objects.create(
        key_id="deaddeaddeaddead", secret_sha256=b"1" * 32, user=someone, name="old bot", mode="paper",
        scopes=["orders:read"], created_at=now(), revoked_at=now(), revoke_reason="It leaked.",
    )  # fmt: skip

    def found(client: Client, **given) -> list[str]:
        return [row.name for row in client.get("/admin/keys/", given).context["keys"]]

    for client in (console, officer):
        assert found(client, email=someone.email) == ["old bot", "night bot"]
        assert found(client, key=dead.key_id) == ["old bot"]
        assert found(client, standing="live") == ["night bot"]
        assert found(client, standing="over") == ["old bot"]
        assert found(client, email="nobody@nexus.example") == []
    page = text(console.get("/admin/keys/"))
    assert page.count("Revoke…") == 1
    assert not [words for words in SEED_AND_HASH if words in page]
    assert "Revoke…" not in text(officer.get("/admin/keys/"))


def test_of_two_who_revoke_a_key_at_once_one_wins_and_the_other_is_told(console, other_console, key, new_events):
    path = f"/admin/keys/{key.public_id}/revoke/"
    version = seen(console, path)
    people = (console, other_console)

    answers = together(2, lambda n: confirm(people[n], path, version=version).status_code)

    assert sorted(answers) == [302, 409]
    assert [each.action for each in new_events()].count("accounts.api_key.revoked") == 1
    assert "It is revoked already" in text(console.get(path))


def test_a_page_of_one_user_takes_as_many_statements_however_much_there_is(console, someone):
    def statements() -> int:
        console.get(at(someone))
        with CaptureQueriesContext(connection) as asked:
            assert console.get(at(someone)).status_code == 200
        return len(asked)

    few = statements()
    for number in range(15):
        ApiKey.objects.create(
            key_id=f"{number:016d}", secret_sha256=b"0" * 32, user=someone, name="bot", mode="paper",
            scopes=["orders:read"], created_at=now(),
        )  # fmt: skip
        TradingAccount.objects.create(
            user=someone, name="Main", venue="mt5", venue_account=f"{number}", server="Demo", currency="USD",
            mode="HEDGING", created_at=now(),
        )  # fmt: skip
        ApiClient().login(someone)
        trail.record_denied(action="access.denied", actor=Actor.user(someone.public_id), target=Target("order", "x"))
    assert statements() == few


def test_compliance_changes_nobody(officer, someone, key):
    for path in (
        "/admin/users/new/", at(someone, "role/"), at(someone, "deactivate/"), at(someone, "end-sessions/"),
        f"/admin/keys/{key.public_id}/revoke/",
    ):  # fmt: skip
        assert officer.get(path).status_code == 403, path
        assert confirm(officer, path, version="x", role="OPERATOR").status_code == 403, path
