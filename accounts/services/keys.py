"""API keys: what a bot shows instead of a password. Shown once, kept as a hash, narrowed and never widened."""

import hashlib
import hmac
import ipaddress
import re
import secrets
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection, transaction

from accounts import selectors
from accounts.models import ApiKey, User
from accounts.rules import MATRIX as RULES
from accounts.rules import Action, Reach
from accounts.services import key_refusals, notices, standing
from accounts.services.tokens import TokenInvalid
from accounts.states import KeyMode, NoticeKind, Role, Scope
from accounts.types import KeyPrincipal, NewKey, Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import statements
from nexus.core.errors import Conflict, Denied, FieldError, Invalid, NotFound, Unavailable
from nexus.core.http import TooManyRequests
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey

PREFIX = "nxk_"
KEYS_MAX = 10
A_DAY, CREATED_A_DAY_MAX = timedelta(days=1), 10  # of one person, rotated ones too: security reference §12
LIVE_LIFETIME_MAX = timedelta(days=90)
OVERLAP_MAX = timedelta(hours=24)
USED_NOTED_EVERY = timedelta(minutes=1)
NETWORKS_MAX = 20
WIDEST = {4: 24, 6: 48}  # bits

_FORM = re.compile(r"nxk_(live|paper)_([A-Za-z0-9]{16})_([A-Za-z0-9_-]{43})([A-Za-z0-9]{6})")
_ALPHABET = string.digits + string.ascii_letters
_OWNERS = frozenset({Role.TRADER, Role.BOT})
_NOBODY = bytes(32)


class AddressNotAllowed(Denied):
    """The key may not come from there."""

    code = "ip_not_allowed"
    title = "This key may not be used from this address"


class TooManyKeys(Conflict):
    """Somebody has as many keys as anybody may have."""

    code = "too_many_api_keys"
    title = "There are too many API keys"


class KeyWidened(Conflict):
    """An edit would let the key do more."""

    code = "api_key_widened"
    title = "A key can only be narrowed"


@dataclass(frozen=True, slots=True)
class Made:
    """A key and its text, which is empty when the request was a repetition: it is shown once."""

    key: ApiKey
    text: str = ""


def identify(*, text: str, ip: str | None, at: datetime) -> tuple[User, KeyPrincipal]:
    """Find whose key this is, in one indexed query. Unknown, wrong, expired and revoked look the same.

    Raises: TokenInvalid; AddressNotAllowed, after it was kept and people were told; Unavailable.
    """
    parts = _FORM.fullmatch(text)
    if parts is None or _checksum(text[:-6]) != parts[4]:
        raise TokenInvalid
    mode, key_id, secret = parts[1], parts[2], parts[3]
    try:
        found = statements.pairs(
            ApiKey,
            User,
            "SELECT {columns} FROM api_key JOIN users ON users.id = api_key.user_id WHERE key_id = %s",
            [key_id],
        )
    except (OperationalError, InterfaceError) as exc:
        raise Unavailable(
            "Who you are cannot be checked now. Nothing was executed.", headers={"Retry-After": "1"}
        ) from exc
    key, user, _ = found[0] if found else (None, None, ())
    known = _NOBODY if key is None else bytes(key.secret_sha256)
    is_right = hmac.compare_digest(known, hashlib.sha256(secret.encode()).digest())
    if key is None or user is None:
        raise TokenInvalid
    if not is_right or not _holds(key, user, mode=mode, at=at):
        key_refusals.note_failure(key, user, is_right=is_right, ip=ip)
        raise TokenInvalid
    if key.networks and not _is_inside(ip, tuple(key.networks)):
        key_refusals.note_address(key, user, ip=ip, at=at)
        raise AddressNotAllowed("This key may not be used from this address.")
    _note_use(key, at=at)
    return user, KeyPrincipal(
        pk=user.pk, public_id=user.public_id, role=Role.BOT.value, key_id=key.public_id, mode=KeyMode(key.mode),
        scopes=frozenset(key.scopes),
    )  # fmt: skip


def create(*, new: NewKey, request: RequestKey, by: Principal, at: datetime) -> Made:
    """Make a key. Repeating the request shows it again without its text.

    Raises: TooManyKeys, TooManyRequests, Invalid, records.KeyMismatch, records.KeyInProgress.
    """
    check(new, at=at)
    return _create(new=new, request=request, by=by, at=at)


@transaction.atomic(durable=True)
def _create(*, new: NewKey, request: RequestKey, by: Principal, at: datetime) -> Made:
    own = UUID(bytes=secrets.token_bytes(16), version=4)
    made = records.claim(request, object_type="api_key", object_id=str(own), at=at)
    if made is not None:
        return Made(ApiKey.objects.get(public_id=UUID(made)))
    records.close(object_id=str(own), at=at)
    owner = standing.locked(by)  # one creation at a time counts this owner's keys
    _make_room(owner, at=at)
    return _store(new, owner=owner, public_id=own, rotated_from=None, actor=Actor.user(by.public_id), at=at)


@transaction.atomic(durable=True)
def rotate(*, public_id: UUID, overlap: timedelta, request: RequestKey, by: Principal, at: datetime) -> Made:
    """Make a key like another one, which ends after the overlap. Raises: NotFound, as `create`."""
    own = UUID(bytes=secrets.token_bytes(16), version=4)
    made = records.claim(request, object_type="api_key", object_id=str(own), at=at)
    if made is not None:
        return Made(ApiKey.objects.get(public_id=UUID(made)))
    records.close(object_id=str(own), at=at)
    owner = standing.locked(by)
    old = _live(public_id, by=by, at=at)
    if not timedelta(0) <= overlap <= OVERLAP_MAX:
        raise Invalid(
            "Keys overlap for 24 hours at most.", errors=[FieldError("/overlap_s", "too_long", "at most a day")]
        )
    _make_room(owner, at=at)
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    new = NewKey(
        name=old.name, mode=KeyMode(old.mode), scopes=tuple(old.scopes), networks=tuple(old.networks),
        expires_at=None if lifetime is None else at + min(lifetime, LIVE_LIFETIME_MAX),
    )  # fmt: skip
    before, ends = _plain(old), at + overlap
    old.expires_at = ends if old.expires_at is None else min(old.expires_at, ends)
    old.save(update_fields=["expires_at"])
    actor, change = Actor.user(by.public_id), {"before": before, "after": _plain(old)}
    _tell("accounts.api_key.rotated", old, actor=actor, detail={**change, "successor": own})
    return _store(new, owner=owner, public_id=own, rotated_from=old, actor=actor, at=at)


@transaction.atomic(durable=True)
def narrow(*, public_id: UUID, changes: dict[str, Any], by: Principal, at: datetime) -> ApiKey:
    """Take something away from a key. Raises: KeyWidened, NotFound, Invalid."""
    key = _live(public_id, by=by, at=at)
    before, networks_before = _plain(key), list(key.networks)
    scopes, networks, expires_at = check_narrower(key, changes)
    key.scopes, key.networks, key.expires_at = sorted(set(scopes)), list(networks), expires_at
    key.name = changes.get("name", key.name)
    key.save(update_fields=["scopes", "networks", "expires_at", "name"])
    _tell(
        "accounts.api_key.narrowed",
        key,
        actor=Actor.user(by.public_id),
        detail={"before": before, "after": _plain(key)},
        addresses={"networks": {"before": networks_before, "after": list(key.networks)}},
    )
    return key


def check_narrower(key: ApiKey, changes: dict[str, Any]) -> tuple[Sequence[str], Sequence[str], datetime | None]:
    """Return the scopes, networks and end that are left of a key. Raises: KeyWidened, Invalid."""
    scopes = changes.get("scopes", key.scopes)
    networks = changes.get("networks", key.networks)
    expires_at = changes.get("expires_at", key.expires_at)
    _check_networks(networks)
    if not scopes or not set(scopes) <= set(key.scopes):
        raise KeyWidened("Scopes can only be taken away. Make a new key for more.")
    if key.networks and not (networks and all(_is_within(each, key.networks) for each in networks)):
        raise KeyWidened("Addresses can only be taken away. Make a new key for others.")
    if key.expires_at is not None and (expires_at is None or expires_at > key.expires_at):
        raise KeyWidened("A key can only end earlier. Make a new key to go on.")
    return scopes, networks, expires_at


def own(*, public_id: UUID, by: Principal, at: datetime) -> ApiKey:
    """Return a key of one's own that can be used. Raises: NotFound."""
    key: ApiKey | None = ApiKey.objects.live(at=at).filter(public_id=public_id, user_id=by.pk).first()
    if key is None:
        raise NotFound("You have no such key.")
    return key


@transaction.atomic(durable=True)
def revoke(*, public_id: UUID, reason: str, by: Principal, at: datetime) -> ApiKey:
    """End a key at once. Safe to repeat. Raises: NotFound."""
    key: ApiKey | None = _of(by, action=Action.KEY_REVOKE).locked().filter(public_id=public_id).first()
    if key is None:
        raise NotFound("You have no such key.")
    if key.revoked_at is None:
        key.revoked_at, key.revoke_reason = at, reason
        key.save(update_fields=["revoked_at", "revoke_reason"])
        _tell("accounts.api_key.revoked", key, actor=Actor.user(by.public_id), detail={"reason": reason})
    return key


def page(*, by: Principal, limit: int, before: UUID | None = None) -> tuple[list[ApiKey], UUID | None]:
    """List the keys a person may see, the newest first."""
    return selectors.page_of(_of(by, action=Action.KEY_READ).order_by("-pk"), limit=limit, before=before)


def _of(by: Principal, *, action: Action) -> Any:
    rows = ApiKey.objects.select_related("user")
    return rows if RULES[action].reach(by.role) is Reach.ALL else rows.filter(user_id=by.pk)


def _live(public_id: UUID, *, by: Principal, at: datetime) -> ApiKey:
    key = ApiKey.objects.live(at=at).locked().filter(public_id=public_id, user_id=by.pk).first()
    if key is None:
        raise NotFound("You have no such key.")
    return key


def _make_room(owner: User, *, at: datetime) -> None:
    mine = ApiKey.objects.filter(user=owner)
    if mine.live(at=at).count() >= KEYS_MAX:
        raise TooManyKeys(f"You have {KEYS_MAX} keys, and more are not allowed. Revoke one first.")
    recent = mine.filter(created_at__gt=at - A_DAY).order_by("-created_at").values_list("created_at", flat=True)
    oldest = recent[CREATED_A_DAY_MAX - 1 : CREATED_A_DAY_MAX].first()
    if oldest is not None:
        wait = min(oldest + A_DAY - at, A_DAY)  # of those who ask at once, one may have begun before another's was made
        raise TooManyRequests.until(
            f"At most {CREATED_A_DAY_MAX} keys are made in a day.",
            policy="api_keys", most=CREATED_A_DAY_MAX, window=A_DAY, wait=wait,
        )  # fmt: skip


def _store(
    new: NewKey, *, owner: User, public_id: UUID, rotated_from: ApiKey | None, actor: Actor, at: datetime
) -> Made:
    assert connection.in_atomic_block
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(16))
    secret = secrets.token_urlsafe(32)
    key = ApiKey.objects.create(
        public_id=public_id,
        key_id=key_id,
        secret_sha256=hashlib.sha256(secret.encode()).digest(),
        user=owner,
        name=new.name,
        mode=new.mode,
        scopes=sorted(set(new.scopes)),
        networks=list(new.networks),
        created_at=at,
        expires_at=new.expires_at,
        rotated_from=rotated_from,
    )
    came_from = {} if rotated_from is None else {"rotated_from": rotated_from.public_id}
    addresses = {"networks": list(key.networks)} if key.networks else None
    _tell("accounts.api_key.created", key, actor=actor, detail={"after": _plain(key), **came_from}, addresses=addresses)
    notices.tell(user_id=owner.pk, kind=NoticeKind.API_KEY_CREATED, at=at, detail=f"Key: {key.name} ({key.mode})")
    text = f"{PREFIX}{new.mode.value}_{key_id}_{secret}"
    return Made(key, text + _checksum(text))


def check(new: NewKey, *, at: datetime) -> None:
    """Refuse what no key may be: a door asks before it uses up a code. Raises: Invalid."""
    _check_networks(new.networks)
    faults = []
    if new.expires_at is not None and new.expires_at <= at:
        faults.append(FieldError("/expires_at", "past", "must be in the future"))
    if Scope.ORDERS_WRITE_LIVE in new.scopes:
        if new.mode is not KeyMode.LIVE:
            faults.append(FieldError("/scopes", "mode", "a paper key cannot trade with money"))
        if not new.networks:
            faults.append(FieldError("/networks", "required", "name the addresses that it may come from"))
        if new.expires_at is None or new.expires_at > at + LIVE_LIFETIME_MAX:
            faults.append(FieldError("/expires_at", "too_late", "90 days from now at the latest"))
    if faults:
        raise Invalid(f"{faults[0].pointer[1:]}: {faults[0].detail}.", errors=faults)


def _check_networks(networks: Sequence[str]) -> None:
    for index, text in enumerate(networks):
        try:
            network = ipaddress.ip_network(text)
        except ValueError as exc:
            detail = "not a network such as 203.0.113.0/24"
            raise Invalid(
                "A network is not valid.", errors=[FieldError(f"/networks/{index}", "invalid", detail)]
            ) from exc
        if network.prefixlen < WIDEST[network.version]:
            detail = f"no wider than /{WIDEST[network.version]}"
            raise Invalid("A network is too wide.", errors=[FieldError(f"/networks/{index}", "too_wide", detail)])


def _holds(key: ApiKey, user: User, *, mode: str, at: datetime) -> bool:
    is_live = key.revoked_at is None and (key.expires_at is None or key.expires_at > at)
    return is_live and key.mode == mode and user.is_active and user.role in _OWNERS


@lru_cache(maxsize=256)
def _networks(texts: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def _is_inside(ip: str | None, texts: tuple[str, ...]) -> bool:
    if ip is None:
        return False
    address = ipaddress.ip_address(ip)
    return any(address in network for network in _networks(texts))


def _is_within(text: str, olds: Sequence[str]) -> bool:
    network: Any = ipaddress.ip_network(text)
    return any(network.version == old.version and network.subnet_of(old) for old in _networks(tuple(olds)))


def _note_use(key: ApiKey, *, at: datetime) -> None:
    """Keep when the key was used last, at most once a minute."""
    if key.last_used_at is not None and at - key.last_used_at < USED_NOTED_EVERY:
        return
    statements.fetch(
        "UPDATE api_key SET last_used_at = %(at)s WHERE id = %(key)s"
        " AND (last_used_at IS NULL OR last_used_at <= %(at)s - interval '1 minute') RETURNING 1",
        {"at": at, "key": key.pk},
    )


def _plain(key: ApiKey) -> dict[str, Any]:
    return {
        "owner": key.user.public_id, "name": key.name, "mode": key.mode, "scopes": list(key.scopes),
        "networks": len(key.networks), "expires_at": key.expires_at,
    }  # fmt: skip


def _tell(
    action: str, key: ApiKey, *, actor: Actor, detail: dict[str, Any], addresses: dict[str, Any] | None = None
) -> None:
    """Keep what was done to a key. Takes: `addresses`, which say where somebody is, and may have to be erased."""
    target = Target("api_key", str(key.public_id))
    trail.record(action=action, actor=actor, target=target, detail=detail, pii=addresses)


def _checksum(text: str) -> str:
    """Return six characters by which a mistyped key, or one found by a scanner, is told from noise."""
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, rest = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[rest] + digits
    return digits
