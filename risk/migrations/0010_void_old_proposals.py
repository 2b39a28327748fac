"""What was proposed before approvals had one mechanism has nothing to be decided by: it is asked for again."""

from django.db import migrations

VOID = """
UPDATE limit_change SET state = 'STALE', decided_at = now() WHERE state = 'PROPOSED';
UPDATE control_release SET state = 'STALE', decided_at = now() WHERE state = 'PROPOSED';
"""


class Migration(migrations.Migration):
    dependencies = [("risk", "0009_no_index_twice"), ("accounts", "0010_approvals_and_keys")]

    operations = [migrations.RunSQL(VOID, migrations.RunSQL.noop)]
