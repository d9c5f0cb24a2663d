"""psycopg 3 and denials: an ordinary InsufficientPrivilege, with and without transactions and pipelines.

Reads PGHOST, PGPORT, PGUSER, PGPASSWORD (the token), PGDATABASE, PGSSLMODE from the environment; prints one line a case.
"""
import psycopg
from psycopg.pq import TransactionStatus

DENIED = "select id from customers where ssn = 'x'"
INSERT = "insert into gate_rows values (default)"


def case(name):
    print("ok", name, flush=True)


def denied(run):
    try:
        run()
    except psycopg.errors.InsufficientPrivilege as error:
        assert "stm_" in error.diag.message_detail and error.diag.message_hint, error.diag
        return
    raise AssertionError("not denied")


def count(connection):
    return connection.execute("select count(*) from gate_rows").fetchone()[0]


with psycopg.connect("", autocommit=True) as connection:
    denied(lambda: connection.execute(DENIED))
    denied(lambda: connection.execute("select id from customers where ssn = %s", ("x",)))
    denied(lambda: connection.execute("select id from customers where ssn = %s", ("x",), prepare=True))
    assert connection.info.transaction_status == TransactionStatus.IDLE
    case("alone: text, parameters, prepared")

    def copy():
        with connection.cursor().copy(f"copy ({DENIED}) to stdout") as rows:
            list(rows)

    denied(copy)
    assert connection.execute("select 1").fetchone() == (1,)
    case("COPY")

    before = count(connection)

    def pipeline():
        with connection.pipeline():
            connection.execute(INSERT)
            connection.execute(DENIED)
            connection.execute(INSERT)

    denied(pipeline)
    assert connection.info.transaction_status == TransactionStatus.IDLE
    assert count(connection) == before, "the implicit transaction of the pipeline was not rolled back"
    case("in a pipeline: the implicit transaction goes as a whole")

    with connection.pipeline() as pipeline:
        connection.execute(INSERT)
        pipeline.sync()
        lost = connection.execute(DENIED)
        try:
            pipeline.sync()
        except psycopg.errors.InsufficientPrivilege:
            pass
        else:
            raise AssertionError("not denied")
        connection.execute(INSERT)
        pipeline.sync()
    assert count(connection) == before + 2
    case("between two Syncs of a pipeline")

with psycopg.connect("") as connection:
    connection.execute(INSERT)
    denied(lambda: connection.execute(DENIED))
    assert connection.info.transaction_status == TransactionStatus.INERROR
    try:
        connection.execute("select 1")
    except psycopg.errors.InFailedSqlTransaction:
        pass
    else:
        raise AssertionError("the transaction must have failed")
    connection.rollback()
    assert count(connection) == before + 2
    connection.rollback()
    case("in a transaction")

    connection.execute(INSERT)
    try:
        with connection.transaction():
            connection.execute(INSERT)
            connection.execute(DENIED)
    except psycopg.errors.InsufficientPrivilege:
        pass
    connection.commit()
    assert count(connection) == before + 3
    case("in a savepoint")

print("all passed")
