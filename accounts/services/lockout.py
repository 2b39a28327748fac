"""The lockout of logins: an attempt is charged before its password is hashed, whatever door it comes through.

django-axes calls this: `authenticate()` asks its backend, which asks `GateHandler`. What axes itself keeps of failed
attempts is for people to look at, and decides nothing.
"""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.contrib.auth.signals import user_logged_in
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.models import User, normalized_email
from accounts.services import gates, notices
from accounts.services.gates import Charge, Gate
from accounts.states import NoticeKind
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import statements
from nexus.core.errors import Conflict, Denied, FieldError, Invalid
from nexus.core.http import TooManyRequests, answer, client_ip

QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
PAIR = Gate("pair", 5, QUARTER, QUARTER)
ADDRESS = Gate("ip", 100, QUARTER, QUARTER)
NAME = Gate("user", 50, HOUR, QUARTER)
KNOWN = timedelta(days=30)
NOWHERE = "unknown"

KNOW = """
INSERT INTO login_known_pair AS k (bucket, last_success_at) VALUES (%(bucket)s, clock_timestamp())
ON CONFLICT (bucket) DO UPDATE SET last_success_at = excluded.last_success_at
RETURNING xmax = 0
"""
IS_KNOWN = """
SELECT EXISTS (SELECT FROM login_known_pair WHERE bucket = %(bucket)s AND last_success_at > clock_timestamp() - %(for)s)
"""


class LoginLocked(TooManyRequests):
    """Too many attempts, by this name from there, from there, or by this name from everywhere."""

    code = "login_locked"
    title = "Logins are locked for now"


class NotLocked(Conflict):
    """The lock ran out, or somebody else has opened it."""

    code = "login_not_locked"
    title = "It is not locked any more"


class OwnLock(Denied):
    """Whoever opens their own lock may guess for ever."""

    code = "own_lock"
    title = "Nobody unlocks himself"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to come in: what it was charged to, and for how long it may not be tried."""

    username: str
    charges: tuple[Charge, ...]
    shut: Gate | None = None
    retry_after_s: int = 0

    @property
    def pair(self) -> Charge:
        """Return the charge of the name together with the network."""
        return self.charges[0]


class GateHandler(AxesDatabaseHandler):  # type: ignore[misc]
    """Axes' handler, with our gate in the place of its count."""

    def is_locked(self, request: HttpRequest, credentials: Any = None) -> bool:
        """Charge the attempt, once a request, and tell whether it may not be tried."""
        username = username_of(request, credentials)
        attempt = attempt_of(request)
        if attempt is None or attempt.username != username:
            attempt = begin(username=username, network=network_of(client_ip(request)))
            request.nexus_attempt = attempt  # type: ignore[attr-defined]
        return attempt.shut is not None

    def user_logged_in(self, sender: Any, request: HttpRequest, user: User, **rest: Any) -> None:
        """Give back what a right password was charged."""
        attempt = attempt_of(request)
        if attempt is not None and attempt.username == user.email:
            is_new = succeed(attempt)
            if is_new and getattr(request, "nexus_was_here", False):
                notices.tell(user_id=user.pk, kind=NoticeKind.NEW_ADDRESS, at=timezone.now())
        super().user_logged_in(sender, request, user, **rest)


def begin(*, username: str, network: str) -> Attempt:
    """Charge an attempt, durably. A name is charged by itself only where its owner never came in from: whoever guesses
    from one place cannot lock the owner out everywhere.
    """
    pair = Charge(PAIR, f"{username}|{network}", subject=username)
    charges: tuple[Charge, ...] = (pair, Charge(ADDRESS, network))
    shut = gates.charge(charges)
    if not any(shut.values()) and not _is_known(pair):
        charges = (*charges, Charge(NAME, username, subject=username))
        shut |= gates.charge(charges[-1:])
    for charge in charges:
        if wait := shut[charge.gate.kind]:
            return Attempt(username, charges, shut=charge.gate, retry_after_s=wait)
    return Attempt(username, charges)


def succeed(attempt: Attempt) -> bool:
    """Forget the failures of the pair, give back the rest, and know the pair from now on. True when it is a new one."""
    gates.give_back(attempt.charges, forget=[attempt.pair])
    return bool(statements.fetch_only(KNOW, {"bucket": attempt.pair.bucket})[0])


def remember(request: HttpRequest, user: User) -> None:
    """Note, before Django writes a new time of login, whether somebody has ever come in: a first time is no news."""
    request.nexus_was_here = user.last_login is not None  # type: ignore[attr-defined]


def came_in(request: HttpRequest, user: User) -> None:
    """Tell whoever counts that a login has succeeded. Django's own `login` does this too."""
    user_logged_in.send(sender=User, request=request, user=user)


def refusal(request: HttpRequest) -> LoginLocked | None:
    """Return how a request is refused whose attempt may not be tried, or None."""
    attempt = attempt_of(request)
    if attempt is None or attempt.shut is None:
        return None
    locked = gates.shut(attempt.shut, attempt.retry_after_s, LoginLocked)
    assert isinstance(locked, LoginLocked)
    return locked


def locked_answer(request: HttpRequest, _response: HttpResponse | None, _credentials: Any) -> HttpResponse:
    """Answer a locked login wherever it came from. Axes' middleware asks for it."""
    return answer(refusal(request) or LoginLocked("Too many attempts."))


def unlock(*, email: str, reason: str, actor: Actor, at: datetime, must_be_locked: bool = False) -> int:
    """Let a name try again from everywhere. Returns how many gates were shut.

    Raises: Invalid without a reason; NotLocked, and nothing is done, where it must be locked and is not; OwnLock, after
    it was kept: a stolen session could try codes for ever.
    """
    if not reason.strip():
        raise Invalid("Give a reason.", errors=[FieldError("/reason", "required", "a reason is required")])
    username = normalized_email(email)
    user = User.objects.filter(email=username).first()
    target = Target("user", "" if user is None else str(user.public_id))
    if user is not None and actor == Actor.user(user.public_id):
        trail.record_denied(action="auth.login.unlocked", actor=actor, target=target, detail={"code": OwnLock.code})
        raise OwnLock("This is your own login. Another operator unlocks it.")
    with transaction.atomic(durable=True):
        opened = gates.open_again(subjects=[username])
        _require_locked(opened, must_be_locked=must_be_locked)
        AccessAttempt.objects.filter(username=username).delete()
        trail.record(
            action="auth.login.unlocked",
            actor=actor,
            target=target,
            detail={"reason": reason, "gates_opened": opened},
            pii={"email": username},
            occurred_at=at,
        )
    return opened


def unlock_address(*, ip: str, reason: str, actor: Actor, at: datetime, must_be_locked: bool = False) -> int:
    """Let an address try again. Raises: Invalid; NotLocked as `unlock`."""
    network = network_of(ip)
    if not reason.strip() or network == NOWHERE:
        raise Invalid("Give an address and a reason.", errors=[FieldError("/ip", "invalid", "an address is required")])
    with transaction.atomic(durable=True):
        opened = gates.open_again(buckets=[Charge(ADDRESS, network).bucket])
        _require_locked(opened, must_be_locked=must_be_locked)
        trail.record(
            action="auth.login.unlocked",
            actor=actor,
            target=Target("address", ""),
            detail={"reason": reason, "gates_opened": opened},
            pii={"ip": ip},
            occurred_at=at,
        )
    return opened


def unlock_one(*, email: str, ip: str, reason: str, actor: Actor, at: datetime) -> None:
    """Open a lock that somebody looks at, by its name or else its address. Raises: NotLocked, Invalid."""
    if email:
        unlock(email=email, reason=reason, actor=actor, at=at, must_be_locked=True)
    else:
        unlock_address(ip=ip, reason=reason, actor=actor, at=at, must_be_locked=True)


def _require_locked(opened: int, *, must_be_locked: bool) -> None:
    if must_be_locked and not opened:
        raise NotLocked("It is not locked any more: it ran out, or somebody opened it.")


def purge_attempts(*, before: datetime) -> None:
    """Delete what axes keeps of attempts that are over."""
    AccessAttempt.objects.filter(attempt_time__lt=before).delete()


def attempt_of(request: HttpRequest) -> Attempt | None:
    """Return the attempt that a request was charged for."""
    return getattr(request, "nexus_attempt", None)


def username_of(_request: HttpRequest, credentials: Any = None) -> str:
    """Return the name that is tried, written the one way. Axes asks for it, too."""
    return normalized_email(str((credentials or {}).get("username") or ""))


def network_of(ip: str | None) -> str:
    """Return what counts as one place: an address, of version 6 the first 64 bits. Nothing readable is a place too."""
    try:
        address = ipaddress.ip_address(ip or "")
    except ValueError:
        return NOWHERE
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network(f"{address}/64", strict=False))
    return str(address)


def _is_known(pair: Charge) -> bool:
    return bool(statements.fetch_only(IS_KNOWN, {"bucket": pair.bucket, "for": KNOWN})[0])
