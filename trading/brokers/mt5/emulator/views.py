"""Show the broker's records as the package's structures: floats, server time, nothing else changed."""

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

from trading.brokers.mt5.emulator import amounts, structures, valuation
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.broker import Broker
from trading.brokers.mt5.emulator.instruments import ORDERS_CLOSE_BY, Instrument
from trading.brokers.mt5.emulator.profiles import COMPANY, AccountProfile
from trading.brokers.mt5.emulator.rates import NoRateError
from trading.brokers.mt5.emulator.records import Deal, Order, Position, Tick
from trading.brokers.mt5.emulator.requests import Answer, CheckAnswer, Request, comment_of
from trading.brokers.mt5.emulator.terminal import Terminal

BUILD = 5_370
DEALS_KEPT = 10_000
TICK_FLAGS = mt5.TICK_FLAG_BID | mt5.TICK_FLAG_ASK


def server_ms(broker: Broker, time_us: int) -> int:
    """Return server time, in milliseconds, of an instant."""
    return broker.zone.to_server_ms(time_us // 1_000)


def server_s(broker: Broker, time_us: int) -> int:
    """Return server time, in seconds, of an instant."""
    return server_ms(broker, time_us) // 1_000


def tick(broker: Broker, row: Tick) -> structures.Tick:
    """Show a tick."""
    return structures.build(structures.Tick, tick_values(broker, row))


def tick_values(broker: Broker, row: Tick) -> Mapping[str, object]:
    """Return the values of a tick by the names of its structure."""
    digits = broker.instruments[row.symbol].digits
    time_ms = server_ms(broker, row.time_ms * 1_000)
    flags = TICK_FLAGS | (mt5.TICK_FLAG_LAST if row.last else 0)
    prices = {name: amounts.as_float(getattr(row, name), digits) for name in ("bid", "ask", "last")}
    return prices | {
        "time": time_ms // 1_000, "time_msc": time_ms, "flags": flags, "volume": row.volume,
        "volume_real": float(row.volume),
    }  # fmt: skip


def position(broker: Broker, row: Position) -> structures.TradePosition:
    """Show an open position at the present price."""
    digits = broker.instruments[row.symbol].digits
    floating = valuation.floating(broker.books[row.login].profile, row, broker.market)
    values = {
        name: getattr(row, name) for name in ("ticket", "type", "magic", "identifier", "reason", "symbol", "comment")
    }
    opened, updated = server_ms(broker, row.time_us), server_ms(broker, row.update_us)
    values |= {"time": opened // 1_000, "time_msc": opened, "time_update": updated // 1_000, "time_update_msc": updated}
    values |= {
        "volume": amounts.as_float(row.volume), "profit": amounts.as_float(floating),
        "price_open": amounts.as_float(row.price_open, amounts.AVERAGE_DIGITS),
        "price_current": amounts.as_float(broker.market.exit_price(row), digits), "swap": amounts.as_float(row.swap),
        "sl": amounts.as_float(row.sl, digits), "tp": amounts.as_float(row.tp, digits),
    }  # fmt: skip
    return structures.build(structures.TradePosition, values)


ORDER_NAMES = (
    "ticket", "type", "type_time", "type_filling", "state", "magic", "position_id", "position_by_id", "reason",
    "symbol", "comment",
)  # fmt: skip


def order(broker: Broker, row: Order) -> structures.TradeOrder:
    """Show an order, working or finished; a working one at the price that it would be filled at now."""
    digits = broker.instruments[row.symbol].digits
    values = {name: getattr(row, name) for name in ORDER_NAMES}
    setup = server_ms(broker, row.setup_us)
    values |= {"time_setup": setup // 1_000, "time_setup_msc": setup}
    if row.done_us:
        done = server_ms(broker, row.done_us)
        values |= {"time_done": done // 1_000, "time_done_msc": done}
    if row.expires_us and row.type_time != mt5.ORDER_TIME_GTC:
        values["time_expiration"] = server_s(broker, row.expires_us)
    values |= {name: amounts.as_float(getattr(row, name)) for name in ("volume_initial", "volume_current")}
    values |= {name: amounts.as_float(getattr(row, name), digits) for name in ("sl", "tp")}
    quote = None if row.done_us else broker.quotes.at(row.symbol, broker.now_ms)
    current = quote.entry_price(row.side) if quote else row.price
    values |= {
        "price_open": amounts.as_float(row.price, digits), "price_current": amounts.as_float(current, digits),
        "price_stoplimit": amounts.as_float(row.stoplimit, digits),
    }  # fmt: skip
    return structures.build(structures.TradeOrder, values)


def deal(broker: Broker, row: Deal) -> structures.TradeDeal:
    """Show a deal; a balance operation has no symbol and no price."""
    row = broker.books[row.login].shown(row)
    digits = broker.instruments[row.symbol].digits if row.symbol else 0
    return _deal(row, digits, server_ms(broker, row.time_us))


@lru_cache(maxsize=DEALS_KEPT)  # they never change, and every look at the last minutes lists them again
def _deal(row: Deal, digits: int, time_ms: int) -> structures.TradeDeal:
    names = ("ticket", "type", "entry", "magic", "position_id", "reason", "symbol", "comment")
    values = {name: getattr(row, name) for name in names}
    values |= {name: amounts.as_float(getattr(row, name)) for name in ("volume", "commission", "swap", "profit", "fee")}
    values |= {"order": row.order_ticket, "time": time_ms // 1_000, "time_msc": time_ms}
    return structures.build(structures.TradeDeal, values | {"price": amounts.as_float(row.price, digits)})


def request(row: Request) -> structures.TradeRequest:
    """Echo a request with its defaults filled."""
    return structures.build(structures.TradeRequest, row.plain(float))


def sent(row: Answer, asked: Request, request_id: int) -> structures.OrderSendResult:
    """Show the answer to a request."""
    values: dict[str, object] = {
        name: amounts.as_float(getattr(row, name), row.digits) for name in ("price", "bid", "ask")
    }
    values |= {"retcode": row.retcode, "deal": row.deal, "order": row.order, "request_id": request_id}
    values |= {"volume": amounts.as_float(row.volume), "request": request(asked)}
    values["comment"] = row.comment or comment_of(row.retcode)
    return structures.build(structures.OrderSendResult, values)


def checked(row: CheckAnswer, asked: Request) -> structures.OrderCheckResult:
    """Show the answer to a check."""
    values: dict[str, object] = {
        name: amounts.as_float(getattr(row, name)) for name in ("balance", "equity", "profit", "margin")
    }
    values |= {"margin_free": amounts.as_float(row.free), "margin_level": row.level, "retcode": row.retcode}
    values |= {"comment": comment_of(row.retcode), "request": request(asked)}
    return structures.build(structures.OrderCheckResult, values)


def account(broker: Broker, login: int, *, is_investor: bool) -> structures.AccountInfo:
    """Show an account."""
    profile, sums = broker.books[login].profile, broker.figures(login)
    names = (
        "login",
        "leverage",
        "limit_orders",
        "margin_mode",
        "currency_digits",
        "fifo_close",
        "name",
        "server",
        "currency",
        "trade_expert",
    )
    values: Mapping[str, object] = {name: getattr(profile, name) for name in names} | {
        "trade_mode": mt5.ACCOUNT_TRADE_MODE_DEMO, "trade_allowed": profile.trade_allowed and not is_investor,
        "balance": amounts.as_float(sums.balance), "credit": amounts.as_float(sums.credit),
        "margin_so_mode": profile.stop_out_mode, "margin_so_call": float(profile.margin_call),
        "margin_so_so": float(profile.stop_out), "profit": amounts.as_float(sums.profit),
        "equity": amounts.as_float(sums.equity), "margin": amounts.as_float(sums.margin),
        "margin_free": amounts.as_float(sums.free), "margin_level": sums.level, "company": COMPANY,
    }  # fmt: skip
    return structures.build(structures.AccountInfo, values)


def terminal(row: Terminal) -> structures.TerminalInfo:
    """Show a terminal."""
    values = {
        "connected": row.connected and row.login is not None, "trade_allowed": row.algo_trading,
        "tradeapi_disabled": row.api_disabled, "build": BUILD, "maxbars": 100_000, "ping_last": 1_000,
        "company": COMPANY, "name": "MetaTrader 5", "language": "English", "path": row.path, "data_path": row.path,
    }  # fmt: skip
    return structures.build(structures.TerminalInfo, values)


def symbol(
    broker: Broker, profile: AccountProfile, row: Instrument, quote: Tick | None, *, selected: bool
) -> structures.SymbolInfo:
    """Show a symbol; prices stay zero until it is watched."""
    values: dict[str, object] = {
        "select": selected, "visible": selected, "digits": row.digits, "spread_float": True, "name": row.name,
        "trade_calc_mode": row.calc_mode, "trade_mode": row.trade_mode, "expiration_time": row.expires_s,
        "trade_stops_level": row.stops_level, "trade_freeze_level": row.freeze_level, "trade_exemode": row.exemode,
        "filling_mode": row.filling_bits, "expiration_mode": row.expiration_bits,
        "order_mode": row.order_bits if profile.is_hedging else row.order_bits & ~ORDERS_CLOSE_BY,
        "order_gtc_mode": row.order_gtc_mode, "swap_mode": row.swap_mode,
        "swap_rollover3days": row.swap_rollover3days, "swap_long": amounts.as_float(row.swap_long),
        "swap_short": amounts.as_float(row.swap_short), "margin_hedged": float(row.margin_hedged or 0),
        "margin_hedged_use_leg": row.margin_hedged is None,
        "point": amounts.as_float(1, row.digits), "trade_tick_size": amounts.as_float(row.tick_size, row.digits),
        "trade_contract_size": float(row.contract_size), "margin_initial": amounts.as_float(row.margin_initial),
        "currency_base": row.base, "currency_profit": row.profit, "currency_margin": row.margin,
        "description": row.description, "path": f"Emulated\\{row.name}",
    }  # fmt: skip
    for name in ("volume_min", "volume_max", "volume_step", "volume_limit"):
        values[name] = amounts.as_float(getattr(row, name))
    if quote is not None:
        values |= {name: amounts.as_float(getattr(quote, name), row.digits) for name in ("bid", "ask", "last")}
        values |= {"spread": quote.ask - quote.bid, "time": server_s(broker, quote.time_ms * 1_000)}
        values["ticks_bookdepth"] = quote.levels if quote.bid_vol or quote.ask_vol else 0
        values |= _tick_values(broker, profile, row) | _day_values(broker, row, quote)
    return structures.build(structures.SymbolInfo, values)


def _day_values(broker: Broker, row: Instrument, quote: Tick) -> dict[str, float]:
    """Return the extremes of the server's day; on a day without a quote, those of the last one."""
    found = broker.day_ranges.at(row.name, quote.time_ms, broker.zone)
    if found is None:
        return {}
    names = ("bidhigh", "bidlow", "askhigh", "asklow")
    values = {name: amounts.as_float(getattr(found, name), row.digits) for name in names}
    return values | {"session_open": amounts.as_float(found.open, row.digits)}


def _tick_values(broker: Broker, profile: AccountProfile, row: Instrument) -> dict[str, float]:
    """Return what one tick of one lot is worth in the account's currency; zero without a rate."""
    worth = Fraction(row.tick_value, amounts.UNIT)
    if not row.is_futures:
        worth = Fraction(row.tick_size * row.contract_size, 10**row.digits)
    rates = broker.market.rates
    try:
        gain = rates.convert(worth, row.profit, profile.currency)
        loss = rates.convert(worth, row.profit, profile.currency, is_cost=True)
    except NoRateError:
        return {}
    return {
        "trade_tick_value": float(gain),
        "trade_tick_value_profit": float(gain),
        "trade_tick_value_loss": float(loss),
    }
