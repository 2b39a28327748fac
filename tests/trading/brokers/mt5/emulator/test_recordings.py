"""Recordings are replayed as they are, and a bad row is an error that names its line."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.trading.brokers.mt5.emulator.world import HEDGER, build
from trading.brokers.mt5.emulator.instruments import BUILT_IN
from trading.brokers.mt5.emulator.recordings import BadRecordingError, load, read
from trading.brokers.mt5.emulator.zones import ServerZone

ZONE = ServerZone()
OWN = "# zone={}\ntime_msc,symbol,bid,ask,last,volume\n"
HISTDATA = """20200101 170000065,1.121200,1.121720,0
20200101 170010447,1.121200,1.121920,0
20200101 170012579,1.121200,1.121610,0
20200101 170012579,1.121190,1.121600,0
"""
TRUEFX = """timestamp,bid,ask
2013-01-01 22:00:00.295000+00:00,86.655,86.728
2013-01-01 22:09:27+00:00,86.727,86.760
"""
SHARED = Path(__file__).resolve().parents[5].parent / "shared" / "data"
EURUSD_FILE = SHARED / "eurusd-ticks-histdata-2020-01-01.csv"
USDJPY_FILE = SHARED / "usdjpy-ticks-truefx-2013-01-01.csv"


@pytest.fixture
def rows(tmp_path):
    """Return a function that reads a text as a recording."""

    def _read(text: str, symbol: str = "EURUSD"):
        path = tmp_path / "tape.csv"
        path.write_text(text)
        return [(t.symbol, t.number, t.time_ms, t.bid, t.ask) for t in read(path, symbol, BUILT_IN, ZONE)]

    return _read


def utc_ms(text: str) -> int:
    return (datetime.fromisoformat(text + "+00:00") - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def test_reads_histdata_in_eastern_standard_time(rows):
    assert rows(HISTDATA)[0] == ("EURUSD", 1, utc_ms("2020-01-01T22:00:00.065"), 112120, 112172)
    assert rows(HISTDATA)[3] == ("EURUSD", 4, utc_ms("2020-01-01T22:00:12.579"), 112119, 112160)
    assert rows("20200701 170000000,1.1,1.2,0")[0][2] == utc_ms("2020-07-01T22:00:00")


def test_reads_truefx_with_and_without_milliseconds(rows):
    assert rows(TRUEFX, "USDJPY") == [
        ("USDJPY", 1, utc_ms("2013-01-01T22:00:00.295"), 86655, 86728),
        ("USDJPY", 2, utc_ms("2013-01-01T22:09:27"), 86727, 86760),
    ]


@pytest.mark.parametrize(("zone", "shift"), [("utc", 0), ("server", -7_200_000)])
def test_reads_our_own_format_in_either_zone(rows, zone, shift):
    at = utc_ms("2025-01-08T12:00:00")
    text = OWN.format(zone) + f"{at},EURUSD,1.1,1.2,0,0\n{at},USDJPY,150.1,150.2,0,0\n"

    assert rows(text) == [("EURUSD", 1, at + shift, 110000, 120000), ("USDJPY", 1, at + shift, 150100, 150200)]


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        (HISTDATA + "20200101 170012578,1.12,1.13,0\n", 5, "time runs backwards"),
        (HISTDATA + "20200101 170013000,1.14,1.13,0\n", 5, "crossed"),
        (HISTDATA + "20200101 170013000,0,1.13,0\n", 5, "not positive"),
        (HISTDATA + "20200101 170013000,1.123456,1.13,0\n", 5, "not a price of EURUSD"),
        (HISTDATA + "20200101 170013000,nan,1.13,0\n", 5, "not a price of EURUSD"),
        (HISTDATA + "20200101 170013000,1.1,abc,0\n", 5, "InvalidOperation"),
        (HISTDATA + "20200101 170013000,1.1,1.2\n", 5, "not enough values"),
        (HISTDATA + "20200101 170013,1.1,1.2,0\n", 5, "YYYYMMDD"),
        (HISTDATA + "\n", 5, "not enough values"),
        (TRUEFX + "2013-01-01 22:10:00,86.7,86.8\n", 4, "no offset"),
        ("time,bid,ask\n", 1, "ValueError"),
        ("# zone=mars\n", 1, "ValueError"),
        ("# zone=utc\ntime_msc,symbol,bid,ask\n", 2, "second line"),
        (OWN.format("utc") + "1,NOSUCH,1.1,1.2,0,0\n", 3, "NOSUCH"),
        (OWN.format("utc") + "1.5,EURUSD,1.1,1.2,0,0\n", 3, "1.5"),
    ],
)
def test_a_bad_row_names_its_line(rows, text, line, why):
    with pytest.raises(BadRecordingError, match=rf"tape\.csv, line {line}: .*{why}"):
        rows(text)


def test_an_empty_tape_is_an_error(tmp_path):
    (tmp_path / "tape.csv").write_text("timestamp,bid,ask\n")

    with pytest.raises(BadRecordingError, match="no tick"):
        load({"EURUSD": tmp_path / "tape.csv"}, BUILT_IN, ZONE)


def test_replay_goes_tick_by_tick_and_ends(tmp_path):
    (tmp_path / "tape.csv").write_text(HISTDATA)
    world = build(HEDGER, quotes="generated", mode="replay", csv={"EURUSD": tmp_path / "tape.csv"})

    assert world.mt5.symbol_info_tick("EURUSD").time_msc == utc_ms("2020-01-01T22:00:00.065") + 7_200_000
    assert world.mt5.symbol_info_tick("USDJPY") is None
    assert world.control.step() == 1
    assert world.buy("EURUSD", 0.1).price == 1.12192
    assert world.control.step(5) == 1  # two ticks in one millisecond are one moment
    assert world.mt5.symbol_info_tick("EURUSD").bid == 1.12119
    assert world.control.step() == 0
    since = utc_ms("2020-01-01T22:00:00") // 1_000 + 7_200
    assert [row[1] for row in world.mt5.copy_ticks_range("EURUSD", since, since + 11, -1)] == [1.1212, 1.1212]


def test_replay_flows_at_its_speed(tmp_path):
    (tmp_path / "tape.csv").write_text(HISTDATA)
    wall = [5_000_000_000]
    world = build(
        HEDGER, quotes="generated", mode="replay", csv={"EURUSD": tmp_path / "tape.csv"}, speed=10, wall=lambda: wall[0]
    )

    wall[0] += 1_039_000  # 10.39 s of the tape
    assert world.mt5.symbol_info_tick("EURUSD").ask == 1.12192
    wall[0] += 861_400
    assert world.mt5.symbol_info_tick("EURUSD").ask == 1.1216
    with pytest.raises(ValueError, match="flows"):
        world.control.advance(1)


def test_recordings_belong_to_replay_only(tmp_path):
    with pytest.raises(ValueError, match="replay"):
        build(HEDGER, quotes="generated", mode="replay")
    with pytest.raises(ValueError, match="replay"):
        build(HEDGER, csv={"EURUSD": tmp_path / "tape.csv"})


@pytest.mark.skipif(not EURUSD_FILE.exists(), reason="the market data is not on this machine")
def test_fills_at_the_ask_and_bid_of_a_real_morning():
    world = build(HEDGER, quotes="generated", mode="replay", csv={"EURUSD": EURUSD_FILE})
    lines = EURUSD_FILE.read_text().splitlines()
    for index in (1, 7, 500, 4_321, 9_499):
        stamp, bid, ask, _ = lines[index].split(",")
        moment = datetime.strptime(stamp + "000", "%Y%m%d %H%M%S%f").replace(tzinfo=UTC) + timedelta(hours=5)
        world.control.advance(moment.timestamp() - world.control.now_us / 1e6)

        bought, sold = world.buy("EURUSD", 0.01), world.sell("EURUSD", 0.01)

        assert (bought.price, sold.price) == (float(ask), float(bid))
        assert (bought.bid, bought.ask) == (float(bid), float(ask))
        assert world.deals()[-1].time_msc == round(moment.timestamp() * 1_000) + 7_200_000
    world.control.verify()


@pytest.mark.skipif(not USDJPY_FILE.exists(), reason="the market data is not on this machine")
def test_converts_profit_in_yen_on_a_real_evening():
    world = build(HEDGER, quotes="generated", mode="replay", csv={"USDJPY": USDJPY_FILE})
    ticket = world.buy("USDJPY", 1.0).order
    world.control.step(900)
    tick = world.mt5.symbol_info_tick("USDJPY")

    closed = world.sell("USDJPY", 1.0, position=ticket)

    gained = (tick.bid - 86.728) * 100_000
    expected = gained / (tick.ask if gained > 0 else tick.bid)
    assert closed.price == tick.bid
    assert world.deals()[-1].profit == pytest.approx(expected, abs=0.005)


def test_recording_may_tell_the_lots_at_hand(tmp_path):
    rows = "1736337600000,US500,5500.0,5500.5,0,0,2.5,0\n1736337601000,US500,5500.0,5500.5,0,0,0,1\n"
    path = tmp_path / "lots.csv"
    path.write_text(OWN.format("utc").rstrip() + ",bid_vol,ask_vol\n" + rows, encoding="utf-8")

    found = list(read(path, "", BUILT_IN, ServerZone()))

    assert [(tick.bid_vol, tick.ask_vol, tick.levels) for tick in found] == [(250_000_000, 0, 1), (0, 100_000_000, 1)]
    path.write_text(OWN.format("utc") + rows, encoding="utf-8")
    with pytest.raises(BadRecordingError, match="line 3"):
        list(read(path, "", BUILT_IN, ServerZone()))
