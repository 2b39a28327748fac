"""The security page: the second factor from the first picture to its end, API keys, arming. Secrets are shown once."""

import html
import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils.timezone import now

from accounts.models import ApiKey, RecoveryCode, TotpDevice
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.second_factor import code_at, enrolled, fresh_code
from tests.pages.conftest import Browser
from trading.models import TradingAccount

HOME = "/security/second-factor"
KEYS = "/security/keys"
WANTED = {
    "name": "Night bot",
    "mode": "paper",
    "scopes": ["orders:read"],
    "lifetime": "30",
    "networks": "",
    "key": "of-one-form",
}


def text_of(answer) -> str:
    """Return what stands on a page, as a person reads it."""
    return html.unescape(re.sub(r"<[^>]*>", " ", answer.content.decode()))


def secret_on(answer) -> str:
    """Return the secret that an authenticator app is given."""
    found = re.search(r'class="secret">([A-Z2-7 ]+)<', answer.content.decode())
    assert found is not None
    return found[1].replace(" ", "")


def begin(browser: Browser, **more: str) -> str:
    """Begin with a new device, and return its secret."""
    answer = browser.send(HOME, {"password": PASSWORD} | more, page=HOME)
    assert answer.status_code == 200, text_of(answer)
    return secret_on(answer)


def test_a_second_factor_is_set_up_on_the_page_and_only_this_session_goes_on(browser, trader, new_events):
    other = Browser().login(trader)
    answer = browser.send(HOME, {"password": PASSWORD}, page=HOME)
    secret, body = secret_on(answer), answer.content.decode()

    assert "<svg" in body
    assert "data:" not in body  # the policy lets no data URI in
    assert "style=" not in body
    assert answer["Cache-Control"] == "no-store"
    assert secret not in browser.get(f"{HOME}/confirm").content.decode()  # shown once
    wrong = browser.send(f"{HOME}/confirm", {"code": code_at(secret, steps=-9)}, page=f"{HOME}/confirm")
    assert wrong.status_code == 401
    assert not TotpDevice.objects.filter(confirmed=True).exists()

    made = browser.send(f"{HOME}/confirm", {"code": code_at(secret)}, page=f"{HOME}/confirm")

    assert made.status_code == 200
    shown = re.findall(r"<li><code>([a-z2-9-]+)</code>", made.content.decode())
    assert len(shown) == RecoveryCode.objects.filter(user=trader).count() == 10
    page = browser.get("/security")
    assert page.status_code == 200  # this session goes on, and is fresh
    assert "shown within the last 15 minutes" in text_of(page)
    assert shown[0] not in page.content.decode()
    assert other.get("/security").status_code == 302
    assert "accounts.second_factor.confirmed" in [each.action for each in new_events()]
    entry = Browser().send("/login", {"email": trader.email, "password": PASSWORD, "code": shown[0]}, page="/login")
    assert entry.status_code == 302  # a recovery code lets in


def test_a_wrong_password_begins_nothing(browser):
    answer = browser.send(HOME, {"password": "no such password"}, page=HOME)

    assert answer.status_code == 401
    assert "The password is wrong." in text_of(answer)
    assert not TotpDevice.objects.exists()


def test_the_old_device_goes_on_until_the_new_one_has_shown_a_code(browser, trader):
    old = enrolled(trader)

    without = browser.send(HOME, {"password": PASSWORD, "code": ""}, page=HOME)
    secret = begin(browser, code=fresh_code(trader))

    assert without.status_code == 400
    assert TotpDevice.objects.get(confirmed=True) == old
    browser.send(f"{HOME}/confirm", {"code": code_at(secret)}, page=f"{HOME}/confirm")
    assert TotpDevice.objects.get().pk != old.pk


def test_a_device_that_waited_too_long_is_begun_anew(browser):
    secret = begin(browser)
    TotpDevice.objects.update(created_at=now() - timedelta(minutes=16))

    answer = browser.send(f"{HOME}/confirm", {"code": code_at(secret)}, page=HOME)

    assert (answer.status_code, answer["Location"]) == (302, HOME)
    assert "Begin again" in text_of(browser.get(HOME))


def test_recovery_codes_are_renewed_with_password_and_code(browser, trader):
    enrolled(trader)
    path = f"{HOME}/recovery-codes"

    wrong = browser.send(path, {"password": PASSWORD, "code": "000000"}, page=path)
    right = browser.send(path, {"password": PASSWORD, "code": fresh_code(trader)}, page=path)

    assert wrong.status_code == 401
    assert len(re.findall(r"<li><code>", right.content.decode())) == 10
    assert RecoveryCode.objects.filter(user=trader).count() == 10


def test_the_second_factor_is_taken_away_and_other_sessions_and_keys_end(browser, trader):
    enrolled(trader)
    browser.send(f"{KEYS}/new", WANTED | {"code": fresh_code(trader)}, page=f"{KEYS}/new")
    other = Browser()
    other.send("/login", {"email": trader.email, "password": PASSWORD, "code": fresh_code(trader)}, page="/login")

    answer = browser.send(f"{HOME}/remove", {"password": PASSWORD, "code": fresh_code(trader)}, page=f"{HOME}/remove")

    assert answer["Location"] == "/security"
    assert "The second factor is removed" in text_of(browser.get("/security"))
    assert not TotpDevice.objects.exists()
    assert ApiKey.objects.get().revoked_at is not None
    assert other.get("/security").status_code == 302


@pytest.mark.parametrize("path", [f"{HOME}/recovery-codes", f"{HOME}/remove"])
def test_without_a_second_factor_there_is_nothing_to_change(browser, path):
    assert browser.get(path)["Location"] == "/security"


def test_a_key_is_made_with_a_code_shown_once_and_works(browser, trader):
    enrolled(trader)
    form = {**WANTED, "scopes": ["account:read"], "networks": "127.0.0.0/24"}

    without = browser.send(f"{KEYS}/new", form | {"code": "000000"}, page=f"{KEYS}/new")
    made = browser.send(f"{KEYS}/new", form | {"code": fresh_code(trader)}, page=f"{KEYS}/new")

    assert without.status_code == 401
    secret = re.search(r"nxk_paper_\w{16}_[\w-]{49}", made.content.decode())
    assert secret is not None, text_of(made)
    bot = Client(headers={"authorization": f"Bearer {secret[0]}"})
    assert bot.get("/api/v1/trading/accounts").status_code == 200
    key = ApiKey.objects.get()
    assert (key.name, key.scopes, key.networks) == ("Night bot", ["account:read"], ["127.0.0.0/24"])
    assert key.expires_at is not None
    page = browser.get(KEYS).content.decode()
    assert secret[0] not in page
    assert f"nxk_paper_{key.key_id}" in page
    again = browser.send(f"{KEYS}/new", form | {"code": ""} | {"code": "123456"}, page=f"{KEYS}/new")
    assert again.status_code == 409  # the same form: no second key, and no second look
    assert secret[0] not in again.content.decode()
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "live", "scopes": ["orders:write:live"], "networks": ""}, "names the addresses it comes from"),
        ({"mode": "live", "scopes": ["orders:write:live"], "networks": "203.0.113.7", "lifetime": "365"}, "90 days"),
        ({"scopes": ["orders:write:live"], "networks": "203.0.113.7"}, "cannot trade with real money"),
        ({"networks": "not an address"}, "Write an address"),
        ({"networks": "10.0.0.0/8"}, "too wide"),
        ({"scopes": []}, "required"),
    ],
)
def test_what_no_key_may_be_is_said_at_its_field_before_a_code_is_used_up(browser, trader, changes, words):
    enrolled(trader)
    code = fresh_code(trader)

    refused = browser.send(f"{KEYS}/new", WANTED | changes | {"code": code}, page=f"{KEYS}/new")
    made = browser.send(f"{KEYS}/new", WANTED | {"code": code}, page=f"{KEYS}/new")

    assert refused.status_code in (400, 422)
    assert words in text_of(refused)
    assert made.status_code == 200
    assert ApiKey.objects.count() == 1


def test_a_key_needs_a_second_factor(browser):
    assert browser.get(f"{KEYS}/new")["Location"] == HOME


def test_a_key_is_revoked_and_never_somebody_elses(browser, trader, stranger):
    enrolled(trader)
    browser.send(f"{KEYS}/new", WANTED | {"code": fresh_code(trader)}, page=f"{KEYS}/new")
    key = ApiKey.objects.get()
    path = f"{KEYS}/{key.public_id}/revoke"

    foreign = stranger.send(path, {"reason": "Mischief."})
    silent = browser.send(path, {"reason": ""}, page=KEYS)
    done = browser.send(path, {"reason": "The bot is retired."}, page=KEYS)

    assert foreign.status_code == 404
    assert silent.status_code == 422
    assert done["Location"] == KEYS
    key.refresh_from_db()
    assert key.revoke_reason == "The bot is retired."
    assert "revoked" in text_of(browser.get(KEYS))


def test_a_bot_has_no_keys(floor):
    bot = Browser().login(UserFactory.create(role="BOT"))

    assert bot.get(KEYS).status_code == 403
    assert "/security/keys" not in bot.get("/security").content.decode()


@pytest.fixture
def live(account: TradingAccount, settings) -> str:
    """An account with real money; returns the page that arms it."""
    settings.LIVE_TRADING_ENABLED = True
    TradingAccount.objects.filter(pk=account.pk).update(is_live=True)
    return f"/accounts/{account.public_id}/arm"


def test_a_live_account_is_armed_with_a_code_and_disarmed_without_one(browser, trader, account, live):
    enrolled(trader)

    wrong = browser.send(live, {"for_s": "3600", "code": "000000"}, page=live)
    account.refresh_from_db()
    assert (wrong.status_code, account.armed_until) == (401, None)
    assert "000000" not in wrong.content.decode()  # the next one is typed into an empty field
    assert "Not armed" in text_of(browser.get("/"))

    done = browser.send(live, {"for_s": "3600", "code": fresh_code(trader)}, page=live)
    account.refresh_from_db()
    assert done["Location"] == "/"
    assert now() + timedelta(minutes=59) < account.armed_until < now() + timedelta(minutes=61)
    assert "Armed until" in text_of(browser.get("/"))

    browser.send(live.replace("/arm", "/disarm"), {}, page="/")
    account.refresh_from_db()
    assert account.armed_until is None


def test_arming_needs_a_second_factor_and_ones_own_account(browser, stranger, account, live):
    assert browser.get(live)["Location"] == HOME
    assert stranger.get(live).status_code == 404
    assert stranger.send(live.replace("/arm", "/disarm"), {}).status_code == 404
    account.refresh_from_db()
    assert account.armed_until is None


def test_paper_needs_no_arming(browser, trader, account):
    enrolled(trader)
    path = f"/accounts/{account.public_id}/arm"

    assert browser.send(path, {"for_s": "3600", "code": fresh_code(trader)}, page=path).status_code == 409
