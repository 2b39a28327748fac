"""`make bench`: all parts but `pages`, or the one that BENCH names. `BENCH_SECONDS` says how long each load lasts."""

import os
import sys
import time

from nexus.local.folder import ROOT
from nexus.local.processes import StopRequested
from tests.bench import auditing, dashboards, paging, parts, reconciling, report, stage, stop
from tests.bench.parts import LARGE, SMALL, Run

PARTS = ("limit", "api", "admission", "reads", "growth", "reconcile", "stop", "audit", "dashboards", "pages")
ALONE = {"pages"}  # ten million rows: by itself, or nothing else would be measured as before


def main(chosen: str) -> int:
    """Measure, print the table and write `var/bench.json`."""
    if chosen and chosen not in PARTS:
        print(f"BENCH is one of {', '.join(PARTS)}, or empty for all of them.", file=sys.stderr)
        return 2
    wanted = {chosen} if chosen else set(PARTS) - ALONE
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {text}", flush=True)

    seconds = float(os.environ.get("BENCH_SECONDS") or 5)
    with stage.opened(with_gateways=bool(wanted & {"api", "stop", "dashboards"})) as opened:
        say(f"The stage stands: PostgreSQL {stage.durability(opened.database)}; {os.cpu_count()} processors, shared.")
        clones = _clones(opened, wanted)
        run = Run(opened, seconds, clones, say=say)
        _measure(run, wanted)
    report.add_ratios(run.figures)
    print(report.table(run.figures))
    path = ROOT / "var" / "bench.json"
    report.write(run.figures, path)
    print(f"\nWritten to {path.relative_to(ROOT)} after {time.monotonic() - begun:.0f} s.")
    return 0


def _clones(opened: stage.Stage, wanted: set[str]) -> dict[str, str]:
    """Copy the database before anybody else uses it: one for pgbench, three with a history."""
    clones = {}
    if wanted & {"limit", "api", "admission"}:
        clones["limit"] = opened.clone("bench_limit")
    if "reconcile" in wanted:
        clones["reconcile"] = opened.clone("bench_reconcile")
    if "audit" in wanted:
        clones["audit"] = opened.clone("bench_audit")
    if "growth" in wanted:
        clones |= {
            "small": opened.clone("bench_small", orders=SMALL),
            "large": opened.clone("bench_large", orders=LARGE),
            "hot": opened.clone("bench_hot", orders=LARGE, of_one=True),
        }
    return clones


def _measure(run: Run, wanted: set[str]) -> None:
    if wanted & {"limit", "api", "admission"}:
        run.say("(a) the physical limit")
        parts.physical(run)
    if "api" in wanted:
        run.say("(b) orders through the API")
        parts.api(run)
        parts.physical(run, suffix="_after")
    if "admission" in wanted:
        run.say("(c) risk admission alone")
        parts.admission(run)
    if "reads" in wanted:
        run.say("(d) reads at 100,000 ledger rows")
        parts.reads(run)
    if "growth" in wanted:
        run.say("(e) an order over 1,000 and over 1,000,000 ledger rows")
        parts.growth(run)
    if "reconcile" in wanted:
        run.say("(f) reconciliation: 1,000 and 100,000 positions, and 500 accounts with a far broker")
        reconciling.measure(run)
    if "stop" in wanted:
        run.say("(g) a stop amid 64 busy submitters")
        stop.measure(run)
    if "audit" in wanted:
        run.say("(h) the audit log: a million events sealed, verified and exported")
        auditing.measure(run)
    if "dashboards" in wanted:
        run.say("(j) 200 open dashboards")
        dashboards.measure(run)
    if "pages" in wanted:
        run.say("(i) every list page over ten million orders and events")
        paging.measure(run)


if __name__ == "__main__":
    try:
        sys.exit(main(os.environ.get("BENCH", "")))
    except (StopRequested, KeyboardInterrupt):
        sys.exit(130)
