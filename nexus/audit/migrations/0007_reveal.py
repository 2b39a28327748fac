"""The one way in which the application reads personal data of the log: an event that says who reads it, and why.

That event must have been committed before: recorded earlier than the reading transaction began. An event of the same
transaction could be rolled back after the look.
"""

from django.db import migrations

# Functions of the log are its owner's, where there is one.
BEGIN = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'nexus_audit_owner')
     AND pg_has_role(current_user, 'nexus_audit_owner', 'MEMBER') THEN
    SET ROLE nexus_audit_owner;
  END IF;
END $$;
"""

REVEAL = """
CREATE FUNCTION audit.reveal_pii(p_reveal_id bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE v_event_id bigint;
BEGIN
  SELECT object_id::bigint INTO v_event_id FROM audit.event
   WHERE id = p_reveal_id AND action = 'audit.pii_revealed' AND outcome = 'success' AND actor_type = 'user'
     AND object_type = 'audit_event' AND recorded_at < transaction_timestamp()
     AND recorded_at > clock_timestamp() - interval '1 minute';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'event % reveals nothing', p_reveal_id USING ERRCODE = '42501';
  END IF;
  RETURN (SELECT data FROM audit.pii WHERE event_id = v_event_id);
END $$;
REVOKE ALL ON FUNCTION audit.reveal_pii FROM PUBLIC;
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'nexus_app') THEN
    GRANT EXECUTE ON FUNCTION audit.reveal_pii TO nexus_app;
  END IF;
END $$;
RESET ROLE;
"""


class Migration(migrations.Migration):
    """A function of the log, beside `audit.append`."""

    dependencies = [("audit", "0006_tables_as_parquet")]
    operations = [migrations.RunSQL(BEGIN + REVEAL, "DROP FUNCTION audit.reveal_pii(bigint)")]
