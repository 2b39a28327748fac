"""Random lives of orders. `MODEL_EXAMPLES` asks for more of them; `MODEL_SEED` repeats those of a failure."""

import os
import random
from decimal import Decimal

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Orders
from trading.brokers.mt5 import adapter, session

EXAMPLES, STEPS = int(os.environ.get("MODEL_EXAMPLES", "8")), 25


def test_whatever_happens_the_invariants_hold(floor, settings, monkeypatch):
    monkeypatch.setattr(session, "CLOCK_WAIT_S", 0)
    monkeypatch.setattr(adapter, "JOURNAL_AGE_MIN_S", 0)  # each broker is as young as its example
    settings.SENDING_LEASE_S = 0
    settings.MARKET_TTL_S = 3600
    settings.QUOTE_AGE_MAX_S = 3600
    settings.COOLDOWN_FAILURES = 1_000_000
    settings.UNSTOPPED_MOVE = Decimal("0.05")
    for name in ("DAILY_LOSS_LIMIT", "MAX_POSITION_SIZE", "ORDERS_PER_HOUR", "ORDERS_PER_SECOND"):
        setattr(settings, name, Decimal(1_000_000_000))
    for name in ("UNKNOWN_ORDERS_MAX", "REFUSALS_MAX"):  # the model's own trouble is no reason to stop it
        setattr(settings, name, 10**6)
    seed = int(os.environ.get("MODEL_SEED") or random.getrandbits(32))
    print(f"MODEL_SEED={seed}")

    run_state_machine_as_test(
        hypothesis.seed(seed)(Orders),
        settings=hypothesis.settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None, print_blob=True,
            phases=[hypothesis.Phase.generate],  # a clock flows: what is shrunk may no longer fail
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )  # fmt: skip
