"""What a token must be to be believed."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings
from django.db import OperationalError

from accounts import selectors
from accounts.models import RevokedToken
from accounts.services import tokens
from accounts.states import TokenType

pytestmark = pytest.mark.django_db


def _claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def _signed(claims: dict[str, Any], *, key: str | None = None, algorithm: str = "HS256", **kwargs) -> str:
    return jwt.encode(claims, key or settings.JWT_SIGNING_KEYS[0], algorithm=algorithm, **kwargs)


def _status(api: Any, token: str) -> Any:
    api.tokens = {"access_token": token}
    return api.get("/auth/profile").status_code


def test_the_claims_are_exactly_these(user, api):
    claims = _claims(api.tokens["access_token"])

    assert set(claims) == {
        "iss", "aud", "sub", "exp", "iat", "jti", "token_type", "sid", "tv", "auth_time", "amr",
    }  # fmt: skip
    assert (claims["sub"], claims["aud"], claims["token_type"]) == (str(user.public_id), "nexus-api", "access")
    assert len(base64.urlsafe_b64decode(claims["jti"])) == 24
    assert claims["exp"] - claims["iat"] == 900


def test_a_token_signed_as_ours_is_believed(api):
    assert _status(api, _signed(_claims(api.tokens["access_token"]))) == 200


@pytest.mark.threat(9)
@pytest.mark.parametrize(
    "change",
    [
        {"aud": "other"},
        {"iss": "other"},
        {"token_type": "refresh"},
        {"exp": 1},
        {"exp": "9999999999"},
        {"exp": 10**30},
        {"iat": 9999999999},
        {"tv": 2},
        {"tv": "1"},
        {"tv": True},
        {"sub": "1"},
        {"sid": "00000000-0000-0000-0000-000000000000"},
        {"sid": 5},
        {"jti": ""},
        {"jti": 5},
        {"amr": "pwd"},
        {"auth_time": None},
    ],
)
def test_a_wrong_claim_is_a_401(api, change):
    assert _status(api, _signed({**_claims(api.tokens["access_token"]), **change})) == 401


@pytest.mark.threat(9)
@pytest.mark.parametrize(
    "name", ["iss", "aud", "sub", "exp", "iat", "jti", "token_type", "sid", "tv", "auth_time", "amr"]
)
def test_a_missing_claim_is_a_401(api, name):
    claims = _claims(api.tokens["access_token"])
    del claims[name]

    assert _status(api, _signed(claims)) == 401


@pytest.mark.threat(9)
def test_another_key_algorithm_or_type_is_a_401(api):
    claims = _claims(api.tokens["access_token"])
    unsigned = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "none", "typ": "JWT"}, claims)
    )

    assert _status(api, _signed(claims, key="k" * 80)) == 401
    assert _status(api, _signed(claims, algorithm="HS512")) == 401
    assert _status(api, unsigned + ".") == 401
    assert _status(api, _signed(claims, key="k" * 80, headers={"jku": "https://evil.example/keys"})) == 401


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "é", "..", "x" * 9000])
def test_nonsense_is_a_401(anonymous, text):
    response = anonymous.get("/auth/profile", authorization=f"Bearer {text}")

    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.threat(9)
def test_a_refresh_token_opens_no_door_and_an_access_token_refreshes_nothing(api):
    refreshed = api.post("/auth/refresh", {"refresh_token": api.tokens["access_token"]})

    assert refreshed.status_code == 401
    assert _status(api, api.tokens["refresh_token"]) == 401


@pytest.mark.threat(8)
@pytest.mark.parametrize("padding", ["", "=", "=="])
def test_a_revoked_token_stays_revoked_however_it_is_written(user, api, padding):
    token = api.tokens["access_token"]
    RevokedToken.objects.create(
        jti_hash=hashlib.sha256(_claims(token)["jti"].encode()).digest(),
        token_type=TokenType.ACCESS,
        user_id=user.pk,
        expires_at=datetime.now(tz=UTC),
        reason="LOGOUT",
    )

    assert _status(api, token + padding) == 401


def test_an_older_key_still_verifies_and_the_first_one_signs(api, settings):
    old = settings.JWT_SIGNING_KEYS[0]
    settings.JWT_SIGNING_KEYS = ["n" * 80, old]

    assert api.get("/auth/profile").status_code == 200
    fresh = api.post("/auth/refresh", {"refresh_token": api.tokens["refresh_token"]}).json()["access_token"]
    assert jwt.decode(fresh, "n" * 80, algorithms=["HS256"], audience="nexus-api")

    settings.JWT_SIGNING_KEYS = ["n" * 80]
    assert _status(api, api.tokens["access_token"]) == 401
    assert _status(api, fresh) == 200


def test_a_token_ends_at_its_second_without_leeway(user):
    at = datetime(2026, 1, 5, 12, tzinfo=UTC)
    issued = tokens.issue(
        token_type=TokenType.ACCESS,
        user_public_id=user.public_id,
        token_version=1,
        family_id=user.public_id,
        authenticated_at=at,
        methods=("pwd",),
        at=at,
        expires_at=at + timedelta(minutes=15),
    )
    last = at + timedelta(minutes=15, microseconds=-1)

    assert tokens.read(issued.text, token_type=TokenType.ACCESS, at=last).methods == ("pwd",)
    with pytest.raises(tokens.TokenInvalid):
        tokens.read(issued.text, token_type=TokenType.ACCESS, at=at + timedelta(minutes=15))


def test_the_check_is_one_query_and_the_count_of_reads_another(api, django_assert_num_queries):
    with django_assert_num_queries(2) as run:
        assert api.get("/auth/profile").status_code == 200

    assert ["request_rate" in query["sql"] for query in run.captured_queries] == [False, True]


def test_a_database_that_is_down_is_a_503_and_never_a_yes(api, monkeypatch):
    def down(*_args, **_kwargs):
        raise OperationalError("connection refused at 10.0.0.1")

    monkeypatch.setattr(selectors, "user_of", down)

    response = api.get("/auth/profile")

    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response["Retry-After"] == "1"
    assert "10.0.0.1" not in response.content.decode()
