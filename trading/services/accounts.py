"""Linking a person's account at a venue, and how to reach it."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime

from django.conf import settings
from django.db import transaction

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import statements
from nexus.core.errors import Conflict, NotFound, Refused
from nexus.core.jobs import enqueue
from risk.states import ControlScope
from trading import rules
from trading.brokers import base, registry
from trading.brokers.base import Broker, Purpose
from trading.models import AccountFigures, TradingAccount
from trading.services import instruments
from trading.types import Link

Account = TradingAccount  # for those above, who hold the row and never the table

# What each venue's adapter is told besides: the setting that switches it on, if any, and settings by their name in the
# link.
VENUES: dict[str, tuple[str, dict[str, str]]] = {
    "alpaca": ("ALPACA_ENABLED", {"keys": "ALPACA_KEYS", "feed": "ALPACA_FEED"}),
    "mt5": (
        "",
        {
            "url": "MT5_GATEWAY_URL",
            "token": "GATEWAY_TOKEN",
            "fillings": "MT5_FILLINGS",
            "ca": "MT5_GATEWAY_CA",
            "cert": "MT5_GATEWAY_CERT",
            "key": "MT5_GATEWAY_KEY",
            "demo_servers": "MT5_DEMO_SERVERS",
        },
    ),
}
OPTIONAL = frozenset({"ca", "cert", "key", "demo_servers"})  # absent where the setting is empty


class WrongKind(Conflict):
    """The account at the broker is live where paper was meant, or the other way round."""

    code = "account_wrong_kind"


@contextmanager
def answering() -> Iterator[None]:
    """Let all that a door reads at brokers be over in time for its answer, however many accounts are read; and let
    doors that wait for brokers leave room for those that do not.
    """
    with base.answering(within_s=settings.BROKER_DEADLINE_S, at_once=settings.BROKER_WAITS_MAX):
        yield


def patience(*, reduces: bool = True, purpose: Purpose = "CLOSE") -> AbstractContextManager[None]:
    """Let what takes risk away be read for with a deadline of its own, however much of the answer's is used up."""
    return base.patiently(within_s=settings.BROKER_DEADLINE_S, purpose=purpose) if reduces else nullcontext()


def broker_of(account: TradingAccount) -> Broker:
    """Return the broker that holds the account. Raises: Refused for a live account while live trading is off."""
    if account.is_live and not settings.LIVE_TRADING_ENABLED:
        raise Refused("Live trading is switched off in the settings.", code="LIVE_TRADING_OFF")
    return registry.get(link_of(account))


def link_of(account: TradingAccount) -> Link:
    """Return how to reach the account; secrets come from the environment and are never stored.

    Raises: Refused for a venue that is switched off, or that nobody knows.
    """
    try:
        switch, own = VENUES[account.venue]
    except KeyError as exc:
        raise Refused(f"No broker goes by the name {account.venue}.", code="VENUE_UNKNOWN") from exc
    if switch and not getattr(settings, switch):
        raise Refused(f"{account.venue} is switched off: set {switch}.", code="VENUE_OFF")
    link = Link(
        venue=account.venue,
        account=account.venue_account,
        settings={
            "login": account.venue_account,
            "server": account.server,
            "mode": "live" if account.is_live else "paper",
            "tag": str(settings.BROKER_TAG),
            "deadline_s": str(settings.BROKER_DEADLINE_S),
        },
    )
    for name, setting in own.items():
        value = getattr(settings, setting)
        if name in OPTIONAL and not value:
            continue
        link.settings[name] = value if isinstance(value, str) else ",".join(value)
    if account.gateway_url:
        link.settings["url"] = account.gateway_url
    if account.moved_at is not None:
        link.settings["since"] = account.moved_at.isoformat()
    return link


def control_scopes(account: TradingAccount, *, symbol: str) -> tuple[tuple[ControlScope, str], ...]:
    """Return every scope of the stop switch that covers an order of this account on this instrument."""
    return (
        (ControlScope.BROKER, account.venue),
        (ControlScope.ACCOUNT, str(account.pk)),
        (ControlScope.USER, str(account.user_id)),
        (ControlScope.INSTRUMENT, symbol),
    )


def link(
    *,
    user_id: int,
    name: str,
    venue: str,
    venue_account: str,
    server: str,
    is_live: bool,
    actor: Actor,
    at: datetime,
    gateway_url: str | None = None,
) -> TradingAccount:
    """Link an account after asking the venue what it is. Safe to repeat: a linked account is returned as it is, reached
    where it is said to be now.

    Takes: `gateway_url`, when it is not the one of the settings; an empty one goes back to that, and none leaves it.

    Raises: WrongKind when `is_live` is not what the venue says; what the broker raises when it cannot be asked.
    """
    existing = TradingAccount.objects.filter(venue=venue, server=server, venue_account=venue_account).first()
    if existing is not None:
        if gateway_url is None or existing.gateway_url == gateway_url:
            return existing
        return _move(existing, gateway_url, actor=actor, at=at)
    account = TradingAccount(
        user_id=user_id,
        name=name,
        venue=venue,
        venue_account=venue_account,
        server=server,
        is_live=is_live,
        created_at=at,
        gateway_url=gateway_url or "",
    )
    broker = broker_of(account)
    snapshot = broker.snapshot(symbols=[])
    if snapshot.is_live != is_live:
        raise WrongKind(f"The venue says that account {venue_account} is {'live' if snapshot.is_live else 'paper'}.")
    account.currency, account.mode = snapshot.currency, snapshot.mode
    account.usd_symbol, account.usd_is_base = instruments.conversion_to_usd(broker, currency=snapshot.currency)
    return _save(account, actor=actor, at=at)


def journal_known(account: TradingAccount) -> tuple[str, int]:
    """Return how far the account's gateway was last seen to remember; an empty run where it was never seen."""
    rows = AccountFigures.objects.filter(account=account)
    return rows.values_list("journal_run", "journal_beats").first() or ("", 0)


def note_journal(row: AccountFigures, account: TradingAccount, remembers: Mapping[str, int], *, at: datetime) -> None:
    """Keep how far the account's gateway remembers. One that has forgotten what it knew swears to nothing before now.

    It is another one, or has been given an older copy of its journal: for both the account counts as moved, and people
    are told. In the caller's transaction, which has locked the row and saves it. Takes: the `account` as it was when
    its gateway was asked.
    """
    if remembers and not row.journal_run:  # it is new to us, or another than the one that was asked
        moved = TradingAccount.objects.filter(pk=account.pk).values_list("moved_at", flat=True)
        if moved.get() != account.moved_at:
            return
    if not rules.still_remembers(remembers, (row.journal_run, row.journal_beats)):
        forgotten(row.account, at=at)
    row.journal_run, row.journal_beats = [("", 0), *remembers.items()][-1]


@transaction.atomic
def forgotten(account: TradingAccount, *, at: datetime) -> None:
    """Believe the account's gateway nothing of what was sent before now."""
    moved_at = statements.fetch_only("SELECT clock_timestamp()")[0]
    TradingAccount.objects.filter(pk=account.pk).update(moved_at=moved_at)
    trail.record(
        action="trading.journal_changed",
        actor=Actor.system("watch"),
        target=Target("trading_account", str(account.public_id)),
        detail={"moved_at": moved_at},
        occurred_at=at,
    )
    alerts.open_alert(
        severity=Severity.WARNING,
        kind="JOURNAL_CHANGED",
        dedupe_key=f"journal-changed:{account.pk}",
        text=f"The gateway of {account} has another journal than before, or an older copy of it. It is not believed"
        f" that an order from before {moved_at:%H:%M:%S} UTC was never sent: such orders are searched for.",
        object_type="trading_account",
        object_id=str(account.public_id),
        at=at,
    )


@transaction.atomic(durable=True)
def _move(account: TradingAccount, gateway_url: str, *, actor: Actor, at: datetime) -> TradingAccount:
    # The figures' lock is the first elsewhere too.
    AccountFigures.objects.filter(account=account).update(journal_run="", journal_beats=0)
    before, account.gateway_url = account.gateway_url, gateway_url
    account.moved_at = statements.fetch_only("SELECT clock_timestamp()")[0]
    account.save(update_fields=["gateway_url", "moved_at"])
    trail.record(
        action="trading.account_moved",
        actor=actor,
        target=Target("trading_account", str(account.public_id)),
        detail={"before": before, "after": gateway_url},
        occurred_at=at,
    )
    return account


@transaction.atomic(durable=True)
def _save(account: TradingAccount, *, actor: Actor, at: datetime) -> TradingAccount:
    account.save()
    trail.record(
        action="trading.account_linked",
        actor=actor,
        target=Target("trading_account", str(account.public_id)),
        detail={"venue": account.venue, "venue_account": account.venue_account, "is_live": account.is_live},
        occurred_at=at,
    )
    # Nothing is admitted on it before its first reconciliation, which should not have to wait for its turn.
    enqueue("reconciliation.reconcile_account", expires_s=60, account_id=account.pk, trigger="LINK")
    return account


def get(*, account_id: int) -> TradingAccount:
    """Return an account by its key. Raises: NotFound."""
    account = TradingAccount.objects.filter(pk=account_id).first()
    if account is None:
        raise NotFound("There is no such account.")
    return account


def put_aside() -> list[int]:
    """Return the accounts that nobody looks at any more."""
    return list(TradingAccount.objects.filter(is_active=False).values_list("pk", flat=True))
