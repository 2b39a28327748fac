"""(h) The audit log: a million events sealed, verified and exported.

`measure` runs beside the stage; everything below `main` in a process of its own, over Django.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nexus.local.folder import ROOT
from tests.bench.parts import Run

EVENTS = 1_000_000
APPENDED_AT_ONCE = 100_000
TIMEOUT_S = 900.0
SAMPLED_S = 0.05
# As an order's event is, which is the most frequent one.
_APPEND = """
SELECT count(audit.append('trading.order.filled', 'success', 'user',
  'a3c5e1f0-0000-4000-8000-' || lpad(n::text, 12, '0'), 'order', n::text, 'bench-' || n,
  jsonb_build_object('before', 'ACCEPTED', 'after', 'FILLED', 'instrument', 'EURUSD', 'side', 'BUY', 'quantity', '0.10',
  'price', '1.08765',
  'account', 'b7d6c4a2-0000-4000-8000-000000000042', 'client_order_id', md5(n::text)))) FROM generate_series(%s, %s) n
"""


def measure(run: Run) -> None:
    """Let the process below find the figures over a database of its own."""
    stage = run.stage
    env = stage.env | {"DATABASE_URL": run.clones["audit"]}
    command = [sys.executable, "-m", "tests.bench.auditing"]
    said = stage.supervisor.run("auditing", command, env=env, timeout_s=TIMEOUT_S)
    figures: dict[str, float] = json.loads(said.strip().splitlines()[-1])
    run.figures |= figures
    for name, figure in figures.items():
        run.say(f"  {name}: {figure:g}")


def main(events: int = EVENTS) -> dict[str, float]:
    """Append, seal, verify and export; each must come to what it should, or there is no figure."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - see below

    from nexus.audit.rules.keys import Signer  # noqa: PLC0415 - Django is set up below, and in this process alone
    from nexus.audit.services import keys, sealing, verification  # noqa: PLC0415

    base_mb = _resident_mb()

    _append(events)
    signer = Signer(Ed25519PrivateKey.generate())
    keys.stand(signer)
    begun = time.perf_counter()
    sealed = sum(done.count for done in sealing.seal_all(signer=signer))
    figures: dict[str, float] = {"audit_seal_per_s": round(sealed / (time.perf_counter() - begun))}
    assert sealed >= events
    begun = time.perf_counter()
    with _peak() as peak:
        report = verification.verify(trusted={signer.key_id: signer.public})
    figures["audit_verify_1m_s"] = round(time.perf_counter() - begun, 2)
    figures["audit_verify_peak_mb"] = peak[0]
    assert not report.counts, report.counts
    assert report.events == sealed
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as folder:
        public = Path(folder) / "public.pem"
        public.write_text(keys.as_public_pem(signer.public), encoding="ascii")
        return figures | _export(Path(folder), public, sealed=sealed) | {"audit_base_mb": base_mb}


def _export(folder: Path, public: Path, *, sealed: int) -> dict[str, float]:
    """Export everything as JSONL, and verify the bundle offline."""
    from nexus.audit.services import bundling  # noqa: PLC0415
    from nexus.audit.types import Selection  # noqa: PLC0415

    path = folder / "bundle.zip"
    begun = time.perf_counter()
    with _peak() as peak, path.open("w+b") as file:
        made = bundling.write(
            Selection(), file, folder=folder, asked_by="bench", at=datetime.now(UTC),
            progress=lambda _done, _total: None, using="default",
        )  # fmt: skip
    figures = {"audit_export_1m_s": round(time.perf_counter() - begun, 2), "audit_export_peak_mb": peak[0]}
    assert made.events == sealed
    begun = time.perf_counter()
    command = [sys.executable, str(ROOT / "nexus_audit_verify.py"), str(path), "--public-key", str(public), "--json"]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (said["verdict"], said["events"]) == ("clean", sealed)
    return figures | {"audit_offline_1m_s": round(time.perf_counter() - begun, 2)}


def _append(events: int) -> None:
    from django.db import connection  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        for first in range(1, events + 1, APPENDED_AT_ONCE):
            cursor.execute(_APPEND, [first, min(first + APPENDED_AT_ONCE - 1, events)])
        cursor.execute("ANALYZE audit.event")
        cursor.execute("SET statement_timeout = '15s'")


@contextmanager
def _peak() -> Iterator[list[float]]:
    """Watch how much memory this process holds at most; the only entry is that, in MB."""
    found, stopped = [_resident_mb()], threading.Event()

    def watch() -> None:
        while not stopped.wait(SAMPLED_S):
            found[0] = max(found[0], _resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        stopped.set()
        watcher.join()


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def _django() -> Any:
    import django  # noqa: PLC0415

    django.setup()


if __name__ == "__main__":
    _django()
    print(json.dumps(main()))
