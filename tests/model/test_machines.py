"""Random lives of orders, and of what stands. A run prints its seed: see `run`."""

from tests.model.machine import Orders
from tests.model.standing import Standing


def test_whatever_happens_to_orders_the_invariants_hold(run):
    run(Orders, examples=8, steps=25)


# Lives that are known, so that what fails here is what somebody has just changed. Others are looked for on purpose, by
# `make lives`: on 2026-11-22 one seed in thirty still found a place where too little was counted.
KNOWN = 77  # three of its five lives trade two instruments, on an account in euros or dollars


def test_whatever_stands_is_counted_at_its_worst_and_never_turned_around(run):
    run(Standing, examples=5, steps=40, seed=KNOWN)
