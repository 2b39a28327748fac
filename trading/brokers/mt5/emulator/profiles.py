"""Describe the broker and its accounts as they are configured."""

import hashlib
from dataclasses import dataclass, field

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.zones import ServerZone

COMPANY = "Nexus emulator"
MARGIN_MODES = (
    mt5.ACCOUNT_MARGIN_MODE_RETAIL_NETTING,
    mt5.ACCOUNT_MARGIN_MODE_EXCHANGE,
    mt5.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING,
)


@dataclass(frozen=True, slots=True)
class AccountProfile:
    """One account. Amounts are decimal texts in the account's currency; passwords stay in memory, never in the file.

    `margin_call` and `stop_out` are percent of the margin, or free margin in money, as `stop_out_mode` says.
    """

    login: int
    password: str = field(repr=False)
    server: str = "Paper-1"
    margin_mode: int = mt5.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING
    currency: str = "USD"
    currency_digits: int = 2
    leverage: int = 100
    initial_balance: str = "10000"
    commission_per_lot: str = "0"
    commission_on_exit: bool = True
    comment_policy: str = "keep"
    investor_password: str = field(default="", repr=False)
    name: str = "Paper trader"
    trade_allowed: bool = True
    trade_expert: bool = True
    fifo_close: bool = False
    hedge_allowed: bool = True
    commission_on_entry: bool = True
    commission_per_deal: str = "0"
    fee_per_deal: str = "0"
    swaps: bool = True
    stop_out_mode: int = mt5.ACCOUNT_STOPOUT_MODE_PERCENT
    margin_call: str = "100"
    stop_out: str = "50"
    corrects_negative_balance: bool = False
    limit_positions: int = 0
    limit_orders: int = 0
    requests_per_second: int = 20
    stops_keep_magic: bool = True

    def __post_init__(self) -> None:
        if not self.server.startswith("Paper-"):
            raise ValueError(f"the server of a paper account begins with Paper-: {self.server}")
        if self.margin_mode not in MARGIN_MODES:
            raise ValueError(f"margin mode {self.margin_mode} is not supported")
        if not comment_policy_is_known(self.comment_policy):
            raise ValueError(f"unknown comment policy {self.comment_policy!r}")

    @property
    def is_hedging(self) -> bool:
        """Say whether a symbol may have several positions."""
        return self.margin_mode == mt5.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING

    @property
    def founding(self) -> str:
        """Return what may never change between two starts, as one comparable text."""
        return f"{self.server}|{self.margin_mode}|{self.currency}|{self.currency_digits}|{self.initial_balance}"

    def keep_comment(self, comment: str) -> str:
        """Do to a client's comment what this broker does to comments."""
        kind, _, argument = self.comment_policy.partition(":")
        if kind == "keep":
            return comment
        return comment[: int(argument)] if kind == "truncate" else argument


def comment_policy_is_known(policy: str) -> bool:
    """Say whether a policy is `keep`, `drop`, `truncate:n` or `replace:text`."""
    kind, _, argument = policy.partition(":")
    return policy in ("keep", "drop") or (kind == "truncate" and argument.isdigit()) or kind == "replace"


@dataclass(frozen=True, slots=True)
class BrokerProfile:
    """The house rules of a broker.

    `always_open` gives every symbol a market around the clock: convenient for paper trading, true of no broker.
    `instruments` adds to the built-in ones, or replaces those of the same name.
    A good request is executed `latency_ms` (least, most) after it was checked, and at a price up to `slippage_ticks`
    worse, or better too with `positive_slippage`; limit orders and instant execution do not slip. What has changed at
    the broker shows in the terminal only after the delays: orders, positions and history each have their own.
    With `done_without_ticket` the answer to a market order names neither deal nor price, as some servers do.
    Generated ticks offer about `generated_lots` at each of three price levels, 0 without limit.
    `first_ticket` above 2^53 catches clients that read tickets through floats.
    """

    zone: ServerZone = field(default_factory=ServerZone)
    always_open: bool = False
    tick_interval_ms: int = 1_000
    first_ticket: int = 1
    catch_up_ticks: int = 2_000
    selected: tuple[str, ...] = ()
    strict_zero_dates: bool = False
    host_offset_s: int = 0
    latency_ms: tuple[int, int] = (0, 0)
    slippage_ticks: int = 0
    positive_slippage: bool = False
    done_without_ticket: bool = False
    orders_delay_ms: int = 0
    positions_delay_ms: int = 0
    history_delay_ms: int = 0
    instruments: tuple[Instrument, ...] = ()
    generated_lots: str = "0"

    def fingerprint(self, seed: int, mode: str) -> str:
        """Return a digest of what makes the quotes, so that a file is not continued with other ones."""
        text = f"{self.zone}|{self.always_open}|{self.tick_interval_ms}|{seed}|{mode}"
        if self.generated_lots != "0":
            text += f"|{self.generated_lots}"
        if self.instruments:
            text += f"|{self.instruments}"
        return hashlib.sha256(text.encode()).hexdigest()
