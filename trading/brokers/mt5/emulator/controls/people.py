"""Trade as other people and other programs do: none of it is ours, all of it is in the books."""

from decimal import Decimal

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.case import Desk
from trading.brokers.mt5.emulator.controls.base import Strings
from trading.brokers.mt5.emulator.faults import Fault
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.requests import NOTHING, Answer, Request

PERSON = Desk(by_program=False)
HANDS = (mt5.ORDER_REASON_CLIENT, mt5.ORDER_REASON_MOBILE, mt5.ORDER_REASON_WEB)


class People(Strings):
    """A person at a terminal, a telephone or a browser: magic 0, no faults, no limits for programs."""

    def manual_trade(
        self,
        login: int,
        symbol: str,
        side: int,
        volume: str,
        *,
        position: int = 0,
        sl: str = "0",
        tp: str = "0",
        reason: int = mt5.ORDER_REASON_CLIENT,
        late_s: int = 0,
    ) -> Answer:
        """Buy or sell at the market. Takes: decimal texts; `reason` 0, 1 or 2: desktop, mobile, web.

        The history shows it `late_s` seconds later.
        """
        return self._trade(login, symbol, side, volume, reason=reason, position=position, sl=sl, tp=tp, late_s=late_s)

    def manual_close(
        self,
        login: int,
        position: int,
        volume: str | None = None,
        *,
        reason: int = mt5.ORDER_REASON_CLIENT,
        late_s: int = 0,
    ) -> Answer:
        """Close a position, or a part of it. The history shows it `late_s` seconds later."""
        with self._broker.lock:
            self._broker.sync()
            held = self._broker.books[login].positions.get(position)
            if held is None:
                return Answer(mt5.TRADE_RETCODE_POSITION_CLOSED)
            lots = volume or str(Decimal(held.volume).scaleb(-8))
            return self._trade(login, held.symbol, 1 - held.type, lots, reason=reason, position=position, late_s=late_s)

    def manual_order(
        self,
        login: int,
        symbol: str,
        kind: int,
        volume: str,
        price: str,
        *,
        stoplimit: str = "0",
        sl: str = "0",
        tp: str = "0",
        reason: int = mt5.ORDER_REASON_CLIENT,
    ) -> Answer:
        """Place a pending order. Takes: `kind`: an order type from 2 to 7."""
        return self._send(
            login, reason, action=mt5.TRADE_ACTION_PENDING, symbol=symbol, type=kind, volume=Decimal(volume),
            price=Decimal(price), stoplimit=Decimal(stoplimit), sl=Decimal(sl), tp=Decimal(tp),
            type_filling=mt5.ORDER_FILLING_RETURN,
        )  # fmt: skip

    def manual_modify(
        self,
        login: int,
        ticket: int,
        *,
        sl: str = "0",
        tp: str = "0",
        price: str = "0",
        stoplimit: str = "0",
        reason: int = mt5.ORDER_REASON_CLIENT,
    ) -> Answer:
        """Set the stops of a position, or price and stops of a working order."""
        books, stops = self._broker.books[login], {"sl": Decimal(sl), "tp": Decimal(tp)}
        if ticket in books.working:
            prices = {"price": Decimal(price), "stoplimit": Decimal(stoplimit)}
            return self._send(login, reason, action=mt5.TRADE_ACTION_MODIFY, order=ticket, **prices, **stops)
        held = books.positions.get(ticket)
        if held is None:
            return Answer(mt5.TRADE_RETCODE_POSITION_CLOSED)
        return self._send(login, reason, action=mt5.TRADE_ACTION_SLTP, symbol=held.symbol, position=ticket, **stops)

    def manual_cancel(self, login: int, order: int, *, reason: int = mt5.ORDER_REASON_CLIENT) -> Answer:
        """Remove a working order."""
        return self._send(login, reason, action=mt5.TRADE_ACTION_REMOVE, order=order)

    def foreign_program_trade(
        self, login: int, symbol: str, side: int, volume: str, *, magic: int = 777, comment: str = "other program"
    ) -> Answer:
        """Trade as another program on the same account would: reason 3, its own magic."""
        return self._trade(login, symbol, side, volume, reason=mt5.ORDER_REASON_EXPERT, magic=magic, comment=comment)

    def _trade(
        self,
        login: int,
        symbol: str,
        side: int,
        volume: str,
        *,
        reason: int,
        position: int = 0,
        sl: str = "0",
        tp: str = "0",
        magic: int = 0,
        comment: str = "",
        late_s: int = 0,
    ) -> Answer:
        instrument = self._broker.instruments.get(symbol)
        if instrument is None:
            raise ValueError(f"no symbol {symbol}; there are {', '.join(self._broker.instruments)}")
        with self._broker.lock:
            self._broker.sync()
            quote = self._broker.quotes.at(symbol, self._broker.now_ms)
            price = Decimal(quote.entry_price(side)).scaleb(-instrument.digits) if quote else NOTHING
            request = Request(
                action=mt5.TRADE_ACTION_DEAL, symbol=symbol, type=side, volume=Decimal(volume), price=price,
                sl=Decimal(sl), tp=Decimal(tp), position=position, magic=magic, comment=comment,
                type_filling=_filling(instrument),
            )  # fmt: skip
            return self._pass_on(login, reason, request, late_s=late_s)

    def _send(self, login: int, reason: int, **fields: int | str | Decimal) -> Answer:
        return self._pass_on(login, reason, Request(**fields))  # type: ignore[arg-type]

    def _pass_on(self, login: int, reason: int, request: Request, *, late_s: int = 0) -> Answer:
        if reason not in (*HANDS, mt5.ORDER_REASON_EXPERT):
            raise ValueError(f"reason {reason} is neither a person's nor a program's")
        desk = PERSON if reason in HANDS else Desk()
        fault = Fault(0, "history_delay", params={"seconds": late_s}) if late_s else None
        return self._broker.send(login, request, desk, reason=reason, fault=fault)


def _filling(instrument: Instrument) -> int:
    """Return a filling that the symbol takes."""
    if instrument.filling_bits & 1:
        return mt5.ORDER_FILLING_FOK
    return mt5.ORDER_FILLING_IOC if instrument.filling_bits else mt5.ORDER_FILLING_RETURN
