"""psycopg 3 whose statements wait for a reviewer: values, notices, cancelling, and what comes after.

Reads PGHOST, PGPORT, PGUSER, PGPASSWORD (the token), PGDATABASE, PGSSLMODE from the environment. Reviewers are a `postern
review` of their own: argv is that command, REVIEWER its token. Prints one line a case.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import psycopg

REVIEW = sys.argv[1:]
SOON = 20


def case(name):
    print("ok", name, flush=True)


def review(*arguments):
    environment = dict(os.environ, POSTERN_TOKEN=os.environ["REVIEWER"])
    done = subprocess.run([*REVIEW, *arguments, "-o", "json"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def waiting():
    """The one statement that waits, once there is one."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        holds = [hold for hold in review("ls") if hold["state"] == "waiting"]
        if holds:
            assert len(holds) == 1, holds
            return holds[0]
        threading.Event().wait(0.05)
    raise AssertionError("nothing is held")


def state(hold, wanted):
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        now = review("show", hold["id"])["state"]
        if now == wanted:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"it is {now}, not {wanted}")


def in_another_thread(act, seen):
    """Acts on the held statement while this thread waits for its answer; what goes wrong there fails here."""

    def run():
        try:
            hold = waiting()
            seen.append(hold)
            act(hold)
        except BaseException as error:
            seen.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def while_held(run, act):
    seen = []
    thread = in_another_thread(act, seen)
    try:
        return run(), seen[0] if seen else None
    finally:
        thread.join()
        for one in seen:
            if isinstance(one, BaseException):
                raise one


def approve(hold):
    review("approve", hold["id"], "--reason", "ticket 12")


def deny(hold):
    review("deny", hold["id"], "--reason", "not today")


def values(hold):
    return [value["shown"] for value in hold["shown"]["values"]]


with psycopg.connect("", autocommit=True) as connection:
    notices = []
    connection.add_notice_handler(lambda diag: notices.append((diag.message_primary, diag.message_hint)))
    delete = "delete from stock where id = %s and note = %s returning id"
    for prepare in (False, True):
        number = 7 + prepare
        cursor, hold = while_held(lambda: connection.execute(delete, (number, "n"), prepare=prepare), approve)
        assert cursor.fetchall() == [(number,)]
        assert any(str(number) in value for value in values(hold)) and "n" in values(hold)[1], values(hold)
        assert len(notices) == 1 and hold["id"] in notices[0][0] and "postern review show" in notices[0][1], notices
        notices.clear()
    case("values, notices, results")

    try:
        while_held(lambda: connection.execute(delete, (20, "n")), deny)
        raise AssertionError("it was denied, and ran")
    except psycopg.errors.InsufficientPrivilege as error:
        assert "olga denied it: not today" in str(error), error
    assert connection.execute("select count(*) from stock where id = %s", (20,)).fetchone() == (1,)
    case("denied")

    held = []

    def cancel(hold):
        held.append(hold)
        connection.cancel_safe()

    try:
        while_held(lambda: connection.execute(delete, (21, "n")), cancel)
        raise AssertionError("it was cancelled, and ran")
    except psycopg.errors.QueryCanceled:
        pass
    state(held[-1], "withdrawn")
    case("cancelled from another thread")

    def interrupt(hold):
        held.append(hold)
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while_held(lambda: connection.execute(delete, (22, "n")), interrupt)
        raise AssertionError("it was interrupted, and ran")
    except (KeyboardInterrupt, psycopg.errors.QueryCanceled):
        pass
    state(held[-1], "withdrawn")
    case("Ctrl-C")

    # the session goes on, and nothing of what did not run ran
    assert connection.execute("select count(*) from stock").fetchone() == (98,)
    notices.clear()
    with connection.transaction():
        connection.execute("insert into stock values (%s, %s)", (500, "new"))
        cursor, hold = while_held(lambda: connection.execute(delete, (500, "new")), approve)
        assert cursor.fetchall() == [(500,)] and hold["shown"]["in_transaction"], hold
    assert connection.execute("select count(*) from stock").fetchone() == (98,)
    case("in a transaction, and what comes after")

print("all passed")
