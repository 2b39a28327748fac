"""What processes count as they work. What the database knows is read when somebody asks: `nexus/metrics.py`.

With PROMETHEUS_MULTIPROC_DIR set before Python starts, every process counts into files of that folder and any
web process shows the sum. Labels hold few values, and never a person.
"""

from prometheus_client import Counter, Histogram

SLIPPAGE = Histogram(
    "nexus_slippage_ratio", "How much worse fills were than their reference; better ones are negative.",
    buckets=(-0.005, -0.001, -0.0001, 0, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05),
)  # fmt: skip
FILLS = Counter("nexus_fills_total", "Fills that were booked, by what they are.", ["kind"])
ORDER_TROUBLE = Counter(
    "nexus_order_trouble_total", "What should not have happened to an order: LATE_FILL, OVERFILL and so on.", ["kind"]
)
STOP_COMMIT = Histogram(
    "nexus_stop_commit_seconds", "From the request of a stop to its commit.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)  # fmt: skip
_SWEPT = (0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200)
SWEEP_CANCELED = Histogram(
    "nexus_sweep_canceled_seconds", "From a stop's sweep to the first look without a working order.", buckets=_SWEPT
)
SWEEP_PROVEN = Histogram(
    "nexus_sweep_proven_seconds", "From a stop's sweep to its proof by the broker's own view.", ["kind"], buckets=_SWEPT
)
