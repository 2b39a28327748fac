"""API keys: what a bot shows instead of a password."""

import uuid
from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.expressions import Func
from django.db.models.lookups import Exact

from accounts.states import KeyMode, Scope


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Query words of API keys."""

    def locked(self) -> Self:
        """Lock the rows, in the one order."""
        return self.order_by("pk").select_for_update(of=("self",), no_key=True)

    def live(self, *, at: object) -> Self:
        """Keep those that can still be used at `at`."""
        return self.filter(models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=at), revoked_at__isnull=True)


class ApiKey(models.Model):
    """One key of one user. Its secret was shown once; the hash of it is all that is kept."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    key_id = models.CharField(max_length=16, unique=True, help_text="the part of the key that names it")
    secret_sha256 = models.BinaryField(max_length=32)
    user = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=64)
    mode = models.CharField(max_length=5, choices=KeyMode.choices)
    scopes = ArrayField(models.CharField(max_length=24))
    networks = ArrayField(models.CharField(max_length=43), default=list, help_text="addresses it may come from")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoke_reason = models.CharField(max_length=500, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    rotated_from = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        db_table = "api_key"
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(mode__in=KeyMode.values), name="api_key_mode_known"),
            models.CheckConstraint(
                condition=models.Q(scopes__contained_by=list(Scope.values)) & models.Q(scopes__len__gt=0),
                name="api_key_scopes_known",
            ),
            models.CheckConstraint(
                condition=~models.Q(scopes__contains=[Scope.ORDERS_WRITE_LIVE.value])
                | models.Q(mode=KeyMode.LIVE.value, networks__len__gt=0, expires_at__isnull=False),
                name="api_key_live_is_bound",
            ),
            models.CheckConstraint(
                condition=Exact(Func("secret_sha256", function="octet_length", output_field=models.IntegerField()), 32),
                name="api_key_hash_is_sha256",
            ),
            models.CheckConstraint(
                condition=models.Q(revoked_at__isnull=True, revoke_reason="")
                | (models.Q(revoked_at__isnull=False) & ~models.Q(revoke_reason="")),
                name="api_key_revoked_with_reason",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["user"], name="api_key_by_user")]

    def __str__(self) -> str:
        return f"{self.name} ({self.key_id})"
