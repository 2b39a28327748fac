"""The web server's door as production has it, with the bench's own broker beside the real one."""

from nexus.wsgi import application
from tests.bench import nowire

nowire.install()

__all__ = ["application"]
