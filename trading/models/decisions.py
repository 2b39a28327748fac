"""What two operators have decided of a change that nobody can ask the broker about any more."""

from typing import ClassVar

from django.db import models

from trading.models import columns
from trading.models.orders import ChangeRequest
from trading.states import ChangeState, DecisionState


class ChangeDecision(models.Model):
    """What two operators have decided of a change whose answer was lost."""

    change = models.ForeignKey(ChangeRequest, on_delete=models.PROTECT, related_name="decisions")
    to = models.CharField(max_length=8, choices=columns.choices_of(ChangeState))
    evidence = models.TextField(max_length=2000)
    state = models.CharField(max_length=8, choices=columns.choices_of(DecisionState))
    proposed_by = models.CharField(max_length=64)
    proposed_at = models.DateTimeField()
    decided_by = models.CharField(max_length=64, blank=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "change_decision"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=~models.Q(decided_by=models.F("proposed_by")), name="change_decision_by_a_second_person"
            ),
            models.CheckConstraint(
                condition=models.Q(to__in=[ChangeState.DONE, ChangeState.REFUSED]), name="change_decision_ends_it"
            ),
            models.UniqueConstraint(
                fields=["change"],
                condition=models.Q(state=DecisionState.PROPOSED),
                name="change_decision_one_open_of_a_change",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.change}: {self.to}, {self.state}"
