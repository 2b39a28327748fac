"""Corrections of our books to the broker's: what reconciliation or an operator wrote, beside what deals did."""

from typing import ClassVar

from django.db import models

from trading.models import columns
from trading.models.accounts import TradingAccount
from trading.states import CorrectionKind


class BookCorrection(models.Model):
    """One entry that moves a position or the expected balance to the broker's. No deal, and never a result.

    Never changed. The id is made of what is corrected to what, as of which broker state: a replay finds it taken.
    """

    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="+")
    correction_id = models.CharField(max_length=48, unique=True)
    kind = models.CharField(max_length=9, choices=columns.choices_of(CorrectionKind))
    venue_position_id = models.CharField(max_length=32, blank=True, help_text="empty: it corrects the balance")
    symbol = models.CharField(max_length=32, blank=True)
    quantity = columns.quantity(default=0, help_text="lots, signed: what is added to the position")
    price = columns.price(null=True, help_text="at which it is added; of no quantity: the average that it sets")
    amount = columns.money(default=0, help_text="account currency: what is added to the expected balance")
    as_of = models.CharField(max_length=64, blank=True, help_text="the newest deal that the broker's answer showed")
    reason = models.CharField(max_length=500)
    made_by = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "book_correction"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(venue_position_id="", quantity=0)
                | (~models.Q(venue_position_id="") & models.Q(amount=0)),
                name="book_correction_of_one_thing",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["account", "venue_position_id"], name="book_correction_of_position")]

    def __str__(self) -> str:
        what = f"{self.quantity.normalize():f} {self.symbol}" if self.symbol else f"{self.amount.normalize():f}"
        return f"{self.kind} {what}"
