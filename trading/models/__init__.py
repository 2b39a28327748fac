"""The tables of trading."""

from trading.models.accounts import TradableInstrument, TradingAccount
from trading.models.control import AccountFigures, AccountReading, SweepRun
from trading.models.corrections import BookCorrection
from trading.models.decisions import ChangeDecision
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
    "AccountFigures",
    "AccountReading",
    "Beside",
    "BookCorrection",
    "BrokerPosition",
    "CashMovement",
    "ChangeDecision",
    "ChangeRequest",
    "Fill",
    "IllegalTransition",
    "OrderDecision",
    "OrderEvent",
    "OrderQuerySet",
    "SweepRun",
    "TradableInstrument",
    "TradeLedger",
    "TradingAccount",
]
