"""Write and read tokens. A codec: it knows keys and claims, and asks no database."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import jwt
from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend

from accounts.states import TokenType
from accounts.types import Claims
from nexus.core.errors import Unauthenticated

AUDIENCE = "nexus-api"
LEEWAY = timedelta(seconds=5)

_JTI_SIZE = 24  # bytes: 192 random bits
_TOKEN_LENGTH_MAX = 4096
_VERIFIED_MAX = 4096  # tokens whose claims a process remembers
_REQUIRED = ("iss", "aud", "sub", "exp", "iat", "jti", "token_type", "sid", "tv", "auth_time", "amr")


class TokenInvalid(Unauthenticated):
    """The token is not ours, not of this kind, expired or revoked: from outside these look the same.

    Keeps, for whoever counts refusals, the session of a token that we did sign.
    """

    code = "token_invalid"
    title = "The token is not valid"

    def __init__(self, family_id: UUID | None = None) -> None:
        super().__init__("The token is not valid or no longer valid.")
        self.family_id = family_id
        self.headers["WWW-Authenticate"] = 'Bearer realm="nexus", error="invalid_token"'


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token's text, and what the deny list needs to know of it."""

    text: str
    expires_at: datetime


class KeyRing(TokenBackend):
    """Simple JWT's codec with a list of keys: the first signs, all verify, one algorithm is allowed."""

    def __init__(self, *, algorithm: str, keys: tuple[str, ...], issuer: str) -> None:
        super().__init__(algorithm, signing_key=keys[0], audience=AUDIENCE, issuer=issuer)
        self.keys = keys
        self.verified: dict[bytes, Claims] = {}

    def read(self, text: str) -> Claims:
        """Return what a token says, verified once: the signature of the same text by the same keys stays as it is.

        Raises: as `decode` and `_typed`.
        """
        digest = hashlib.sha256(text.encode()).digest()  # no token is kept
        claims = self.verified.get(digest)
        if claims is None:
            claims = _typed(self.decode(text))
            if len(self.verified) >= _VERIFIED_MAX:
                self.verified.clear()
            self.verified[digest] = claims
        return claims

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002 — the parent's words
        """Return the claims of a token that one of our keys signed. Times are checked by the caller, who has a clock.

        Raises: jwt.InvalidTokenError.
        """
        error: jwt.InvalidTokenError = jwt.InvalidSignatureError("no key")
        for key in self.keys:
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[self.algorithm],
                    audience=self.audience,
                    issuer=self.issuer,
                    options={"require": list(_REQUIRED), "verify_exp": False, "verify_iat": False},
                )
            except jwt.InvalidSignatureError as exc:
                error = exc
        raise error


def issue(
    *,
    token_type: TokenType,
    user_public_id: UUID,
    token_version: int,
    family_id: UUID,
    authenticated_at: datetime,
    methods: tuple[str, ...],
    at: datetime,
    expires_at: datetime,
) -> IssuedToken:
    """Sign a new token. Its `jti` is 192 random bits that are kept nowhere."""
    text = _ring().encode(
        {
            "sub": str(user_public_id),
            "exp": int(expires_at.timestamp()),
            "iat": int(at.timestamp()),
            "jti": secrets.token_urlsafe(_JTI_SIZE),
            "token_type": token_type.value.lower(),
            "sid": str(family_id),
            "tv": token_version,
            "auth_time": int(authenticated_at.timestamp()),
            "amr": list(methods),
        }
    )
    return IssuedToken(text=str(text), expires_at=expires_at)


def read(text: str, *, token_type: TokenType, at: datetime) -> Claims:
    """Return what a token of this kind says, once its signature, issuer, audience and times are checked.

    Raises: TokenInvalid.
    """
    if len(text) > _TOKEN_LENGTH_MAX:
        raise TokenInvalid
    try:
        claims = _ring().read(text)
    except (jwt.InvalidTokenError, ValueError, TypeError, KeyError, OverflowError, OSError) as exc:
        raise TokenInvalid from exc
    if claims.token_type != token_type or claims.expires_at <= at or claims.issued_at > at + LEEWAY:
        raise TokenInvalid(claims.family_id)
    return claims


def _typed(payload: dict[str, Any]) -> Claims:
    """Check the kind of every claim. Raises: ValueError, TypeError, KeyError."""
    methods = payload["amr"]
    version = payload["tv"]
    jti = _text(payload["jti"])
    if not (isinstance(methods, list) and all(isinstance(method, str) for method in methods)):
        raise TypeError("amr is a list of texts")
    if not isinstance(version, int) or isinstance(version, bool):
        raise TypeError("tv is a whole number")
    if not jti:
        raise ValueError("jti is empty")
    return Claims(
        user_public_id=UUID(_text(payload["sub"])),
        family_id=UUID(_text(payload["sid"])),
        token_type=TokenType(_text(payload["token_type"]).upper()),
        jti_hash=hashlib.sha256(jti.encode()).digest(),
        token_version=version,
        issued_at=_instant(payload["iat"]),
        expires_at=_instant(payload["exp"]),
        authenticated_at=_instant(payload["auth_time"]),
        methods=tuple(methods),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is required")
    return value


def _instant(seconds: Any) -> datetime:
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise TypeError("a time is a whole number of seconds")
    return datetime.fromtimestamp(seconds, tz=UTC)


def _ring() -> KeyRing:
    return _ring_of(settings.JWT_ALGORITHM, tuple(settings.JWT_SIGNING_KEYS), settings.DEPLOYMENT_ID)


@lru_cache(maxsize=4)
def _ring_of(algorithm: str, keys: tuple[str, ...], issuer: str) -> KeyRing:
    return KeyRing(algorithm=algorithm, keys=keys, issuer=issuer)
