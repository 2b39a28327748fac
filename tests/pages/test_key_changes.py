"""A key of one's own on the dashboard: narrowed and never widened, and replaced by one that is shown once."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils.timezone import now

from accounts.models import ApiKey
from tests.factories.second_factor import enrolled, fresh_code
from tests.pages.test_security import KEYS, WANTED, text_of

SECRET = re.compile(r"nxk_paper_\w{16}_[\w-]{49}")
FORM = "of-another-form"


@pytest.fixture
def key(browser, trader) -> ApiKey:
    """A key for two things, from one network, for a month."""
    enrolled(trader)
    wanted = WANTED | {"scopes": ["account:read", "orders:read"], "networks": "127.0.0.0/24", "lifetime": "30"}
    browser.send(f"{KEYS}/new", wanted | {"code": fresh_code(trader)}, page=f"{KEYS}/new")
    return ApiKey.objects.get()


def test_a_key_is_narrowed_by_a_code(browser, trader, key):
    path = f"{KEYS}/{key.public_id}/narrow"
    shown = browser.get(path).content.decode()
    assert re.findall(r'name="scopes" value="([^"]+)"', shown) == ["account:read", "orders:read"]
    less = {"scopes": ["account:read"], "networks": "127.0.0.1", "lifetime": "7"}

    without = browser.send(path, less | {"code": "000000"}, page=path)
    key.refresh_from_db()
    assert (without.status_code, key.scopes) == (401, ["account:read", "orders:read"])
    done = browser.send(path, less | {"code": fresh_code(trader)}, page=path)

    assert done["Location"] == KEYS
    key.refresh_from_db()
    assert (key.scopes, key.networks) == (["account:read"], ["127.0.0.1"])
    assert key.expires_at < now() + timedelta(days=8)
    assert "may do less now" in text_of(browser.get(KEYS))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"networks": ""}, "only ever narrowed"),
        ({"networks": "10.1.2.3"}, "only ever narrowed"),
        ({"lifetime": "365"}, "only ever narrowed"),
        ({"networks": "not an address"}, "Write an address"),
        ({"scopes": ["orders:write:live"]}, "not one of the available choices"),
        ({"scopes": []}, "required"),
    ],
)
def test_a_key_is_never_widened_and_what_is_refused_uses_no_code(browser, trader, key, changes, words):
    path = f"{KEYS}/{key.public_id}/narrow"
    same = {"scopes": ["account:read"], "networks": "127.0.0.0/24", "lifetime": ""}
    code = fresh_code(trader)

    refused = browser.send(path, same | changes | {"code": code}, page=path)
    key.refresh_from_db()

    assert refused.status_code in (409, 422)
    assert words in text_of(refused)
    assert (key.scopes, key.networks) == (["account:read", "orders:read"], ["127.0.0.0/24"])
    assert browser.send(path, same | {"code": code}, page=path)["Location"] == KEYS


def test_a_key_is_rotated_once_and_the_old_one_goes_on_as_long_as_was_said(browser, trader, key):
    path = f"{KEYS}/{key.public_id}/rotate"
    form = {"overlap": "3600", "key": FORM}

    without = browser.send(path, form | {"code": "000000"}, page=path)
    assert (without.status_code, ApiKey.objects.count()) == (401, 1)
    made = browser.send(path, form | {"code": fresh_code(trader)}, page=path)

    secret = SECRET.search(made.content.decode())
    assert secret is not None, text_of(made)
    new = ApiKey.objects.exclude(pk=key.pk).get()
    key.refresh_from_db()
    assert (new.name, new.scopes, new.networks) == (key.name, key.scopes, key.networks)
    assert timedelta(minutes=59) < key.expires_at - now() < timedelta(minutes=61)
    bot = Client(headers={"authorization": f"Bearer {secret[0]}"})
    assert bot.get("/api/v1/trading/accounts").status_code == 200
    again = browser.send(path, form | {"code": "123456"}, page=path)
    assert again.status_code == 409
    assert secret[0] not in again.content.decode()
    assert ApiKey.objects.count() == 2


def test_a_rotated_key_ends_at_once_where_that_is_said(browser, trader, key):
    path = f"{KEYS}/{key.public_id}/rotate"

    browser.send(path, {"overlap": "0", "key": FORM, "code": fresh_code(trader)}, page=path)

    key.refresh_from_db()
    assert key.expires_at <= now()
    assert browser.get(path).status_code == 404


@pytest.mark.parametrize("act", ["narrow", "rotate"])
def test_nobody_changes_the_key_of_somebody_else(stranger, key, act):
    path = f"{KEYS}/{key.public_id}/{act}"

    assert stranger.get(path).status_code == 404
    assert stranger.send(path, {"scopes": ["account:read"], "overlap": "0", "key": FORM}).status_code in (404, 422)
    assert ApiKey.objects.count() == 1
