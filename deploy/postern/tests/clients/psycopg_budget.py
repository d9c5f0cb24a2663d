"""psycopg 3 under a budget of ten rows: autocommit, transactions, pipelines, COPY.

Reads PGHOST, PGPORT, PGUSER, PGPASSWORD (the token), PGDATABASE, PGSSLMODE from the environment; prints one line a case.
"""
import psycopg
from psycopg.pq import TransactionStatus


def case(name):
    print("ok", name, flush=True)


def over(run):
    try:
        run()
    except psycopg.errors.InsufficientPrivilege as error:
        assert "budget:rows" in error.diag.message_detail, error.diag.message_detail
        return
    raise AssertionError("nothing was over the budget")


def count(connection):
    return connection.execute("select count(*) from part").fetchone()[0]


with psycopg.connect("", autocommit=True) as connection:
    over(lambda: connection.execute("delete from part"))
    over(lambda: connection.execute("delete from part where id > %s", (20,)))
    over(lambda: connection.execute("delete from part where id > %s", (20,), prepare=True))
    assert connection.info.transaction_status == TransactionStatus.IDLE
    assert count(connection) == 100
    assert connection.execute("delete from part where id > %s returning id", (95,)).rowcount == 5
    assert count(connection) == 95
    case("autocommit")

    with connection.pipeline() as pipeline:
        connection.execute("delete from part where id = %s", (1,))
        connection.execute("delete from part where id = %s", (2,))
        pipeline.sync()
    assert count(connection) == 93

    def pipelined():
        with connection.pipeline():
            for n in range(3, 20):
                connection.execute("delete from part where id = %s", (n,))

    over(pipelined)
    assert count(connection) == 93
    case("pipelines: a window is one transaction")

    def copied():
        with connection.cursor().copy("copy log (note) from stdin") as copy:
            for n in range(11):
                copy.write_row((f"note {n}",))

    over(copied)
    with connection.cursor().copy("copy log (note) from stdin") as copy:
        copy.write_row(("one",))
    assert connection.execute("select count(*) from log").fetchone() == (1,)
    case("COPY")

with psycopg.connect("") as connection:
    connection.execute("delete from part where id <= 50")
    over(connection.commit)
    assert connection.info.transaction_status == TransactionStatus.IDLE
    assert count(connection) == 93
    connection.rollback()

    def block():
        with connection.transaction():
            connection.execute("delete from part where id <= 50")

    over(block)
    connection.rollback()
    with connection.transaction():
        connection.execute("delete from part where id = %s", (3,))
        try:
            with connection.transaction():
                connection.execute("delete from part where id = %s", (4,))
                connection.execute("select 1/0")
        except psycopg.errors.DivisionByZero:
            pass
    assert count(connection) == 92
    case("transactions and savepoints")

print("all passed")
