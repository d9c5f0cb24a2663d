"""What SQLAlchemy's reflection finds, as JSON: the same through the gate as at the database itself.

Reads PGHOST, PGPORT, PGUSER, PGPASSWORD (the token), PGDATABASE, PGSSLMODE from the environment.
"""
import json
import warnings

from sqlalchemy import MetaData, create_engine, inspect, select

warnings.simplefilter("error")
engine = create_engine("postgresql+psycopg://")
found = {}
with engine.connect() as connection:
    inspector = inspect(connection)
    for schema in sorted(inspector.get_schema_names()):
        if schema == "information_schema":
            continue
        of = found.setdefault(schema, {})
        of["sequences"] = sorted(inspector.get_sequence_names(schema=schema))
        of["enums"] = inspector.get_enums(schema=schema)
        of["domains"] = inspector.get_domains(schema=schema)
        of["views"] = {v: inspector.get_view_definition(v, schema=schema) for v in sorted(inspector.get_view_names(schema=schema))}
        of["materialized"] = sorted(inspector.get_materialized_view_names(schema=schema))
        of["foreign"] = sorted(inspector.get_foreign_table_names(schema=schema))
        for kind in ("columns", "pk_constraint", "foreign_keys", "indexes", "unique_constraints", "check_constraints", "table_comment"):
            of[kind] = sorted((str(name), value) for (_, name), value in getattr(inspector, f"get_multi_{kind}")(schema=schema).items())
        of["tables"] = sorted(inspector.get_table_names(schema=schema))
    metadata = MetaData()
    metadata.reflect(connection, views=True)
    metadata.reflect(connection, schema="hr")
    found["reflected"] = sorted(metadata.tables)
    assert inspector.has_table("customers") and not inspector.has_table("nowhere")
    customers, payments = metadata.tables["customers"], metadata.tables["payments"]
    joined = select(customers.c.name, payments.c.amount).join(payments).order_by(payments.c.id).limit(3)
    found["joined"] = [tuple(row) for row in connection.execute(joined)]
    hidden = connection.execute(select(customers).order_by(customers.c.id).limit(1)).one()
    assert hidden.card_number
    found["server"] = connection.dialect.server_version_info
print(json.dumps(found, indent=1, default=str))
