"""Closing a position, whole or in part: an order of its own that can only reduce."""

from datetime import datetime
from decimal import Decimal

from accounts.types import Principal
from nexus.core.errors import Conflict, FieldError, Invalid
from nexus.idempotency.services.records import RequestKey
from trading.models import BrokerPosition
from trading.services import orders
from trading.services.orders import Execution
from trading.states import Side
from trading.types import OrderIntent


class PositionClosed(Conflict):
    """The position is gone."""

    code = "position_closed"


def close(
    *, user: Principal, position: BrokerPosition, quantity: Decimal | None, key: RequestKey, at: datetime
) -> Execution:
    """Close a position, or `quantity` lots of it, at the market. Safe to repeat with the same key.

    Raises: PositionClosed, Invalid, and what `orders.execute` raises.
    """
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
    return orders.execute(user=user, account=position.account, intent=intent, key=key, at=at)
