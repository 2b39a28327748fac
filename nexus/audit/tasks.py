"""The clock's door: bundles are written, and their files do not lie about for ever."""

from celery import shared_task
from django.utils.timezone import now

from nexus.audit.services import exports


@shared_task(name=exports.EXPORT)
def export(*, export_id: int, **_future: object) -> None:
    """Write one bundle."""
    exports.run(export_id=export_id, clock=now)


@shared_task(name="audit.sweep_exports")
def sweep_exports(**_future: object) -> None:
    """Hand out what a lost job or a dead worker left, and remove old files."""
    exports.sweep(at=now())
