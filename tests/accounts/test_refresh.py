"""Refresh tokens: used once, and a second use ends the session."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import RevokedToken, TokenFamily, User
from accounts.services import sessions, tokens
from accounts.states import RevokeReason
from accounts.types import ClientInfo
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, UserFactory
from tests.threads import together


def _refresh(token: str) -> Any:
    return ApiClient().post("/auth/refresh", {"refresh_token": token})


@pytest.mark.django_db
def test_a_refresh_hands_out_a_new_pair(api):
    response = _refresh(api.tokens["refresh_token"])

    fresh = ApiClient()
    fresh.tokens = response.json()
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    assert fresh.get("/auth/profile").status_code == 200
    assert RevokedToken.objects.get().reason == RevokeReason.ROTATED


@pytest.mark.threat(6)
@pytest.mark.django_db
@pytest.mark.parametrize("padding", ["", "="])
def test_a_second_use_ends_the_session_however_the_token_is_written(api, new_events, padding):
    winner = ApiClient()
    winner.tokens = _refresh(api.tokens["refresh_token"]).json()

    response = _refresh(api.tokens["refresh_token"] + padding)

    assert (response.status_code, response.json()["code"]) == (401, "token_reused")
    assert TokenFamily.objects.get().revoke_reason == RevokeReason.REFRESH_REUSE
    assert winner.get("/auth/profile").status_code == 401
    assert api.get("/auth/profile").status_code == 401
    assert _refresh(winner.tokens["refresh_token"]).json()["code"] == "token_invalid"
    assert [event.action for event in new_events()].count("auth.refresh.reuse_detected") == 1


@pytest.mark.threat(7)
@pytest.mark.django_db(transaction=True)
def test_of_twenty_at_once_one_wins_and_loses_it_again(new_events):
    user = UserFactory.create()
    token = ApiClient().login(user).tokens["refresh_token"]

    responses = together(20, lambda _: _refresh(token))

    statuses = sorted(response.status_code for response in responses)
    winner = ApiClient()
    winner.tokens = next(response.json() for response in responses if response.status_code == 200)
    assert statuses == [200] + [401] * 19
    assert winner.get("/auth/profile").status_code == 401
    assert _refresh(winner.tokens["refresh_token"]).status_code == 401
    assert TokenFamily.objects.get().revoke_reason == RevokeReason.REFRESH_REUSE
    assert [event.action for event in new_events()].count("auth.refresh.succeeded") == 1
    assert [event.action for event in new_events()].count("auth.refresh.reuse_detected") == 19


@pytest.mark.django_db(transaction=True)
def test_five_logins_at_once_beside_four_sessions_leave_five_sessions():
    user = UserFactory.create()
    for _ in range(4):
        ApiClient().login(user)

    together(5, lambda _: ApiClient().login(user))  # a sixth at once would be an attempt too many

    assert TokenFamily.objects.count() == 9
    assert TokenFamily.objects.live(at=timezone.now()).count() == 5


@pytest.mark.threat(10)
@pytest.mark.django_db
@pytest.mark.parametrize("change", [{"is_active": False}, {"token_version": 2}])
def test_a_changed_account_gets_no_new_tokens(user, api, change):
    User.objects.filter(pk=user.pk).update(**change)

    assert _refresh(api.tokens["refresh_token"]).status_code == 401
    assert api.get("/auth/profile").status_code == 401


@pytest.mark.django_db
def test_a_deleted_account_is_a_401(user, api):
    user.delete()

    assert _refresh(api.tokens["refresh_token"]).status_code == 401
    assert api.get("/auth/profile").status_code == 401


@pytest.mark.django_db
def test_a_session_never_outlives_its_family(user):
    start = timezone.now()
    pair = sessions.login(request=HttpRequest(), email=user.email, password=PASSWORD, client=ClientInfo(), at=start)
    family = TokenFamily.objects.get()

    for hours in (11, 22):
        pair = sessions.refresh(token=pair.refresh_token, client=ClientInfo(), at=start + timedelta(hours=hours))

    family.refresh_from_db()
    assert family.absolute_expires_at == start + timedelta(hours=24)
    assert pair.refresh_expires_at == family.absolute_expires_at
    with pytest.raises(tokens.TokenInvalid):
        sessions.refresh(token=pair.refresh_token, client=ClientInfo(), at=start + timedelta(hours=24))


@pytest.mark.threat(27)
@pytest.mark.django_db(transaction=True)
def test_of_40_refreshes_of_a_session_within_a_minute_30_are_looked_at(user, api):
    token = api.tokens["refresh_token"]
    other = ApiClient().login(user)

    answers = Counter(together(40, lambda _: _refresh(token).status_code))

    assert answers == {200: 1, 401: 29, 429: 10}
    assert int(_refresh(token)["Retry-After"]) <= 60
    assert _refresh(other.tokens["refresh_token"]).status_code == 200
