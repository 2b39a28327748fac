"""One bad night: start an installation, let clients trade, let misfortunes happen, stop it all, judge what is left."""

import json
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nexus.local.folder import ROOT
from nexus.local.gateway import PAPER_LOGIN
from tests.chaos import lies, processes
from tests.chaos.books import Books
from tests.chaos.operators import Operators
from tests.chaos.traders import Heard, Trader
from tests.crash.ground import ROOMY
from tests.installation import Installation, manage

TRADERS = 5
BETWEEN_S = (5.0, 12.0)
PEACE_S = 300.0  # until an order is filled again, and until a stop has left nothing: absence takes 180 s to prove
STOPPED_S = 30.0  # of misfortunes after the stop was asked for
STOPPED = ("TRADING_REDUCE_ONLY", "TRADING_HALTED")  # by a trigger, such as three reconciliations that failed
JUDGE = "from tests.chaos import judging; judging.main({!r})"
LIMITS = ROOMY | {
    "READS_PER_MINUTE": "1000000",
    "MAX_OPEN_POSITIONS": "200",  # each of them costs time in every reading
    # A trigger would end the trading before the night has begun; the one that cannot be switched off is eased.
    **{
        f"STOP_ON_{name}": "OFF"
        for name in ("ACCOUNT_REFUSED", "REFUSALS", "STOP_LOSS_REFUSED", "UNKNOWN_ORDERS", "WRONG_FILL")
    },
}


def run(folder: Path, *, seed: int, seconds: float, kinds: Sequence[str], mode: str) -> int:
    """Live through it, print what happens, and return the exit code."""
    _say(f"seed {seed}, {mode}, {seconds:.0f} s of {', '.join(dict.fromkeys(kinds))}")
    accounts = {"accounts": [{"login": PAPER_LOGIN, "margin_mode": mode}]}
    (folder / "paper.json").write_text(json.dumps(accounts), encoding="utf-8")
    heard, over = Heard(), threading.Event()
    nexus = Installation(folder, **LIMITS)
    luck = _Luck(nexus, kinds, random.Random(seed))
    try:
        nexus.start()
        operators = Operators(nexus, _say)
        traders = [Trader(nexus.base, folder, heard, over, chance=random.Random(f"{seed} {n}")) for n in range(TRADERS)]
        for each in traders:
            each.start()
        luck.strike(for_s=seconds)
        faults = _trades_again(nexus, heard, operators)
        faults += _stopped(nexus, luck, operators)
        over.set()
        for each in traders:
            each.join()
        faults += heard.faults + _judged(nexus, heard)
    finally:
        nexus.stop()
        nexus.remove_database()
    if faults:
        _say(f"The logs, the answers and the broker's books are kept in {_kept(folder, seed)}.")
    for what, count in sorted(heard.said.items()):
        print(f"{count:>6}  {what}")
    for fault in faults:
        print(f"FAULT  {fault}")
    words = ", ".join(f"{kind} {count}" for kind, count in sorted(luck.happened.items()))
    _say(f"misfortunes {luck.happened.total()} ({words}), keys {len(heard.answers)}, faults {len(faults)}")
    return 1 if faults else 0


class _Luck:
    """What happens to an installation, and how often."""

    def __init__(self, nexus: Installation, kinds: Sequence[str], chance: random.Random) -> None:
        self._nexus, self._kinds, self._chance = nexus, kinds, chance
        self.happened: Counter[str] = Counter()

    def strike(self, *, for_s: float) -> None:
        """Let misfortunes happen until the time is over. A run that gives up, as it says it does, is started again."""
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            time.sleep(self._chance.uniform(*BETWEEN_S))
            kind = self._chance.choice(self._kinds)
            folder = self._nexus.folder
            is_lie = kind == lies.KIND
            what = (lies.tell if is_lie else partial(processes.strike, kind))(folder, chance=self._chance)
            if what:
                self.happened[kind] += 1
                _say(f"{kind}: {what}")
            if kind == processes.POWER:
                self._nexus.process.wait()
            if self._nexus.has_ended:
                _say("starting again")
                self._nexus.start()


def _trades_again(nexus: Installation, heard: Heard, operators: Operators) -> list[str]:
    """Everything that was killed came back when an order is filled at once."""
    one = Trader(nexus.base, nexus.folder, heard, threading.Event(), chance=random.Random(0))
    begun = time.monotonic()
    while time.monotonic() < begun + PEACE_S:
        answer = one.open()
        if answer is not None and answer.get("status") == "FILLED":
            _say(f"an order is filled {time.monotonic() - begun:.0f} s after the last misfortune")
            return []
        if answer is not None and answer.get("reason") in STOPPED:
            operators.ease(Books.of(nexus.folder).login)
            begun = time.monotonic()
        time.sleep(1)
    return [f"no order is filled after {PEACE_S:.0f} s of peace"]


def _stopped(nexus: Installation, luck: _Luck, operators: Operators) -> list[str]:
    """Stop and flatten everything while misfortunes go on: it ends with nothing held and nothing waiting."""
    asked = threading.Thread(target=operators.flatten)
    begun = time.monotonic()
    asked.start()
    luck.strike(for_s=STOPPED_S)
    asked.join()
    peace = time.monotonic()
    while not _is_flat(nexus.folder):
        if time.monotonic() > peace + PEACE_S:
            return [f"something is held or waits at the broker after {time.monotonic() - begun:.0f} s of a flatten"]
        time.sleep(0.5)
    _say(f"flat within {time.monotonic() - begun:.0f} s of the stop, {time.monotonic() - peace:.0f} s of them in peace")
    return []


def _is_flat(folder: Path) -> bool:
    try:
        return Books.of(folder).is_flat
    except OSError:  # the broker's process is being started
        return False


def _judged(nexus: Installation, heard: Heard) -> list[Any]:
    """Ask the installation itself, by its own settings; see `judging`."""
    answers = nexus.folder / "answers.json"
    answers.write_text(json.dumps(heard.answers), encoding="utf-8")
    verdict = manage(nexus.env, "shell", "-v", "0", "-c", JUDGE.format(str(answers)))
    return list(json.loads(verdict.splitlines()[-1])["faults"])


def _kept(folder: Path, seed: int) -> Path:
    place = ROOT / "var" / "chaos" / str(seed)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for each in [folder / "run.log", folder / "answers.json", *folder.glob("logs/*"), *folder.glob("paper/*")]:
        if each.exists():
            shutil.copyfile(each, place / each.name)
    return place


def _say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)
