"""The whole of Nexus as `make run` starts it, in a folder of its own, and a real browser in front of it."""

import base64
import json
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from django_otp.oath import hotp
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, expect, sync_playwright

from tests import installation
from tests.installation import Installation

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(__file__).parent / "vendor" / "axe-4.14.1.min.js"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARTEFACTS = Path(os.environ.get("BROWSER_ARTEFACTS", ROOT / "var" / "browser"))  # what CI keeps of a run
WAIT_MS = 20_000
STEP_S = 30  # of a code
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SESSIONS = ("sessionid", "nexus_sid")  # what a session's cookie is called, and in production
LIMITS = {"MAX_POSITION_SIZE": "200000", "ORDERS_PER_HOUR": "1000"}
WATCH = """
window.__csp = [];
document.addEventListener("securitypolicyviolation", (e) => {
  window.__csp.push(e.violatedDirective + " " + e.blockedURI);
});
"""


@dataclass(frozen=True)
class Stage:
    """A running installation: where it is, and who may come in."""

    base: str
    people: dict[str, dict[str, str]]
    account: str
    folder: Path
    seeds: dict[str, str]
    env: dict[str, str] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, Any] = field(default_factory=dict)

    def code(self, role: str) -> str:
        """Return a code of a demo person's device that was not shown before: each is accepted once, one step early."""
        while int(time.time()) // STEP_S + 1 <= self.shown.get(role, 0):
            time.sleep(0.2)
        step = self.shown[role] = max(int(time.time()) // STEP_S, self.shown.get(role, 0) + 1)
        return f"{hotp(base64.b32decode(self.seeds[role]), step, 6):06d}"

    def post(self, path: str, body: Any = None, *, role: str = "trader", key: str = "") -> Any:
        """Send something to the API as somebody, and return the answer's document."""
        with httpx.Client(base_url=f"{self.base}/api/v1", timeout=30, trust_env=False) as client:
            login = {name: self.people[role][name] for name in ("email", "password")}
            token = client.post("/auth/login", json=login).raise_for_status().json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})
            answer = client.post(path, json={} if body is None else body, headers=headers).raise_for_status()
            return answer.json() if answer.content else None

    def manage(self, *words: str) -> str:
        """Run `manage.py`, as somebody at the machine would, and return what it says."""
        return installation.manage(self.env, *words)

    def hire(self, name: str, role: str) -> str:
        """Add somebody of a role, with a second factor, and return the name to log in by."""
        person, seed = installation.hire(self.env, name, role)
        self.people[name], self.seeds[name] = person, seed
        return name

    @contextmanager
    def silent_broker(self) -> Iterator[None]:
        """Let the gateway hang, as a terminal does whose server is away."""
        wanted = str(self.folder).encode()
        lines = {int(each.name): (each / "cmdline") for each in Path("/proc").iterdir() if each.name.isdecimal()}
        mine = [pid for pid, line in lines.items() if _is_gateway(line, wanted)]
        assert mine
        for pid in mine:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in mine:
                os.kill(pid, signal.SIGCONT)

    def trade(self, **changes: Any) -> dict[str, Any]:
        """Place an order through the API, as a bot would."""
        body = {"symbol": "EURUSD", "action": "BUY", "quantity": "0.02", "stop_loss": "1.07000"} | changes
        order: dict[str, Any] = self.post("/trading/execute", body, key=uuid.uuid4().hex)
        return order


@dataclass
class Tab:
    """One page of a browser, and everything it has complained about."""

    page: Page
    stage: Stage
    complaints: list[str] = field(default_factory=list)

    def hear(self, line: ConsoleMessage) -> None:
        """Keep what the page writes into the console, when it is a complaint."""
        if line.type in ("error", "warning"):
            self.complaints.append(f"{line.text} ({self.page.url}, {line.location})")

    def go(self, path: str) -> None:
        """Load a page."""
        self.page.goto(self.stage.base + path, wait_until="load")

    def follow(self, selector: str) -> None:
        """Click what leads to another page, and wait until that one is loaded: a click by itself returns before."""
        with self.page.expect_navigation(wait_until="load"):
            self.page.click(selector)

    def login(self, role: str = "trader") -> "Tab":
        """Go on with the session of an earlier login, or log in through the form, with a code."""
        if role in self.stage.sessions:
            self.page.context.add_cookies(self.stage.sessions[role])
            self.go("/")
            if not self.page.url.startswith(self.stage.base + "/login"):
                return self
        return self.log_in(role)

    def log_in(self, role: str = "trader") -> "Tab":
        """Log in through the form."""
        self.go("/login")
        self.page.fill("input[name=email]", self.stage.people[role]["email"])
        self.page.fill("input[name=password]", self.stage.people[role]["password"])
        self.page.fill("input[name=code]", self.stage.code(role))
        self.page.click("form[action='/login'] button")
        self.page.wait_for_url(self.stage.base + "/")
        cookies = self.page.context.cookies()
        self.stage.sessions[role] = [each for each in cookies if each["name"].endswith(SESSIONS)]
        return self

    def enter_console(self, role: str = "operator") -> "Tab":
        """Come into the console by its own door."""
        self.go("/admin/")
        self.page.fill("input[name=username]", self.stage.people[role]["email"])
        self.page.fill("input[name=password]", self.stage.people[role]["password"])
        self.page.fill("input[name=code]", self.stage.code(role))
        self.page.click("#login-form [type=submit]")
        self.page.wait_for_url(self.stage.base + "/admin/")
        return self

    def shoot(self, name: str) -> None:
        """Keep a picture of the page for whoever reads the run later."""
        self.settle()
        folder = ARTEFACTS / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png", full_page=True)

    def show(self, name: str) -> None:
        """Keep a picture of the page, and find nothing wrong with it."""
        self.shoot(name)
        assert self.findings() == [], name
        assert self.overflow() <= 0, name

    def settle(self) -> None:
        """Wait until the page is live and has everything it asks for."""
        if self.page.locator("#pulse").count():
            self.page.wait_for_selector("#pulse.on", timeout=WAIT_MS)
        expect(self.page.locator(".htmx-request")).to_have_count(0, timeout=WAIT_MS)

    def violations(self) -> list[str]:
        """Return what the page tried to load or run and may not."""
        found: list[str] = self.page.evaluate("window.__csp")
        return found

    def findings(self) -> list[str]:
        """Return what axe finds serious."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
        )
        return [
            f"{each['id']} ({each['impact']}): {node['html'][:160]} {node['failureSummary'][:300]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical") or not each["id"].startswith("region")
            for node in each["nodes"]
        ]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        found: int = self.page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
        return found


def _is_gateway(line: Path, folder: bytes) -> bool:
    try:
        words = line.read_bytes()
    except OSError:  # it has ended meanwhile
        return False
    return b"mt5.gateway" in words and folder in words


def keep_logs(folder: Path, name: str) -> None:
    """Copy what every process wrote to where CI looks for it; the folder itself goes."""
    kept = ARTEFACTS / name
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for log in [*folder.glob("run.log"), *folder.glob("logs/*")]:
        shutil.copyfile(log, kept / log.name)


@contextmanager
def running(**settings: str) -> Iterator[Stage]:
    """Start Nexus as a person would, wait until it is ready, and stop it at the end. Takes: settings of its own."""
    with tempfile.TemporaryDirectory(prefix="nexus-browser-") as name:
        nexus = Installation(Path(name), **LIMITS | settings)
        try:
            nexus.start()
            note = json.loads((nexus.folder / "demo.json").read_text(encoding="utf-8"))
            seeds = note["second_factors"]
            yield Stage(nexus.base, note["people"], note["account"], nexus.folder, seeds, nexus.env)
        finally:
            ended = nexus.has_ended
            nexus.stop()
            keep_logs(nexus.folder, "logs-night" if settings else "logs")
            nexus.remove_database()
            if ended:
                raise RuntimeError(f"Nexus ended by itself; its logs are in {ARTEFACTS}")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the system's own browser. What a test expects may take a while: CI is slower than a desk."""
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as play:
        browser = launch(play)
        yield browser
        browser.close()


def launch(play: Playwright) -> Browser:
    """Start the browser. As root it has no sandbox to start in."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    return play.chromium.launch(executable_path=CHROMIUM, args=arguments)


def new_tab(
    browser: Browser, stage: Stage, *, language: str = "en", size: dict[str, int] | None = None, dark: bool = False
) -> Tab:
    """Open a page in a browser that knows nobody."""
    context = browser.new_context(
        locale={"en": "en-GB", "fr": "fr-FR"}[language],
        timezone_id="Europe/Paris",
        viewport=size or DESKTOP,  # type: ignore[arg-type]
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        ignore_https_errors=True,  # a stage that speaks TLS has a certificate of its own authority
    )
    context.add_init_script(WATCH)
    context.set_default_timeout(WAIT_MS)
    tab = Tab(context.new_page(), stage)
    tab.page.on("console", tab.hear)
    tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    return tab
