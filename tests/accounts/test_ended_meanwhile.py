"""A request that began before all sessions ended makes nothing that outlives them."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import RequestFactory
from django.utils.timezone import now

from accounts.models import ApiKey, RecoveryCode, TokenFamily, TotpDevice, User
from accounts.services import keys, passwords, second_factor, sessions, tokens
from accounts.services.tokens import TokenInvalid
from accounts.states import KeyMode, RevokeReason, TokenType
from accounts.types import Claims, ClientInfo, NewKey
from nexus.audit.types import Actor
from nexus.idempotency.models import IdempotencyRecord
from nexus.idempotency.services.records import RequestKey
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD
from tests.factories.second_factor import code_at, enrolled, fresh_code

pytestmark = pytest.mark.django_db

NEW = NewKey(name="Bot", mode=KeyMode.PAPER, scopes=("orders:read",), networks=(), expires_at=None)
HERE = ClientInfo()


def revoke_all(user: User) -> None:
    sessions.revoke_all(user_id=user.pk, actor=Actor.user(user.public_id), client=HERE, at=now())


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def claims_of(client: ApiClient) -> Claims:
    return tokens.read(client.tokens["access_token"], token_type=TokenType.ACCESS, at=now())


def proof(user: User) -> dict[str, Any]:
    request = RequestFactory().post("/")
    return {"request": request, "user": user, "client": HERE, "at": now()}


@pytest.mark.parametrize("end", [revoke_all, deactivate])
def test_no_key_is_made(user, end: Callable[[User], None]):
    end(user)
    request = RequestKey(principal=str(user.public_id), account="", key=uuid.uuid4().hex, fingerprint=bytes(32))

    with pytest.raises(TokenInvalid):
        keys.create(new=NEW, request=request, by=user, at=now())

    assert not ApiKey.objects.exists()
    assert not IdempotencyRecord.objects.exists()


def test_no_device_is_taken_into_use(user, api, new_events):
    begun = second_factor.prepare(user=user, at=now())
    revoke_all(user)

    with pytest.raises(TokenInvalid):
        second_factor.confirm(user=user, code=code_at(begun.secret), claims=claims_of(api), client=HERE, at=now())

    assert not TotpDevice.objects.filter(confirmed=True).exists()
    assert not TokenFamily.objects.live(at=now()).exists()


def test_no_device_is_removed_and_no_recovery_code_made(user, api):
    enrolled(user)
    revoke_all(user)

    for change in (lambda **given: second_factor.remove(**given, claims=claims_of(api)),
                   second_factor.renew_recovery_codes):  # fmt: skip
        with pytest.raises(TokenInvalid):
            change(**proof(user), password=PASSWORD, code=fresh_code(user))

    assert TotpDevice.objects.filter(user=user, confirmed=True).exists()
    assert not RecoveryCode.objects.exists()
    assert not TokenFamily.objects.live(at=now()).exists()


@pytest.mark.parametrize("is_all", [True, False], ids=["all", "this one"])
def test_no_password_is_changed_and_no_session_comes_back(user, api, is_all):
    claims = claims_of(api)
    if is_all:
        revoke_all(user)
    else:
        TokenFamily.objects.filter(pk=claims.family_id).update(revoked_at=now(), revoke_reason=RevokeReason.LOGOUT)

    with pytest.raises(TokenInvalid):
        passwords.change(**proof(user), old=PASSWORD, new="quite another one 77", code="", claims=claims)

    assert User.objects.get(pk=user.pk).check_password(PASSWORD)
    assert not TokenFamily.objects.live(at=now()).exists()
