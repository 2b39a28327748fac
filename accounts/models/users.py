"""Tables of who you are: users, families of tokens, and the deny list."""

import unicodedata
import uuid
from typing import Any, ClassVar, Self

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.contrib.auth.password_validation import validate_password
from django.db import models, transaction
from django.db.models.expressions import Func
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.states import STAFF_ROLES, RevokeReason, Role, TokenType
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target

EMAIL_LENGTH_MAX = 254


def normalized_email(text: str) -> str:
    """Write an email address the one way in which it is stored, looked up, counted and audited."""
    return unicodedata.normalize("NFKC", text).strip().casefold()[:EMAIL_LENGTH_MAX]


class UserQuerySet(models.QuerySet["User"]):
    """Query words of users."""

    def locked(self) -> Self:
        """Lock the rows, in the one order."""
        return self.order_by("pk").select_for_update(of=("self",), no_key=True)


class UserManager(BaseUserManager["User"]):
    """What Django's own commands call. Everybody else calls `services.users`, which checks and audits."""

    def get_queryset(self) -> UserQuerySet:
        """Return users with their query words."""
        return UserQuerySet(self.model, using=self._db)

    def locked(self) -> UserQuerySet:
        """Lock the rows, in the one order."""
        return self.get_queryset().locked()

    def get_by_natural_key(self, username: str | None) -> "User":
        """Find a user by email, written in any way. Raises: User.DoesNotExist."""
        return self.get(email=normalized_email(username or ""))

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Store a user."""
        user = self.model(email=normalized_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Store a break-glass operator and its audit event; `createsuperuser` calls this. Raises: ValidationError."""
        user = self.model(email=normalized_email(email))
        validate_password(password or "", user)
        with transaction.atomic(using=self._db):
            user = self.create_user(email, password, **{"role": Role.OPERATOR, **fields, "is_superuser": True})
            trail.record(
                action="accounts.user.created",
                actor=Actor.system("createsuperuser"),
                target=Target("user", str(user.public_id)),
                detail={"role": user.role, "is_superuser": True},
            )
        return user


class User(AbstractBaseUser):
    """A person or a bot. Outside this database it is known by `public_id` alone."""

    id = models.BigAutoField(primary_key=True)
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    email = models.EmailField(max_length=EMAIL_LENGTH_MAX, unique=True)
    full_name = models.CharField(max_length=150, blank=True)
    role = models.CharField(max_length=16, choices=Role.choices)
    is_active = models.BooleanField(default=True)
    is_superuser = models.BooleanField(default=False)
    token_version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        db_table = "users"
        constraints: ClassVar = [
            models.CheckConstraint(name="users_role_known", condition=models.Q(role__in=Role.values)),
            models.CheckConstraint(name="users_email_present", condition=~models.Q(email="")),
            models.CheckConstraint(
                name="users_superuser_is_operator",
                condition=models.Q(is_superuser=False) | models.Q(role=Role.OPERATOR),
            ),
        ]

    def __str__(self) -> str:
        return self.email

    @classmethod
    def normalize_username(cls, username: str) -> str:
        """Write the login name the one way."""
        return normalized_email(username)

    def clean(self) -> None:
        """Normalize the email, as Django's forms expect."""
        self.email = normalized_email(self.email)

    def get_full_name(self) -> str:
        """Return the name to greet by."""
        return self.full_name or self.email

    def get_short_name(self) -> str:
        """Return the name that the console shows."""
        return self.full_name or self.email

    @property
    def is_paper_only(self) -> bool:
        """Tell whether this reaches no live venue: a person does, an API key for paper does not."""
        return False

    @property
    def is_staff(self) -> bool:
        """Tell whether the console opens for this user."""
        return self.role in STAFF_ROLES

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Tell what the console allows: staff view, only break-glass does more."""
        if not (self.is_active and self.is_staff):
            return False
        return self.is_superuser or perm.partition(".")[2].startswith("view_")

    def has_perms(self, perm_list: list[str], obj: object = None) -> bool:
        """Tell whether every one of these is allowed."""
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:
        """Tell whether the console lists an app."""
        return self.is_active and self.is_staff

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Tie console sessions to the password and the token version: raising the version ends them."""
        return salted_hmac(
            "nexus.accounts.session", f"{self.password}|{self.token_version}", secret=secret, algorithm="sha256"
        ).hexdigest()


class TokenFamilyQuerySet(models.QuerySet["TokenFamily"]):
    """Query words of token families."""

    def locked(self) -> Self:
        """Lock the rows, in the one order."""
        return self.order_by("pk").select_for_update(of=("self",), no_key=True)

    def live(self, *, at: Any) -> Self:
        """Keep those that can still be used at `at`."""
        return self.filter(revoked_at__isnull=True, absolute_expires_at__gt=at)


class TokenFamily(models.Model):
    """One login and every token that grew from it; they die together."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField()
    absolute_expires_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(null=True, blank=True)
    stepped_up_at = models.DateTimeField(null=True, blank=True, help_text="when a code was last accepted in it")
    ip = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.TextField(null=True, blank=True)  # noqa: DJ001 — unknown is not the same as empty
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoke_reason = models.TextField(null=True, blank=True, choices=RevokeReason.choices)  # noqa: DJ001 — as above

    objects = TokenFamilyQuerySet.as_manager()

    class Meta:
        db_table = "token_family"
        verbose_name_plural = "token families"
        indexes: ClassVar = [
            models.Index(name="token_family_expiry", fields=["absolute_expires_at"]),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="token_family_revoked_with_reason",
                condition=models.Q(revoked_at__isnull=True, revoke_reason__isnull=True)
                | models.Q(revoked_at__isnull=False, revoke_reason__in=RevokeReason.values),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class RevokedToken(models.Model):
    """The deny list. Its key is the SHA-256 of the `jti` claim, never of the token's text, which can be re-written."""

    jti_hash = models.BinaryField(primary_key=True, max_length=32)
    token_type = models.TextField(choices=TokenType.choices)
    user_id = models.BigIntegerField()
    family_id = models.UUIDField(null=True, blank=True)
    expires_at = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(db_default=Func(function="clock_timestamp", output_field=models.DateTimeField()))
    reason = models.TextField(choices=RevokeReason.choices)

    class Meta:
        db_table = "revoked_tokens"
        constraints: ClassVar = [
            models.CheckConstraint(
                name="revoked_tokens_hash_is_sha256",
                condition=Exact(Func("jti_hash", function="octet_length", output_field=models.IntegerField()), 32),
            ),
            models.CheckConstraint(
                name="revoked_tokens_type_known", condition=models.Q(token_type__in=TokenType.values)
            ),
            models.CheckConstraint(
                name="revoked_tokens_reason_known", condition=models.Q(reason__in=RevokeReason.values)
            ),
        ]

    def __str__(self) -> str:
        return bytes(self.jti_hash).hex()[:16]
