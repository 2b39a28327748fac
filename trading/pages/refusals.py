"""What refusals mean: the text of docs/refusals.md and its translations, which pages link to and quote."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import get_language

from accounts.services import pages
from accounts.services.pages import PUBLIC, page

HEADING = re.compile(r"^### `(?P<code>[A-Za-z0-9_-]+)` — (?P<title>.+)$")
GROUP = re.compile(r"^## (?P<title>.+)$")
FILES = {"fr": "refusals.fr.md"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One code: its meaning in a few words, the whole of it, and under which heading it stands."""

    code: str
    title: str
    paragraphs: tuple[str, ...]
    group: str


@page(PUBLIC)
def refusals(request: HttpRequest) -> HttpResponse:
    """Show every code with its meaning."""
    groups: dict[str, list[Refusal]] = {}
    for each in known().values():
        groups.setdefault(each.group, []).append(each)
    return pages.render(request, "trading/refusals.html", {"groups": groups})


def title_of(code: str) -> str:
    """Return what a code means in a few words; a broker's own code, which nobody explains, as it stands."""
    found = known().get(code) or known().get(code.removeprefix("BROKER_"))
    return found.title if found else code


def says(code: str) -> str:
    """Return what a code means in a few words, "" where nothing explains it."""
    found = known().get(code)
    return found.title if found else ""


def known() -> Mapping[str, Refusal]:
    """Return every code that is explained, in the reader's language."""
    return read(FILES.get((get_language() or "en")[:2], "refusals.md"))


@lru_cache(maxsize=4)
def read(name: str) -> Mapping[str, Refusal]:
    """Read one of the documents: `## group`, `### code — title`, then paragraphs."""
    found: dict[str, Refusal] = {}
    group, code, title = "", "", ""
    lines: list[str] = []

    def keep() -> None:
        if code:
            text = "\n".join(lines).strip()
            found[code] = Refusal(code, title, tuple(" ".join(part.split()) for part in text.split("\n\n")), group)

    for line in (settings.BASE_DIR / "docs" / name).read_text(encoding="utf-8").splitlines():
        if heading := HEADING.match(line):
            keep()
            code, title, lines = heading["code"], heading["title"], []
        elif begins := GROUP.match(line):
            keep()
            code, group, lines = "", begins["title"], []
        elif code:
            lines.append(line)
    keep()
    return found
