"""What crosses this app's border: who calls, from where, with which token."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from accounts.states import KeyMode, TokenType


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Where a request came from. Personal data: it goes to sessions and to the audit's `pii`, nowhere else."""

    ip: str | None = None
    user_agent: str = ""

    def as_pii(self) -> dict[str, str]:
        """Return what is known, for the audit."""
        return {name: held for name, held in (("ip", self.ip), ("user_agent", self.user_agent)) if held}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. It never says a role: that is read from the database on each request."""

    user_public_id: UUID
    family_id: UUID
    token_type: TokenType
    jti_hash: bytes
    token_version: int
    issued_at: datetime
    expires_at: datetime
    authenticated_at: datetime
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a login or a refresh hands out, once."""

    access_token: str
    refresh_token: str
    access_expires_at: datetime
    refresh_expires_at: datetime
    expires_in_s: int


@dataclass(frozen=True, slots=True)
class NewKey:
    """What an API key shall be."""

    name: str
    mode: KeyMode
    scopes: tuple[str, ...]
    networks: tuple[str, ...]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class KeyPrincipal:
    """Whom an API key speaks for: its owner, as a bot, within the key's mode and scopes."""

    pk: int
    public_id: UUID
    role: str
    key_id: UUID
    mode: KeyMode
    scopes: frozenset[str]
    is_authenticated: bool = True
    is_active: bool = True

    @property
    def is_paper_only(self) -> bool:
        """Tell whether this reaches no live venue."""
        return self.mode is KeyMode.PAPER


class Principal(Protocol):
    """Whom a request speaks for, as the apps above need to know them."""

    @property
    def pk(self) -> int:
        """The key that tables name."""
        ...

    @property
    def public_id(self) -> UUID:
        """The id that the outside knows."""
        ...

    @property
    def role(self) -> str:
        """What the account is for."""
        ...

    @property
    def is_paper_only(self) -> bool:
        """Tell whether this reaches no live venue."""
        ...
