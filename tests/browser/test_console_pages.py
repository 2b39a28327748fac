"""Every page of the console, in both languages, wide and at phone width: nothing serious, nothing too wide."""

from collections.abc import Callable

import pytest

from tests.browser import consoles
from tests.browser.stage import DESKTOP, PHONE, Stage, Tab


@pytest.mark.parametrize(("language", "size"), [("en", DESKTOP), ("fr", PHONE)])
def test_every_page_of_the_console_is_sound(
    tab: Callable[..., Tab], ground: Stage, language: str, size: dict[str, int]
) -> None:
    order = ground.trade()
    page = tab(language=language, size=size)
    page.go("/admin/login/")
    assert page.findings() == []
    page.login("operator")
    wrong = []
    width = "phone" if size == PHONE else "wide"
    for name, path in consoles.pages(page, order["id"]).items():
        page.go(path)
        page.shoot(f"console-{name}-{language}-{width}")
        wrong += [f"{name}: {each}" for each in page.findings()]
        if page.overflow() > 0:
            wrong.append(f"{name}: {page.overflow()} px too wide")
        if page.page.locator("html").get_attribute("lang") != language:
            wrong.append(f"{name}: not in {language}")
        if page.page.locator("h1").count() != 1:
            wrong.append(f"{name}: {page.page.locator('h1').count()} headings")
    assert not wrong, "\n".join(wrong)
