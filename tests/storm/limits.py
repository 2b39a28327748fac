"""Fire at each limit: one hot user at a time, then a hundred users at once. Never above, and never fewer than fit."""

from collections import Counter
from collections.abc import Sequence

from tests.storm.brinks import BRINKS, Brink, stand
from tests.storm.brokers import Brokers
from tests.storm.clients import Clients, Outcomes
from trading.models import TradeLedger, TradingAccount

HOT_FITS, FITS = 7, 2


def run(
    clients: Clients, brokers: Brokers, accounts: Sequence[TradingAccount], *, one: TradeLedger, requests: int
) -> int:
    """Print one line a storm and return how many limits were exceeded or refused what fits."""
    print(f"{'limit':<36}{'users':>6}{'requests':>9}{'fit':>6}{'admitted':>9}{'above':>6}{'busy':>6}", flush=True)
    faults, hot = 0, accounts[: len(BRINKS)]
    for account, brink in zip(hot, BRINKS, strict=True):
        faults += _storm(clients, brokers, [(account, brink)], one=one, fits=HOT_FITS, each=requests)
    many = [(account, BRINKS[number % len(BRINKS)]) for number, account in enumerate(accounts[len(BRINKS) :])]
    return faults + _storm(clients, brokers, many, one=one, fits=FITS, each=FITS + 3)


def _storm(
    clients: Clients,
    brokers: Brokers,
    stands: Sequence[tuple[TradingAccount, Brink]],
    *,
    one: TradeLedger,
    fits: int,
    each: int,
) -> int:
    limits = {account.pk: stand(account, brink, one=one, fits=fits) for account, brink in stands}
    clients.fire([account.pk for _ in range(each) for account, _ in stands])
    outcomes = clients.outcomes()
    above = short = admitted = 0
    for account, brink in stands:
        done = TradeLedger.objects.filter(account=account, attempts=1).count()
        executed = len(brokers.deals(int(account.venue_account) - brokers.login))
        above += brink.used(account.pk) > limits[account.pk] or executed > fits
        short += done < fits or executed < done
        admitted += done
        _check_reasons(outcomes, account, brink)
    busy = sum(count for (_, word), count in outcomes.items() if word in ("OperationalError", "Unavailable"))
    name = str(stands[0][1]) if len(stands) == 1 else "all of them at once"
    total = len(stands) * fits
    print(
        f"{name:<36}{len(stands):>6}{each * len(stands):>9}{total:>6}{admitted:>9}{above:>6}{busy:>6}"
        + (f"  {short} users got fewer than fit" if short else ""),
        flush=True,
    )
    return above + short


def _check_reasons(outcomes: Outcomes, account: TradingAccount, brink: Brink) -> None:
    """Only the limit in question may have refused: anything else would have hidden it."""
    words: Counter[str] = Counter()
    for (account_id, word), count in outcomes.items():
        if account_id == account.pk:
            words[word] += count
    known = {"FILLED", f"{brink.kind}_EXCEEDS_LIMIT", "OperationalError", "Unavailable"}
    assert words.keys() <= known, f"{brink}: {words}"
