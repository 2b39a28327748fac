"""What the README tells people to run is what the settings need."""

from pathlib import Path

from django.conf import settings

from nexus.local import servers

README = Path(__file__).resolve().parents[2] / "README.md"


def test_production_has_a_worker_for_every_queue():
    text = README.read_text(encoding="utf-8").partition("## Production")[2]
    queues = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}

    assert len(queues) >= 3
    assert {queue for queue in queues if f"--queues {queue} " not in text} == set()
    assert "\ncelery -A nexus worker\n" in text, "the queue of everything else"


def test_production_starts_the_web_server_as_the_local_run_does():
    """Left to itself it makes hundreds of threads, each with a connection of its own, until the database has none."""
    assert f"\ngranian {' '.join(servers.WEB_FLAGS)} nexus.wsgi:application\n" in README.read_text(encoding="utf-8")
    assert {"--workers", "--blocking-threads"} <= set(servers.WEB_FLAGS)
