"""How the token of a link that two have agreed to reaches its owner, and nobody else.

With a mail server it goes to the owner's own address. Without one it is two halves: who agreed is shown the first, who
asked the second, once each. Neither alone can use it, or one person would have the voices of two.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from accounts.models import Enrolment, Notice, User
from accounts.services import approvals, enrolments, notices, resets
from accounts.services.approvals import Request
from accounts.states import NoticeKind
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import ciphers
from nexus.core.errors import Conflict, Denied, NotFound

HALF_SIZE = 24  # bytes of randomness: who holds one half still has 192 bits to guess
SENDABLE = timedelta(hours=72)  # after the two have agreed; later they agree anew
SHOWN = 100
HOW = {
    False: "Within 72 hours, open {page} and paste what stands in the last line.",
    True: (
        "Within the hour, open {page} and paste what stands in the last line."
        " You need a code of your second factor, if you have one."
    ),
}
PAGES = {False: "/enrol", True: "/reset"}


class LinkUnavailable(Conflict):
    """It was used, shown or has ended, or another came after it."""

    code = "link_unavailable"
    title = "There is nothing left of this link to give out"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a link has come. Never its token."""

    request: Request
    owner: User
    is_mailed: bool
    is_used: bool
    expires_at: datetime
    is_half_kept: bool
    sent_at: datetime | None
    attempts: int
    fault: str
    tried_next_at: datetime | None

    @property
    def has_failed(self) -> bool:
        """Tell whether the owner has not got it, though it was tried."""
        return bool(self.is_mailed and self.sent_at is None and self.fault)


def issue(user: User, *, agreed: Request, at: datetime) -> Mapping[str, str]:
    """Make a link in the caller's transaction, which voids those before. Returns what who agreed is shown, once."""
    is_reset = user.has_usable_password()
    _void(user, at=at)
    first, second = _halves()
    link = Enrolment(user=user, approval=agreed, is_reset=is_reset, is_mailed=notices.can_mail())
    if not link.is_mailed:
        link.sealed_half = ciphers.seal(second)
    _make(link, first + second, at=at)
    shown = {"sent_to": user.email} if link.is_mailed else {"first_half": first}
    return {"user": str(user.public_id), **shown}


@transaction.atomic(durable=True)
def show_half(*, approval_id: UUID, by: Principal, at: datetime) -> str:
    """Show who asked the second half, once. Raises: NotFound, Denied, LinkUnavailable."""
    approvals.require_operator(by)
    link = _take(approval_id)
    agreed = _approval(link)
    if agreed.requested_by_id != by.pk:
        raise Denied("The second half is for who asked.")
    if not link.sealed_half or link.used_at is not None or link.expires_at <= at:
        raise LinkUnavailable("The second half was shown already, or the link has ended. Ask for another.")
    half = ciphers.unseal(link.sealed_half)
    link.sealed_half = ""
    link.save(update_fields=["sealed_half"])
    _record("accounts.link.half_shown", link, by=by, reason="", at=at)
    return half


@transaction.atomic(durable=True)
def send_again(*, approval_id: UUID, reason: str, by: Principal, at: datetime) -> None:
    """Send the owner another token in place of the one before. Raises: NotFound, LinkUnavailable, Denied, Invalid."""
    approvals.require_operator(by)
    approvals.require_reason(reason)
    link = _take(approval_id)
    user = User.objects.locked().get(pk=link.user_id)
    agreed_at = _approval(link).closed_at
    is_newest = not Enrolment.objects.filter(user=user, pk__gt=link.pk).exists()
    is_open = is_newest and link.used_at is None and user.is_active and user.has_usable_password() is link.is_reset
    if not (is_open and link.is_mailed and agreed_at is not None and at < agreed_at + SENDABLE):
        raise LinkUnavailable("It was used, or another came after it, or the two agreed too long ago. Ask for another.")
    if not notices.can_mail():
        raise LinkUnavailable("There is no mail server any more. Ask for another: it comes in two halves.")
    _drop_notice(link)
    _make(link, "".join(_halves()), at=at)
    _record("accounts.link.sent_again", link, by=by, reason=reason, at=at)


def delivery(approval_id: UUID) -> Delivery | None:
    """Return how far the link of a request has come, or None where there is none."""
    link = _links().filter(approval__public_id=approval_id).first()
    return None if link is None else _delivery(link)


def on_their_way(*, at: datetime) -> list[Delivery]:
    """List the links that are neither used nor over, and those whose message has failed, the newest first."""
    rows = _links().filter(used_at__isnull=True, approval__closed_at__gt=at - SENDABLE).order_by("-pk")[:SHOWN]
    return [each for each in map(_delivery, rows) if each.expires_at > at or each.has_failed]


def reseal() -> int:
    """Encrypt what is kept of tokens, halves and those that wait to be sent, with the first key. Returns how many."""
    return ciphers.reseal_rows(Enrolment.objects.all(), "sealed_half") + notices.reseal()


def purge(*, at: datetime) -> None:
    """Forget what is kept of tokens that are over."""
    Enrolment.objects.filter(expires_at__lte=at).exclude(sealed_half="").update(sealed_half="")
    late = Notice.objects.filter(sent_at__isnull=True, pk__in=_links().filter(expires_at__lte=at).values("notice_id"))
    for notice_id in late.exclude(sealed="").values_list("pk", flat=True):
        notices.give_up(notice_id, fault="too late")


def _make(link: Enrolment, token: str, *, at: datetime) -> None:
    link.token_sha256 = enrolments.digest(token)
    link.expires_at = at + (resets.LIFETIME if link.is_reset else enrolments.LIFETIME)
    if link.is_mailed:
        kind = NoticeKind.PASSWORD_LINK if link.is_reset else NoticeKind.ENROLMENT_LINK
        link.notice = notices.send_secret(
            user_id=link.user_id, kind=kind, detail=_how(is_reset=link.is_reset), secret=token, at=at
        )
    link.save()


def _how(*, is_reset: bool) -> str:
    """Say what to do with a token. Where nobody has said what this installation is called, the page is named alone."""
    return HOW[is_reset].format(page=settings.PUBLIC_URL.rstrip("/") + PAGES[is_reset])


def _void(user: User, *, at: datetime) -> None:
    rows = Enrolment.objects.filter(user=user, used_at__isnull=True, expires_at__gt=at).select_related("notice")
    for link in rows.select_for_update(of=("self",)).order_by("pk"):
        _drop_notice(link)
        link.expires_at, link.sealed_half = at, ""
        link.save(update_fields=["expires_at", "sealed_half", "notice"])


def _drop_notice(link: Enrolment) -> None:
    """Send the message of a token that is void no more."""
    if link.notice is not None and link.notice.sent_at is None:
        old, link.notice = link.notice, None
        link.save(update_fields=["notice"])
        old.delete()


def _take(approval_id: UUID) -> Enrolment:
    rows = _links().filter(approval__public_id=approval_id).select_for_update(of=("self",), no_key=True)
    link = rows.first()
    if link is None:
        raise NotFound("There is no link of this request.")
    return link


def _approval(link: Enrolment) -> Request:
    assert link.approval is not None  # `_links` keeps those that have one
    return link.approval


def _links() -> QuerySet[Enrolment]:
    return Enrolment.objects.filter(approval__isnull=False).select_related("approval", "user", "notice")


def _delivery(link: Enrolment) -> Delivery:
    notice = link.notice
    return Delivery(
        request=_approval(link),
        owner=link.user,
        is_mailed=link.is_mailed,
        is_used=link.used_at is not None,
        expires_at=link.expires_at,
        is_half_kept=bool(link.sealed_half),
        sent_at=notice.sent_at if notice else None,
        attempts=notice.attempts if notice else 0,
        fault=notice.fault if notice else "",
        tried_next_at=notices.tried_next(notice) if notice else None,
    )


def _halves() -> tuple[str, str]:
    return secrets.token_urlsafe(HALF_SIZE), secrets.token_urlsafe(HALF_SIZE)


def _record(action: str, link: Enrolment, *, by: Principal, reason: str, at: datetime) -> None:
    trail.record(
        action=action, actor=Actor.user(by.public_id), target=Target("user", str(link.user.public_id)), occurred_at=at,
        detail={"approval": _approval(link).public_id, "is_reset": link.is_reset, "reason": reason},
    )  # fmt: skip
