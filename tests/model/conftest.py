"""The trading floor, here too, with nothing on it that would stop a machine for its own trouble."""

import os
import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import hypothesis
import pytest
from hypothesis.internal.conjecture.engine import ConjectureRunner
from hypothesis.stateful import run_state_machine_as_test

from reconciliation.services import cycles
from tests.model.floor import Floor
from tests.trading.conftest import _always_true, account, execute, floor, paper, trader
from trading.brokers.mt5 import adapter, session
from trading.services import books, exposure, facts, reduction

__all__ = ["_always_true", "account", "execute", "floor", "paper", "trader"]

LISTED_WITHIN = timedelta(
    seconds=0.6
)  # a fraction: what is not believed for ten seconds is believed again in most lives


@pytest.fixture
def run(floor: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a machine: `MODEL_EXAMPLES` asks for more of its lives, `MODEL_STEPS` for longer ones; `MODEL_SEED` repeats
    those of a failure, or lives others than those of a machine's own `seed`.
    """
    # After ten lives, five of six would be nearly the one before. That is for what takes no time.
    monkeypatch.setattr(ConjectureRunner, "generate_mutations_from", lambda *_: None)
    monkeypatch.setattr(session, "CLOCK_WAIT_S", 0)
    monkeypatch.setattr(adapter, "JOURNAL_AGE_MIN_S", 0)  # each broker is as young as its example
    for each in (books, exposure, facts, reduction):
        monkeypatch.setattr(each, "LISTED_WITHIN", LISTED_WITHIN)
    monkeypatch.setattr(cycles, "QUIET", LISTED_WITHIN)
    settings.SENDING_LEASE_S = 0
    settings.MARKET_TTL_S = 3600
    settings.QUOTE_AGE_MAX_S = 3600
    settings.COOLDOWN_FAILURES = 1_000_000
    settings.UNSTOPPED_MOVE = Decimal("0.05")
    for name in ("DAILY_LOSS_LIMIT", "MAX_POSITION_SIZE", "ORDERS_PER_HOUR", "ORDERS_PER_SECOND"):
        setattr(settings, name, Decimal(1_000_000_000))
    settings.STOP_ON = dict.fromkeys(settings.STOP_ON, "OFF")
    for name in ("UNKNOWN_ORDERS_MAX", "REFUSALS_MAX"):  # the model's own trouble is no reason to stop it
        setattr(settings, name, 10**6)

    def live(machine: type[Floor], *, examples: int, steps: int, seed: int | None = None) -> None:
        seed = int(os.environ.get("MODEL_SEED") or seed or random.getrandbits(32))
        print(f"MODEL_SEED={seed}")
        run_state_machine_as_test(
            hypothesis.seed(seed)(machine),
            settings=hypothesis.settings(
                max_examples=int(os.environ.get("MODEL_EXAMPLES", examples)), deadline=None, database=None,
                stateful_step_count=int(os.environ.get("MODEL_STEPS", steps)), print_blob=True,
                phases=[hypothesis.Phase.generate],  # a clock flows: what is shrunk may no longer fail
                suppress_health_check=list(hypothesis.HealthCheck),
            ),
        )  # fmt: skip

    return live
