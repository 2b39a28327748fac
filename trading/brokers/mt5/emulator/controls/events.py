"""Let happen what happens to accounts and symbols without any trade: cash, dividends, splits, new terms."""

from dataclasses import replace
from fractions import Fraction

from trading.brokers.mt5.emulator import amounts, ledger, overnight
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import AccountBooks, Plan
from trading.brokers.mt5.emulator.controls.base import Strings
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.matching import Execution
from trading.brokers.mt5.emulator.records import BUY, Cancellation, Deal, Position

CASH_END = mt5.DEAL_TAX


class Events(Strings):
    """What the broker does to accounts and symbols."""

    def balance(self, login: int, amount: str, kind: int = mt5.DEAL_TYPE_BALANCE, comment: str = "") -> int:
        """Book a deposit, a withdrawal or any other cash movement (deal types 2 to 17); return the deal's ticket."""
        if not mt5.DEAL_TYPE_BALANCE <= kind <= CASH_END:
            raise ValueError(f"deal type {kind} is not a cash movement")
        with self._broker.lock:
            self._broker.sync()
            return self._broker.pay(login, amounts.units(amount), kind=kind, comment=comment)

    def charge_swap(self, login: int, ticket: int = 0, amount: str = "") -> dict[str, str]:
        """Charge swap on an account's open positions now, and return the swap of each by its ticket.

        Takes: `ticket`, one position instead of all; `amount`, instead of one night by the symbols' own terms.
        Raises: ValueError when there is no such position, or an amount is finer than the account's currency.
        """
        broker = self._broker
        with broker.lock:
            broker.sync()
            books = broker.books[login]
            held = [each for each in books.positions.values() if ticket in (0, each.ticket)]
            if not held:
                raise ValueError(f"account {login} has no position {ticket}" if ticket else "no position is open")
            charged = amounts.units(amount) if amount else None
            if charged is not None and charged % (amounts.UNIT // 10**books.profile.currency_digits):
                raise ValueError("the amount is finer than the account's currency")
            scene = broker.scene()
            nights = [overnight.night(each, books, scene) if charged is None else charged for each in held]
            kept = [replace(each, swap=each.swap + night) for each, night in zip(held, nights, strict=True)]
            broker.carry_out(books, Plan(kept=tuple(kept)))
        return {str(each.ticket): amounts.as_text(each.swap // 10**6, 2) for each in kept}

    def cancel_deal(self, login: int, ticket: int) -> dict[str, str]:
        """Take a deal back, as a broker does that has executed it in error; return what became of it.

        Its type in the history says so from now on, its profit is zero there, and what it had earned is taken back, or
        what it had lost is given back, by a balance operation (the documentation). The position is what the deals
        that still stand make of it; commission, swap and fee stay paid, the order stays as it ended (assumed).
        Raises: ValueError for no such trade, and where what was traded later rests on it.
        """
        broker = self._broker
        with broker.lock:
            broker.sync()
            books = broker.books[login]
            deal = next((each for each in books.standing if each.ticket == ticket and each.symbol), None)
            if deal is None:
                raise ValueError(f"account {login} has no trade {ticket}, or it is canceled already")
            if deal.entry == mt5.DEAL_ENTRY_OUT_BY or deal.reason == mt5.DEAL_REASON_SPLIT:
                raise ValueError(f"deal {ticket} is one half of two, and is not canceled alone")
            before = next((each for each in books.positions.values() if each.identifier == deal.position_id), None)
            after = self._without(books, deal, before)
            paid = (broker.payment(login, -deal.profit, comment=f"Canceled deal {ticket}"),) if deal.profit else ()
            removed = (before.ticket,) if before and (after is None or after.ticket != before.ticket) else ()
            kept = (after,) if after else ()
            row = Cancellation(ticket, login, broker.now_us)
            broker.carry_out(books, Plan(deals=paid, removed=removed, kept=kept, canceled=(row,)))
        return {
            "paid": amounts.as_text(-deal.profit // 10**6, 2),
            "payment": str(paid[0].ticket) if paid else "",
            "position": str(after.ticket) if after else "",
            "lots": amounts.as_text(after.volume // 10**6, 2) if after else "0.00",
        }

    def _without(self, books: AccountBooks, deal: Deal, before: Position | None) -> Position | None:
        """Return what a deal's position is without it, None when nothing is left. Takes: what it is with it."""
        others = [each for each in books.standing if each.position_id == deal.position_id and each is not deal]
        try:
            held = ledger.holdings(others, self._broker.instruments)
        except ledger.BooksDifferError as exc:
            raise ValueError(f"later deals rest on deal {deal.ticket}: cancel those first") from exc
        if not held:
            return None
        if not books.profile.is_hedging and not before and books.of_symbol(deal.symbol):
            raise ValueError(f"another position in {deal.symbol} is open by now, and this account has but one")
        (left,), opening = held, others[0]
        if before is None or before.type != left.type:  # it comes back as it was opened, and without stops
            before = Position(
                ticket=left.ticket, login=deal.login, identifier=deal.position_id, time_us=opening.time_us,
                update_us=opening.time_us, type=left.type, magic=opening.magic, reason=opening.reason,
                volume=left.volume, price_open=left.price_open, sl=0, tp=0, symbol=deal.symbol, comment=opening.comment,
            )  # fmt: skip
        return replace(
            before, ticket=left.ticket, volume=left.volume, price_open=left.price_open, update_us=self._broker.now_us
        )

    def dividend(self, symbol: str, per_lot: str, kind: int = mt5.DEAL_DIVIDEND) -> list[int]:
        """Pay a dividend to who is long and take it from who is short; return the tickets of the deals.

        Takes: an amount per lot in each account's currency.
        """
        paid = []
        with self._broker.lock:
            self._broker.sync()
            for login, books in self._broker.books.items():
                lots = sum(each.volume if each.type == BUY else -each.volume for each in books.of_symbol(symbol))
                exact = Fraction(amounts.units(per_lot) * lots, amounts.UNIT)
                amount = amounts.booked(exact, books.profile.currency_digits)
                if amount:
                    paid.append(self._broker.pay(login, amount, kind=kind, comment=f"Dividend {symbol}"))
        return paid

    def split(self, symbol: str, new: int, old: int = 1) -> int:
        """Make `new` lots of every `old` lots and cancel waiting orders; return how many positions changed.

        Each position is closed and opened again by two deals of reason SPLIT, without profit. The quotes are not
        touched: quote the new price next. Raises: ValueError when a volume would fall between the symbol's steps.
        """
        broker = self._broker
        with broker.lock:
            broker.sync()
            instrument = broker.instruments[symbol]
            held = [each for books in broker.books.values() for each in books.of_symbol(symbol)]
            if any(each.volume * new % (old * instrument.volume_step) for each in held):
                raise ValueError(f"a position in {symbol} cannot be split {new}:{old}")
            for books in broker.books.values():
                self._cancel_orders(books, instrument)
                for position in books.of_symbol(symbol):
                    broker.carry_out(books, self._split_plan(position, instrument, Fraction(new, old)))
        return len(held)

    def _cancel_orders(self, books: AccountBooks, instrument: Instrument) -> None:
        for order in books.waiting(instrument.name):
            execution = Execution(self._broker.scene(), books.profile, instrument)
            finished = execution.finished(order, mt5.ORDER_STATE_CANCELED)
            self._broker.carry_out(books, Plan(order=finished, gone=(order.ticket,)))

    def _split_plan(self, position: Position, instrument: Instrument, ratio: Fraction) -> Plan:
        broker, digits = self._broker, instrument.digits
        opened = Fraction(position.price_open, amounts.average(1, digits))
        volume = int(position.volume * ratio)
        levels = [_on_tick(each / ratio, instrument) for each in (opened, position.sl, position.tp)]
        out = Deal(
            ticket=broker.next_deal, login=position.login, order_ticket=position.ticket, time_us=broker.now_us,
            type=1 - position.type, entry=mt5.DEAL_ENTRY_OUT, magic=position.magic, position_id=position.identifier,
            reason=mt5.DEAL_REASON_SPLIT, volume=position.volume, price=amounts.half_away(opened), commission=0,
            swap=0, profit=0, fee=0, symbol=position.symbol, comment="split", visible_us=broker.now_us,
        )  # fmt: skip
        back = replace(
            out, ticket=out.ticket + 1, type=position.type, entry=mt5.DEAL_ENTRY_IN, volume=volume, price=levels[0]
        )
        after = replace(
            position, volume=volume, price_open=amounts.average(levels[0], digits), sl=levels[1], tp=levels[2],
            update_us=broker.now_us,
        )  # fmt: skip
        return Plan(deals=(out, back), kept=(after,))

    def set_leverage(self, login: int, leverage: int) -> None:
        """Change an account's leverage for good, as brokers do before weekends."""
        if leverage < 1:
            raise ValueError("leverage is a whole number of 1 or more")
        broker = self._broker
        with broker.lock:
            broker.sync()
            broker.moods.leverage[str(login)] = leverage
            broker.save_moods()
            broker.books[login].profile = replace(broker.books[login].profile, leverage=leverage)

    def delete_symbol(self, symbol: str) -> None:
        """Offer a symbol no more; its past stays in the books. Raises: ValueError while somebody holds it."""
        broker = self._broker
        with broker.lock:
            broker.sync()
            if symbol not in broker.instruments:
                raise ValueError(f"no symbol {symbol}")
            if any(symbol in books.symbols for books in broker.books.values()):
                raise ValueError(f"{symbol} has positions or orders")
            broker.moods.deleted.append(symbol)
            broker.save_moods()


def _on_tick(price: Fraction, instrument: Instrument) -> int:
    return amounts.half_away(price / instrument.tick_size) * instrument.tick_size
