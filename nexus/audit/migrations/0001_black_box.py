"""The black box: append-only events, the batches that will seal them, and the one function that appends."""

from django.db import migrations, models

# The roles exist in production and need not exist elsewhere. Where the audit's owner exists and we may become it, it
# owns everything here; otherwise the migrating role does, and the triggers protect the tables against it too.
BEGIN = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'nexus_audit_owner')
     AND pg_has_role(current_user, 'nexus_audit_owner', 'MEMBER') THEN
    CREATE SCHEMA audit AUTHORIZATION nexus_audit_owner;
    SET ROLE nexus_audit_owner;
  ELSE
    CREATE SCHEMA audit;
  END IF;
END $$;
"""

BLACK_BOX = r"""
CREATE TABLE audit.event (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,      -- gaps are normal (rollbacks), never evidence
  recorded_at timestamptz NOT NULL,
  action      text NOT NULL CHECK (action ~ '^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$'),
  outcome     text NOT NULL CHECK (outcome IN ('success','denied','failure')),
  actor_type  text NOT NULL CHECK (actor_type IN ('user','api_key','system','anonymous')),
  actor_id    text NOT NULL, object_type text NOT NULL, object_id text NOT NULL, request_id text NOT NULL,
  canonical   text NOT NULL CHECK (octet_length(canonical) <= 65536));   -- these exact bytes are hashed
CREATE INDEX ON audit.event (action, id);  CREATE INDEX ON audit.event (actor_id, id);  CREATE INDEX ON audit.event (object_type, object_id, id);
CREATE TABLE audit.pii (event_id bigint PRIMARY KEY REFERENCES audit.event, salt bytea NOT NULL, data text NOT NULL);
CREATE TABLE audit.batch (
  batch_no bigint PRIMARY KEY CHECK (batch_no >= 0), first_index bigint NOT NULL UNIQUE,
  leaf_count int NOT NULL CHECK (leaf_count > 0), merkle_root bytea NOT NULL,
  prev_hash bytea NOT NULL UNIQUE,                          -- UNIQUE = a fork cannot be stored
  sealed_at timestamptz NOT NULL, batch_hash bytea NOT NULL UNIQUE, key_id text NOT NULL, signature bytea NOT NULL);
CREATE TABLE audit.leaf (
  log_index bigint PRIMARY KEY CHECK (log_index >= 0),      -- dense: a gap here IS evidence
  event_id bigint NOT NULL UNIQUE REFERENCES audit.event, batch_no bigint NOT NULL REFERENCES audit.batch,
  leaf_hash bytea NOT NULL CHECK (octet_length(leaf_hash) = 32));
CREATE FUNCTION audit.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION 'append-only: % on %.% refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = '42501'; END $$;
DO $$ DECLARE t text; BEGIN FOREACH t IN ARRAY ARRAY['event','batch','leaf','pii'] LOOP
  EXECUTE format('CREATE TRIGGER no_change BEFORE UPDATE %s ON audit.%I FOR EACH ROW EXECUTE FUNCTION audit.refuse()',
                 CASE t WHEN 'pii' THEN '' ELSE 'OR DELETE' END, t);
  EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit.%I FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse()', t);
  EXECUTE format('ALTER TABLE audit.%1$I ENABLE ALWAYS TRIGGER no_change, ENABLE ALWAYS TRIGGER no_truncate', t);  -- also under session_replication_role
END LOOP; END $$;
CREATE FUNCTION audit.append(p_action text, p_outcome text, p_actor_type text, p_actor_id text, p_object_type text,
    p_object_id text, p_request_id text, p_detail jsonb DEFAULT '{}', p_pii jsonb DEFAULT NULL,
    p_occurred_at timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE v_id bigint := nextval(pg_get_serial_sequence('audit.event', 'id'));
        v_at timestamptz := clock_timestamp();  v_salt bytea;  v_commit text;
        iso constant text := 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"';
BEGIN
  IF p_pii IS NOT NULL THEN
    v_salt := decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex');
    v_commit := encode(sha256(v_salt || convert_to(p_pii::text, 'UTF8')), 'hex');
  END IF;
  INSERT INTO audit.event OVERRIDING SYSTEM VALUE VALUES (v_id, v_at, p_action, p_outcome, p_actor_type, p_actor_id,
    p_object_type, p_object_id, p_request_id,
    jsonb_build_object('v', 1, 'id', v_id, 'recorded_at', to_char(v_at AT TIME ZONE 'UTC', iso),
      'occurred_at', to_char(coalesce(p_occurred_at, v_at) AT TIME ZONE 'UTC', iso), 'db_user', session_user,
      'action', p_action, 'outcome', p_outcome, 'actor_type', p_actor_type, 'actor_id', p_actor_id,
      'object_type', p_object_type, 'object_id', p_object_id, 'request_id', p_request_id,
      'detail', coalesce(p_detail, '{}'), 'pii_sha256', v_commit)::text);
  IF p_pii IS NOT NULL THEN INSERT INTO audit.pii VALUES (v_id, v_salt, p_pii::text); END IF;
  RETURN v_id;
END $$;
CREATE FUNCTION audit.erase_pii(p_event_id bigint, p_actor_id text, p_reason text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN
  DELETE FROM audit.pii WHERE event_id = p_event_id;
  IF NOT FOUND THEN RAISE EXCEPTION 'no personal data for event %', p_event_id; END IF;
  RETURN audit.append('audit.pii_erased', 'success', 'user', p_actor_id, 'audit_event', p_event_id::text, '',
                      jsonb_build_object('reason', p_reason)); END $$;
"""

GRANTS = """
REVOKE ALL ON ALL TABLES IN SCHEMA audit FROM PUBLIC; REVOKE ALL ON ALL FUNCTIONS IN SCHEMA audit FROM PUBLIC;
DO $$ DECLARE r text; BEGIN
  FOR r IN SELECT rolname FROM pg_roles WHERE rolname IN ('nexus_app', 'nexus_sealer', 'nexus_auditor') LOOP
    EXECUTE format('GRANT USAGE ON SCHEMA audit TO %I', r);
    EXECUTE format('GRANT EXECUTE ON FUNCTION audit.append TO %I', r);
    EXECUTE format('GRANT SELECT ON audit.event, audit.batch, audit.leaf TO %I', r);
    IF r = 'nexus_sealer' THEN
      GRANT INSERT ON audit.batch, audit.leaf TO nexus_sealer;
    ELSIF r = 'nexus_auditor' THEN
      GRANT EXECUTE ON FUNCTION audit.erase_pii TO nexus_auditor;
      GRANT SELECT ON audit.pii TO nexus_auditor;
    END IF;
  END LOOP;
END $$;
RESET ROLE;
"""

# Going back is possible only while nothing has been recorded: evidence is not removed by a migration.
REVERSE = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM audit.event) THEN
    RAISE EXCEPTION 'the audit log holds events: it is not removed by a migration' USING ERRCODE = '42501';
  END IF;
END $$;
DROP SCHEMA audit CASCADE;
"""


class Migration(migrations.Migration):
    """Create the schema `audit` as security reference §9 prints it."""

    initial = True
    dependencies = []
    operations = [
        migrations.RunSQL(BEGIN + BLACK_BOX + GRANTS, REVERSE),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("recorded_at", models.DateTimeField()),
                ("action", models.TextField()),
                ("outcome", models.TextField()),
                ("actor_type", models.TextField()),
                ("actor_id", models.TextField()),
                ("object_type", models.TextField()),
                ("object_id", models.TextField()),
                ("request_id", models.TextField()),
                ("canonical", models.TextField()),
            ],
            options={"db_table": '"audit"."event"', "managed": False},
        ),
        migrations.CreateModel(
            name="Batch",
            fields=[
                ("batch_no", models.BigIntegerField(primary_key=True, serialize=False)),
                ("first_index", models.BigIntegerField(unique=True)),
                ("leaf_count", models.IntegerField()),
                ("merkle_root", models.BinaryField()),
                ("prev_hash", models.BinaryField(unique=True)),
                ("sealed_at", models.DateTimeField()),
                ("batch_hash", models.BinaryField(unique=True)),
                ("key_id", models.TextField()),
                ("signature", models.BinaryField()),
            ],
            options={"verbose_name_plural": "batches", "db_table": '"audit"."batch"', "managed": False},
        ),
        migrations.CreateModel(
            name="Pii",
            fields=[
                (
                    "event",
                    models.OneToOneField(
                        on_delete=models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="audit.event",
                    ),
                ),
                ("salt", models.BinaryField()),
                ("data", models.TextField()),
            ],
            options={"verbose_name_plural": "pii", "db_table": '"audit"."pii"', "managed": False},
        ),
        migrations.CreateModel(
            name="Leaf",
            fields=[
                ("log_index", models.BigIntegerField(primary_key=True, serialize=False)),
                ("leaf_hash", models.BinaryField()),
                (
                    "event",
                    models.OneToOneField(on_delete=models.deletion.DO_NOTHING, related_name="+", to="audit.event"),
                ),
                (
                    "batch",
                    models.ForeignKey(
                        db_column="batch_no",
                        on_delete=models.deletion.DO_NOTHING,
                        related_name="+",
                        to="audit.batch",
                    ),
                ),
            ],
            options={"verbose_name_plural": "leaves", "db_table": '"audit"."leaf"', "managed": False},
        ),
    ]
