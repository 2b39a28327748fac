"""English sentences as people read them: stored and sent in English, said in the reader's language on a page.

What is kept as evidence stays as it was written. A page finds the sentence again by what is the same in each, and says
it with the same figures and names. A sentence that nobody has translated stays English, and is marked as such.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django import template
from django.utils.functional import lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language

FOLDER = Path(__file__).resolve().parents[1] / "locale"
ARROW = " => "
PLACE = re.compile(r"\{(\d)\}")
DEPTH_MAX = 3  # a sentence in a sentence in a sentence

register = template.Library()


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence: what fits it, how it is said, and how much of it is fixed."""

    pattern: re.Pattern[str]
    said: str
    weight: int


@lru_cache(maxsize=4)
def known(language: str) -> tuple[dict[str, str], tuple[Sentence, ...]]:
    """Return what is said in a language: sentences without places by themselves, then those that say most first."""
    pairs = _pairs(language, "sentences.txt")
    whole = {english: said for english, said in pairs if not PLACE.search(english)}
    others = [_sentence(english, said) for english, said in pairs if PLACE.search(english)]
    return whole, tuple(sorted(others, key=lambda each: -each.weight))


@lru_cache(maxsize=4)
def labels(language: str) -> dict[str, str]:
    """Return what the columns and names of the console's tables are called in a language."""
    return dict(_pairs(language, "labels.txt"))


def _pairs(language: str, file: str) -> list[tuple[str, str]]:
    path = FOLDER / language / file
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = (line.partition(ARROW) for line in lines if ARROW in line and not line.startswith("#"))
    return [(english, said) for english, _, said in pairs]


def _labelled(english: str) -> str:
    return labels((get_language() or "en")[:2]).get(english, english)


labelled = lazy(_labelled, str)  # in the language of whoever reads it, not of the process that has loaded it


def _sentence(english: str, said: str) -> Sentence:
    parts = PLACE.split(english)  # what is fixed, and the numbers of places, in turns
    pattern = "".join(f"(?P<p{part}>.+?)" if place % 2 else re.escape(part) for place, part in enumerate(parts))
    return Sentence(re.compile(pattern, re.DOTALL), said, sum(map(len, parts[::2])))


def said(text: str, language: str | None = None) -> str | None:
    """Say an English sentence in a language, else the reader's; None where it is not known there."""
    spoken = (language or get_language() or "en")[:2]
    return text if spoken == "en" else _said(text, spoken, DEPTH_MAX)


def _said(text: str, language: str, depth: int) -> str | None:
    whole, others = known(language)
    if text in whole:
        return whole[text]
    fitting = ((each, each.pattern.fullmatch(text)) for each in others) if depth else ()
    for each, found in fitting:
        if found is not None:
            words = {name[1:]: _said(part, language, depth - 1) or part for name, part in found.groupdict().items()}
            return _filled(each.said, words)
    return None


def _filled(text: str, words: Mapping[str, str]) -> str:
    return PLACE.sub(lambda place: words[place[1]], text)


@register.filter(name="said")
def said_on_a_page(text: object) -> str | SafeString:
    """Write a sentence in the reader's language; one that stays English says so to whoever reads it aloud."""
    english = str(text or "")
    found = said(english)
    if found is not None or not english.strip():
        return found or english
    return format_html('<span lang="en">{}</span>', english)
