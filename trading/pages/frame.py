"""What stands around every page: what is stopped, and whether there is real money behind it."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.timezone import now

from accounts.rules import Action, may
from accounts.types import Principal
from trading import selectors
from trading.services import brakes
from trading.services.brakes import Brake


@dataclass(frozen=True, slots=True)
class Frame:
    """What the person sees on every page."""

    brakes: list[Brake]
    has_live: bool
    has_paper: bool
    may_trade: bool


def frame(request: HttpRequest) -> dict[str, Any]:
    """Give our templates their frame; read only when one of them asks for it."""
    return {"frame": SimpleLazyObject(lambda: _of(request))}


def _of(request: HttpRequest) -> "Frame | None":
    user = getattr(request, "user", None)
    return None if user is None or not user.is_authenticated else read(user)


def read(user: Principal) -> Frame:
    """Read what stands around the pages of somebody."""
    kinds = {account.is_live for account in selectors.accounts_of(user)}
    return Frame(
        brakes=brakes.standing(user, at=now()),
        has_live=True in kinds,
        has_paper=False in kinds,
        may_trade=may(user.role, Action.ORDER_PLACE),
    )
