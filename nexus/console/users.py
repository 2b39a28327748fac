"""Users at the console: who may come in, and everything about one of them. Hashes and seeds are read by nobody here."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.utils.timezone import now
from django.utils.translation import gettext_lazy

from accounts import selectors as people
from accounts.rules import Action
from accounts.services import locked, second_factor
from accounts.states import Role
from nexus.audit.services import searching
from nexus.audit.types import Outcome
from nexus.console.approvals import words
from nexus.console.audit import text_field
from nexus.console.logins import KINDS
from nexus.console.pages import Page, SearchPage
from nexus.core.errors import NotFound
from risk.services import clearances, control
from risk.states import ControlScope, StopLevel
from trading import selectors as trading

SHOWN, KEYS_SHOWN, REFUSALS_SHOWN = 50, 20, 10
STANDING: Mapping[str, bool | None] = {"": None, "active": True, "inactive": False}


class SearchForm(forms.Form):
    """Who is looked for."""

    email = text_field(gettext_lazy("Email address"), help_text=gettext_lazy("Its beginning is enough."))
    role = forms.ChoiceField(label=gettext_lazy("Role"), required=False, choices=[("", "–"), *Role.choices])
    standing = forms.ChoiceField(
        label=gettext_lazy("Status"),
        required=False,
        choices=[("", "–"), ("active", gettext_lazy("active")), ("inactive", gettext_lazy("deactivated"))],
    )


class UsersPage(SearchPage):
    """Who there is, the newest first."""

    action: ClassVar = Action.USER_READ
    template = "console/users.html"
    title = gettext_lazy("Users")
    form_class: ClassVar = SearchForm

    def search(self, asked: Mapping[str, Any], *, before: int | None, at: datetime) -> tuple[Any, object | None]:
        """Find users, each with whether there is a second factor and with how many sessions."""
        rows, following = people.users_found(
            email=asked["email"], role=asked["role"], is_active=STANDING[asked["standing"]], limit=SHOWN, before=before
        )
        ids = [row.pk for row in rows]
        factors, sessions = people.with_second_factor(ids), people.live_sessions(ids, at=at)
        return [(row, row.pk in factors, sessions.get(row.pk, 0)) for row in rows], following

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read one page of users."""
        return {**super().context(**kwargs), "may_change": self.may(Action.USER_CHANGE)}


class UserPage(Page):
    """One user whole: standing, second factor, sessions, keys, accounts, limits, locks, and what was refused lately."""

    action: ClassVar = Action.USER_READ
    template = "console/user.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read everything about the user."""
        at, user = now(), person(kwargs["user_id"])
        keys, more_keys = people.keys_found(
            email=user.email, key_id="", is_live=None, limit=KEYS_SHOWN, before=None, at=at
        )
        stop = control.find(scope=ControlScope.USER, key=str(user.pk))
        refused = searching.newest_about(str(user.public_id), outcome=Outcome.DENIED, limit=REFUSALS_SHOWN)
        is_own = user.pk == self.person.pk
        return {
            "title": user.full_name or user.email,
            "user_row": user,
            "factor": second_factor.state_of(user),
            "sessions": people.sessions_of(user.pk, at=at),
            "keys": keys,
            "has_more_keys": more_keys is not None,
            "accounts": list(trading.accounts_of(self.person).filter(user_id=user.pk)),
            "locks": [(KINDS.get(kind, kind), until) for kind, until in locked.of(user.email, at=at)],
            "cleared": clearances.in_force(user_id=user.pk, at=at),
            "level": StopLevel(stop.level).name if stop else StopLevel.ACTIVE.name,
            "refused": refused,
            "waiting": [(row, words(row)) for row in people.approvals_of("user", user.public_id, at=at)],
            "next": people.user_after(user),
            "at": at,
            "is_own": is_own,
            "may_change": self.may(Action.USER_CHANGE) and not is_own and not user.is_superuser,
            "may_end": self.may(Action.SESSION_END_OF_OTHERS),
            "may_revoke": self.may(Action.KEY_REVOKE),
        }


def person(public_id: Any) -> Any:
    """Return a user by the id that the outside knows. Raises: NotFound."""
    user = people.user_by_public_id(public_id)
    if user is None:
        raise NotFound("There is no such user.")
    return user
