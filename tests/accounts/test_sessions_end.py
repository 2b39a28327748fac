"""Logout, revoke-all, and the purge."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import RevokedToken, TokenFamily, User
from accounts.services import sessions
from accounts.states import RevokeReason, Role
from accounts.tasks import purge_tokens
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.second_factor import fresh_code
from tests.threads import together


@pytest.mark.django_db
@pytest.mark.parametrize("with_refresh", [True, False])
def test_logout_ends_both_tokens(user, api, new_events, with_refresh):
    other = ApiClient().login(user)
    refresh = api.tokens["refresh_token"]

    response = api.post("/auth/logout", {"refresh_token": refresh} if with_refresh else {})

    assert response.status_code == 204
    assert api.get("/auth/profile").status_code == 401
    again = ApiClient().post("/auth/refresh", {"refresh_token": refresh})
    assert (again.status_code, again.json()["code"]) == (401, "token_invalid")
    assert other.get("/auth/profile").status_code == 200
    assert [event.action for event in new_events()].count("auth.logout") == 1
    assert TokenFamily.objects.get(revoked_at__isnull=False).revoke_reason == RevokeReason.LOGOUT


@pytest.mark.django_db
def test_logout_without_a_body_works(api):
    assert api.http.generic("POST", "/api/auth/logout", headers=api._headers({})).status_code == 204
    assert api.get("/auth/profile").status_code == 401


@pytest.mark.django_db
def test_logout_does_not_touch_somebody_elses_refresh_token(api):
    other = ApiClient().login(UserFactory.create())

    api.post("/auth/logout", {"refresh_token": other.tokens["refresh_token"]})

    assert ApiClient().post("/auth/refresh", {"refresh_token": other.tokens["refresh_token"]}).status_code == 200


@pytest.mark.django_db
def test_revoke_all_ends_every_session_and_the_console_too(new_events):
    operator = UserFactory.create(role=Role.OPERATOR)
    console = Client()
    form = {"username": operator.email, "password": PASSWORD, "code": fresh_code(operator)}
    console.post("/admin/login/?next=/admin/", form)
    clients = [ApiClient().login(operator) for _ in range(3)]
    assert console.get("/admin/").status_code == 200

    response = clients[0].post("/auth/revoke-all")

    assert response.json() == {"sessions_ended": 3}
    assert [client.get("/auth/profile").status_code for client in clients] == [401, 401, 401]
    assert console.get("/admin/").status_code == 302
    assert User.objects.get().token_version == 2
    assert ApiClient().login(operator, PASSWORD).get("/auth/profile").status_code == 200
    assert [event.action for event in new_events()].count("auth.sessions.revoked") == 1


@pytest.mark.django_db(transaction=True)
def test_purges_run_beside_each_other_and_keep_what_may_still_matter(monkeypatch):
    monkeypatch.setattr(sessions, "_PURGE_BATCH", 10)
    user, now = UserFactory.create(), timezone.now()
    for hours, count in ((25, 45), (23, 5), (-1, 5)):
        end = now - timedelta(hours=hours)
        RevokedToken.objects.bulk_create(
            RevokedToken(
                jti_hash=f"{hours}-{number}".encode().ljust(32), token_type="ACCESS", user_id=user.pk,
                expires_at=end, revoked_at=now, reason="LOGOUT",
            )
            for number in range(count)
        )  # fmt: skip
        TokenFamily.objects.bulk_create(
            TokenFamily(user=user, created_at=end - timedelta(hours=24), absolute_expires_at=end) for _ in range(count)
        )

    purged = together(4, lambda _: sessions.purge(at=now))
    purge_tokens()

    assert RevokedToken.objects.count() == 10
    assert TokenFamily.objects.count() == 10
    assert sum(each.tokens for each in purged) <= 45
