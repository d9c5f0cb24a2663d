-- Everything in which a role can leave a trace, one row a line, sorted. A role that is gone shows as its number.
select 'role ' || rolname as trace from pg_roles
union all select 'member ' || member::regrole || ' of ' || roleid::regrole || ' by ' || grantor::regrole || ' ' || admin_option
  from pg_auth_members
union all select 'setting ' || setdatabase || ' ' || setrole || ' ' || setconfig::text from pg_db_role_setting
union all select 'depends ' || dbid || ' ' || classid::regclass || ' ' || objid || ' ' || objsubid || ' on '
  || refobjid::regrole || ' ' || deptype::text from pg_shdepend where refclassid = 'pg_authid'::regclass
union all select 'comment ' || objoid::regrole || ' ' || description from pg_shdescription
  where classoid = 'pg_authid'::regclass
union all select 'label ' || objoid::regrole from pg_shseclabel where classoid = 'pg_authid'::regclass
union all select 'mapping ' || umuser::regrole from pg_user_mapping where umuser <> 0
union all select 'owner ' || relowner::regrole || ' of ' || oid::regclass from pg_class
  where relnamespace not in ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
union all select acl.what || ' to ' || a.grantee::regrole || ' ' || a.privilege_type || ' ' || a.is_grantable || ' by '
  || a.grantor::regrole
  from (
    select 'table ' || oid::regclass as what, relacl as list from pg_class
    union all select 'column ' || attrelid::regclass || '.' || attname, attacl from pg_attribute
    union all select 'function ' || oid::regprocedure, proacl from pg_proc
    union all select 'schema ' || nspname, nspacl from pg_namespace
    union all select 'database ' || datname, datacl from pg_database
    union all select 'language ' || lanname, lanacl from pg_language
    union all select 'type ' || oid::regtype, typacl from pg_type
    union all select 'tablespace ' || spcname, spcacl from pg_tablespace
    union all select 'large object ' || oid, lomacl from pg_largeobject_metadata
    union all select 'server ' || srvname, srvacl from pg_foreign_server
    union all select 'wrapper ' || fdwname, fdwacl from pg_foreign_data_wrapper
    union all select 'later ' || defaclobjtype::text || ' of ' || defaclrole::regrole, defaclacl from pg_default_acl
  ) acl, aclexplode(acl.list) a
order by 1
