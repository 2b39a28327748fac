"""API keys at the console: whose, for what, last used when; and the end of one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import selectors as people
from accounts.rules import Action
from accounts.services import keys
from nexus.console.acts import Act, Done, Plan, version_of
from nexus.console.audit import text_field
from nexus.console.pages import SearchPage
from nexus.core.errors import Conflict, NotFound

SHOWN = 50
STANDING: Mapping[str, bool | None] = {"": None, "live": True, "over": False}


class RevokedAlready(Conflict):
    """Somebody else was faster: the key is dead, by the first one's reason."""

    code = "api_key_revoked_already"
    title = "Somebody has revoked it already"


class SearchForm(forms.Form):
    """Which keys are looked for."""

    email = text_field(gettext_lazy("Owner"), help_text=gettext_lazy("The whole email address."))
    key = text_field(gettext_lazy("Key"), help_text=gettext_lazy("The part that names it, as logs show it."))
    standing = forms.ChoiceField(
        label=gettext_lazy("Status"),
        required=False,
        choices=[("", "–"), ("live", gettext_lazy("can be used")), ("over", gettext_lazy("revoked or ended"))],
    )


class KeysPage(SearchPage):
    """Every API key, the newest first."""

    action: ClassVar = Action.KEY_READ
    template = "console/keys.html"
    title = gettext_lazy("API keys")
    form_class: ClassVar = SearchForm

    def search(self, asked: Mapping[str, Any], *, before: int | None, at: datetime) -> tuple[Any, object | None]:
        """Find keys."""
        return people.keys_found(
            email=asked["email"], key_id=asked["key"], is_live=STANDING[asked["standing"]], limit=SHOWN, before=before,
            at=at,
        )  # fmt: skip

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read one page of keys."""
        found = super().context(**kwargs)
        return {**found, "keys": found["rows"], "may_revoke": self.may(Action.KEY_REVOKE)}


class RevokePage(Act):
    """End a key at once."""

    action: ClassVar = Action.KEY_REVOKE

    def plan(self, **kwargs: Any) -> Plan:
        """Show the key."""
        key = people.key_by_public_id(kwargs["key_id"])
        if key is None:
            raise NotFound("There is no such key.")
        used = f"{key.last_used_at:%Y-%m-%d %H:%M:%S} UTC" if key.last_used_at else _("never")
        return Plan(
            title=_("Revoke the key %(name)s") % {"name": key.name},
            version=version_of(key=key.public_id, revoked=key.revoked_at),
            button=_("Revoke"),
            facts=(
                (_("Key"), f"{key.name} ({key.key_id})"),
                (_("Owner"), f"{key.user.full_name} ({key.user.email})".strip()),
                (_("Reaches"), key.get_mode_display()),
                (_("May"), ", ".join(key.scopes)),
                (_("From"), ", ".join(key.networks) or _("anywhere")),
                (_("Last used"), used),
                (_("Ends by itself"), f"{key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else _("never")),
            ),
            before=key.revoke_reason if key.revoked_at else _("It can be used until it ends."),
            after=_("Refused, from the next request on."),
            consequences=(
                _("Orders that it has placed stay as they are. A bot that lives by it stops acting."),
                _("It cannot be undone: the owner makes another key."),
            ),
            back=reverse("admin:console_user", args=[key.user.public_id]),
            is_grave=True,
            barred=_("It is revoked already.") if key.revoked_at else "",
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Revoke it, if nobody was faster."""
        at = now()
        key = keys.revoke(public_id=kwargs["key_id"], reason=words["reason"], by=self.person, at=at)
        if key.revoked_at != at:
            raise RevokedAlready("Somebody has revoked it meanwhile; see below.")
        return Done(_("Revoked: %(name)s.") % {"name": key.name}, plan.back)
