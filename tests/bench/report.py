"""The figures as ratios, beside their targets, as a table and as a flat file."""

import json
from pathlib import Path

from tests.bench.parts import Figures

# key → (what it says, target, whether more is better)
TARGETS: dict[str, tuple[str, float, bool]] = {
    "api_no_wire_ratio_16": ("API without a wire, 16 clients, of the limit", 0.30, True),
    "api_gateway_ratio_16": ("API through gateway and emulator, 16 clients, of the limit", 0.10, True),
    "api_gateway_p50_ms_1": ("API through gateway, 1 client, p50 ms", 8.0, False),
    "api_gateway_p99_ms_1": ("API through gateway, 1 client, p99 ms", 20.0, False),
    "admission_p50_ms": ("risk admission alone, p50 ms", 2.0, False),
    "positions_p50_ms": ("GET positions at 100,000 ledger rows, p50 ms", 5.0, False),
    "ledger_p50_ms": ("GET ledger at 100,000 ledger rows, p50 ms", 5.0, False),
    "hot_user_ratio_16": ("hot user's orders/s of those of 100 users, 16 clients", 0.0, True),
    "reconcile_1k_ms": ("comparison of 1,000 positions, ms", 50.0, False),
    "reconcile_100k_ms": ("comparison of 100,000 positions, ms", 2000.0, False),
    "reconcile_500_accounts_s": ("cycle over 500 accounts, broker 300 ms, two workers, s", 60.0, False),
    "stop_commit_p99_ms_64": ("a stop committed amid 64 busy submitters, p99 ms", 50.0, False),
    "stop_request_p99_ms_64": ("a stop from its request to the last order listed, p99 ms", 1000.0, False),
    "audit_seal_per_s": ("audit events sealed a second", 20_000.0, True),
    "audit_verify_1m_s": ("1,000,000 audit events verified, s", 60.0, False),
    "audit_export_1m_s": ("1,000,000 audit events exported as JSONL, s", 10.0, False),
    "audit_export_peak_mb": ("the export's process at its largest, MB", 200.0, False),
    "pages_slowest_ms": ("the slowest page over ten million orders and events, ms", 300.0, False),
    "pages_list_slowest_queries": ("the most statements of a list page", 10.0, False),
    "dashboard_first_paint_ms": ("first paint of the dashboard, ms", 1000.0, False),
    "dashboards_200_core_share": ("200 open dashboards, of one processor", 0.20, False),
    "order_cost_1m_over_1k": ("cost of an order at 1,000,000 ledger rows over 1,000", 1.10, False),
    "order_cost_1m_of_one_over_1k": ("the same, where all the rows are of one trader", 1.10, False),
}


def add_ratios(figures: Figures) -> None:
    """Add the ratios that the figures allow. The limit is the mean of the runs before and after the API."""
    names = ("limit_16", "limit_hot_16", "limit_1")
    for name in (*names, *(f"{name}_cpu_ms" for name in names), "limit_1_ms", "limit_1_first_ms"):
        if f"{name}_after" in figures:
            before, after = figures.pop(name), figures.pop(f"{name}_after")
            figures |= {f"{name}_first": before, f"{name}_last": after, name: round((before + after) / 2, 3)}
    pairs = {
        "api_no_wire_ratio_16": ("api_no_wire_16", "limit_16"),
        "api_gateway_ratio_16": ("api_gateway_16", "limit_16"),
        "api_no_wire_ratio_1": ("api_no_wire_1", "limit_1"),
        "api_gateway_ratio_1": ("api_gateway_1", "limit_1"),
        "admission_over_limit_1": ("admission_p50_ms", "limit_1_first_ms"),
        "api_gateway_over_limit_1": ("api_gateway_p50_ms_1", "limit_1_ms"),
        "hot_user_ratio_16": ("api_no_wire_hot_16", "api_no_wire_16"),
        "hot_gateway_ratio_16": ("api_gateway_hot_16", "api_gateway_16"),
        "hot_limit_ratio_16": ("limit_hot_16", "limit_16"),
        # The same by processor time, which a busy machine does not stretch: what a machine of our own would reach.
        "api_no_wire_cpu_ratio_16": ("limit_16_cpu_ms", "api_no_wire_cpu_ms_16"),
        "api_gateway_cpu_ratio_16": ("limit_16_cpu_ms", "api_gateway_cpu_ms_16"),
    }
    for ratio, (above, below) in pairs.items():
        if figures.get(above) and figures.get(below):
            figures[ratio] = round(figures[above] / figures[below], 3)


def table(figures: Figures) -> str:
    """Write the figures beside their targets, then all others."""
    lines = ["", f"{'':58} {'measured':>10} {'target':>9}"]
    for key, (words, target, more_is_better) in TARGETS.items():
        if key in figures:
            is_met = figures[key] >= target if more_is_better else figures[key] <= target
            sign = "≥" if more_is_better else "≤"
            aim = f"{sign} {target:g}" if target else f"≥ {figures.get('hot_limit_ratio_16', 0):g}"
            is_met = is_met if target else figures[key] >= figures.get("hot_limit_ratio_16", 0)
            lines.append(f"{words:58} {figures[key]:>10g} {aim:>9}  {'' if is_met else 'missed'}".rstrip())
    lines += ["", *(f"  {key:32} {value:>10g}" for key, value in sorted(figures.items()) if key not in TARGETS)]
    return "\n".join(lines)


def write(figures: Figures, path: Path) -> None:
    """Write one number a key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(sorted(figures.items())), indent=2) + "\n", encoding="utf-8")
