"""Who does not agree to a limit that is raised: whom it gives room. Whose an account is, risk does not know."""

from datetime import datetime

from accounts.services.approvals import Request, SecondPersonNeeded
from accounts.types import Principal
from risk.services import changes
from risk.states import LimitScope
from trading.models import TradingAccount


class _Raise(changes.Raise):
    def examine(self, request: Request, *, by: Principal, at: datetime) -> None:
        """Refuse whose limit it is, and whose account's. Raises: SecondPersonNeeded."""
        scope, key = request.payload["scope"], request.payload["key"]
        accounts = TradingAccount.objects.filter(user_id=by.pk).values_list("pk", flat=True)
        own = {LimitScope.USER.value: [by.pk], LimitScope.ACCOUNT.value: accounts}
        if key in map(str, own.get(scope, ())):
            raise SecondPersonNeeded("The limit is yours. Another operator decides it.")


RAISE = _Raise()
