"""One installation and one browser for all tests; a new tab for each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser

from tests.browser import stage
from tests.browser.stage import Stage, Tab


@pytest.fixture(scope="session")
def ground() -> Iterator[Stage]:
    """Nexus, as `make run` starts it."""
    with stage.running() as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's own Chromium."""
    with stage.chromium() as running:
        yield running


@pytest.fixture
def tab(ground: Stage, browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Open tabs; at the end none of them may have complained or broken the policy."""
    with opening(ground, browser) as open_tab:
        yield open_tab


@contextmanager
def opening(ground: Stage, browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Open tabs of an installation, and look at the end what they have complained of."""
    made: list[Tab] = []

    def open_tab(**kinds: object) -> Tab:
        made.append(stage.new_tab(browser, ground, **kinds))  # type: ignore[arg-type]
        return made[-1]

    yield open_tab
    for each in made:
        assert not each.complaints, "\n".join(each.complaints)
        assert each.violations() == []
        each.page.context.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the stop come last of all: the trader of every other test has nothing to do after it."""
    items.sort(key=lambda item: item.path.name == "test_stopped.py")
