"""Sending messages to people: at least once, however workers die, and no channel holds up another.

A row is claimed by a lease and sent outside of any transaction. Whoever dies in between leaves a lease that runs out,
and the message goes again: told twice is better than not told. A channel that hangs must not keep the workers from the
others: a quiet message waits for another one that is on its way to the same channel, a critical one for three, and for
one where the channel is known to fail. Whoever has sent hands on the next.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.utils import translation
from django.utils.translation import gettext, ngettext

from nexus.alerts import rules
from nexus.alerts.models import Alert, Delivery
from nexus.alerts.providers import NotDelivered
from nexus.alerts.services import alerts, channels, outbox
from nexus.alerts.services.headlines import headline
from nexus.alerts.states import DeliveryState, Severity, Word
from nexus.core import sentences, statements

log = structlog.get_logger(__name__)

LEASE_S = 90  # longer than any channel's own time limit
CRITICAL_AT_ONCE = 3  # to one channel, of the eight threads that docs/alerts.md asks for
CHANNEL_LOCK = 0x414C5254  # the space of advisory locks whose second number is a channel
ESCALATED_MAX = 100  # at a time
DIGEST_LINES = 100

LOCK = "SELECT pg_advisory_xact_lock(%s::integer, hashtext(channel)) FROM alert_delivery WHERE id = %s"
CLAIM = """
UPDATE alert_delivery SET attempts = attempts + 1, leased_until = clock_timestamp() + %(lease)s
FROM alert
WHERE alert_delivery.id = %(id)s AND alert.id = alert_delivery.alert_id AND state = 'WAITING'
  AND next_at <= clock_timestamp() AND (leased_until IS NULL OR leased_until < clock_timestamp())
  AND (
      SELECT count(*) FROM alert_delivery other
      WHERE other.channel = alert_delivery.channel AND other.id <> alert_delivery.id
      AND other.state = 'WAITING' AND other.leased_until >= clock_timestamp()
  ) < CASE WHEN severity = 'CRITICAL' AND NOT EXISTS (
      SELECT FROM alert_delivery failed
      WHERE failed.channel = alert_delivery.channel AND failed.state = 'WAITING' AND failed.fault <> ''
  ) THEN %(most)s ELSE 1 END
RETURNING alert_delivery.id
"""
# When this key was last told to this channel: repeated too soon, it waits, and if it has passed by then it goes quiet.
TOLD = """
SELECT max(sent_at) FROM alert_delivery JOIN alert ON alert.id = alert_id
WHERE dedupe_key = %s AND channel = %s AND word = %s AND state = 'SENT'
"""


def deliver(*, delivery_id: int, at: datetime) -> DeliveryState | None:
    """Send one message, if it is to be sent now and nobody else is at it; return how it stands, None when it is not."""
    assert not connection.in_atomic_block
    if not _claim(delivery_id):
        return None
    delivery = Delivery.objects.select_related("alert").get(pk=delivery_id)
    try:
        state = _deliver(delivery, at=at)
    except NotDelivered as exc:
        return _failed(delivery, fault=str(exc), at=at)
    outbox.hand_on(channel=delivery.channel)
    return state


@transaction.atomic(durable=True)
def _claim(delivery_id: int) -> bool:
    """Take a message, one after the other for each channel: what is on its way is counted after the wait."""
    statements.fetch(LOCK, [CHANNEL_LOCK, delivery_id])
    given = {"id": delivery_id, "lease": timedelta(seconds=LEASE_S), "most": CRITICAL_AT_ONCE}
    return statements.fetch_one(CLAIM, given) is not None


def _deliver(delivery: Delivery, *, at: datetime) -> DeliveryState:
    if _is_repeated(delivery, at=at):
        return DeliveryState(delivery.state)
    channel = channels.named(delivery.channel)
    if channel is None:
        return _give_up(delivery, fault="no such channel is set any more")
    title, body = words(delivery)
    channel.send(title=title, body=body, severity=Severity(delivery.alert.severity))
    return _sent([delivery.pk], channel=delivery.channel, at=at)


def words(delivery: Delivery) -> tuple[str, str]:
    """Return a message's title and text in the language of whoever receives it: what, since when, what to do next."""
    with translation.override(settings.MESSAGE_LANGUAGE):
        return _words(delivery)


def _words(delivery: Delivery) -> tuple[str, str]:
    alert = delivery.alert
    facts = {
        "late": gettext("Nobody has acknowledged this. ") if delivery.word == Word.ESCALATED else "",
        "text": sentences.said(alert.text) or alert.text,
        "opened": f"{alert.opened_at:%Y-%m-%d %H:%M:%S}",
        "again": "" if alert.seen_count == 1 else gettext(" Seen %(count)s times.") % {"count": alert.seen_count},
        "still": "" if alert.closed_at is None
        else gettext("\nIt has passed since: %(closed)s UTC.") % {"closed": f"{alert.closed_at:%Y-%m-%d %H:%M:%S}"},
        "id": alert.pk,
        "about": f"{alert.object_type} {alert.object_id}",
        "runbook": alert.runbook,
    }  # fmt: skip
    text = gettext(
        "%(late)s%(text)s\nSince %(opened)s UTC.%(again)s%(still)s\n"
        "Alert %(id)s, %(about)s. What to do: %(runbook)s\n"
        "Take it in hand: manage.py alerts acknowledge %(id)s"
    )
    # The kind is a name that people look up, in every language; English says nothing more by its headline.
    what = alert.kind if settings.MESSAGE_LANGUAGE == "en" else f"{headline(alert.kind)} · {alert.kind}"
    return f"[{alert.severity}] {what} ({settings.DEPLOYMENT_ID})", text % facts


def escalate(*, at: datetime) -> int:
    """Tell the next people of critical alerts that nobody has taken in hand in time; return of how many."""
    late = at - timedelta(seconds=settings.ALERT_ESCALATE_S)
    loud = Alert.objects.filter(
        severity=Severity.CRITICAL, closed_at__isnull=True, acknowledged_at__isnull=True, opened_at__lte=late
    )
    alerts = list(loud.exclude(deliveries__word=Word.ESCALATED).order_by("pk")[:ESCALATED_MAX])
    for alert in alerts:
        with transaction.atomic():
            untaken = Alert.objects.select_for_update(no_key=True).filter(pk=alert.pk, acknowledged_at__isnull=True)
            if untaken.exists() and not Delivery.objects.filter(alert=alert, word=Word.ESCALATED).exists():
                outbox.put(alert_id=alert.pk, severity=Severity.CRITICAL, word=Word.ESCALATED, at=at)
    return len(alerts)


def digest(*, at: datetime) -> int:
    """Send each channel its quiet messages as one; return how many channels were told."""
    told = 0
    for name in Delivery.objects.filter(state=DeliveryState.QUIET).values_list("channel", flat=True).distinct():
        rows = list(
            Delivery.objects.filter(state=DeliveryState.QUIET, channel=name).select_related("alert").order_by("pk")
        )
        channel = channels.named(name)
        if channel is None:
            Delivery.objects.filter(pk__in=[row.pk for row in rows]).update(
                state=DeliveryState.FAILED, fault="no such channel is set any more"
            )
            continue
        lines = [
            f"{row.alert.opened_at:%m-%d %H:%M} {row.alert.severity} {row.alert.kind}:"
            f" {sentences.said(row.alert.text, settings.MESSAGE_LANGUAGE) or row.alert.text} (x{row.alert.seen_count})"
            for row in rows
        ]
        body = "\n".join(lines[:DIGEST_LINES]) + ("\n…" if len(lines) > DIGEST_LINES else "")
        with translation.override(settings.MESSAGE_LANGUAGE):
            quiet = ngettext("%(count)s quiet alert", "%(count)s quiet alerts", len(rows)) % {"count": len(rows)}
        title = f"[DIGEST] {quiet} ({settings.DEPLOYMENT_ID})"
        try:
            channel.send(title=title, body=body, severity=Severity.INFO)
        except NotDelivered as exc:
            log.warning("alerts.digest.failed", channel=name, fault=str(exc))
            Delivery.objects.filter(pk__in=[row.pk for row in rows]).update(fault=str(exc)[:300])
            continue
        _sent([row.pk for row in rows], channel=name, at=at)
        told += 1
    return told


def _is_repeated(delivery: Delivery, *, at: datetime) -> bool:
    """Put off what the channel has just been told of the same key; leave to the digest what has passed meanwhile."""
    last = statements.fetch_only(TOLD, [delivery.alert.dedupe_key, delivery.channel, delivery.word])[0]
    if last is None:
        return False
    if delivery.alert.closed_at is not None:
        _put_back(delivery, state=DeliveryState.QUIET)
        return True
    free = last + timedelta(seconds=settings.ALERT_THROTTLE_S)
    if free <= at:
        return False
    _put_back(delivery, next_at=free)
    return True


def _put_back(delivery: Delivery, *, state: DeliveryState = DeliveryState.WAITING, **changes: object) -> None:
    delivery.state = state
    Delivery.objects.filter(pk=delivery.pk).update(
        state=state, leased_until=None, attempts=F("attempts") - 1, **changes
    )


def _sent(keys: Iterable[int], *, channel: str, at: datetime) -> DeliveryState:
    with transaction.atomic():
        Delivery.objects.filter(pk__in=list(keys)).update(
            state=DeliveryState.SENT, sent_at=at, leased_until=None, fault=""
        )
        Alert.objects.filter(dedupe_key=_about(channel), closed_at__isnull=True).update(closed_at=at)
    return DeliveryState.SENT


def _failed(delivery: Delivery, *, fault: str, at: datetime) -> DeliveryState:
    log.warning("alerts.delivery.failed", channel=delivery.channel, attempts=delivery.attempts, fault=fault)
    if delivery.attempts >= rules.ATTEMPTS_MAX:
        return _give_up(delivery, fault=fault)
    Delivery.objects.filter(pk=delivery.pk).update(
        next_at=at + rules.pause(delivery.attempts), leased_until=None, fault=fault[:300]
    )
    if delivery.attempts >= rules.ATTEMPTS_TOLD:
        with transaction.atomic():
            alerts.open_alert(
                severity=Severity.CRITICAL,
                kind="ALERT_NOT_DELIVERED",
                dedupe_key=_about(delivery.channel),
                text=f"The channel {delivery.channel} takes no alerts: {fault}",
                object_type="channel",
                object_id=delivery.channel,
                at=at,
                unheard=delivery.channel,
            )
    return DeliveryState.WAITING


def _give_up(delivery: Delivery, *, fault: str) -> DeliveryState:
    log.error("alerts.delivery.given_up", delivery_id=delivery.pk, channel=delivery.channel, fault=fault)
    Delivery.objects.filter(pk=delivery.pk).update(state=DeliveryState.FAILED, leased_until=None, fault=fault[:300])
    return DeliveryState.FAILED


def _about(channel: str) -> str:
    return f"channel:{channel}"
