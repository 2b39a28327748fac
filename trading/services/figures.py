"""The watch of profit and loss: what every look at an account means in USD, and what stops trading by it.

Source: execution reference §4 (daily loss) and §7 (triggers). The figures are the gate's own: what refuses an order and
what stops trading are the same sums.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Coalesce

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.core import money
from risk.services import limits, stats
from risk.states import ControlScope, LimitKind, LimitScope, Sweep, Trigger
from risk.types import Figure, Limit, Unknown
from trading.models import AccountFigures, TradableInstrument, TradingAccount
from trading.rules import ZERO
from trading.services import accounts, balances, exposure, readings, resolution, triggers
from trading.services.facts import AccountFacts, Facts
from trading.types import AccountSnapshot

PERCENT = Decimal(100)
UNWATCHED = "health:watch"
NOT_WATCHED = "ACCOUNT_NOT_WATCHED"


def symbols_of(account: TradingAccount) -> list[str]:
    """Return the pairs whose prices turn an account's figures into USD."""
    met = TradableInstrument.objects.filter(account=account).values_list("usd_symbol", flat=True)
    return sorted({*met, account.usd_symbol} - {""})


@transaction.atomic(durable=True)
def note(
    account: TradingAccount,
    snapshot: AccountSnapshot,
    *,
    starts: Mapping[int, Decimal],
    read_at: datetime,
    at: datetime,
) -> AccountFigures:
    """Keep what a complete look at an account has shown.

    What cannot be known is empty, and says why. Takes: `starts`, what the day's loss was measured from when the look
    began, nothing when it is the day's first; `read_at`, the database's clock before the look.
    """
    read = _facts(account, snapshot, read_at=read_at)
    loss, risk = _standing(account, read, starts=starts, at=at)
    faults = [each for each in (loss, risk) if isinstance(each, Unknown)]
    AccountFigures.objects.get_or_create(account=account)
    row = AccountFigures.objects.select_for_update(of=("self",), no_key=True).get(account=account)
    if snapshot.balance.is_finite():
        is_new_day = row.trading_date != at.date()
        balances.advance(row, balance=snapshot.balance + snapshot.credit, clock=read_at, is_new_day=is_new_day)
    known_before = row.loss_known if row.trading_date == at.date() else ZERO
    row.trading_date, row.currency = at.date(), snapshot.currency
    row.balance, row.equity = _finite(snapshot.balance), _finite(snapshot.equity)
    row.margin_level = _margin_level(snapshot)
    row.loss_today, row.open_risk = _known(loss), _known(risk)
    row.loss_known = known_before if row.loss_today is None else row.loss_today
    row.fault = "; ".join(f"{each.reason} {each.detail}".strip() for each in faults)[:300]
    row.exposure = readings.exposure_of(account, read)
    if row.read_at is None or row.read_at < read_at:  # a look that was overtaken by another one has seen it earlier
        accounts.note_journal(row, account, snapshot.remembers, at=at)
        _tell_what_sends_nothing(account, snapshot.sends_nothing, at=at)
    row.read_at = read_at
    since = row.failing_since or read_at
    row.failing_since = since if row.loss_today is None else row.failing_since  # `note_whole` ends it
    row.save()
    if row.loss_today is None:  # it answers, and nobody sees what it loses all the same
        _tell_when_blind(account, f"cannot be valued. {row.fault}", since=since, clock=read_at, at=at)
    return row


@transaction.atomic(durable=True)
def note_whole(row: AccountFigures, *, at: datetime) -> None:
    """Keep that a look has come to its end: what the account loses is known, and all that follows from it was done."""
    if row.loss_today is None:
        return
    AccountFigures.objects.filter(pk=row.pk, failing_since__isnull=False).update(failing_since=None)
    alerts.close_alert(dedupe_key=_blind_key(row.account_id), at=at)


def looked_at(account: TradingAccount) -> datetime | None:
    """Return when the last complete look at an account began, by the database's clock; None where there was none."""
    return AccountFigures.objects.filter(account=account).values_list("read_at", flat=True).first()


@transaction.atomic(durable=True)
def note_failure(account: TradingAccount, *, fault: str, clock: datetime, at: datetime) -> None:
    """Keep that an account cannot be read: its last figures stay, with their age; when it lasts, people are woken."""
    row, _ = AccountFigures.objects.get_or_create(account=account)
    since = row.failing_since or clock
    AccountFigures.objects.filter(pk=row.pk).update(fault=fault[:300], failing_since=since)
    _tell_when_blind(account, f"cannot be read. {fault}", since=since, clock=clock, at=at)


def _tell_when_blind(account: TradingAccount, words: str, *, since: datetime, clock: datetime, at: datetime) -> None:
    if clock - since >= timedelta(seconds=settings.WATCH_BLIND_S):
        alerts.open_alert(
            severity=Severity.CRITICAL,
            kind=NOT_WATCHED,
            dedupe_key=_blind_key(account.pk),
            text=f"Since {since:%H:%M:%S} UTC nobody sees what {account} loses: it {words}",
            object_type="trading_account",
            object_id=str(account.public_id),
            at=at,
        )


def _tell_what_sends_nothing(account: TradingAccount, trouble: str, *, at: datetime) -> None:
    if not trouble:
        alerts.close_alert(dedupe_key=_mute_key(account.pk), at=at)
        return
    alerts.open_alert(
        severity=Severity.CRITICAL,
        kind="GATEWAY_SENDS_NOTHING",
        dedupe_key=_mute_key(account.pk),
        text=f"The gateway of {account} cannot write its journal ({trouble}), and so sends nothing: no order, no cancel"
        " and no close. Make room on its disk. Until then close by hand in the terminal.",
        object_type="trading_account",
        object_id=str(account.public_id),
        at=at,
    )


@transaction.atomic(durable=True)
def alarm(*, clock: datetime, at: datetime) -> None:
    """Wake people when nobody looks at accounts at all: the worker that does is gone, and another one says so.

    What was told of an account that is put aside ends: nobody will look at it again.
    """
    aside = [each for pk in accounts.put_aside() for each in (_blind_key(pk), _margin_key(pk), _mute_key(pk))]
    aside += resolution.told_aside() if aside else []
    alerts.close_alerts(dedupe_keys=aside, at=at)
    late = clock - timedelta(seconds=settings.WATCH_BLIND_S)
    _tell_for_the_dead(late, clock=clock, at=at)
    blind = AccountFigures.objects.filter(account__is_active=True, read_at__lt=late, failing_since__isnull=True).count()
    if not blind:
        alerts.close_alert(dedupe_key=UNWATCHED, at=at)
        return
    alerts.open_alert(
        severity=Severity.CRITICAL,
        kind="HEALTH_DEGRADED",
        dedupe_key=UNWATCHED,
        text=f"Accounts not looked at for {settings.WATCH_BLIND_S} s: {blind}. The worker of the queue"
        " `celery` does not work. Losses are not watched and lost orders not found. Start it.",
        at=at,
    )


def _tell_for_the_dead(late: datetime, *, clock: datetime, at: datetime) -> None:
    """Tell of accounts that could not be read, and whose worker has gone since: its next look would have told."""
    rows = AccountFigures.objects.filter(account__is_active=True, failing_since__lt=late).select_related("account")
    known = set(alerts.open_about(kind=NOT_WATCHED)) if rows else set()
    for row in (each for each in rows if str(each.account.public_id) not in known):
        assert row.failing_since is not None
        _tell_when_blind(row.account, f"cannot be read. {row.fault}", since=row.failing_since, clock=clock, at=at)


def judge(account: TradingAccount, row: AccountFigures, *, at: datetime) -> tuple[Decimal, Limit | None]:
    """Pull the triggers that an account's figures ask for: the day's loss, unusable equity, the margin level.

    Returns: what its owner has lost today, and the limit that it was held against, if any.
    """
    scope, key = ControlScope.ACCOUNT, str(account.pk)
    _judge_equity(account, row.equity, currency=row.currency, at=at)
    _judge_margin(account, row.margin_level, at=at)
    limit = limits.in_force(user_id=account.user_id, account_id=account.pk, symbol="").get(LimitKind.DAILY_LOSS)
    lost = loss_of(account.user_id, at=at)
    if limit is not None and lost >= limit.value:
        _stop_at_loss(account, lost=lost, limit=limit, at=at)
    else:
        user = (Trigger.DAILY_LOSS, ControlScope.USER, str(account.user_id))
        triggers.passed((Trigger.DAILY_LOSS, scope, key), *([] if _has_own(limit) else [user]), at=at)
    return lost, limit


def judge_shown(account: TradingAccount, snapshot: AccountSnapshot, *, at: datetime) -> None:
    """Pull the triggers for which what an account shows is enough: nobody knows what was paid in, or lost."""
    _judge_equity(account, _finite(snapshot.equity), currency=snapshot.currency, at=at)
    _judge_margin(account, _margin_level(snapshot), at=at)


def loss_of(user_id: int, *, at: datetime) -> Decimal:
    """Return what a user's accounts have lost today, in USD, by the last look at each; a profit gives no room.

    One that was put aside counts with what was last known of it: a loss that nobody looks at any more is still one.
    An account whose loss nobody knows now counts with the last that was known today: it is the least that it may be.
    What it has lost beyond that stops nobody, so people are told (`ACCOUNT_NOT_WATCHED`), and the gate admits nothing
    new of its user: it counts no loss that it does not know.
    """
    rows = AccountFigures.objects.filter(account__user_id=user_id, trading_date=at.date())
    return sum(rows.values_list(Coalesce("loss_today", "loss_known"), flat=True), start=ZERO)


def _stop_at_loss(account: TradingAccount, *, lost: Decimal, limit: Limit, at: datetime) -> None:
    """Stop whom the limit is for: the account that has one of its own, else the user with every account."""
    is_own = _has_own(limit)
    scope = ControlScope.ACCOUNT if is_own else ControlScope.USER
    key = str(account.pk if is_own else account.user_id)
    words = (
        f"{money.as_text(lost)} USD are lost today, and the limit is {money.as_text(limit.value)} USD"
        f" ({limit.scope.lower()}). Seen on {account}.{_unknown_of(account.user_id, at=at)}"
    )
    sweep = Sweep(settings.DAILY_LOSS_SWEEP)
    triggers.pull(Trigger.DAILY_LOSS, scope=scope, key=key, reason=words, sweep=sweep, at=at)


def _unknown_of(user_id: int, *, at: datetime) -> str:
    """Name the accounts that count with the last loss that was known of them."""
    unseen = Q(loss_today__isnull=True) | Q(account__is_active=False, loss_known__gt=0)
    rows = AccountFigures.objects.filter(unseen, account__user_id=user_id, trading_date=at.date())
    names = ", ".join(str(row.account) for row in rows.select_related("account"))
    return f" Not known now, counted as last known: {names}." if names else ""


def _has_own(limit: Limit | None) -> bool:
    return limit is not None and limit.scope is LimitScope.ACCOUNT


def _judge_equity(account: TradingAccount, equity: Decimal | None, *, currency: str, at: datetime) -> None:
    scope, key = ControlScope.ACCOUNT, str(account.pk)
    if equity is None or equity <= 0:
        shown = "no number" if equity is None else f"{money.as_text(equity)} {currency}"
        words = f"The equity of {account} is {shown}: it must be above zero."
        triggers.pull(Trigger.EQUITY_UNUSABLE, scope=scope, key=key, reason=words, at=at)
    else:
        triggers.passed((Trigger.EQUITY_UNUSABLE, scope, key), at=at)


def _judge_margin(account: TradingAccount, level: Decimal | None, *, at: datetime) -> None:
    dedupe_key = _margin_key(account.pk)
    is_low = level is not None and level < settings.MARGIN_LEVEL_ALARM
    with transaction.atomic(durable=True):
        if not is_low:
            alerts.close_alert(dedupe_key=dedupe_key, at=at)
        else:
            alerts.open_alert(
                severity=Severity.CRITICAL,
                kind="MARGIN_LEVEL_LOW",
                dedupe_key=dedupe_key,
                text=f"The margin level of {account} is {level} %: below {settings.MARGIN_LEVEL_ALARM} %.",
                object_type="trading_account",
                object_id=str(account.public_id),
                at=at,
            )
    if level is not None and level < settings.MARGIN_LEVEL_MIN:
        words = f"The margin level of {account} is {level} %; below {settings.MARGIN_LEVEL_MIN} % it is stopped."
        triggers.pull(Trigger.MARGIN_LEVEL, scope=ControlScope.ACCOUNT, key=str(account.pk), reason=words, at=at)
    else:
        triggers.passed((Trigger.MARGIN_LEVEL, ControlScope.ACCOUNT, str(account.pk)), at=at)


def by_account(owned: list[TradingAccount]) -> Mapping[int, AccountFigures]:
    """Return the last figures of some accounts; one that was never looked at is absent."""
    return AccountFigures.objects.in_bulk([account.pk for account in owned])


def _margin_level(snapshot: AccountSnapshot) -> Decimal | None:
    """Return equity over margin in use, in percent; None where nothing is in use, or nobody can tell."""
    if not snapshot.equity.is_finite() or not snapshot.margin_used.is_finite() or snapshot.margin_used <= 0:
        return None
    return money.floor_to(snapshot.equity / snapshot.margin_used * PERCENT, money.CENT)


def _facts(account: TradingAccount, snapshot: AccountSnapshot, *, read_at: datetime) -> Facts:
    met = {(account.pk, row.symbol): row for row in TradableInstrument.objects.filter(account=account)}
    return Facts((AccountFacts(account, snapshot),), met, snapshot.quotes, read_at=read_at, asked_at=read_at)


def _standing(
    account: TradingAccount, read: Facts, *, starts: Mapping[int, Decimal], at: datetime
) -> tuple[Figure, Figure]:
    """Return what the account has lost today and what its positions may still lose, as the gate reckons them."""
    if not read.accounts[0].snapshot.equity.is_finite():
        return Unknown("EQUITY_NOT_FINITE"), Unknown("EQUITY_NOT_FINITE")
    starts = starts or stats.equity_at_start(account_ids=[account.pk], trading_date=at.date())
    stands = exposure.standing(read, in_doubt=[], starts=starts, at=at)
    return stands.loss_today, stands.open_risk


def _finite(amount: Decimal) -> Decimal | None:
    return amount if amount.is_finite() else None


def _known(figure: Figure) -> Decimal | None:
    return None if isinstance(figure, Unknown) else figure


def _blind_key(account_id: int) -> str:
    return f"blind:{account_id}"


def _margin_key(account_id: int) -> str:
    return f"margin:{account_id}"


def _mute_key(account_id: int) -> str:
    return f"gateway-sends-nothing:{account_id}"
