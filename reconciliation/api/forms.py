"""What clients send and what they get back: the shapes of reconciliation's doors."""

from typing import Any

from rest_framework import serializers

from nexus.core.wire import ExactDecimalField, StrictSerializer
from reconciliation.models import ReconciliationLog
from reconciliation.selectors import AccountState
from reconciliation.states import Action, Entry, Impact, Status
from reconciliation.types import Outcome

HOURS_MAX = 24 * 31


def _amount(**options: Any) -> ExactDecimalField:
    return ExactDecimalField(signed=True, **options)


class ReconcileForm(StrictSerializer):
    """Which account to reconcile now."""

    account = serializers.UUIDField(
        required=False, help_text="may be left out by a trader: then all of one's own; an operator names any"
    )


class FoundView(serializers.Serializer[Any]):
    """One difference of a run, and what was done about it. Quantities in lots, the broker's less ours."""

    key = serializers.CharField(help_text="a symbol (netting), a position's identifier (hedging), or CASH")
    symbol = serializers.CharField(allow_blank=True)
    quantity_discrepancy = _amount()
    cash_discrepancy = _amount()
    value_usd = ExactDecimalField(allow_null=True, help_text="empty when nobody can value it: then it stops trading")
    action = serializers.ChoiceField(choices=[each.value for each in Action])


class RunView(serializers.Serializer[Outcome]):
    """How a run ended."""

    account = serializers.UUIDField()
    run_id = serializers.UUIDField(allow_null=True, help_text="empty while another run of the account is under way")
    status = serializers.ChoiceField(choices=[each.value for each in Status])
    detail = serializers.CharField(allow_blank=True)
    discrepancy_usd = ExactDecimalField(help_text="D: the sum of all differences, which never cancel")
    is_unvalued = serializers.BooleanField()
    risk_impact = serializers.ChoiceField(choices=[each.value for each in Impact])
    new_fills = serializers.IntegerField()
    differences = serializers.SerializerMethodField()

    def get_differences(self, outcome: Outcome) -> list[dict[str, Any]]:
        """Return the findings with their actions."""
        rows = [
            {
                "key": finding.key,
                "symbol": finding.symbol,
                "quantity_discrepancy": 0 if finding.position is None else finding.position.missing,
                "cash_discrepancy": finding.amount,
                "value_usd": finding.value,
                "action": action.value,
            }
            for finding, action in outcome.findings
        ]
        return list(FoundView(rows, many=True).data)


class RunList(serializers.Serializer[Any]):
    """How the runs ended, one an account."""

    results = RunView(many=True)


class ReportQuery(StrictSerializer):
    """Which part of the log."""

    hours = serializers.IntegerField(min_value=1, max_value=HOURS_MAX, required=False, default=24)
    account = serializers.UUIDField(required=False)
    format = serializers.ChoiceField(choices=["json", "csv"], required=False, default="json")


class StateView(serializers.Serializer[AccountState]):
    """How an account stands with its broker now, and what its runs came to in the time of the report."""

    account = serializers.UUIDField(source="account.public_id")
    name = serializers.CharField(source="account.name")
    runs = serializers.IntegerField()
    failed_runs = serializers.IntegerField()
    failures_in_row = serializers.IntegerField()
    last_success_at = serializers.DateTimeField(allow_null=True)
    age_s = ExactDecimalField(allow_null=True, help_text="since the last complete run")
    discrepancy_usd = ExactDecimalField()
    is_unvalued = serializers.BooleanField()
    corrected_24h_usd = ExactDecimalField()
    reviews_open = serializers.IntegerField()


class LogView(serializers.Serializer[ReconciliationLog]):
    """One row of the log: a run that was not clean, a difference, or a decision."""

    at = serializers.DateTimeField()
    run_id = serializers.UUIDField()
    entry = serializers.ChoiceField(choices=[each.value for each in Entry])
    account = serializers.UUIDField(source="account.public_id")
    trigger = serializers.CharField()
    status = serializers.ChoiceField(choices=[each.value for each in Status])
    key = serializers.CharField(allow_blank=True)
    symbol = serializers.CharField(allow_blank=True)
    our_quantity = _amount(allow_null=True)
    broker_quantity = _amount(allow_null=True)
    quantity_discrepancy = _amount()
    our_price = ExactDecimalField(allow_null=True)
    broker_price = ExactDecimalField(allow_null=True)
    cash_discrepancy = _amount()
    value_usd = ExactDecimalField(allow_null=True)
    risk_impact = serializers.ChoiceField(choices=[each.value for each in Impact])
    action = serializers.ChoiceField(choices=[each.value for each in Action])
    reason = serializers.CharField(allow_blank=True)
    evidence = serializers.JSONField()


class ReportView(serializers.Serializer[Any]):
    """How accounts stand, and everything worth telling, the newest first."""

    hours = serializers.IntegerField()
    accounts = StateView(many=True)
    results = LogView(many=True)
    has_more = serializers.BooleanField(help_text="older rows were left out; ask for fewer hours, or for CSV")
