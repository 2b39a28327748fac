"""The figures are written as Prometheus reads them."""

from trading.brokers.mt5.gateway.metrics import BUCKETS_S, Meter


def test_counts_by_label_and_escapes_what_labels_hold():
    meter = Meter()
    for code in ("a", "a", 'b"\\\n'):
        meter.count("refusals_total", stage="limits", code=code)

    page = meter.page({})

    assert 'nexus_gateway_refusals_total{code="a",stage="limits"} 2\n' in page
    assert 'nexus_gateway_refusals_total{code="b\\"\\\\\\n",stage="limits"} 1\n' in page
    assert "# TYPE nexus_gateway_refusals_total counter\n" in page


def test_measures_in_buckets_that_add_up():
    meter = Meter()
    for seconds in (0.001, 0.0011, 0.3, 99.0):
        meter.time("send_seconds", seconds)

    lines = meter.page({}).splitlines()
    buckets = [line.split() for line in lines if line.startswith("nexus_gateway_send_seconds_bucket")]

    assert [int(count) for _, count in buckets] == [1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4]
    assert len(buckets) == len(BUCKETS_S) + 1
    assert buckets[-1][0] == 'nexus_gateway_send_seconds_bucket{le="+Inf"}'
    assert "nexus_gateway_send_seconds_count 4" in lines
    assert "nexus_gateway_send_seconds_sum 99.302100" in lines


def test_shows_how_things_stand():
    page = Meter().page({"up": ("Whether it is.", True), "tick_age_seconds": ("Age.", float("nan"))})

    assert "# HELP nexus_gateway_up Whether it is.\n# TYPE nexus_gateway_up gauge\nnexus_gateway_up 1\n" in page
    assert "nexus_gateway_tick_age_seconds NaN\n" in page
