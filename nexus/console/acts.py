"""Dangerous acts: a page that says what would happen, and a POST that does it once, with a reason.

Whoever confirms has seen the object in one version; the form carries it. When it is another one by then, nothing is
done: the answer is 409 and shows how things stand now. The services check the same again under their locks.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from django import forms
from django.contrib import messages
from django.db import InterfaceError, OperationalError
from django.http import FileResponse, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.rules import MATRIX, Step
from accounts.services import step_up
from nexus.console.pages import Page
from nexus.core.errors import Conflict, Invalid, NexusError
from nexus.core.http import as_error

REASON_LENGTH_MIN, REASON_LENGTH_MAX = 10, 500


class Changed(Conflict):
    """What the person has looked at is no longer what would be acted upon."""

    code = "changed_since"
    title = "It has changed since you looked"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an act would do: on what, from what to what, and what follows. `version` names the state it rests on."""

    title: str
    version: str
    button: str
    facts: Sequence[tuple[str, object]] = ()
    before: str = ""
    after: str = ""
    consequences: Sequence[str] = ()
    back: str = ""
    is_grave: bool = False
    barred: str = ""  # why this person is not offered the button; the service refuses all the same
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """What an act has come to, in words, and where to go on. `shown_once` is nowhere else to be read afterwards."""

    words: str
    url: str
    level: int = messages.SUCCESS
    shown_once: Mapping[str, str] = field(default_factory=dict)
    advice: str = ""  # what to do with it; as with a secret that is handed over, where nothing is said
    file: BinaryIO | None = None  # the answer itself, where the act is to hand something over


def version_of(**state: object) -> str:
    """Return the hash of what an act rests on: of the object as it stands, and of what would be done to it."""
    text = json.dumps(state, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class ActForm(forms.Form):
    """The reason, the version that was seen, and a code where one is asked for."""

    use_required_attribute = True
    reason = forms.CharField(
        label=_("Reason"),
        min_length=REASON_LENGTH_MIN,
        max_length=REASON_LENGTH_MAX,
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off"}),
        help_text=_("Why, for the audit: 10 to 500 characters."),
    )
    otp = forms.CharField(
        label=_("Code of your second factor"),
        required=False,
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )
    version = forms.CharField(max_length=128, widget=forms.HiddenInput, required=False)

    def without(self, *names: str) -> "ActForm":
        """Leave fields out: of the code where the matrix asks for none, of the reason where the act needs none."""
        for name in names:
            del self.fields[name]
        return self


class Act(Page, ABC):
    """One dangerous act. A GET shows its plan and does nothing; a POST does it, or says why not."""

    template = "console/act.html"
    http_method_names = ["get", "head", "post"]  # noqa: RUF012 - as the parent declares it
    form_class: ClassVar[type[ActForm]] = ActForm
    asks_reason: ClassVar[bool] = True

    @abstractmethod
    def plan(self, **kwargs: Any) -> Plan:
        """Read what would be done, as things stand now."""

    @abstractmethod
    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Do it, by one call of a service. Takes: the form's `words`. Raises: NexusError, and nothing is done."""

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        """Show what would happen."""
        plan = self.plan(**kwargs)
        return self._show(plan, self.form(plan))

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        """Do it, if it is still what was looked at."""
        plan = self.plan(**kwargs)
        form = self.form(plan, data=request.POST)
        if not form.is_valid():
            return self._show(plan, form, status=Invalid.status)
        try:
            if form.cleaned_data["version"] != plan.version:
                raise Changed(
                    gettext("Somebody or something was faster. Look at what stands here now, and decide again.")
                )
            typed = form.cleaned_data.get("otp", "")
            step_up.require_typed(request, step=MATRIX[self.action].step, purpose=self.action.value, code=typed)
            done = self.act(form.cleaned_data, plan, **kwargs)
        except (NexusError, OperationalError, InterfaceError) as exc:
            error = as_error(exc)
            assert error is not None
            return self._again(error, form, **kwargs)
        if done.file is not None:
            return FileResponse(done.file, as_attachment=True, filename=Path(done.file.name).name)
        if done.shown_once:  # never into a message: those are kept in a cookie until they are read
            return self.show("console/shown_once.html", title=done.words, done=done)
        messages.add_message(request, done.level, done.words)
        return HttpResponseRedirect(done.url)

    def form(self, plan: Plan, *, data: Any = None, initial: dict[str, Any] | None = None) -> ActForm:
        """Make the form of the act, on the version that the plan rests on."""
        form = self.form_class(data, initial={**(initial or {}), "version": plan.version})
        unasked = ["otp"] if MATRIX[self.action].step is Step.NONE else []
        return form.without(*unasked, *([] if self.asks_reason else ["reason"]))

    def _again(self, error: NexusError, form: ActForm, **kwargs: Any) -> TemplateResponse:
        """Show how things stand now, with the words kept: whoever still wants it says so once more, on what stands."""
        plan = self.plan(**kwargs)
        kept = {name: value for name, value in form.cleaned_data.items() if name not in ("otp", "version")}
        return self._show(plan, self.form(plan, initial=kept), status=error.status, error=error)

    def _show(
        self, plan: Plan, form: ActForm, *, status: int = 200, error: NexusError | None = None
    ) -> TemplateResponse:
        return self.show(status=status, title=plan.title, plan=plan, form=form, error=error, **plan.more)
