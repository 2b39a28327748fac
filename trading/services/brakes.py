"""The brake as people meet it: who may pull it where, and what stands stopped since when, by whom and why."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from accounts import selectors as people
from accounts.services import refusals
from accounts.states import Role
from accounts.types import Principal
from nexus.audit.types import Actor, Target
from nexus.core.errors import Denied, FieldError, Invalid, NotFound
from risk.services import control, releases
from risk.services.control import StopState, Switch
from risk.services.releases import Release
from risk.states import ControlScope
from trading import selectors
from trading.brokers.registry import BROKERS
from trading.models import SweepRun, TradingAccount
from trading.services import accounts, coverage, sweeps

STOPS_ALL = frozenset({Role.OPERATOR, Role.COMPLIANCE})
STOPS_OWN = frozenset({Role.TRADER})


@dataclass(frozen=True, slots=True)
class Brake:
    """One stop as a person may see it: what it is, what was and is on its way, its sweeps and its open proposal."""

    switch: Switch
    target: str
    set_by: str
    was_in_flight: list[dict[str, Any]]
    in_flight: list[dict[str, Any]]
    sweeps: list[SweepRun]
    release: Release | None


def aim(user: Principal, *, scope: ControlScope | None, target: str) -> tuple[ControlScope, str]:
    """Return which switch a person may set, by its key. A trader aims at an account of his own, others at anything.

    Takes: no `scope` for what the person may stop at most. Raises: Denied, after that was kept; NotFound, Invalid.
    """
    if user.role in STOPS_ALL:
        return find_key(scope or ControlScope.SYSTEM, target)
    if user.role not in STOPS_OWN or scope not in (None, ControlScope.ACCOUNT):
        refusals.keep(
            action="control.stop_denied",
            actor=Actor.user(user.public_id),
            target=Target("trading_control", f"{scope or ''}:{target}"[:64]),
        )
        raise Denied("You may stop your own account, and nothing else.")
    account = selectors.account_for(user, public_id=_uuid(target) if target else None)
    return ControlScope.ACCOUNT, str(account.pk)


def find_key(scope: ControlScope, target: str) -> tuple[ControlScope, str]:
    """Return the switch that a target names: an account's or a user's id, a broker's name, a symbol; nothing for all.

    Raises: NotFound, Invalid.
    """
    match scope:
        case ControlScope.SYSTEM if not target:
            return scope, ""
        case ControlScope.ACCOUNT:
            account = TradingAccount.objects.filter(public_id=_uuid(target)).first()
            return scope, str(_found(account, "account").pk)
        case ControlScope.USER:
            return scope, str(_found(people.user_by_public_id(_uuid(target)), "user").pk)
        case ControlScope.BROKER if target in BROKERS:
            return scope, target
        case ControlScope.INSTRUMENT if 0 < len(target) <= 32:
            return scope, target
    known = {ControlScope.SYSTEM: "must be empty for the system", ControlScope.STRATEGY: "cannot be a strategy yet"}
    detail = known.get(scope, f"names no {scope.lower()} that we know")
    raise Invalid(f"target {detail}.", errors=[FieldError("/target", "invalid", detail)])


def every(*, at: datetime) -> list[Brake]:
    """Return every stop, the system's first, for somebody who may see all."""
    return [_brake(row, mine=None, at=at) for row in control.stops()]


def standing(user: Principal, *, at: datetime) -> list[Brake]:
    """Return every stop that a person may see, the system's first: operators and compliance all, others their own."""
    if user.role in selectors.READS_ALL:
        return every(at=at)
    mine = list(selectors.accounts_of(user))
    scopes = {(ControlScope.SYSTEM.value, "")} | {
        (scope.value, key) for account in mine for scope, key in accounts.control_scopes(account, symbol="") if key
    }
    seen = [row for row in control.stops() if (row.scope, row.key) in scopes or row.scope == ControlScope.INSTRUMENT]
    return [_brake(row, mine={str(account.public_id) for account in mine}, at=at) for row in seen]


def state() -> StopState:
    """Return how far the system as a whole lets trade, and why. A switch that cannot be read is a stop."""
    return control.state(scopes=())


def show(switch: Switch, *, at: datetime) -> Brake:
    """Return one stop with everything that belongs to it, for somebody who may see all."""
    return _brake(switch, mine=None, at=at)


def _brake(row: Switch, *, mine: set[str] | None, at: datetime) -> Brake:
    """Describe a stop. Takes: `mine`, the accounts of whoever looks; None when all may be seen."""
    scope = ControlScope(row.scope)
    sees_all = mine is None
    return Brake(
        switch=row,
        target=target_of(row),
        set_by=name_of(row.set_by) if sees_all else _kind_of(row.set_by),
        was_in_flight=_only(row.in_flight, mine),
        in_flight=_only(coverage.in_flight(scope, row.key), mine),
        sweeps=[each for each in sweeps.of_stop(row) if mine is None or str(each.account.public_id) in mine],
        release=releases.open_of(row, at=at) if sees_all else None,
    )


def target_of(row: Switch) -> str:
    """Return what a stop's key names, as the outside knows it."""
    if row.scope == ControlScope.ACCOUNT:
        return str(TradingAccount.objects.values_list("public_id", flat=True).get(pk=int(row.key)))
    if row.scope == ControlScope.USER:
        user = people.user_by_id(int(row.key))
        return str(user.public_id) if user else row.key
    return row.key


def name_of(setter: str) -> str:
    """Return who set a stop, as operators know them: a person by name and address, a process by its name."""
    try:
        user = people.user_by_public_id(uuid.UUID(setter))
    except ValueError:
        return setter
    return f"{user.full_name} ({user.email})" if user else setter


def _kind_of(setter: str) -> str:
    """Return as much of who set a stop as its subject may know."""
    try:
        uuid.UUID(setter)
    except ValueError:
        return setter
    return "a person"


def _only(listed: Iterable[dict[str, Any]], mine: set[str] | None) -> list[dict[str, Any]]:
    return [each for each in listed if mine is None or each["account"] in mine]


def _found(row: Any, what: str) -> Any:
    if row is None:
        raise NotFound(f"There is no such {what}.", errors=[FieldError("/target", "not_found", f"no such {what}")])
    return row


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as exc:
        raise Invalid("target must be an id.", errors=[FieldError("/target", "invalid", "must be an id")]) from exc
