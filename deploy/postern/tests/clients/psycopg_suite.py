"""psycopg 3 through the gate, unmodified: pipeline mode, server-side cursors, COPY both ways, binary results, errors.

Reads PGHOST, PGPORT, PGUSER, PGPASSWORD (the token), PGDATABASE, PGSSLMODE from the environment; prints one line a case.
"""
import threading
import time

import psycopg
from psycopg import sql


def case(name):
    print("ok", name, flush=True)


with psycopg.connect("", autocommit=True) as connection:
    cursor = connection.cursor(binary=True)
    assert cursor.execute("select 41 + %s::int", (1,)).fetchone() == (42,)
    case("binary parameters and results")

    rows = connection.execute("select name, card_number, ssn, email from customers order by id limit 3").fetchall()
    assert len(rows) == 3 and all("*" in row[1] for row in rows), rows
    case("masked rows in text")
    rows = cursor.execute("select name, card_number from customers order by id limit 3").fetchall()
    assert len(rows) == 3 and all("*" in row[1] for row in rows), rows
    case("masked rows in binary")

    for _ in range(12):  # psycopg prepares on the server after five runs
        row = connection.execute("select name, card_number from customers where id = %s", (1,)).fetchone()
        assert "*" in row[1]
    case("prepared statements keep being masked")

    with connection.pipeline() as pipeline:
        cursors = [connection.execute("select %s::int * 2", (n,)) for n in range(200)]
        pipeline.sync()
    assert [c.fetchone()[0] for c in cursors] == [n * 2 for n in range(200)]
    case("pipeline of 200")

    try:
        with connection.pipeline():
            connection.execute("select 1")
            connection.execute("select 1 / 0")
            connection.execute("select 2")
    except psycopg.errors.DivisionByZero:
        pass
    else:
        raise AssertionError("the error of the pipeline was lost")
    assert connection.execute("select 7").fetchone() == (7,)
    case("error in the middle of a pipeline")

    try:
        connection.execute("select lower(card_number) || md5(card_number) from customers where card_number like '4%'")
    except psycopg.errors.InsufficientPrivilege as denied:
        assert "postern" in str(denied) and "stm_" in denied.diag.message_detail, denied
    else:
        raise AssertionError("a predicate on a masked column was not denied")
    assert connection.execute("select 8").fetchone() == (8,)
    case("a denial is an ordinary error and the session survives")

    try:
        with connection.pipeline():
            connection.execute("select 1")
            connection.execute("select id from customers order by card_number")
            connection.execute("select 2")
    except psycopg.errors.InsufficientPrivilege:
        pass
    else:
        raise AssertionError("an order by a masked column was not denied")
    assert connection.execute("select 9").fetchone() == (9,)
    case("denial in the middle of a pipeline")

    connection.execute("create table if not exists suite_copy (id int, note text)")
    connection.execute("truncate suite_copy")
    with connection.cursor().copy("copy suite_copy from stdin") as copy:
        for n in range(5000):
            copy.write_row((n, f"note {n}"))
    with connection.cursor().copy("copy (select * from suite_copy order by id) to stdout") as copy:
        lines = list(copy.rows())
    assert len(lines) == 5000 and lines[4999] == ("4999", "note 4999")
    with connection.cursor().copy("copy suite_copy to stdout (format binary)") as copy:
        copy.set_types(["int4", "text"])
        assert sum(1 for _ in copy.rows()) == 5000
    case("COPY in, out and binary")

    try:
        with connection.cursor().copy("copy suite_copy from stdin") as copy:
            copy.write("not a number\tx\n")
    except psycopg.errors.InvalidTextRepresentation:
        pass
    else:
        raise AssertionError("bad COPY data was accepted")
    assert connection.execute("select count(*) from suite_copy").fetchone() == (5000,)
    case("failed COPY")
    try:
        with connection.cursor().copy("copy suite_copy from stdin") as copy:
            copy.write("1\tx\n")
            raise RuntimeError("the client gives up")
    except RuntimeError:
        pass
    assert connection.execute("select count(*) from suite_copy").fetchone() == (5000,)
    case("COPY given up by the client")

    notices = []
    connection.add_notice_handler(lambda d: notices.append(d.message_primary))
    connection.execute("drop table if exists suite_none")
    assert notices and "does not exist" in notices[0], notices
    case("notices")

    started = time.monotonic()
    timer = threading.Timer(0.5, connection.cancel)
    timer.start()
    try:
        connection.execute("select pg_sleep(30)")
    except psycopg.errors.QueryCanceled:
        pass
    else:
        raise AssertionError("the cancel request was lost")
    assert time.monotonic() - started < 10
    case("cancel")

with psycopg.connect("") as connection:
    with connection.cursor(name="big") as cursor:
        cursor.itersize = 100
        cursor.execute("select g from generate_series(1, 1000) g")
        assert sum(row[0] for row in cursor) == 500500
    with connection.cursor(name="masked") as cursor:
        cursor.execute("select id, card_number from customers order by id")
        assert all("*" in row[1] for row in cursor.fetchmany(10))
    case("server-side cursors, masked too")
    connection.execute("insert into suite_copy values (100000, 'first')")
    try:
        connection.execute("select ssn from customers where ssn like '1%'")
    except psycopg.errors.InsufficientPrivilege:
        pass
    else:
        raise AssertionError("not denied")
    try:
        connection.execute("select 1")
    except psycopg.errors.InFailedSqlTransaction:
        pass
    else:
        raise AssertionError("the transaction must have failed with the denial")
    connection.rollback()
    assert connection.execute("select count(*) from suite_copy where id = 100000").fetchone() == (0,)
    case("a denial fails the transaction as an error does")
    connection.execute(sql.SQL("set local statement_timeout = {}").format(sql.Literal("1s")))
    connection.commit()

listener = psycopg.connect("", autocommit=True)
listener.close()
print("all passed")
