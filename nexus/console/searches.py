"""Searches that an operator keeps for another night: named, followed by a link, and forgotten."""

from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest, QueryDict
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.rules import Action
from accounts.services import searches
from nexus.console.acts import Act, ActForm, Done, Plan, version_of
from nexus.core.errors import FieldError, Invalid, NotFound

SEARCHED = frozenset({"accounts", "audit", "keys", "limits", "positions", "users"})  # `console_` and this is the page
UNKEPT = ("before", "page")  # where in the list somebody stood


class SearchForm(ActForm):
    """The name of what is kept, and what is forgotten."""

    label = forms.CharField(
        label=gettext_lazy("Keep this search as"), required=False, max_length=searches.LABEL_LENGTH_MAX
    )
    forgotten = forms.TypedMultipleChoiceField(
        label=gettext_lazy("Forget"), required=False, coerce=int, widget=forms.CheckboxSelectMultiple
    )
    field_order = ("label", "forgotten")


class SearchesPage(Act):
    """The own searches of one page: keep the one that is looked at, forget others."""

    action: ClassVar = Action.SEARCH_KEEP
    form_class: ClassVar = SearchForm
    asks_reason: ClassVar = False

    def plan(self, **kwargs: Any) -> Plan:
        """Say which search it is, and which are kept."""
        page = self._page(**kwargs)
        query, kept = asked(self.request), searches.of(self.person.pk, page=page)
        return Plan(
            title=_("Saved searches"),
            version=version_of(query=query, kept=[(row.pk, row.label) for row in kept]),
            button=_("Save"),
            facts=((_("This search"), query or _("everything")),),
            consequences=(_("Only you see them."),),
            back=reverse(f"admin:console_{page}"),
        )

    def form(self, plan: Plan, *, data: Any = None, initial: dict[str, Any] | None = None) -> ActForm:
        """Offer each of the own ones to be forgotten."""
        form = super().form(plan, data=data, initial=initial)
        kept = searches.of(self.person.pk, page=self._page(**self.kwargs))
        chosen = form.fields["forgotten"]
        assert isinstance(chosen, forms.TypedMultipleChoiceField)
        chosen.choices = [(row.pk, row.label) for row in kept]
        return form if kept else form.without("forgotten")

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Keep and forget."""
        page, query = self._page(**kwargs), asked(self.request)
        forgotten = words.get("forgotten", [])
        if not words["label"] and not forgotten:
            raise Invalid(
                "Give it a name, or choose what is forgotten.",
                errors=[FieldError("/label", "required", "a name, or something to forget")],
            )
        searches.put(by=self.person, page=page, label=words["label"], query=query, forgotten=forgotten, at=now())
        back = f"{plan.back}?{query}" if query else plan.back
        return Done(_("“%(name)s” is kept.") % {"name": words["label"]} if words["label"] else _("Forgotten."), back)

    def _page(self, **kwargs: Any) -> str:
        page = str(kwargs["page_name"])
        if page not in SEARCHED:
            raise NotFound("No search of such a page can be kept.")
        return page


def asked(request: HttpRequest) -> str:
    """Return what a page was asked to show, as it would stand in an address: without empty fields and its place."""
    query = QueryDict(mutable=True)
    for name, values in request.GET.lists():
        if name not in UNKEPT and any(values):
            query.setlist(name, [value for value in values if value])
    return query.urlencode()
