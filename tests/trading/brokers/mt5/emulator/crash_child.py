"""Trade on a broker's file until somebody kills this process, or it kills itself. Prints each answer as it is given.

Takes: the file; then `crash POINT`, `trade` to go on for ever, or `script` to play `STEPS`.
"""

import sys
from pathlib import Path
from typing import Any

from tests.trading.brokers.mt5.emulator.world import World, build, quote_all

RATE = {"requests_per_second": 10**9}
BACK, FORTH = ("1.07990", "1.08000"), ("1.08500", "1.08510")
# Each step is one transaction of the broker: a number is a request with this magic, a pair is a tick.
STEPS: list[int | tuple[str, str]] = [
    step for magic in range(1, 61) for step in ((magic, BACK, FORTH) if magic % 7 == 0 else (magic,))
]


def play(world: World, step: int | tuple[str, str]) -> Any:
    """Do one step of the script, and return the broker's answer to a request."""
    if isinstance(step, tuple):
        return world.control.tick("EURUSD", *step)
    held = world.mt5.positions_get(symbol="EURUSD")
    if step % 5 == 0 and held:
        return world.sell("EURUSD", held[0].volume, magic=step, position=held[0].ticket)
    if step % 3:
        return world.buy("EURUSD", 0.01, magic=step, sl=1.07 + step / 10_000)
    return world.place("EURUSD", 2, 0.01, 1.08, magic=step)


def main(path: str, task: str, point: str = "") -> None:
    """Do the task on the broker of a file."""
    world = quote_all(build(path=Path(path), account=RATE))
    if task == "script":
        for step in STEPS:
            play(world, step)
            print("step", flush=True)
            sys.stdin.readline()  # the next one when it is told to
        return
    if task == "crash":
        world.control.inject("crash", point=point, nth=2, seconds=1.0)
        for magic in (1, 2, 3):
            result = world.buy("EURUSD", 0.1, magic=magic)
            print(result.retcode, result.deal, magic, flush=True)
            if magic == 2:
                sys.stdin.read()  # the timer of `after_reply` ends this
    for magic in range(1, 10**9):
        if magic % 3:
            result = world.buy("EURUSD", 0.01, magic=magic)
        else:
            result = world.place("EURUSD", 2, 0.01, 1.08, magic=magic)
        print(result.retcode, result.deal or result.order, magic, flush=True)
        if magic % 7 == 0:
            world.control.tick("EURUSD", "1.07990", "1.08000")
            world.control.tick("EURUSD", "1.08500", "1.08510")


if __name__ == "__main__":
    main(*sys.argv[1:])
