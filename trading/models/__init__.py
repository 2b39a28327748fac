"""The tables of trading."""

from trading.models.accounts import TradableInstrument, TradingAccount
from trading.models.corrections import BookCorrection
from trading.models.fills import BrokerPosition, CashMovement, Fill
from trading.models.orders import (
    Beside,
    ChangeRequest,
    IllegalTransition,
    OrderDecision,
    OrderEvent,
    OrderQuerySet,
    TradeLedger,
)

__all__ = [
    "Beside",
    "BookCorrection",
    "BrokerPosition",
    "CashMovement",
    "ChangeRequest",
    "Fill",
    "IllegalTransition",
    "OrderDecision",
    "OrderEvent",
    "OrderQuerySet",
    "TradableInstrument",
    "TradeLedger",
    "TradingAccount",
]
