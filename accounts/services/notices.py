"""Tell people what happened to their own accounts, by e-mail. The row is the queue: what is lost is sent again."""

from datetime import datetime, timedelta
from typing import LiteralString

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import F

from accounts.models import Notice, User
from accounts.states import NoticeKind
from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.core import ciphers, sentences, statements
from nexus.core.jobs import enqueue

SEND = "accounts.send_notices"
BATCH = 100
CLAIMED = timedelta(minutes=2)  # by a worker that sends; then another may
PAUSE = timedelta(minutes=1)  # after the first failure, twice as long after each
ATTEMPTS_MAX = 10
TOLD_AFTER = 3  # failures to send a link, operators are told: somebody waits for it
KEPT = timedelta(days=30)
QUIET = timedelta(minutes=15)

TEXTS: dict[NoticeKind, str] = {
    NoticeKind.NEW_ADDRESS: "Somebody has logged in to your account from an address that we have not seen before.",
    NoticeKind.LOGIN_LOCKED: "Too many wrong passwords were tried with your name. Logins are locked for a while.",
    NoticeKind.CODES_LOCKED: "Too many wrong codes were tried in your account. Codes are locked for a while.",
    NoticeKind.TOKEN_REUSED: "A token of one of your sessions was used twice. The session was ended.",
    NoticeKind.PASSWORD_CHANGED: "Your password was changed. All other sessions were ended.",
    NoticeKind.SECOND_FACTOR_ON: "A second factor was set up for your account. All other sessions were ended.",
    NoticeKind.SECOND_FACTOR_OFF: "The second factor of your account was removed. All other sessions were ended.",
    NoticeKind.RECOVERY_CODES_NEW: "New recovery codes were made for your account. The old ones are void.",
    NoticeKind.RECOVERY_CODE_USED: "A recovery code of your account was used.",
    NoticeKind.API_KEY_CREATED: "An API key was made for your account.",
    NoticeKind.LIVE_ARMED: "Live trading was armed on one of your accounts.",
    NoticeKind.ENROLMENT_LINK: (
        "Two operators have agreed that you may come in. With the token below you set your first password, once."
    ),
    NoticeKind.PASSWORD_LINK: (
        "Two operators have agreed that you may set another password. With the token below you do so, once."
    ),
}
UNASKED = "Nobody else has seen this token. If you did not expect it, use it not, and tell your operator."
ADVICE = "If this was not you, end all sessions, change the password and tell your operator."

TELL_OF_LOCK: LiteralString = """
INSERT INTO account_notice (user_id, kind, text, sealed, created_at, next_at, attempts, fault)
SELECT users.id, %(kind)s, %(text)s, '', %(at)s, %(at)s, 0, '' FROM users
 WHERE email = %(email)s AND NOT EXISTS (
   SELECT FROM account_notice told
    WHERE told.user_id = users.id AND told.kind = %(kind)s AND told.created_at > %(quiet_since)s)
"""

log = structlog.get_logger(__name__)


def tell(*, user_id: int, kind: NoticeKind, at: datetime, detail: str = "", quiet: bool = False) -> None:
    """Keep a message to a person, in the caller's transaction when there is one; it is sent after the commit.

    Takes: `quiet` for what may happen many times: then one message in a quarter of an hour is enough.
    """
    if quiet and Notice.objects.filter(user_id=user_id, kind=kind, created_at__gt=at - QUIET).exists():
        return
    Notice.objects.create(user_id=user_id, kind=kind, text=_text(kind, detail, at=at), created_at=at, next_at=at)
    enqueue(SEND)


def send_secret(*, user_id: int, kind: NoticeKind, detail: str, secret: str, at: datetime) -> Notice:
    """Keep a message that ends with a secret, in the caller's transaction. It is encrypted, and forgotten once sent."""
    notice = Notice.objects.create(
        user_id=user_id, kind=kind, text=f"{TEXTS[kind]}\n{detail}\n\n{UNASKED}", sealed=ciphers.seal(secret),
        created_at=at, next_at=at,
    )  # fmt: skip
    enqueue(SEND)
    return notice


def can_mail() -> bool:
    """Tell whether messages leave this installation: without a mail server they end in a log."""
    return bool(settings.EMAIL_HOST)


def tell_of_lock(*, email: str, at: datetime) -> None:
    """Keep a message to the owner of a locked name, in the caller's transaction. The clock of this app sends it.

    One statement, whether the name has an owner or not, and no job: whoever locks names learns nothing by how long it
    takes.
    """
    kind = NoticeKind.LOGIN_LOCKED
    statements.fetch(TELL_OF_LOCK, {"email": email, "kind": kind.value, "text": _text(kind, "", at=at), "at": at,
                                    "quiet_since": at - QUIET})  # fmt: skip


def _text(kind: NoticeKind, detail: str, *, at: datetime) -> str:
    lines = [TEXTS[kind], f"Time: {at:%Y-%m-%d %H:%M:%S} UTC"]
    return "\n".join([*lines, detail, "", ADVICE] if detail else [*lines, "", ADVICE])


def send_due(*, at: datetime) -> int:
    """Send what is due, each message by itself. Returns how many were sent. Safe to run beside itself."""
    if settings.NEXUS_ENV == "production" and not can_mail():
        return 0  # they wait for a mail server: a letter in a log reaches nobody
    return sum(_send(notice, at=at) for notice in _claim(at=at))


@transaction.atomic(durable=True)
def _claim(*, at: datetime) -> list[Notice]:
    rows = Notice.objects.filter(sent_at__isnull=True, next_at__lte=at, attempts__lt=ATTEMPTS_MAX)
    due = list(rows.order_by("pk").select_for_update(of=("self",), skip_locked=True).select_related("user")[:BATCH])
    claimed = Notice.objects.filter(pk__in=[notice.pk for notice in due])
    claimed.update(next_at=at + CLAIMED, attempts=F("attempts") + 1)
    return due


def _send(notice: Notice, *, at: datetime) -> bool:
    user: User = notice.user
    try:
        subject = f"{settings.ENROLMENT_NAME}: {_said(str(NoticeKind(notice.kind).label))}"
        text = "\n".join(_said(line) for line in notice.text.splitlines())
        secret = f"\n{ciphers.unseal(notice.sealed)}\n" if notice.sealed else ""
        send_mail(subject, f"{text}\n{secret}", settings.DEFAULT_FROM_EMAIL, [user.email])
    except Exception as exc:  # noqa: BLE001 — every mail server fails in its own words, and the row is tried again
        log.error("accounts.notice.failed", notice_id=notice.pk, error=type(exc).__name__)  # noqa: TRY400
        pause = PAUSE * 2**notice.attempts
        Notice.objects.filter(pk=notice.pk).update(next_at=at + pause, fault=type(exc).__name__)
        if notice.sealed and notice.attempts + 1 >= TOLD_AFTER:
            _alarm(notice, at=at)
        return False
    Notice.objects.filter(pk=notice.pk).update(sent_at=at, fault="", sealed="")
    if notice.sealed:
        alerts.close_alert(dedupe_key=_alarm_of(notice), at=at)
    return True


@transaction.atomic
def _alarm(notice: Notice, *, at: datetime) -> None:
    alerts.open_alert(
        severity=Severity.WARNING,
        kind="LINK_NOT_DELIVERED",
        dedupe_key=_alarm_of(notice),
        text="A link for a password could not be sent to its owner. The page of approvals says which, and why.",
        object_type="user",
        object_id=str(notice.user.public_id),
        at=at,
    )


def _alarm_of(notice: Notice) -> str:
    return f"LINK_NOT_DELIVERED {notice.pk}"


def tried_next(notice: Notice) -> datetime | None:
    """Return when an unsent message is tried next; None when it is sent, or nobody tries any more."""
    return notice.next_at if notice.sent_at is None and notice.attempts < ATTEMPTS_MAX else None


def give_up(notice_id: int, *, fault: str) -> None:
    """Send a message no more, and forget the secret that it was to bring."""
    rows = Notice.objects.filter(pk=notice_id, sent_at__isnull=True).exclude(sealed="")
    rows.update(attempts=ATTEMPTS_MAX, sealed="", fault=fault)


def _said(text: str) -> str:
    """Say a line of a letter in the language of letters; one that is not known there, as it was written."""
    return sentences.said(text, settings.MESSAGE_LANGUAGE) or text


def reseal() -> int:
    """Encrypt every secret that waits to be sent with the first key. Returns how many."""
    return ciphers.reseal_rows(Notice.objects.all(), "sealed")


def purge(*, at: datetime) -> None:
    """Delete messages that are long over."""
    Notice.objects.filter(created_at__lt=at - KEPT).delete()
