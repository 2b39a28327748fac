"""Which logins are locked now, by the names that people know. Gates hold hashes; what axes keeps of attempts has names.

A lock whose name or address nobody kept is listed all the same: it opens by itself, or by `manage.py unlock_login`.
"""

from dataclasses import dataclass
from datetime import datetime

from axes.models import AccessAttempt

from accounts.models import LoginGate
from accounts.services import gates, lockout
from accounts.services.gates import Charge
from accounts.services.lockout import ADDRESS

SHOWN_MAX = 500
ATTEMPTS_MAX = 5000


@dataclass(frozen=True, slots=True)
class Lock:
    """One gate that is shut. `username` or `ip` is empty where nobody knows it, or it is not about one."""

    bucket: str
    kind: str
    failures: int
    since: datetime
    until: datetime
    username: str = ""
    ip: str = ""

    @property
    def can_open(self) -> bool:
        """Tell whether an operator can open it by name."""
        return bool(self.username or self.ip)


def size(*, at: datetime) -> tuple[int, datetime | None]:
    """Return how many gates are shut, and since when the oldest of them counts."""
    rows = LoginGate.objects.filter(locked_until__gt=at).order_by("window_started_at")
    first = rows.values_list("window_started_at", flat=True).first()
    return rows.count(), first


def every(*, at: datetime) -> list[Lock]:
    """Return the gates that are shut, the oldest first."""
    rows = list(LoginGate.objects.filter(locked_until__gt=at).order_by("window_started_at", "pk")[:SHOWN_MAX])
    tried = AccessAttempt.objects.order_by("-attempt_time").values_list("username", "ip_address")[:ATTEMPTS_MAX]
    names, addresses = {}, {}
    for username, ip in tried if rows else ():
        names[gates.digest(username or "")] = username or ""
        addresses[Charge(ADDRESS, lockout.network_of(ip)).bucket] = str(ip)
    return [
        Lock(
            bucket=bytes(row.bucket).hex(),
            kind=row.kind,
            failures=row.failures,
            since=row.window_started_at,
            until=row.locked_until or at,
            username=names.get(bytes(row.subject), "") if row.subject is not None else "",
            ip=addresses.get(bytes(row.bucket), "") if row.subject is None else "",
        )
        for row in rows
    ]


def of(email: str, *, at: datetime) -> list[tuple[str, datetime]]:
    """Return which gates are shut for a name, as their kind and until when."""
    rows = LoginGate.objects.filter(subject=gates.digest(email), locked_until__gt=at).order_by("pk")
    return [(row.kind, row.locked_until or at) for row in rows]


def one(bucket: str, *, at: datetime) -> Lock | None:
    """Return a gate that is shut by its key, or None when it is open by now."""
    return next((lock for lock in every(at=at) if lock.bucket == bucket), None)
