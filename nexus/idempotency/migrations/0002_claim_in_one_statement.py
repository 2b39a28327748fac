from django.db import migrations

# What `records.claim` does, in one round trip. Each statement of a VOLATILE function sees what was committed before it
# began (READ COMMITTED), so the search after the lock sees what the holder before us has made.
CLAIM = """
CREATE FUNCTION idempotency_claim(p_principal text, p_account text, p_key text, p_fingerprint bytea,
    p_object_type text, p_object_id text, p_at timestamptz, OUT outcome text, OUT made text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE known idempotency_record;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtextextended('idem|' || p_principal || '|' || p_account || '|' || p_key, 0)) THEN
    outcome := 'BUSY';
    RETURN;
  END IF;
  SELECT * INTO known FROM idempotency_record r
  WHERE r.principal = p_principal AND r.account = p_account AND r.key = p_key;
  IF NOT FOUND THEN
    INSERT INTO idempotency_record (principal, account, key, fingerprint, object_type, object_id, created_at)
    VALUES (p_principal, p_account, p_key, p_fingerprint, p_object_type, p_object_id, p_at);
    outcome := 'CLAIMED';
    made := p_object_id;
  ELSIF known.fingerprint = p_fingerprint THEN
    outcome := 'KNOWN';
    made := known.object_id;
  ELSE
    outcome := 'MISMATCH';
  END IF;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("idempotency", "0001_idempotency_records")]

    operations = [
        migrations.RunSQL(
            CLAIM, "DROP FUNCTION idempotency_claim(text, text, text, bytea, text, text, timestamptz)"
        )
    ]
