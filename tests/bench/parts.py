"""What is measured. Each part returns its figures under their final names."""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from tests.bench import limit, nowire, rows
from tests.bench.load import Outcome
from tests.bench.stage import Inside, Stage, pgbench

CLIENTS = 16
EXECUTE = "/api/v1/trading/execute"
LEDGER_ROWS = 100_000
SMALL, LARGE = 1_000, 1_000_000
ROUNDS = 7
ORDERS_A_ROUND = 60

Figures = dict[str, float]


@dataclass
class Run:
    """One run: its stage, how long each load lasts, and what has been found so far."""

    stage: Stage
    seconds: float
    clones: dict[str, str]
    figures: Figures = field(default_factory=dict)
    say: Callable[[str], None] = print


def physical(run: Run, *, suffix: str = "") -> None:
    """(a) Measure pgbench with the rows and commits of one order, spread and hot."""
    program = pgbench()
    if program is None:
        run.say("pgbench is not beside this server: there is no limit to compare with.")
        return
    database = run.clones["limit"]
    for name, clients, is_hot in (("limit_16", CLIENTS, False), ("limit_hot_16", CLIENTS, True), ("limit_1", 1, False)):
        script = run.stage.folder / f"{name}.sql"
        limit.write_script(database, script, hot=is_hot)
        spent = run.stage.spent_s()
        found = limit.run(
            program, database, script, clients=clients, seconds=max(1, round(run.seconds)), environment=run.stage.env
        )
        run.figures[f"{name}{suffix}"] = found.per_second
        if clients == 1:
            run.figures |= {f"{name}_ms{suffix}": found.latency_ms, f"{name}_first_ms{suffix}": found.first_ms}
        run.figures[f"{name}_cpu_ms{suffix}"] = round(1000 * (run.stage.spent_s() - spent) / found.count, 3)
        run.say(f"  {name}{suffix}: {found.per_second:.0f} orders/s")


def api(run: Run) -> None:
    """(b) Measure orders through the public API, without a wire and through the paper gateway."""
    run.stage.start_web()
    for kind, name in (("direct", "no_wire"), ("behind", "gateway")):
        if not run.stage.people[kind]:
            continue
        bodies = bodies_of(kind, run.stage)
        everyone = run.stage.tokens(kind)
        warm = {"path": EXECUTE, "bodies": bodies, "clients": CLIENTS, "expect": '"status":"FILLED"'}
        run.stage.load(**warm, tokens=everyone, seconds=max(2.0, run.seconds / 2))
        for clients, tokens, mark in (
            (CLIENTS, everyone, "16"), (1, everyone, "1"),
            (CLIENTS, everyone[:1], "hot_16"), (1, everyone[:1], "hot_1"),
        ):  # fmt: skip
            spent = run.stage.spent_s()
            found = run.stage.load(**(warm | {"clients": clients}), tokens=tokens, seconds=run.seconds)
            _note(run, f"api_{name}", mark, found, spent_s=run.stage.spent_s() - spent)


def reads(run: Run) -> None:
    """(d) Measure GET positions and GET ledger for one of the people who share 100,000 orders."""
    rows.load(run.stage.database, orders=LEDGER_ROWS)
    rows.hold(run.stage.database, venue_account=nowire.HOLDER, positions=nowire.HELD)
    if not run.stage.port:
        run.stage.start_web()
    token = [run.stage.people["reader"]["token"]]
    for name, path, clients in (
        ("positions", "/api/v1/trading/positions", 1), ("ledger", "/api/v1/trading/ledger", 1),
        ("positions", "/api/v1/trading/positions", CLIENTS), ("ledger", "/api/v1/trading/ledger", CLIENTS),
    ):  # fmt: skip
        given = {"path": path, "tokens": token, "clients": clients, "expect": '"results":[{'}
        run.stage.load(**given, seconds=1.0)
        found = run.stage.load(**given, seconds=run.seconds / 2)
        if clients == 1:
            run.figures |= {f"{name}_p50_ms": found.p50_ms, f"{name}_p99_ms": found.p99_ms}
        else:
            run.figures[f"{name}_16"] = found.per_second
        run.say(f"  {name}, {clients} clients: {found.per_second:.0f}/s, p50 {found.p50_ms} ms{_wrong(found)}")


def admission(run: Run) -> None:
    """(c) Measure the admission transaction alone, one order after the other."""
    with run.stage.inside(run.stage.database) as inside:
        inside.place(ORDERS_A_ROUND)
        whole, admissions = inside.place(ORDERS_A_ROUND * ROUNDS)
    run.figures |= {
        "admission_p50_ms": round(statistics.median(admissions), 3),
        "service_p50_ms": round(statistics.median(whole), 3),
    }
    run.say(f"  admission p50 {run.figures['admission_p50_ms']} ms of {run.figures['service_p50_ms']} ms an order")


def growth(run: Run) -> None:
    """(e) Measure an order over few and many ledger rows, also all of one trader, in turns: the same noise for each."""
    inside = run.stage.inside
    with inside(run.clones["small"]) as few, inside(run.clones["large"]) as many, inside(run.clones["hot"]) as own:
        turns: list[tuple[Inside, int, list[float]]] = [(few, 100, []), (many, 100, []), (few, 1, []), (own, 1, [])]
        for number in range(2 * ROUNDS + 1):
            for place, traders, times in turns:
                found = place.place(ORDERS_A_ROUND, traders=traders)[0]
                times += found if number else []  # the first round warms
    at_1k, at_1m, one_at_1k, one_at_1m = (statistics.median(times) for _, _, times in turns)
    run.figures |= {
        "order_at_1k_p50_ms": round(at_1k, 3),
        "order_at_1m_p50_ms": round(at_1m, 3),
        "order_cost_1m_over_1k": round(at_1m / at_1k, 3),
        "order_cost_1m_of_one_over_1k": round(one_at_1m / one_at_1k, 3),
    }
    run.say(
        f"  an order at 1,000 rows {at_1k:.2f} ms, at 1,000,000 {at_1m:.2f} ms; all of one trader {one_at_1m:.2f} ms"
    )


def bodies_of(kind: str, stage: Stage) -> list[str]:
    """Return a buy and the sell that undoes it, with stops that fit the market."""
    quote = stage.people["quote"] if kind == "behind" else {"bid": str(nowire.BID), "ask": str(nowire.ASK)}
    distance = Decimal("0.00500")
    bid, ask = Decimal(quote["bid"]), Decimal(quote["ask"])
    terms = (("BUY", bid - distance, ask + distance), ("SELL", ask + distance, bid - distance))
    return [
        json.dumps({"symbol": "EURUSD", "action": side, "quantity": "0.01", "entry_price": str(ask),
                    "stop_loss": str(stop), "take_profit": str(target)})
        for side, stop, target in terms
    ]  # fmt: skip


def _note(run: Run, name: str, mark: str, found: Outcome, *, spent_s: float) -> None:
    run.figures |= {
        f"{name}_cpu_ms_{mark}": round(1000 * spent_s / max(1, found.count), 3),
        f"{name}_{mark}": found.per_second,
        f"{name}_p50_ms_{mark}": found.p50_ms,
        f"{name}_p99_ms_{mark}": found.p99_ms,
    }
    run.say(f"  {name}, {mark}: {found.per_second:.0f}/s, p50 {found.p50_ms} ms, p99 {found.p99_ms} ms{_wrong(found)}")


def _wrong(found: Outcome) -> str:
    """Say what was not answered as expected: a figure with failures in it is no figure."""
    return f"  WRONG: {sum(found.wrong.values())} {found.wrong}" if found.wrong else ""
