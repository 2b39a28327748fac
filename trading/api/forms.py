"""What clients send and what they get back: the shapes of trading's doors."""

from typing import Any

from rest_framework import serializers

from nexus.core import money
from nexus.core.wire import ExactDecimalField, ExactTimeField, StrictSerializer
from trading.models import ChangeRequest, Fill, TradeLedger
from trading.selectors import AccountView, PositionView
from trading.states import PUBLIC_STATUSES, CancelState, ChangeState, Delivery, OrderType, RejectedBy, Side, TimeInForce
from trading.types import OrderIntent, Quote

SYMBOL = r"^[A-Za-z0-9]{1,20}([-/._#][A-Za-z0-9]{1,20})?(?![\s\S])"  # `$` would let a line feed in


def _price() -> ExactDecimalField:
    return ExactDecimalField(whole_digits=14, places=10, zero=False, required=False, allow_null=True)


class ExecuteForm(StrictSerializer):
    """A trade somebody wants. `entry_price` without a limit type is the price the client saw: it is the collar."""

    symbol = serializers.RegexField(
        SYMBOL, trim_whitespace=False, max_length=32, help_text="exactly as the broker writes it"
    )
    action = serializers.ChoiceField(choices=[side.value for side in Side])
    quantity = ExactDecimalField(whole_digits=12, places=8, zero=False, help_text="lots")
    type = serializers.ChoiceField(choices=[each.value for each in OrderType], required=False)
    entry_price = _price()
    limit_price = _price()
    stop_price = _price()
    time_in_force = serializers.ChoiceField(choices=[each.value for each in TimeInForce], required=False)
    expires_at = ExactTimeField(required=False, help_text="of GTD orders, with its offset")
    stop_loss = _price()
    take_profit = _price()
    account = serializers.UUIDField(required=False, help_text="may be left out by a user with one account")

    def to_intent(self) -> OrderIntent:
        """Return the trade in our words."""
        data = self.validated_data
        order_type = OrderType(data.get("type", OrderType.MARKET))
        entry = data.get("entry_price")
        time = data.get("time_in_force")
        is_resting = order_type is not OrderType.MARKET
        return OrderIntent(
            symbol=data["symbol"],
            side=Side(data["action"]),
            quantity=data["quantity"],
            entry_price=entry,
            stop_loss=data.get("stop_loss"),
            take_profit=data.get("take_profit"),
            order_type=order_type,
            limit_price=data.get("limit_price", entry if order_type is OrderType.LIMIT else None),
            stop_price=data.get("stop_price", entry if order_type is OrderType.STOP else None),
            time_in_force=TimeInForce(time) if time else TimeInForce.GTC if is_resting else None,
            expires_at=data.get("expires_at"),
        )


class CancelForm(StrictSerializer):
    """Why an order is canceled."""

    reason = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)


class CloseForm(StrictSerializer):
    """How much of a position to close; all of it unless said."""

    quantity = ExactDecimalField(whole_digits=12, places=8, zero=False, required=False, help_text="lots")
    against = serializers.UUIDField(required=False, help_text="an opposite position to close it by")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse to close a part by another position: what they share is closed."""
        if "against" in attrs and "quantity" in attrs:
            raise serializers.ValidationError({"quantity": "Leave it out: what both positions share is closed."})
        return attrs


class TermsForm(StrictSerializer):
    """New prices of a working order. One that is left out stays; null takes a stop away."""

    limit_price = _price()
    stop_price = _price()
    stop_loss = _price()
    take_profit = _price()
    reason = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)

    def to_terms(self) -> dict[str, Any]:
        """Return the prices that were named."""
        return {name: value for name, value in self.validated_data.items() if name != "reason"}


class StopsForm(StrictSerializer):
    """New stops of a position. One that is left out stays; null takes it away."""

    stop_loss = _price()
    take_profit = _price()
    reason = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a change of nothing."""
        if not {"stop_loss", "take_profit"} & set(attrs):
            raise serializers.ValidationError({"stop_loss": "Name the stop to change.", "take_profit": "Or this one."})
        return attrs

    def to_stops(self) -> dict[str, Any]:
        """Return the stops that were named."""
        return {name: value for name, value in self.validated_data.items() if name != "reason"}


class LedgerQuery(StrictSerializer):
    """Which orders to list."""

    limit = serializers.IntegerField(min_value=1, max_value=200, default=50)
    status = serializers.ChoiceField(choices=PUBLIC_STATUSES, required=False)
    symbol = serializers.RegexField(SYMBOL, trim_whitespace=False, max_length=32, required=False)
    before = serializers.UUIDField(required=False, help_text="the last id of the page before this one")

    def get_fields(self) -> dict[str, Any]:
        """Add `from` and `to`, which Python keeps for itself."""
        times = {
            "from": ExactTimeField(required=False, help_text="created at or after, with its offset"),
            "to": ExactTimeField(required=False, help_text="created before, with its offset"),
        }
        return super().get_fields() | times

    def to_filters(self) -> dict[str, Any]:
        """Return the query in the words of `selectors.ledger_page`."""
        data = self.validated_data
        return {
            "limit": data["limit"],
            "status": data.get("status"),
            "symbol": data.get("symbol"),
            "created_from": data.get("from"),
            "created_to": data.get("to"),
            "before": data.get("before"),
        }


class QuoteQuery(StrictSerializer):
    """Which price to read."""

    symbol = serializers.RegexField(SYMBOL, trim_whitespace=False, max_length=32)
    account = serializers.UUIDField(required=False)


class CheckView(serializers.Serializer[dict[str, Any]]):
    """One check of an order with its figures."""

    name = serializers.CharField()
    passed = serializers.BooleanField()
    reason = serializers.CharField(allow_blank=True)
    limit = serializers.CharField(allow_null=True)
    used = serializers.CharField(allow_null=True)
    asked = serializers.CharField(allow_null=True)
    headroom = serializers.CharField(allow_null=True)
    unit = serializers.CharField(allow_blank=True)
    scope = serializers.CharField(allow_blank=True)
    detail = serializers.CharField(allow_blank=True)


class FillView(serializers.Serializer[Fill]):
    """One execution."""

    id = serializers.CharField(source="venue_fill_id")
    side = serializers.ChoiceField(choices=[side.value for side in Side])
    quantity = ExactDecimalField()
    price = ExactDecimalField()
    commission = ExactDecimalField(signed=True)
    swap = ExactDecimalField(signed=True)
    fee = ExactDecimalField(signed=True)
    profit = ExactDecimalField(signed=True)
    slippage = ExactDecimalField(signed=True, allow_null=True)
    position = serializers.CharField(source="venue_position_id")
    reverses = serializers.CharField(
        allow_blank=True, help_text="of a fill that takes another one back, whole: that one's id; neither counts"
    )
    filled_at = serializers.DateTimeField()


class OrderView(serializers.Serializer[TradeLedger]):
    """An order as its owner sees it. Amounts in USD, quantities in lots."""

    id = serializers.UUIDField(source="public_id")
    account = serializers.UUIDField(source="account.public_id")
    client_order_id = serializers.CharField()
    venue_order_id = serializers.CharField(allow_blank=True)
    symbol = serializers.CharField()
    action = serializers.ChoiceField(source="side", choices=[side.value for side in Side])
    type = serializers.ChoiceField(source="order_type", choices=[each.value for each in OrderType])
    quantity = ExactDecimalField()
    entry_price = ExactDecimalField(allow_null=True)
    limit_price = ExactDecimalField(allow_null=True)
    stop_price = ExactDecimalField(allow_null=True)
    time_in_force = serializers.CharField(allow_blank=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    closes_position = serializers.CharField(source="venue_position_id", allow_blank=True)
    stop_loss = ExactDecimalField(allow_null=True)
    take_profit = ExactDecimalField(allow_null=True)
    status = serializers.ChoiceField(source="public_status", choices=PUBLIC_STATUSES)
    delivery = serializers.ChoiceField(choices=[each.value for each in Delivery])
    cancel = serializers.ChoiceField(choices=[each.value for each in CancelState])
    rejected_by = serializers.ChoiceField(choices=["", *(each.value for each in RejectedBy)])
    reason = serializers.CharField(allow_blank=True)
    reason_detail = serializers.CharField(allow_blank=True)
    filled_quantity = ExactDecimalField()
    average_price = ExactDecimalField(allow_null=True)
    risk = ExactDecimalField()
    reserved = ExactDecimalField()
    value = ExactDecimalField()
    reference_bid = ExactDecimalField(allow_null=True)
    reference_ask = ExactDecimalField(allow_null=True)
    created_at = serializers.DateTimeField()
    sent_at = serializers.DateTimeField(allow_null=True)
    closed_at = serializers.DateTimeField(allow_null=True)
    fills = FillView(many=True, source="fills.all")
    checks = CheckView(many=True, help_text="in a list, of orders that they rejected; all of them where one is read")


class OneOrderView(OrderView):
    """One order by itself. To those who see everybody's, also what may be an order that nobody can find."""

    look_alikes = FillView(
        many=True, required=False,
        help_text="deals with nobody's name on them that may be this order: evidence for a person, never fills",
    )  # fmt: skip


class LedgerView(serializers.Serializer[dict[str, Any]]):
    """A page of orders, the newest first; `next` is the value of `before` for the page after this one."""

    results = OrderView(many=True)
    next = serializers.UUIDField(allow_null=True)


class PositionRow(serializers.Serializer[PositionView]):
    """A position of ours with the broker's own mark. Without the broker the mark is empty, and `is_live` says so."""

    id = serializers.UUIDField(source="position.public_id")
    venue_position_id = serializers.CharField(source="position.venue_position_id")
    account = serializers.UUIDField(source="position.account.public_id")
    symbol = serializers.CharField(source="position.symbol")
    side = serializers.ChoiceField(source="position.side", choices=[side.value for side in Side])
    quantity = serializers.SerializerMethodField()
    price_open = ExactDecimalField(source="position.price_open")
    stop_loss = ExactDecimalField(source="position.stop_loss", allow_null=True)
    take_profit = ExactDecimalField(source="position.take_profit", allow_null=True)
    price_current = ExactDecimalField(source="live.price_current", default=None, allow_null=True)
    profit = ExactDecimalField(source="live.profit", default=None, allow_null=True, signed=True)
    currency = serializers.CharField(source="position.account.currency")
    is_live = serializers.SerializerMethodField()
    opened_at = serializers.DateTimeField(source="position.opened_at")

    def get_quantity(self, view: PositionView) -> str:
        """Write the quantity without its sign: the side says the rest."""
        return money.as_text(abs(view.position.quantity))

    def get_is_live(self, view: PositionView) -> bool:
        """Tell whether the broker showed this position just now."""
        return view.live is not None


class PositionList(serializers.Serializer[dict[str, Any]]):
    """The open positions."""

    results = PositionRow(many=True)


class ChangeView(serializers.Serializer[ChangeRequest]):
    """A change as it was answered: DONE, REFUSED, or UNKNOWN while the broker is being asked: read it again by its id.

    Until it is known the order shows the further of both stops, and the worse of both is reserved.
    """

    id = serializers.UUIDField(source="public_id")
    kind = serializers.CharField()
    state = serializers.ChoiceField(choices=[each.value for each in ChangeState])
    before = serializers.DictField()
    after = serializers.DictField()
    answer = serializers.CharField(allow_blank=True)
    sent_at = serializers.DateTimeField()
    settled_at = serializers.DateTimeField(allow_null=True)


class AccountRow(serializers.Serializer[AccountView]):
    """One account at one venue."""

    id = serializers.UUIDField(source="account.public_id")
    name = serializers.CharField(source="account.name")
    venue = serializers.CharField(source="account.venue")
    venue_account = serializers.CharField(source="account.venue_account")
    server = serializers.CharField(source="account.server")
    currency = serializers.CharField(source="account.currency")
    mode = serializers.CharField(source="account.mode")
    is_live = serializers.BooleanField(source="account.is_live")
    is_active = serializers.BooleanField(source="account.is_active")
    armed_until = serializers.DateTimeField(
        source="account.armed_until", allow_null=True, help_text="of a live account: until when it takes orders"
    )
    balance = ExactDecimalField(source="live.balance", default=None, allow_null=True, signed=True)
    equity = ExactDecimalField(source="live.equity", default=None, allow_null=True, signed=True)
    margin_free = ExactDecimalField(source="live.margin_free", default=None, allow_null=True, signed=True)


class AccountList(serializers.Serializer[dict[str, Any]]):
    """The accounts a person may see. Figures are empty for an account whose broker cannot be asked."""

    results = AccountRow(many=True)


class QuoteView(serializers.Serializer[Quote]):
    """The price now, with the source's own time."""

    symbol = serializers.CharField()
    bid = ExactDecimalField()
    ask = ExactDecimalField()
    at = serializers.DateTimeField()
