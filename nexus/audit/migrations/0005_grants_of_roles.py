"""Where production's roles exist: the sealer's keeps how far the seals were brought, and the application's migrates nothing.

`nexus/database_roles.sql` grants the application rows of every table that is made; this takes one of them back.
"""

from django.db import migrations

GRANT = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'nexus_sealer') THEN
    GRANT SELECT, INSERT, UPDATE ON audit_anchor TO nexus_sealer;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'nexus_app') THEN
    REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM nexus_app;
  END IF;
END $$;
"""


class Migration(migrations.Migration):
    """Tables are public, roles are production's."""

    dependencies = [("audit", "0004_exports")]
    operations = [migrations.RunSQL(GRANT, migrations.RunSQL.noop)]
