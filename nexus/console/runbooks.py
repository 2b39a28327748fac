"""What to do about each alert: docs/runbooks/, shown where the alert is: nobody needs the repository at night."""

import re
from functools import lru_cache
from typing import Any, ClassVar

import markdown
from django.conf import settings
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language

from accounts.rules import Action
from nexus.console.pages import Page
from nexus.core.errors import NotFound

INDEX = "README"
TRANSLATED = frozenset({"fr"})  # folders of docs/runbooks/ with the same files
NAME = re.compile(r"[a-z]+|README")
LINK = re.compile(
    r'<a href="(?P<up>(?:\.\./)*)(?P<name>[A-Za-z]+)(?:\.fr)?\.md(?P<anchor>#[a-z_-]+)?">(?P<words>.*?)</a>'
)


class RunbooksPage(Page):
    """The list of all runbooks."""

    action: ClassVar = Action.ALERT_READ
    template = "console/runbook.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the file that is asked for, or the list."""
        name = kwargs.get("name", INDEX)
        found = read(name, (get_language() or "en")[:2])
        if found is None:
            raise NotFound("There is no such runbook.")
        title, text, language = found
        return {"title": title, "text": text, "language": language, "name": kwargs.get("name", "")}


class RunbookPage(RunbooksPage):
    """One of them."""


@lru_cache(maxsize=32)
def read(name: str, language: str = "en") -> tuple[str, SafeString, str] | None:
    """Return a runbook's title, its text as a page, and the language of both; None where there is none.

    Where it is not translated, it is shown in English. The files come with the code, as its templates do; nobody
    writes into them from outside.
    """
    if not NAME.fullmatch(name):
        return None
    folder = settings.BASE_DIR / "docs" / "runbooks"
    path = folder / language / f"{name}.md" if language in TRANSLATED else folder / f"{name}.md"
    if not path.is_file():
        return None if language not in TRANSLATED else read(name)
    title, _sep, text = path.read_text(encoding="utf-8").partition("\n")
    shown = markdown.markdown(text, extensions=["tables", "fenced_code", "toc", "sane_lists"], output_format="html")
    shown = LINK.sub(_link, shown).replace("<th>", '<th scope="col">')
    shown = shown.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    spoken = language if language in TRANSLATED else "en"
    return title.lstrip("# "), mark_safe(shown), spoken  # noqa: S308  # nosec B308 B703  # our own documents


def _link(found: re.Match[str]) -> str:
    """Let a link of the documents lead to a page of ours, or name the document."""
    name, anchor, words = found["name"], found["anchor"] or "", found["words"]
    if not found["up"]:
        place = reverse("admin:console_runbooks") if name == INDEX else reverse("admin:console_runbook", args=[name])
        return f'<a href="{place}{anchor}">{words}</a>'
    if name == "refusals":
        return f'<a href="{reverse("page-refusals")}">{words}</a>'
    return f"{words} (<code>docs/{name}.md</code>)"
