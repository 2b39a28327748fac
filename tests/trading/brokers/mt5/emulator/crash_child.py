"""Trade on a broker's file until somebody kills this process, or it kills itself. Prints each answer as it is given.

Takes: the file; then `crash POINT`, or `trade` to go on for ever.
"""

import sys
from pathlib import Path

from tests.trading.brokers.mt5.emulator.world import build, quote_all


def main(path: str, task: str, point: str = "") -> None:
    """Do the task on the broker of a file."""
    world = quote_all(build(path=Path(path), account={"requests_per_second": 10**9}))
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
