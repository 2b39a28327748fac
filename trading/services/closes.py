"""Closing a position, whole or in part: an order of its own that can only reduce."""

from datetime import datetime
from decimal import Decimal

from accounts.types import Principal
from nexus.core.errors import Conflict, FieldError, Invalid
from nexus.idempotency.services.records import RequestKey
from risk.types import Context
from trading.models import BrokerPosition
from trading.services import orders
from trading.services.evidence import NOBODY
from trading.services.orders import Execution
from trading.states import Side
from trading.types import OrderIntent


class PositionClosed(Conflict):
    """The position is gone."""

    code = "position_closed"


def close_by(
    *, user: Principal, position: BrokerPosition, other: BrokerPosition, key: RequestKey, at: datetime
) -> Execution:
    """Close a position by an opposite one of the same account and instrument. Safe to repeat with the same key.

    Raises: PositionClosed, Invalid, and what `orders.execute` raises.
    """
    made = orders.replay(key)  # first of all: what the key has made has changed the position
    if made is not None:
        return made
    if not position.quantity or not other.quantity:
        raise PositionClosed("One of the positions is closed already.")
    is_pair = position.account_id == other.account_id and position.symbol == other.symbol
    if not is_pair or position.side is other.side:
        detail = "must be an opposite position of the same account and instrument"
        raise Invalid(f"against {detail}.", errors=[FieldError("/against", "invalid", detail)])
    intent = OrderIntent(
        symbol=position.symbol,
        side=Side.SELL if position.side is Side.BUY else Side.BUY,
        quantity=min(abs(position.quantity), abs(other.quantity)),
        venue_position_id=position.venue_position_id,
        other_position_id=other.venue_position_id,
    )
    return orders.execute(user=user, account=position.account, intent=intent, key=key, at=at)


def close(
    *,
    user: Principal,
    position: BrokerPosition,
    quantity: Decimal | None,
    key: RequestKey,
    at: datetime,
    context: Context = NOBODY,
) -> Execution:
    """Close a position, or `quantity` lots of it, at the market. Safe to repeat with the same key.

    Raises: PositionClosed, Invalid, and what `orders.execute` raises.
    """
    made = orders.replay(key)
    if made is not None:
        return made
    held = abs(position.quantity)
    if not held:
        raise PositionClosed("The position is closed already.")
    if quantity is not None and quantity > held:
        detail = f"must not exceed the position, which is {held.normalize():f} lots"
        raise Invalid(f"quantity {detail}.", errors=[FieldError("/quantity", "out_of_range", detail)])
    intent = OrderIntent(
        symbol=position.symbol,
        side=Side.SELL if position.side is Side.BUY else Side.BUY,
        quantity=held if quantity is None else quantity,
        venue_position_id=position.venue_position_id,
    )
    return orders.execute(user=user, account=position.account, intent=intent, key=key, at=at, context=context)
