-- The roles of production (docs/database.md). Run by a superuser in the database of Nexus, before the first `migrate`,
-- and again whenever: it changes nothing that is right already, and it takes over an installation of one role.
--
--   psql --set ON_ERROR_STOP=1 --single-transaction --dbname nexus --file nexus/database_roles.sql
--
-- It sets no passwords:  ALTER ROLE nexus_app PASSWORD '…';  (and so for nexus_migrator, nexus_sealer, nexus_auditor)

DO $$ DECLARE r text; BEGIN
  FOREACH r IN ARRAY ARRAY['nexus_audit_owner', 'nexus_migrator', 'nexus_app', 'nexus_sealer', 'nexus_auditor'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
      EXECUTE format('CREATE ROLE %I', r);
    END IF;
    EXECUTE format('ALTER ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS %s', r,
                   CASE r WHEN 'nexus_audit_owner' THEN 'NOLOGIN' ELSE 'LOGIN' END);
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), r);
  END LOOP;
END $$;
GRANT nexus_audit_owner TO nexus_migrator;  -- migrations make the log; nobody else is, or becomes, its owner

-- Who may be where. Nobody makes tables but migrations, and nobody else's roles come in.
DO $$ BEGIN
  EXECUTE format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CREATE ON DATABASE %I TO nexus_migrator, nexus_audit_owner', current_database());
END $$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO nexus_migrator;
GRANT USAGE ON SCHEMA public TO nexus_app, nexus_sealer, nexus_auditor;

-- What one role has made so far becomes the migrator's, or the owner's of the log.
DO $$ DECLARE one record; BEGIN
  FOR one IN SELECT c.oid::regclass AS name, c.relkind, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname IN ('public', 'audit') AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
               AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i', 'e')) LOOP
    EXECUTE format('ALTER %s %s OWNER TO %I',
                   CASE one.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                   one.name, CASE one.nspname WHEN 'audit' THEN 'nexus_audit_owner' ELSE 'nexus_migrator' END);
  END LOOP;
  FOR one IN SELECT p.oid::regprocedure AS name, n.nspname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname IN ('public', 'audit') AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO %I', one.name,
                   CASE one.nspname WHEN 'audit' THEN 'nexus_audit_owner' ELSE 'nexus_migrator' END);
  END LOOP;
END $$;

-- Business tables: the application reads and writes rows. What is made later is granted as it is made.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO nexus_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO nexus_app;
ALTER DEFAULT PRIVILEGES FOR ROLE nexus_migrator IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO nexus_app;
ALTER DEFAULT PRIVILEGES FOR ROLE nexus_migrator IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO nexus_app;
DO $$ BEGIN  -- the list of what has been migrated is written by migrations
  IF to_regclass('public.django_migrations') IS NOT NULL THEN
    REVOKE INSERT, UPDATE, DELETE ON public.django_migrations FROM nexus_app;
  END IF;
  IF to_regclass('public.audit_anchor') IS NOT NULL THEN  -- how far the sealer has brought the seals
    GRANT SELECT, INSERT, UPDATE ON public.audit_anchor TO nexus_sealer;
  END IF;
END $$;

-- The log: as the migration that makes it grants it, where it is there already.
DO $$ BEGIN
  IF to_regnamespace('audit') IS NULL THEN
    RETURN;
  END IF;
  ALTER SCHEMA audit OWNER TO nexus_audit_owner;
  REVOKE ALL ON SCHEMA audit FROM PUBLIC, nexus_app, nexus_sealer, nexus_auditor, nexus_migrator;
  REVOKE ALL ON ALL TABLES IN SCHEMA audit FROM PUBLIC, nexus_app, nexus_sealer, nexus_auditor, nexus_migrator;
  REVOKE ALL ON ALL SEQUENCES IN SCHEMA audit FROM PUBLIC, nexus_app, nexus_sealer, nexus_auditor, nexus_migrator;
  REVOKE ALL ON ALL FUNCTIONS IN SCHEMA audit FROM PUBLIC, nexus_app, nexus_sealer, nexus_auditor, nexus_migrator;
  GRANT USAGE ON SCHEMA audit TO nexus_app, nexus_sealer, nexus_auditor;
  GRANT EXECUTE ON FUNCTION audit.append TO nexus_app, nexus_sealer, nexus_auditor;
  GRANT SELECT ON audit.event, audit.batch, audit.leaf TO nexus_app, nexus_sealer, nexus_auditor;
  GRANT INSERT ON audit.batch, audit.leaf TO nexus_sealer;
  GRANT EXECUTE ON FUNCTION audit.erase_pii TO nexus_auditor;
  GRANT SELECT ON audit.pii TO nexus_auditor;
  IF to_regproc('audit.reveal_pii') IS NOT NULL THEN  -- one event's, and only after an event that says so
    GRANT EXECUTE ON FUNCTION audit.reveal_pii TO nexus_app;
  END IF;
END $$;
