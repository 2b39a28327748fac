"""What is done to a user: asked for by one operator and agreed to by another; or at once, where it only protects."""

from typing import Any, ClassVar

from django import forms
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.rules import Action
from accounts.services import second_factor, sessions, staffing
from accounts.services.approvals import Request
from accounts.states import Role
from accounts.types import ClientInfo
from nexus.console.acts import Act, ActForm, Done, Plan, version_of
from nexus.console.users import person
from nexus.core.http import client_ip


class RoleForm(ActForm):
    """What the user shall be for."""

    role = forms.ChoiceField(label=gettext_lazy("Role"), choices=Role.choices, widget=forms.RadioSelect)
    field_order = ("role", "reason", "otp")


class NewForm(ActForm):
    """Who shall come in, and what for."""

    email = forms.EmailField(label=gettext_lazy("Email address"), max_length=254)
    full_name = forms.CharField(label=gettext_lazy("Name"), max_length=150, required=False)
    role = forms.ChoiceField(label=gettext_lazy("Role"), choices=Role.choices, widget=forms.RadioSelect)
    field_order = ("email", "full_name", "role", "reason", "otp")


class NewPage(Act):
    """Ask for somebody to be let in."""

    action: ClassVar = Action.USER_CHANGE
    form_class: ClassVar = NewForm

    def plan(self, **kwargs: Any) -> Plan:
        """Say what comes of it."""
        return Plan(
            title=_("New user"),
            version="new",
            button=_("Ask for it"),
            before=_("There is no such user."),
            after=_("Once another operator agrees, the user exists, without a password."),
            consequences=(
                _("Whoever agrees is shown a link's token, once, and hands it over."),
                _("The user sets the first password and a second factor with it. Nobody else ever knows them."),
            ),
            back=reverse("admin:console_users"),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Ask for it. The same address asked for twice is refused: one request is open."""
        asked = staffing.ask_to_create(
            email=words["email"], full_name=words["full_name"], role=Role(words["role"]), reason=words["reason"],
            by=self.person, at=now(),
        )  # fmt: skip
        return waits(asked)


class _Change(Act):
    """What every change of a user shares: the facts, the hash of how the user stands, and whom nobody changes."""

    action: ClassVar = Action.USER_CHANGE
    is_own_allowed: ClassVar[bool] = False

    def _plan(
        self, user: Any, *, barred: str = "", facts: tuple[tuple[str, object], ...] = (), **words_of: Any
    ) -> Plan:
        return Plan(
            version=state_of(user),
            facts=(
                (_("User"), f"{user.full_name} ({user.email})".strip()),
                (_("Role"), user.get_role_display()),
                (_("Status"), _("active") if user.is_active else _("deactivated")),
                *facts,
            ),
            back=reverse("admin:console_user", args=[user.public_id]),
            barred=self._never(user) or barred,
            is_grave=True,
            more={"seen": user.token_version},  # of the user whose version was compared; read again, it is another
            **words_of,
        )

    def _never(self, user: Any) -> str:
        if user.pk == self.person.pk and not self.is_own_allowed:
            return _("This is you. Nobody changes himself; another operator does.")
        if user.is_superuser and self.action is Action.USER_CHANGE:
            return _("The break-glass account is not changed here.")
        return ""


class RolePage(_Change):
    """Ask for another role."""

    form_class: ClassVar = RoleForm

    def plan(self, **kwargs: Any) -> Plan:
        """Show the role of now."""
        user = person(kwargs["user_id"])
        return self._plan(
            user,
            title=_("Another role for %(user)s") % {"user": user.email},
            button=_("Ask for it"),
            before=user.get_role_display(),
            after=_("The role that you choose below, once another operator agrees."),
            consequences=(
                _("Nothing changes before. What is begun under the old role ends then: sessions, and API keys."),
                _("Neither you nor the user can agree to it."),
            ),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Ask for it."""
        return waits(
            staffing.ask_for_role(
                public_id=kwargs["user_id"],
                role=Role(words["role"]),
                reason=words["reason"],
                by=self.person,
                at=now(),
                seen=plan.more["seen"],
            )
        )


class DeactivatePage(_Change):
    """Ask for a user to be shut out."""

    def plan(self, **kwargs: Any) -> Plan:
        """Show what ends with it."""
        user = person(kwargs["user_id"])
        return self._plan(
            user,
            title=_("Deactivate %(user)s") % {"user": user.email},
            button=_("Ask for it"),
            before=_("Active: may log in.") if user.is_active else _("Deactivated already."),
            after=_("Shut out, once another operator agrees: no login, no session, no API key."),
            consequences=(
                _("Orders and positions stay as they are, and are not closed by it."),
                _("At once, and by yourself, you may end the sessions and stop the user's trading."),
            ),
            barred="" if user.is_active else _("The user is deactivated already."),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Ask for it."""
        asked = staffing.ask_to_deactivate(
            public_id=kwargs["user_id"], reason=words["reason"], by=self.person, at=now(), seen=plan.more["seen"]
        )
        return waits(asked)


class ActivatePage(_Change):
    """Ask for a user to be let in again."""

    def plan(self, **kwargs: Any) -> Plan:
        """Show what comes back with it."""
        user = person(kwargs["user_id"])
        return self._plan(
            user,
            title=_("Activate %(user)s again") % {"user": user.email},
            button=_("Ask for it"),
            before=_("Active already.") if user.is_active else _("Shut out."),
            after=_("May log in again, once another operator agrees, with the role above."),
            consequences=(
                _("The password and the second factor of before are good again."),
                _("Sessions and API keys of before stay dead."),
            ),
            barred=_("The user is active already.") if user.is_active else "",
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Ask for it."""
        asked = staffing.ask_to_activate(
            public_id=kwargs["user_id"], reason=words["reason"], by=self.person, at=now(), seen=plan.more["seen"]
        )
        return waits(asked)


class ResetPage(_Change):
    """Ask for a second factor that is lost to be removed."""

    def plan(self, **kwargs: Any) -> Plan:
        """Show whether there is one."""
        user = person(kwargs["user_id"])
        state = second_factor.state_of(user)
        since = f"{state.confirmed_at:%Y-%m-%d %H:%M} UTC" if state.confirmed_at else "–"
        return self._plan(
            user,
            title=_("Remove the second factor of %(user)s") % {"user": user.email},
            button=_("Ask for it"),
            facts=((_("Second factor"), _("on") if state.is_on else _("off")), (_("In use since"), since)),
            before=_("A code is asked for.") if state.is_on else _("There is none."),
            after=_("None, once another operator agrees: the user sets up another with the password."),
            consequences=(
                _("All sessions and API keys of the user end with it."),
                _("Make sure by another way that it is this person who asks: this is how accounts are taken over."),
            ),
            barred="" if state.is_on else _("The user has no second factor."),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Ask for it."""
        asked = staffing.ask_to_reset(
            public_id=kwargs["user_id"], reason=words["reason"], by=self.person, at=now(), seen=plan.more["seen"]
        )
        return waits(asked)


class EndSessionsPage(_Change):
    """End every session of a user, at once."""

    action: ClassVar = Action.SESSION_END_OF_OTHERS
    is_own_allowed: ClassVar = True

    def plan(self, **kwargs: Any) -> Plan:
        """Show what ends."""
        user = person(kwargs["user_id"])
        return self._plan(
            user,
            title=_("End all sessions of %(user)s") % {"user": user.email},
            button=_("End them"),
            before=_("Whatever is logged in goes on."),
            after=_("Nothing of it does, from the next request on. The user logs in anew."),
            consequences=(
                _("Sessions of the API, of the dashboard and of the console end, and every API key is revoked."),
                _("Orders and positions stay as they are."),
            ),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """End them, if nobody was faster."""
        user = person(kwargs["user_id"])
        if state_of(user) != plan.version:
            raise sessions.EndedAlready(_("The user has changed since you looked."))
        client = ClientInfo(ip=client_ip(self.request), user_agent=self.request.headers.get("User-Agent", ""))
        ended = sessions.end_of(
            public_id=user.public_id, reason=words["reason"], by=self.person, client=client, at=now(),
            seen=user.token_version,
        )  # fmt: skip
        said = ngettext("%(count)s session of the API ended.", "%(count)s sessions of the API ended.", ended)
        return Done(said % {"count": ended}, plan.back)


def state_of(user: Any) -> str:
    """Return the hash of how a user stands; a session that was ended has moved it."""
    return version_of(user=user.public_id, role=user.role, is_active=user.is_active, tokens=user.token_version)


def waits(asked: Request) -> Done:
    """Say that another operator decides, and go where that is done."""
    words = _("Asked for. Another operator decides until %(at)s UTC.") % {"at": f"{asked.expires_at:%m-%d %H:%M}"}
    return Done(words, reverse("admin:console_approval", args=[asked.public_id]))
