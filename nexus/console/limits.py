"""Limits at the console: which are in force and since when, and changing one. Less room is at once; more takes two."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import selectors as people
from accounts.rules import Action
from accounts.services import approvals
from accounts.types import Principal
from nexus.audit.types import Actor
from nexus.console.acts import Act, Done, Plan, version_of
from nexus.console.audit import text_field
from nexus.console.pages import Page, as_uuid, keyset, older
from nexus.core import money
from nexus.core.errors import Invalid, NexusError, NotFound
from risk import selectors
from risk.rules.limits import UNITS, is_tighter
from risk.services import changes, limits
from risk.services.changes import Preview
from risk.states import LimitKind, LimitScope
from trading import selectors as trading

SHOWN, VERSIONS_SHOWN = 100, 50
SYMBOL_LENGTH_MAX = 32
NUMBER = re.compile(r"(0|[1-9]\d{0,15})(\.\d{1,8})?", re.ASCII)
COUNTED = {"orders", "requests", "positions"}
SCOPES = (
    (LimitScope.PLATFORM.value, gettext_lazy("The platform")),
    (LimitScope.USER.value, gettext_lazy("A user")),
    (LimitScope.ACCOUNT.value, gettext_lazy("An account")),
    (LimitScope.INSTRUMENT.value, gettext_lazy("An instrument")),
)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose limits these are: as the table names it, and as operators know it."""

    scope: LimitScope
    key: str
    words: str


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of limit of one owner: its own version, the platform's, and the tightest of both."""

    kind: str
    unit: str
    own: Any
    ceiling: Decimal | None
    in_force: Decimal | None
    url: str


class SearchForm(forms.Form):
    """Whose limits are looked for."""

    scope = forms.ChoiceField(label=gettext_lazy("Of"), required=False, choices=[("", "–"), *SCOPES])
    whose = text_field(
        gettext_lazy("Whose"), help_text=gettext_lazy("Email address, number or id of an account, or an instrument.")
    )


class LimitsPage(Page):
    """Every limit in force, or all kinds of one owner's, with what the platform's settings say."""

    action: ClassVar = Action.ACCOUNT_READ
    template = "console/limits.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the limits."""
        form, owner, fault = SearchForm(self.request.GET), None, ""
        asked = form.cleaned_data if form.is_valid() else {"scope": "", "whose": ""}
        try:
            owner = self._owner(asked)
        except NexusError as exc:
            fault = exc.detail
        shown = {
            "title": _("Limits"),
            "form": form,
            "fault": fault,
            "owner": owner,
            "at": now(),
            "may_change": self.may(Action.LIMIT_CHANGE),
        }
        if owner is not None:
            return {**shown, "title": _("Limits: %(owner)s") % {"owner": owner.words}, "lines": lines_of(owner)}
        rows, following = selectors.limits_page(
            scope=asked["scope"], key=None, limit=SHOWN, before=keyset(self.request)
        )
        proposed = list(selectors.open_changes(at=now())[:SHOWN])
        named = names_of([*rows, *proposed], by=self.person)
        return {
            **shown,
            "rows": [(row, named[row.scope, row.key], UNITS[LimitKind(row.kind)], page_of(row)) for row in rows],
            "ceilings": [(each.kind.value, each.value, UNITS[each.kind]) for each in limits.ceilings()],
            "changes": [(row, named[row.scope, row.key], page_of(row)) for row in proposed],
            "older": older(self.request, following),
            "is_first": "before" not in self.request.GET,
        }

    def _owner(self, asked: Mapping[str, str]) -> Owner | None:
        """Find whom the words name; nobody, where none are said. Raises: NotFound, Invalid."""
        key = self.request.GET.get("key", "")
        if asked["scope"] and key:
            return owner_of(LimitScope(asked["scope"]), key, by=self.person)
        if asked["scope"] == LimitScope.PLATFORM:
            return owner_of(LimitScope.PLATFORM, "", by=self.person)
        if not (asked["scope"] and asked["whose"]):
            return None
        return owner_named(LimitScope(asked["scope"]), asked["whose"], by=self.person)


class LimitPage(Page):
    """One limit with all its versions and proposals, and the way to another value."""

    action: ClassVar = Action.ACCOUNT_READ
    template = "console/limit.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the limit."""
        owner, kind = asked_for(self, **kwargs)
        of = {"scope": owner.scope.value, "key": owner.key, "kind": kind.value}
        return {
            "title": f"{kind}: {owner.words}",
            "owner": owner,
            "line": line_of(owner, kind),
            "versions": selectors.versions(**of, limit=VERSIONS_SHOWN),
            "changes": selectors.changes_of(**of, limit=VERSIONS_SHOWN),
            "change_url": reverse("admin:console_change_limit", args=[owner.scope.value, kind.value]),
            "at": now(),
            "may_change": self.may(Action.LIMIT_CHANGE),
        }


class ChangePage(Act):
    """Give a limit another value: the page says beforehand whether it acts at once or takes a second person."""

    action: ClassVar = Action.LIMIT_CHANGE

    def plan(self, **kwargs: Any) -> Plan:
        """Show the value of now and the one that is wanted, and what becomes of it."""
        owner, kind = asked_for(self, **kwargs)
        text = self.request.GET.get("value", "").strip()
        back = url_of(owner, kind)
        title = _("%(kind)s of %(owner)s") % {"kind": kind.value, "owner": owner.words}
        fault = fault_of(text, kind=kind)
        if fault:
            return Plan(title=title, version=version_of(value=text), button=_("Change"), back=back, barred=fault)
        value, unit = Decimal(text), UNITS[kind]
        found = changes.preview(scope=owner.scope, key=owner.key, kind=kind, value=value)
        is_same = found.current is not None and found.current.value == value
        return Plan(
            title=title,
            version=version_of(
                scope=owner.scope, key=owner.key, kind=kind, seen=found.seen, value=money.as_text(value)
            ),
            button=_("Propose") if found.gives_room else _("Change at once"),
            facts=((_("Of"), owner.words), (_("Limit"), kind.value), (_("Unit"), unit), *_since(found)),
            before=_before(owner, kind, found),
            after=_after(found, value=money.as_text(value), unit=unit),
            consequences=_consequences(owner, kind, value, found),
            back=back,
            is_grave=True,
            barred=_("It is that already.") if is_same else "",
            more={"value": value, "seen": found.seen, "gives_room": found.gives_room},
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Lower it, or propose to raise it; nothing, if it is another one by now."""
        owner, kind = asked_for(self, **kwargs)
        if plan.barred:
            raise Invalid(plan.barred)
        given = {
            "scope": owner.scope, "key": owner.key, "kind": kind, "value": plan.more["value"],
            "reason": words["reason"], "by": self.person, "at": now(),
            "seen": plan.more["seen"],  # of the plan that was compared: read again, it could be another one by now
        }  # fmt: skip
        if not plan.more["gives_room"]:
            row = changes.lower(**given, actor=Actor.user(self.person.public_id))
            now_in_force = {"kind": kind.value, "value": money.as_text(row.value)}
            return Done(_("In force: %(kind)s is %(value)s.") % now_in_force, plan.back)
        change = changes.propose(**given)
        asked = approvals.about(kind=changes.KIND, object_id=change.pk)
        said = _("Proposed. Another operator decides until %(at)s UTC.") % {"at": f"{change.expires_at:%m-%d %H:%M}"}
        return Done(said, reverse("admin:console_approval", args=[asked]))


def asked_for(page: Page, *, scope: str, kind: str) -> tuple[Owner, LimitKind]:
    """Return what an address names. Raises: NotFound."""
    if scope not in {each.value for each in LimitScope} or kind not in {each.value for each in LimitKind}:
        raise NotFound("There is no such limit.")
    return owner_of(LimitScope(scope), page.request.GET.get("key", ""), by=page.person), LimitKind(kind)


def owner_of(scope: LimitScope, key: str, *, by: Principal) -> Owner:
    """Return an owner by the key that tables name. Raises: NotFound."""
    if scope is LimitScope.PLATFORM and not key:
        return Owner(scope, "", str(dict(SCOPES)[scope.value]))
    if scope is LimitScope.INSTRUMENT and 0 < len(key) <= SYMBOL_LENGTH_MAX:
        return Owner(scope, key, key)
    if key.isascii() and key.isdecimal() and len(key) <= 18:
        if scope is LimitScope.USER and (user := people.user_by_id(int(key))):
            return Owner(scope, key, str(user.email))
        if scope is LimitScope.ACCOUNT and (account := trading.accounts_of(by).filter(pk=int(key)).first()):
            return Owner(scope, key, f"{account} – {account.user.email}")
    raise NotFound("There is nobody and nothing of this name to limit.")


def owner_named(scope: LimitScope, text: str, *, by: Principal) -> Owner:
    """Return an owner by what a person types: an address, a number, an id or a symbol. Raises: NotFound, Invalid."""
    if scope is LimitScope.ACCOUNT:
        return owner_of(scope, str(trading.account_named(text).pk), by=by)
    if scope is LimitScope.USER:
        public_id = as_uuid(text)
        user = people.user_by_public_id(public_id) if public_id else people.user_by_email(text)
        return owner_of(scope, str(user.pk) if user else "", by=by)
    return owner_of(scope, text, by=by)


def lines_of(owner: Owner) -> list[Line]:
    """Return every kind of limit as it stands for an owner."""
    own = {row.kind: row for row in _rows(owner.scope, owner.key)}
    said: list[tuple[LimitKind, Decimal]] = [(limit.kind, limit.value) for limit in limits.ceilings()]
    said += [(LimitKind(row.kind), row.value) for row in _rows(LimitScope.PLATFORM, "")]
    ceilings: dict[str, Decimal] = {}
    for each, value in said:
        held = ceilings.get(each.value)
        if held is None or is_tighter(each, value, than=held):
            ceilings[each.value] = value
    return [_line(owner, kind, own.get(kind.value), ceilings.get(kind.value)) for kind in LimitKind]


def line_of(owner: Owner, kind: LimitKind) -> Line:
    """Return one kind of limit as it stands for an owner."""
    (line,) = [each for each in lines_of(owner) if each.kind == kind.value]
    return line


def _rows(scope: LimitScope, key: str) -> list[Any]:
    return list(selectors.limits_page(scope=scope.value, key=key, limit=SHOWN, before=None)[0])


def _line(owner: Owner, kind: LimitKind, own: Any, ceiling: Decimal | None) -> Line:
    known = [each for each in (own.value if own else None, ceiling) if each is not None]
    tightest = (max(known) if kind is LimitKind.TRADE_VALUE_MIN else min(known)) if known else None
    return Line(kind.value, UNITS[kind], own, ceiling, tightest, url_of(owner, kind))


def names_of(rows: Iterable[Any], *, by: Principal) -> dict[tuple[str, str], str]:
    """Return whose limits rows are about, as operators know it, by scope and key."""
    held = {(row.scope, row.key) for row in rows}
    keys = {scope: [int(key) for each, key in held if each == scope] for scope in ("USER", "ACCOUNT")}
    users = people.users_by_id(keys["USER"]) if keys["USER"] else {}
    accounts = trading.accounts_of(by).in_bulk(keys["ACCOUNT"]) if keys["ACCOUNT"] else {}
    known: dict[str, Any] = {"USER": users, "ACCOUNT": accounts}
    return {(scope, key): str(known[scope].get(int(key), key)) if scope in known else key or "–" for scope, key in held}


def page_of(row: Any) -> str:
    """Return the page of a limit, or of what is proposed for one."""
    return url_of(Owner(LimitScope(row.scope), row.key, ""), LimitKind(row.kind))


def url_of(owner: Owner, kind: LimitKind) -> str:
    """Return the page of a limit."""
    url = reverse("admin:console_limit", args=[owner.scope.value, kind.value])
    return f"{url}?{urlencode({'key': owner.key})}" if owner.key else url


def fault_of(text: str, *, kind: LimitKind) -> str:
    """Say why what was typed is no value of a limit; "" when it is one."""
    if not text:
        return _("Say the new value first, on the page of the limit.")
    if not NUMBER.fullmatch(text) or not Decimal(text):
        return _("“%(text)s” is no value: write a number above zero, as 2500 or 0.05.") % {"text": text[:40]}
    if UNITS[kind] in COUNTED and Decimal(text) % 1:
        return _("This counts %(unit)s: write a whole number.") % {"unit": UNITS[kind]}
    return ""


def _since(found: Preview) -> tuple[tuple[str, object], ...]:
    row = found.current
    return () if row is None else ((_("Since"), f"{row.created_at:%Y-%m-%d %H:%M} UTC"), (_("Because"), row.reason))


def _before(owner: Owner, kind: LimitKind, found: Preview) -> str:
    words = {"unit": UNITS[kind]}
    if found.current is not None:
        return _("%(value)s %(unit)s") % {**words, "value": money.as_text(found.current.value)}
    ceiling = line_of(owner, kind).ceiling
    if ceiling is None:
        return _("It has no value here, and the platform has none: such orders are refused.")
    said = _("It has no value of its own here: the platform's %(value)s %(unit)s hold.")
    return said % {**words, "value": money.as_text(ceiling)}


def _after(found: Preview, *, value: str, unit: str) -> str:
    words = {"value": value, "unit": unit}
    if found.gives_room:
        return _("%(value)s %(unit)s, once another operator agrees. Until then nothing changes.") % words
    return _("%(value)s %(unit)s, from the next order on.") % words


def _consequences(owner: Owner, kind: LimitKind, value: Decimal, found: Preview) -> tuple[str, ...]:
    said = (
        _("This gives more room, and so it takes two: you propose it, another operator approves it or not."),
        _("If the limit is changed meanwhile, the proposal is void."),
    ) if found.gives_room else (
        _("This takes room away, and so it acts at once and by yourself. Giving it back takes two."),
        _("Orders that stand and positions stay as they are."),
    )  # fmt: skip
    ceiling = line_of(owner, kind).ceiling
    if owner.scope is not LimitScope.PLATFORM and ceiling is not None and is_tighter(kind, ceiling, than=value):
        bound = _("The platform's %(value)s is tighter, and goes on to hold.") % {"value": money.as_text(ceiling)}
        return (*said, bound)
    return said
