"""The gateway as a process: killed in the middle of a send, started again, stopped, and misconfigured."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nexus.core.errors import OutcomeUnknown
from tests.fakes import gate
from tests.trading.brokers.mt5.fake_terminal import LOGIN, SERVER
from tests.trading.brokers.mt5.gateway_in_thread import TOKEN, link
from trading.brokers.base import VenueState
from trading.brokers.mt5.adapter import Mt5Broker

ROOT = Path(__file__).parents[4]
REAL = "trading.brokers.mt5.gateway"
FAKE = "tests.trading.brokers.mt5.fake_gateway"


class Place:
    """A folder with a configuration, and the processes that were started from it."""

    def __init__(self, folder):
        self.folder, self.sends, self.processes, self.brokers = folder, folder / "sends.txt", [], []

    def write(self, **changes):
        config = {
            "listen": "127.0.0.1:0",
            "token_env": "GATEWAY_TOKEN",
            "journal": str(self.folder / "journal.db"),
            "terminal": {
                "kind": "emulator", "store": str(self.folder / "broker.db"), "mode": "wall", "seed": 3,
                "login": LOGIN, "password": "paper-password", "server": SERVER, "tick_interval_ms": 100,
            },
            "limits": {"lots_max": "5", "symbols": ["*"], "orders_per_minute": 100},
        } | changes  # fmt: skip
        path = self.folder / "gateway.json"
        path.write_text(json.dumps(config))
        return path

    def start(self, behavior=None, *, is_free=True, **changes):
        """Start the gateway over the emulator, or over the fake terminal with a behavior; return it and its URL.

        Takes: `is_free`, whether it is told at once that its books were read, and so may send.
        """
        if behavior not in {None, "fill"}:
            Path(f"{self.sends}.hang").touch()
        command = [REAL, *self.serve(**changes)]
        if behavior:
            command = [FAKE, str(self.write(**changes)), str(self.sends), behavior]
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env=self.environment(),
        )  # fmt: skip
        self.processes.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            document = json.loads(line)
            if document["event"] == "gateway.started":
                url = f"http://127.0.0.1:{document['port']}"
                if is_free:
                    gate.free(url, TOKEN)
                return process, url
        raise AssertionError("the gateway did not start")

    def environment(self):
        return os.environ | {"GATEWAY_TOKEN": TOKEN}

    def serve(self, **changes):
        return ["serve", "--config", str(self.write(**changes))]

    def broker(self, url, **settings):
        self.brokers.append(Mt5Broker(link(url, **settings)))
        return self.brokers[-1]

    def close(self):
        for broker in self.brokers:
            broker.close()
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.close()


def refuse_to_start(place, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", REAL, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False,
        env=os.environ | {"GATEWAY_TOKEN": TOKEN} | environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("gateway: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_its_journal_tells_through_a_kill_how_far_it_remembers(place):
    process, url = place.start()
    broker = place.broker(url)
    until = time.monotonic() + 20
    while not (beats := sum((first := broker.snapshot(symbols=[]).remembers).values())):
        assert time.monotonic() < until, "its journal does not beat"
        time.sleep(0.05)  # its first comes within a moment
    process.kill()
    process.wait()

    _, url = place.start()

    second = place.broker(url).snapshot(symbols=[]).remembers
    assert (len(first), len(second)) == (1, 2)
    assert next(iter(second)) == next(iter(first))
    assert next(iter(second.values())) >= beats


def test_killed_in_the_middle_of_a_send_it_never_sends_again(place, order, sent_at):
    process, url = place.start("hang")
    wanted = order()
    with pytest.raises(OutcomeUnknown):
        place.broker(url, deadline_s="0.5").submit(wanted)
    process.send_signal(signal.SIGKILL)
    process.wait()

    _, url = place.start("fill")
    broker = place.broker(url)

    with pytest.raises(OutcomeUnknown):
        broker.submit(wanted)
    assert (
        broker.order_report(client_order_id=wanted.client_order_id, symbol=wanted.symbol, sent_at=sent_at).state
        is VenueState.NO_TRACE
    )
    assert place.sends.read_text().split() == [wanted.client_order_id]


def test_killed_after_the_answer_it_repeats_the_answer(place, order):
    process, url = place.start("fill")
    wanted = order()
    assert place.broker(url).submit(wanted).state is VenueState.FILLED
    process.send_signal(signal.SIGKILL)
    process.wait()

    _, url = place.start("fill")

    report = place.broker(url).submit(wanted)  # the fake's broker has forgotten it, the journal has not
    assert report.state is VenueState.WORKING
    assert place.sends.read_text().split() == [wanted.client_order_id]


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_stops_cleanly_when_told_to(place, name):
    process, url = place.start("fill")
    place.broker(url).snapshot(symbols=[])

    process.send_signal(name)

    assert process.wait(10) == 0
    assert "gateway.stopped" in process.stdout.read()


def test_trades_on_paper_through_the_emulator_and_remembers(place, order):
    process, url = place.start()
    broker = place.broker(url)
    quote = broker.snapshot(symbols=["EURUSD"]).quotes["EURUSD"]
    wanted = order(reference_price=quote.ask, stop_loss=None, take_profit=None)

    report = broker.submit(wanted)

    assert report.state is VenueState.FILLED
    assert abs((report.fills[0].filled_at - datetime.now(UTC)).total_seconds()) < 5
    process.terminate()
    assert process.wait(10) == 0

    _, url = place.start()
    again = place.broker(url)
    assert again.snapshot(symbols=[]).positions[0].client_order_id == wanted.client_order_id
    report = again.order_report(client_order_id=wanted.client_order_id, symbol=wanted.symbol, sent_at=datetime.now(UTC))
    assert (report.state, len(report.fills)) == (VenueState.FILLED, 1)


def test_refuses_a_bad_configuration_with_one_line(place):
    assert "cannot be read" in refuse_to_start(place, "serve", "--config", str(place.folder / "absent.json"))
    assert "loopback" in refuse_to_start(place, *place.serve(listen="0.0.0.0:8000"))
    assert "GATEWAY_TOKEN" in refuse_to_start(place, *place.serve(), GATEWAY_TOKEN="short")


def test_refuses_a_terminal_that_will_never_let_it_in(place):
    process, _ = place.start()
    process.terminate()
    process.wait()
    terminal = json.loads(place.write().read_text())["terminal"] | {"server": "Paper-Other"}

    assert "terminal" in refuse_to_start(place, *place.serve(terminal=terminal))


def test_refuses_an_address_that_is_taken(place):
    _, url = place.start("fill")

    line = refuse_to_start(place, *place.serve(listen=url.removeprefix("http://"), journal=str(place.folder / "j2.db")))

    assert "cannot be bound" in line


@pytest.mark.parametrize("command", ["serve", "probe"])
def test_refuses_a_journal_that_another_gateway_has(place, command):
    place.start()
    out = ["--out", str(place.folder / "profile.json")] if command == "probe" else []

    said = refuse_to_start(place, command, *place.serve()[1:], *out)

    assert "used by another gateway" in said
    assert not (place.folder / "profile.json").exists()


def test_keeps_what_it_says_in_a_file_too(place):
    log = place.folder / "logs" / "gateway.log"
    process, _ = place.start(log=str(log))
    process.terminate()
    said = process.stdout.read()
    process.wait()

    kept = [json.loads(line)["event"] for line in log.read_text(encoding="utf-8").splitlines()]
    assert kept[-2:] == ["gateway.worker.stopped", "gateway.stopped"]
    assert "gateway.started" in kept
    assert [json.loads(line)["event"] for line in said.splitlines()] == kept[kept.index("gateway.started") + 1 :]


def test_needs_no_django(place):
    code = (
        "import sys, trading.brokers.mt5.gateway.program, trading.brokers.mt5.gateway.terminal\n"
        "outside = {name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "assert outside <= {'trading', '__main__', '__mp_main__'}, outside"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"], check=False,
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip

    assert done.stderr == ""
