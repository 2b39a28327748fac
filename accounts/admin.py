"""Accounts on the console: seen by staff, changed by services. Hashes are never displayed."""

from collections.abc import Sequence
from typing import Any, cast

from axes.models import AccessAttempt
from django.contrib import admin
from django.http import HttpRequest

from accounts.models import (
    ApiKey,
    ApprovalDecision,
    ApprovalRequest,
    Notice,
    RevokedToken,
    TokenFamily,
    TotpDevice,
    User,
)
from accounts.services import disclosures
from nexus.audit.types import Target
from nexus.core.operator import RecordAdmin


class PersonalAdmin(RecordAdmin):
    """A table with personal data: whoever is shown some of it, in a list or one by one, stands in the audit log."""

    personal: tuple[str, ...] = ()

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the list, and keep who has seen it where it shows personal data."""
        response = super().changelist_view(request, extra_context)
        shown = [name for name in self.personal if name in self.list_display]
        rows = response.context_data["cl"].result_list if shown and hasattr(response, "context_data") else ()
        if rows:
            self._note(request, "", shown, [row.pk for row in rows])
        return response

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        """Show one record, and keep who has seen it."""
        response = super().change_view(request, object_id, form_url, extra_context)
        if response.status_code == 200:
            self._note(request, object_id, self.personal, [object_id])
        return response

    def _note(self, request: HttpRequest, object_id: str, fields: Sequence[str], ids: Sequence[object]) -> None:
        target = Target(str(self.opts.model_name), object_id)
        disclosures.note(by=cast("User", request.user), target=target, fields=fields, ids=ids)


@admin.register(User)
class UserAdmin(RecordAdmin):
    """People and bots."""

    list_display = ("email", "full_name", "role", "is_active", "is_superuser", "created_at", "last_login")
    fields = ("public_id", *list_display, "token_version")
    search_fields = ("email__startswith",)
    search_help_text = "The beginning of an email address, in lower case."
    list_filter = ("role", "is_active")
    ordering = ("email",)


@admin.register(TokenFamily)
class TokenFamilyAdmin(PersonalAdmin):
    """Sessions of the API, newest end first."""

    personal = ("ip", "user_agent")

    list_display = ("id", "user", "created_at", "last_seen_at", "absolute_expires_at", "revoked_at", "revoke_reason")
    list_select_related = ("user",)
    search_fields = ("user__email__exact",)
    search_help_text = "An exact email address, in lower case."
    ordering = ("-absolute_expires_at",)


@admin.register(RevokedToken)
class RevokedTokenAdmin(RecordAdmin):
    """The deny list: hashes only."""

    list_display = ("__str__", "token_type", "user_id", "family_id", "expires_at", "revoked_at", "reason")
    list_display_links = None
    fields = ("token_type", "user_id", "family_id", "expires_at", "revoked_at", "reason")
    ordering = ("-expires_at",)


@admin.register(ApiKey)
class ApiKeyAdmin(RecordAdmin):
    """API keys: their hashes are never displayed."""

    list_display = ("name", "key_id", "user", "mode", "created_at", "expires_at", "revoked_at", "last_used_at")
    fields = ("public_id", *list_display, "scopes", "networks", "revoke_reason", "rotated_from")
    list_select_related = ("user",)
    search_fields = ("user__email__exact",)
    search_help_text = "An exact email address, in lower case."
    ordering = ("-pk",)


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(RecordAdmin):
    """What waits for a second person, and what was decided."""

    list_display = ("kind", "object_type", "object_id", "requested_by", "requested_at", "state", "expires_at")
    fields = ("public_id", *list_display, "payload", "reason", "required", "closed_at")
    list_select_related = ("requested_by",)
    list_filter = ("state",)
    ordering = ("-pk",)


@admin.register(ApprovalDecision)
class ApprovalDecisionAdmin(RecordAdmin):
    """What each person said."""

    list_display = ("request", "decided_by", "decision", "reason", "decided_at")
    list_select_related = ("request", "decided_by")
    ordering = ("-pk",)


@admin.register(AccessAttempt)
class AccessAttemptAdmin(PersonalAdmin):
    """Failed logins of the last day. `manage.py unlock_login` and `POST /auth/unlock` open what they shut."""

    personal = ("username", "ip_address", "user_agent")

    list_display = ("username", "ip_address", "failures_since_start", "attempt_time", "user_agent", "path_info")
    fields = list_display
    search_fields = ("username__exact", "ip_address__exact")
    search_help_text = "An exact email address in lower case, or an address."
    ordering = ("-attempt_time",)


@admin.register(TotpDevice)
class TotpDeviceAdmin(RecordAdmin):
    """Second factors: their seeds are never displayed."""

    list_display = ("user", "name", "confirmed", "created_at", "confirmed_at")
    fields = list_display
    list_select_related = ("user",)
    search_fields = ("user__email__exact",)
    search_help_text = "An exact email address, in lower case."
    ordering = ("-pk",)


@admin.register(Notice)
class NoticeAdmin(RecordAdmin):
    """What people were told about their own accounts."""

    list_display = ("user", "kind", "created_at", "sent_at", "attempts", "fault")
    fields = list_display
    list_select_related = ("user",)
    list_filter = ("kind",)
    ordering = ("-pk",)
