"""Real money: seen as such at a glance, armed with a code and no other way, and disarmed at once."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import stage
from tests.browser.stage import DESKTOP, PHONE, ROOT, START_S, Stage, Tab

NAME = "real-money"
# The demo's account as another one of somebody else's, marked live. Nothing of the test is sent to a broker.
LINK = """
import uuid
from accounts.models import User
from trading.models import TradingAccount
account = TradingAccount.objects.order_by('pk').first()
account.pk, account.public_id, account.user = None, uuid.uuid4(), User.objects.get(email='{name}@demo.example')
account.name, account.venue_account, account.is_live = 'Real money', '5999', True
account.save()
print('account=' + str(account.public_id))
"""
# Real money needs production, where no demo runs: this door alone lets it in, beside the web server of the stage.
SERVE = """
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server
from django.conf import settings
from nexus.wsgi import application
settings.LIVE_TRADING_ENABLED = True
class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
make_server('127.0.0.1', {port}, application, server_class=Server).serve_forever()
"""
ASIDE = "from trading.models import TradingAccount; TradingAccount.objects.filter(is_live=True).update(is_active=False)"
WORDS = {"en": ("LIVE", "Armed until"), "fr": ("RÉEL", "Armé jusqu")}


@pytest.fixture(scope="module")
def account(ground: Stage) -> Iterator[str]:
    """A live account, and who owns it; put aside at the end, so that nobody watches it any longer."""
    ground.hire(NAME, "TRADER")
    said = ground.manage("shell", "-v", "0", "-c", LINK.format(name=NAME))
    yield said.strip().rpartition("account=")[2]
    ground.manage("shell", "-v", "0", "-c", ASIDE)


@pytest.fixture(scope="module")
def door(ground: Stage, account: str) -> Iterator[Stage]:
    """The same installation behind a web server that lets real money in."""
    port = ground.door
    command = [sys.executable, "-m", "nexus.local", "manage", "shell", "-v", "0", "-c", SERVE.format(port=port)]
    with subprocess.Popen(
        command, cwd=ROOT, env=ground.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as it:
        try:
            deadline = time.monotonic() + START_S
            while not _answers(port):
                assert it.poll() is None, "the door has ended"
                assert time.monotonic() < deadline, "the door does not open"
                time.sleep(0.2)
            yield replace(ground, base=f"http://127.0.0.1:{port}", sessions={})
        finally:
            it.terminate()


def _answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("language", "size"), [("en", DESKTOP), ("fr", PHONE)])
def test_real_money_is_armed_by_a_code_and_disarmed(
    browser: Browser, door: Stage, account: str, language: str, size: dict[str, int]
) -> None:
    live, armed = WORDS[language]
    mark = f"arming-{language}-{'phone' if size == PHONE else 'wide'}"
    mine: Tab = stage.new_tab(browser, door, language=language, size=size).login(NAME)
    page = mine.page
    way = page.locator(f"a[href='/accounts/{account}/arm']")

    expect(page.locator(".strip.live")).to_contain_text(live)
    expect(way).to_be_visible()
    mine.show(f"{mark}-1-not-armed")
    mine.follow(f"a[href='/accounts/{account}/arm']")
    mine.show(f"{mark}-2-arm")

    # No code, no arming: the page says so, and the account stays as it was.
    page.fill("input[name=code]", "000000")
    mine.follow("main form button.danger")
    expect(page.locator("[id^=error], .error, .errorlist").first).to_be_visible()
    mine.show(f"{mark}-3-wrong-code")
    mine.complaints.clear()  # the browser notes the 401 itself

    page.fill("input[name=code]", door.code(NAME))
    mine.follow("main form button.danger")
    expect(page).to_have_url(re.compile(r"/$"))
    expect(page.locator("p.armed")).to_contain_text(armed)
    expect(way).to_have_count(0)
    mine.show(f"{mark}-4-armed")

    mine.follow(f"form[action='/accounts/{account}/disarm'] button")
    expect(way).to_be_visible()
    expect(page.locator("p.armed")).not_to_contain_text(armed)
    assert mine.complaints == []
    assert mine.violations() == []
    page.context.close()
