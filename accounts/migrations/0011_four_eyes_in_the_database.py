"""What no statement may do, whoever sends it: decide one's own request, execute without another, rewrite what was said."""

from django.db import migrations

SAME_PERSON = """
ALTER TABLE approval_decision ADD CONSTRAINT approval_decision_of_who_asked
FOREIGN KEY (request_id, requested_by_id) REFERENCES approval_request (id, requested_by_id)
"""
DECISIONS = """
CREATE FUNCTION refuse_approval_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION 'append-only: % on % refused', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON approval_decision
FOR EACH ROW EXECUTE FUNCTION refuse_approval_change();
CREATE TRIGGER kept BEFORE DELETE ON approval_request FOR EACH ROW EXECUTE FUNCTION refuse_approval_change();
"""
REQUESTS = """
CREATE FUNCTION guard_approval_request() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.state <> 'PENDING' THEN
      RAISE EXCEPTION 'a request begins as PENDING' USING ERRCODE = '42501';
    END IF;
    RETURN NEW;
  END IF;
  IF OLD.state <> 'PENDING' THEN
    RAISE EXCEPTION 'a closed request is never changed' USING ERRCODE = '42501';
  END IF;
  IF (NEW.public_id, NEW.kind, NEW.object_type, NEW.object_id, NEW.payload, NEW.payload_sha256, NEW.requested_by_id,
      NEW.requested_at, NEW.reason, NEW.required, NEW.expires_at)
     IS DISTINCT FROM
     (OLD.public_id, OLD.kind, OLD.object_type, OLD.object_id, OLD.payload, OLD.payload_sha256, OLD.requested_by_id,
      OLD.requested_at, OLD.reason, OLD.required, OLD.expires_at) THEN
    RAISE EXCEPTION 'what was asked for is never changed' USING ERRCODE = '42501';
  END IF;
  IF NEW.state = 'EXECUTED' AND NEW.required >
     (SELECT count(*) FROM approval_decision WHERE request_id = NEW.id AND decision = 'APPROVE') THEN
    RAISE EXCEPTION 'too few have agreed' USING ERRCODE = '42501';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER guarded BEFORE INSERT OR UPDATE ON approval_request
FOR EACH ROW EXECUTE FUNCTION guard_approval_request();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0010_approvals_and_keys")]

    operations = [
        migrations.RunSQL(SAME_PERSON, "ALTER TABLE approval_decision DROP CONSTRAINT approval_decision_of_who_asked"),
        migrations.RunSQL(
            DECISIONS,
            "DROP TRIGGER kept ON approval_request; DROP TRIGGER append_only ON approval_decision;"
            "DROP FUNCTION refuse_approval_change()",
        ),
        migrations.RunSQL(
            REQUESTS, "DROP TRIGGER guarded ON approval_request; DROP FUNCTION guard_approval_request()"
        ),
    ]
