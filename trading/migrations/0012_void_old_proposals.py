"""What was proposed before approvals had one mechanism has nothing to be decided by: it is asked for again."""

from django.db import migrations

VOID = "UPDATE order_decision SET state = 'STALE', decided_at = now() WHERE state = 'PROPOSED'"


class Migration(migrations.Migration):
    dependencies = [("trading", "0011_no_index_twice"), ("accounts", "0010_approvals_and_keys")]

    operations = [migrations.RunSQL(VOID, migrations.RunSQL.noop)]
