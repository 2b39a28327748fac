"""The read-only probe before an account goes live: what this broker really does, kept as the account's profile.

It sends nothing. What can only be learned by a trade is listed as not proven, for one round trip on a demo account.
"""

import datetime as dt
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from trading.brokers.mt5.gateway.calls import Answer, Call
from trading.brokers.mt5.gateway.desk import Desk

CLOCK_WAIT_S, CLOCK_POLL_S = 20.0, 0.25
HISTORY_DAYS = 90
PAD_S = 26 * 3600
SYMBOLS_MAX = 200
COMMENT_LENGTHS = (14, 26, 29, 30)
COMMENT_LENGTH_MAX = 29
REASONS = {0: "client", 1: "mobile", 2: "web", 3: "expert", 4: "stop loss", 5: "take profit", 6: "stop out"}
OF_STOPS = frozenset({4, 5, 6})
APART_MAX = 0.02  # as `LOSS_FIGURES_APART` has it by default

ACCOUNT = (
    "login", "server", "company", "currency", "currency_digits", "trade_mode", "margin_mode", "leverage",
    "limit_orders", "margin_so_mode", "margin_so_call", "margin_so_so", "fifo_close", "trade_allowed", "trade_expert",
)  # fmt: skip
TERMINAL = ("name", "company", "build", "connected", "trade_allowed", "tradeapi_disabled", "ping_last")
SYMBOL = (
    "digits", "point", "trade_mode", "trade_exemode", "trade_calc_mode", "order_mode", "filling_mode",
    "expiration_mode", "order_gtc_mode", "trade_stops_level", "trade_freeze_level", "volume_min", "volume_max",
    "volume_step", "volume_limit", "trade_contract_size", "trade_tick_size", "trade_tick_value", "currency_base",
    "currency_profit", "currency_margin", "swap_mode", "swap_rollover3days",
)  # fmt: skip
NOT_PROVEN = (
    "magic and comment on order, deal and position after a fill",
    "the answer to a send against the table of outcomes, and how long deals take to appear in the history",
    "comments and magic on deals of stops, partial closes and stop-outs, unless the history below shows them",
    "what a check says of changes and cancels, and whether a cancel after a fill answers 10035",
)


def run(desk: Desk, *, symbols: frozenset[str] | None) -> dict[str, Any]:
    """Ask everything that can be asked without a trade. Takes: `symbols`, None for those in the Market Watch.

    Raises: TerminalDown when the terminal does not serve the account that it should.
    """
    account, terminal, (version,) = desk.verify([Call("version")])
    names = sorted(symbols) if symbols is not None else _watched(desk)
    described = {name: _symbol(desk, name) for name in names}
    profile: dict[str, Any] = {
        "probed_at": dt.datetime.fromtimestamp(desk.now(), dt.UTC).isoformat(timespec="seconds"),
        "package": version.result,
        "account": _some(account, ACCOUNT),
        "terminal": _some(terminal, TERMINAL),
        "symbols": described,
        "clock": _clock(desk, names),
        "checks": _checks(desk, names),
        "history": _history(desk),
        "not_proven": list(NOT_PROVEN),
    }
    return profile | {"findings": _findings(profile)}


def _some(structure: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: structure.get(name) for name in names}


def _watched(desk: Desk) -> list[str]:
    listing = desk.call("symbols_get").result or []
    return sorted(entry["name"] for entry in listing if entry["select"])[:SYMBOLS_MAX]


def _symbol(desk: Desk, name: str) -> dict[str, Any] | None:
    selected, described = desk.make([Call("symbol_select", (name, True)), Call("symbol_info", (name,))])
    if selected.result is not True or not described.ok:
        return None
    return _some(described.result, SYMBOL) | {"worth_of_one": _worth_of_one(desk, described.result)}


def _worth_of_one(desk: Desk, entry: Mapping[str, Any]) -> float | None:
    """Return what a price that moves by 1 is worth for a lot, in account currency, as the terminal reckons losses.

    It is asked of the largest order over half the price, since amounts are rounded to cents. None when it cannot say.
    """
    opened, lots = entry["bid"], entry["volume_max"]
    if not opened or not lots:
        return None
    closed = round(opened / 2, entry["digits"])
    lost = desk.call("order_calc_profit", 0, entry["name"], float(lots), float(opened), float(closed))
    return -lost.result / lots / (opened - closed) if lost.ok else None


def _clock(desk: Desk, names: list[str]) -> dict[str, Any]:
    """Watch the quotes until one moves. On a weekend none does, and nothing is learned."""
    calls = [{"function": "symbol_info_tick", "args": [name]} for name in names[:10]]
    deadline = time.monotonic() + CLOCK_WAIT_S
    while calls and not desk.clock.is_known() and time.monotonic() < deadline:
        desk.read(calls)
        time.sleep(CLOCK_POLL_S)
    return {"offset_s": desk.clock.offset_s, "server_tick_time": desk.server_tick_time}


def _checks(desk: Desk, names: list[str]) -> dict[str, Any]:
    """Let the terminal check orders that are never sent: which comments and which numbers it takes."""
    for name in names:
        described, tick = desk.make([Call("symbol_info", (name,)), Call("symbol_info_tick", (name,))])
        if described.ok and tick.ok:
            break
    else:
        return {}
    bits = described.result["filling_mode"]
    request = {
        "action": 1, "symbol": name, "volume": float(described.result["volume_min"]), "type": 0,
        "price": float(tick.result["ask"]), "sl": 0.0, "tp": 0.0, "deviation": 10, "type_time": 0, "magic": 2**42 + 1,
        "type_filling": 0 if bits & 1 else 1 if bits & 2 else 2,
    }  # fmt: skip
    comments = {
        str(length): _verdict(desk.call("order_check", request | {"comment": "N" * length}))
        for length in COMMENT_LENGTHS
    }
    whole = desk.call("order_check", request | {"volume": 1, "comment": "N1"})
    return {"symbol": name, "comment_of_length": comments, "volume_as_integer": _verdict(whole)}


def _verdict(answer: Answer) -> str:
    """Return what a check said, in one line."""
    if answer.result is None:
        return f"refused by the package: {answer.code} {answer.exception or answer.message}"
    return f"{answer.result['retcode']} {answer.result['comment']}"


def _history(desk: Desk) -> dict[str, Any]:
    """Count how the deals of the last months are marked: the broker's own habits, where there are any deals."""
    now = int(desk.now())
    answer = desk.call("history_deals_get", now - 86_400 * HISTORY_DAYS, now + PAD_S)
    if not answer.ok:
        return {"error": f"{answer.code} {answer.message}"}
    trades = [deal for deal in answer.result if deal["type"] in {0, 1}]
    return {
        "deals": len(trades),
        "by_reason": dict(Counter(REASONS.get(deal["reason"], str(deal["reason"])) for deal in trades)),
        "stops_that_carry_a_magic": sum(deal["reason"] in OF_STOPS and deal["magic"] != 0 for deal in trades),
        "comments_of_stops": sorted({deal["comment"][:8] for deal in trades if deal["reason"] in OF_STOPS})[:20],
        "comment_length_max": max((len(deal["comment"]) for deal in trades), default=0),
    }


def _findings(profile: Mapping[str, Any]) -> list[str]:
    """Say what a person must look at before this account trades."""
    account, terminal, checks = profile["account"], profile["terminal"], profile["checks"]
    findings = [f"{name} is not known to this broker" for name, entry in profile["symbols"].items() if entry is None]
    if profile["clock"]["offset_s"] is None:
        findings.append("the server's clock could not be learned: no price moved; probe again while the market is open")
    for holder, name, wanted in (
        (account, "trade_allowed", True), (account, "trade_expert", True), (terminal, "trade_allowed", True),
        (terminal, "tradeapi_disabled", False),
    ):  # fmt: skip
        if holder[name] is not wanted:
            findings.append(f"{name} is {holder[name]}: nothing can be sent")
    findings += _misread(profile["symbols"], currency=account["currency"])
    if not checks:
        findings.append("no symbol has a price, so nothing could be checked")
        return findings
    for length in COMMENT_LENGTHS:
        verdict = checks["comment_of_length"][str(length)]
        is_refused = verdict.startswith("refused by the package")
        if is_refused is (length <= COMMENT_LENGTH_MAX):
            findings.append(f"a comment of {length} characters: {verdict}; we expect otherwise")
    if not checks["volume_as_integer"].startswith("refused by the package"):
        findings.append("an integer volume is taken: this is another package than the one we know")
    return findings


def _misread(symbols: Mapping[str, Any], *, currency: str) -> list[str]:
    """Name the symbols whose losses are other than their contract size says, where no rate stands between."""
    findings = []
    for name, entry in symbols.items():
        worth = None if entry is None else entry["worth_of_one"]
        if worth is None or entry["currency_profit"] != currency:
            continue
        size = entry["trade_contract_size"]
        if abs(worth - size) > APART_MAX * size:
            findings.append(
                f"{name}: a price that moves by 1 is worth {worth:.6g} {currency} a lot, and its contract size says"
                f" {size:.6g}: where it is more, nothing is opened (LOSS_FIGURES_APART)"
            )
    return findings
