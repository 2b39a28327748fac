"""What waits for a second person, and what each person said about it."""

import uuid
from typing import ClassVar, Self

from django.db import models
from django.db.models.expressions import Func
from django.db.models.lookups import Exact

from accounts.states import ApprovalState, ApprovalVerdict


class ApprovalQuerySet(models.QuerySet["ApprovalRequest"]):
    """Query words of requests for a second person."""

    def locked(self) -> Self:
        """Lock the rows, in the one order."""
        return self.order_by("pk").select_for_update(of=("self",), no_key=True)

    def pending(self, *, at: object) -> Self:
        """Keep those that can still be decided at `at`."""
        return self.filter(state=ApprovalState.PENDING, expires_at__gt=at)


class ApprovalRequest(models.Model):
    """One dangerous act that a person asked for. Nothing of it is done before others agree to exactly this."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=32)
    object_type = models.CharField(max_length=32)
    object_id = models.CharField(max_length=254)
    payload = models.JSONField(help_text="what will be done, and what it was decided upon")
    payload_sha256 = models.BinaryField(max_length=32, help_text="of the payload: another one makes the request stale")
    requested_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    reason = models.CharField(max_length=500)
    required = models.PositiveSmallIntegerField(default=1, help_text="how many others have to agree")
    state = models.CharField(max_length=8, choices=ApprovalState.choices, default=ApprovalState.PENDING)
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = ApprovalQuerySet.as_manager()

    class Meta:
        db_table = "approval_request"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind", "object_type", "object_id"],
                condition=models.Q(state=ApprovalState.PENDING.value),
                name="approval_request_one_pending",
            ),
            models.UniqueConstraint(fields=["id", "requested_by"], name="approval_request_and_who_asked"),
            models.CheckConstraint(condition=~models.Q(reason=""), name="approval_request_has_a_reason"),
            models.CheckConstraint(condition=models.Q(required__gte=1), name="approval_request_needs_another"),
            models.CheckConstraint(
                condition=models.Q(state__in=ApprovalState.values), name="approval_request_state_known"
            ),
            models.CheckConstraint(
                condition=models.Q(state=ApprovalState.PENDING.value, closed_at__isnull=True)
                | (~models.Q(state=ApprovalState.PENDING.value) & models.Q(closed_at__isnull=False)),
                name="approval_request_closed_with_time",
            ),
            models.CheckConstraint(
                condition=Exact(
                    Func("payload_sha256", function="octet_length", output_field=models.IntegerField()), 32
                ),
                name="approval_request_hash_is_sha256",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["state", "expires_at"], name="approval_request_by_state")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.object_type} {self.object_id}"


class ApprovalDecision(models.Model):
    """What one person said, once. Never changed; the database refuses whoever asked as the one who decides."""

    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="decisions")
    decided_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    requested_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    decision = models.CharField(max_length=8, choices=ApprovalVerdict.choices)
    reason = models.CharField(max_length=500)
    decided_at = models.DateTimeField()

    class Meta:
        db_table = "approval_decision"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["request", "decided_by"], name="approval_decision_one_a_person"),
            models.CheckConstraint(
                condition=~models.Q(decided_by=models.F("requested_by")), name="approval_decision_second_person"
            ),
            models.CheckConstraint(
                condition=models.Q(decision__in=ApprovalVerdict.values), name="approval_decision_known"
            ),
            models.CheckConstraint(condition=~models.Q(reason=""), name="approval_decision_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.decision} of {self.request_id}"


class Enrolment(models.Model):
    """A link with which a person sets the first password, or another for a lost one, once.

    Of its token the hash is kept and, until it has been given out, what nobody has read yet: the whole with the message
    that is to be sent, or the half for who asked. Both are encrypted.
    """

    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="+")
    is_reset = models.BooleanField(default=False)
    token_sha256 = models.BinaryField(max_length=32, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    approval = models.OneToOneField(
        ApprovalRequest, on_delete=models.PROTECT, null=True, blank=True, related_name="+",
        help_text="what was agreed to; none for a founder's, which was made at the terminal",
    )  # fmt: skip
    notice = models.OneToOneField(
        "accounts.Notice", on_delete=models.SET_NULL, null=True, blank=True, related_name="+",
        help_text="the message that brings the token to its owner",
    )  # fmt: skip
    is_mailed = models.BooleanField(default=False, help_text="to its owner; else it is handed over in two halves")
    sealed_half = models.TextField(blank=True, help_text="the half for who asked, encrypted until it is shown, once")

    class Meta:
        db_table = "enrolment"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(is_mailed=False) | models.Q(sealed_half=""), name="enrolment_mailed_has_no_halves"
            ),
        ]

    def __str__(self) -> str:
        return f"enrolment of user {self.user_id}"
