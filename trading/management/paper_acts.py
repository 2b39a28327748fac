"""The verbs of `manage.py paper` that do something: other people's trades, money, faults."""

import argparse
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import CommandError

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator import faults
from trading.brokers.mt5.emulator.controls.client import ControlClient
from trading.brokers.mt5.emulator.requests import Answer, comment_of
from trading.management import paper_views

HANDS = {"desktop": 0, "mobile": 1, "web": 2}
DONE = (mt5.TRADE_RETCODE_DONE, mt5.TRADE_RETCODE_DONE_PARTIAL, mt5.TRADE_RETCODE_PLACED)
CUT_S = 60
YES, NO = ("yes", "true", "1"), ("no", "false", "0")


def add_verbs(verbs: Any) -> None:
    """Define the verbs."""
    trade = _verb(verbs, "trade", _trade, "buy or sell at the market, as a person at the terminal would")
    trade.add_argument("side", choices=["buy", "sell"], type=str.lower)
    trade.add_argument("symbol")
    trade.add_argument("lots", type=_amount)
    trade.add_argument("--stop", type=_amount, default=Decimal(0), help="a stop loss, as a price")
    trade.add_argument("--target", type=_amount, default=Decimal(0), help="a take profit, as a price")
    trade.add_argument("--by", choices=[*HANDS, "program"], default="desktop", help="whose hand it is; desktop")
    close = _verb(verbs, "close", _close, "close a position as a person would")
    close.add_argument("ticket", type=int)
    close.add_argument("--lots", type=_amount, help="a part of it; the whole when left out")
    close.add_argument("--by", choices=list(HANDS), default="desktop")
    for verb in (trade, close):
        verb.add_argument("--late", type=int, default=0, metavar="SECONDS", help="when the history shows it; at once")
    for name, sign, words in (("deposit", 1, "pay money into the account"), ("withdraw", -1, "take money out")):
        verb = _verb(verbs, name, _pay, words)
        verb.add_argument("amount", type=_amount)
        verb.add_argument("--comment", default=name.capitalize())
        verb.set_defaults(sign=sign)
    swap = _verb(verbs, "swap", _swap, "charge the swap of one night on open positions, or an amount of your own")
    swap.add_argument("--position", type=int, default=0, help="one ticket; all positions when left out")
    swap.add_argument("--amount", default="", help="such as -3.50; the symbol's own terms when left out")
    bust = _verb(verbs, "bust", _bust, "cancel a deal, as a broker does that has executed it in error")
    bust.add_argument("deal", type=int, help="its ticket, see `paper deals`")
    inject = _verb(verbs, "inject", _inject, "plan a fault for the next call that it concerns")
    inject.add_argument("fault")
    inject.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="see `paper faults`")
    inject.add_argument("--times", type=_times, default=1, help="how often it fires: a number, or always; once")
    inject.add_argument("--nth", type=int, default=1, help="from which matching call on; the next")
    inject.add_argument("--symbol", help="only orders in this symbol")
    inject.add_argument("--function", help="which call of the package; order_send, or any for the world around it")
    clear = _verb(verbs, "clear", _clear, "lift a fault, or all of them with whatever they have switched off")
    clear.add_argument("fault_id", nargs="?", type=int, help="one that is planned; all when left out")
    cut = _verb(verbs, "cut", _cut, "cut the terminal's connection to the broker")
    cut.add_argument("--seconds", type=int, default=CUT_S, help=f"for how long, 0 until cleared; {CUT_S}")


def _verb(verbs: Any, name: str, act: Any, words: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=words)
    verb.set_defaults(act=act)
    return verb


def _trade(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    side, symbol, lots = int(options["side"] == "sell"), options["symbol"], str(options["lots"])
    if options["by"] == "program":
        if options["stop"] or options["target"] or options["late"]:
            raise CommandError("The other program trades without stop and target, and shows at once.")
        answer = broker.foreign_program_trade(login, symbol, side, lots)
    else:
        levels = {"sl": str(options["stop"]), "tp": str(options["target"])}
        answer = broker.manual_trade(
            login, symbol, side, lots, reason=HANDS[options["by"]], late_s=options["late"], **levels
        )
    return _told(answer, f"{options['side'].capitalize()} {lots} {symbol}")


def _close(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    ticket = options["ticket"]
    tickets = [row["ticket"] for row in broker.books(login, 0)["positions"]]
    if ticket not in tickets:
        known = ", ".join(map(str, tickets)) or "none"
        raise CommandError(f"Account {login} has no position {ticket}. Open are: {known}.")
    lots = None if options["lots"] is None else str(options["lots"])
    answer = broker.manual_close(login, ticket, lots, reason=HANDS[options["by"]], late_s=options["late"])
    return _told(answer, f"Close {lots or 'all'} of {ticket}")


def _told(answer: Answer, what: str) -> str:
    """Return what came of a trade. Raises: CommandError with the broker's own words."""
    words = answer.comment or comment_of(answer.retcode)
    if answer.retcode not in DONE:
        raise CommandError(f"{what}: the broker refused with {answer.retcode}, {words}.")
    lots, price = Decimal(answer.volume).scaleb(-8).normalize(), Decimal(answer.price).scaleb(-answer.digits)
    return f"{what}: done. Order {answer.order}, deal {answer.deal}: {lots:f} lots at {price}."


def _pay(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    amount = options["sign"] * options["amount"]
    ticket = broker.balance(login, str(amount), comment=options["comment"])
    balance = broker.books(login, 0)["account"]["balance"]
    return f"{options['comment']} of {amount:+f} is deal {ticket}. The balance is {balance}."


def _swap(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    charged = broker.charge_swap(login, options["position"], options["amount"])
    rows = "\n".join(f"  {ticket}  {amount}" for ticket, amount in charged.items())
    return f"Charged. The swap of each position is now:\n{rows}"


def _bust(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    ticket = options["deal"]
    told = broker.cancel_deal(login, ticket)
    left = f"Position {told['position']} is {told['lots']} lots." if told["position"] else "Its position is gone."
    paid = f"Its result is paid back: {told['paid']}, deal {told['payment']}. " if told["payment"] else ""
    return f"Deal {ticket} is canceled. {paid}{left}"


def _inject(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    name = options["fault"]
    kind = faults.KINDS.get(name)
    if kind is None:
        raise CommandError(f"There is no fault {name!r}. `paper faults` lists them.")
    params = dict(_parameter(name, text) for text in options["parameters"])
    if (needed := paper_views.needed(name)) and params.get(needed, 0) == 0:
        raise CommandError(f"{name} does nothing without {needed}=")
    for key in ("symbol", "function"):
        if options[key]:
            params[key] = options[key]
    number = broker.inject(name, times=options["times"], nth=options["nth"], **params)
    how_often = "every time from then on" if options["times"] is None else f"{options['times']} time(s)"
    return f"Fault {number}, {name}, waits for its call and fires {how_often}.\n{paper_views.planned(broker)}"


def _parameter(fault: str, text: str) -> tuple[str, Any]:
    """Read NAME=VALUE by the type that the fault's parameter has. Raises: CommandError."""
    name, equals, value = text.partition("=")
    known = faults.KINDS[fault].params
    if not equals or name not in known:
        told = f"{text!r} is no parameter of {fault}. It takes: {paper_views.parameters(fault)}"
        raise CommandError(told)
    usual = known[name]
    try:
        if name == "seconds" and value == "forever":
            return name, None if fault == "hang" else 0
        if isinstance(usual, bool):
            if value.lower() not in (*YES, *NO):
                raise ValueError(value)
            return name, value.lower() in YES
        if isinstance(usual, tuple):
            parts = tuple(value.split(","))
            if not set(parts) <= set(usual):
                raise ValueError(value)
            return name, parts
        if name in ("seconds", "delay"):
            return name, float(_amount(value))
        return name, int(value) if isinstance(usual, int) else value
    except (ValueError, argparse.ArgumentTypeError) as exc:
        raise CommandError(f"{value!r} is no value for {name}. It takes: {paper_views.parameters(fault)}") from exc


def _clear(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    if options["fault_id"] is None:
        count = broker.calm()
        return f"{count} planned fault(s) lifted; terminal, market and clock are as they should be."
    broker.lift(options["fault_id"])
    return f"Fault {options['fault_id']} fires no more.\n{paper_views.planned(broker)}"


def _cut(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    if options["seconds"] < 0:
        raise CommandError("--seconds cannot be negative.")
    broker.inject("server_disconnect", seconds=options["seconds"])
    until = f"for {options['seconds']} seconds" if options["seconds"] else "until `paper clear`"
    return f"With its next call the terminal loses its broker {until}. Stops and targets still work at the broker."


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from exc
    if not amount.is_finite() or amount <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return amount


def _times(text: str) -> int | None:
    if text == "always":
        return None
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number above zero nor `always`")
    return int(text)
