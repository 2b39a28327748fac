"""The table of what a person is told about the own account."""

from typing import ClassVar

from django.db import models

from accounts.states import NoticeKind


class Notice(models.Model):
    """One message to one person. The row is the queue."""

    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="+")
    kind = models.TextField(choices=NoticeKind.choices)
    text = models.TextField()
    sealed = models.TextField(blank=True, help_text="a secret that the message ends with, encrypted until it is sent")
    created_at = models.DateTimeField()
    next_at = models.DateTimeField(help_text="when it is tried next")
    attempts = models.IntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    fault = models.TextField(blank=True)

    class Meta:
        db_table = "account_notice"
        indexes: ClassVar = [
            models.Index(fields=["next_at"], name="account_notice_due", condition=models.Q(sent_at__isnull=True)),
            models.Index(fields=["user", "kind", "created_at"], name="account_notice_of"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(kind__in=NoticeKind.values), name="account_notice_kind_known"),
            models.CheckConstraint(
                condition=models.Q(sent_at__isnull=True) | models.Q(sealed=""),
                name="account_notice_sent_holds_no_secret",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to user {self.user_id}"
