"""Every threat has its test, and the page says which."""

import re
from pathlib import Path

import pytest

from tests.security import threats
from tests.security.threats import THREATS, Found, UnreadableMarker, marked


def test_every_threat_has_a_test():
    assert [number for number, tests in marked().items() if not tests] == []
    assert list(THREATS) == list(range(1, 28))


def test_the_page_says_what_the_markers_say():
    page = threats.PAGE.read_text(encoding="utf-8")

    assert page == threats.written(page, marked()), "run `make threats`"
    assert threats.table(marked()).count("\n| ") == 27


def test_what_pytest_collects_is_what_the_page_lists(request):
    """The page is made by reading files; pytest has run them, and knows the same of those that it has collected."""
    collected = {
        (marker.args[0], Found(item.location[0], item.originalname))
        for item in request.session.items
        for marker in item.iter_markers("threat")
    }
    folders = {Path(found.path) for _, found in collected}
    listed = {(number, test) for number, tests in marked().items() for test in tests if Path(test.path) in folders}

    # A run of a part of a file's tests has collected less than there is, and never anything else.
    assert collected <= listed
    if not request.config.option.keyword and not any("::" in word for word in request.config.args):
        assert collected == listed


def write(folder: Path, text: str) -> Path:
    (folder / "tests").mkdir()
    (folder / "tests" / "test_some.py").write_text(text)
    return folder / "tests"


def test_markers_are_read_from_functions_and_from_whole_files(tmp_path):
    text = """
pytestmark = [pytest.mark.django_db, pytest.mark.threat(2)]
@pytest.mark.threat(7)
def test_one(): ...
def test_two(): ...
def helper(): ...
"""
    found = marked(write(tmp_path, text))

    one, two = Found("tests/test_some.py", "test_one"), Found("tests/test_some.py", "test_two")
    assert {number: tests for number, tests in found.items() if tests} == {2: [one, two], 7: [one]}


@pytest.mark.parametrize(
    "text",
    [
        "class TestIt:\n    @pytest.mark.threat(1)\n    def test_one(self): ...\n",
        "marks = pytest.mark.threat(1)\n@marks\ndef test_one(): ...\n",
        "@pytest.mark.threat(28)\ndef test_one(): ...\n",
        "@pytest.mark.threat(1)\ndef helper(): ...\n",
    ],
)
def test_a_marker_that_it_does_not_see_is_an_error(tmp_path, text):
    folder = write(tmp_path, text)

    with pytest.raises(UnreadableMarker, match=re.escape("test_some.py")):
        marked(folder)
