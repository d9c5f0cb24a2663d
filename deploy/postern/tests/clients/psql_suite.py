"""Interactive psql through the gate, typed into a terminal: prompts, \\d, \\copy, \\watch, Ctrl-C.

Reads PGHOST, PGPORT, PGUSER, PGPASSWORD (the token), PGDATABASE, PGSSLMODE from the environment, and as arguments a folder
for files and the command that prints how many backends sleep; prints one line a case.
"""
import os
import pty
import re
import select
import subprocess
import sys
import time

LIMIT = 30.0
PROMPT = r"shop=[*!]?[>#] $"
folder, sleeping = sys.argv[1], sys.argv[2:]


def case(name):
    print("ok", name, flush=True)


class Terminal:
    """psql on a pseudo terminal, read until what is expected stands at the end of what it printed."""

    def __init__(self):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe("psql", ["psql", "-X"], {**os.environ, "TERM": "dumb", "PSQL_PAGER": "cat", "HOME": folder})

    def until(self, pattern):
        text, deadline = "", time.monotonic() + LIMIT
        while not re.search(pattern, text):
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.fd], [], [], max(left, 0))
            assert ready, f"waited {LIMIT} s for {pattern!r}, psql printed:\n{text}"
            text += os.read(self.fd, 65536).decode().replace("\r", "")
        return text

    def type(self, text):
        os.write(self.fd, text.encode())

    def run(self, line, prompt=PROMPT):
        """Types a line and gives what psql printed until its next prompt, without the line's echo."""
        self.type(line + "\n")
        return self.until(prompt).partition("\n")[2]


psql = Terminal()
greeting = psql.until(PROMPT)
assert "SSL connection" in greeting or os.environ["PGSSLMODE"] == "prefer", greeting
case("greeting, over TLS where psql has it")

described = psql.run("\\d customers")
assert re.search(r"card_number\s*\|\s*text", described) and '"customers_pkey" PRIMARY KEY' in described, described
assert 'TABLE "payments" CONSTRAINT' in described, described
listed = psql.run("\\d")
assert "customers" in listed and "v_cards" in listed, listed
case("\\d")

shown = psql.run("select name, card_number from customers\nwhere id = 1;")
assert "Customer 1" in shown and "*" in shown and "4929" not in shown, shown
case("a statement of two lines, masked")

path = os.path.join(folder, "typed.csv")
assert "COPY 400" in psql.run(f"\\copy (select id, memo from payments order by id) to '{path}' csv")
with open(path, encoding="utf-8") as written:
    assert [line.strip() for line in written] == [f"{n},invoice {n}" for n in range(1, 401)]
assert "CREATE TABLE" in psql.run("create table typed (id int, memo text);")
assert "COPY 400" in psql.run(f"\\copy typed from '{path}' csv")
assert "COPY 40" in psql.run(f"\\copy customers to '{path}.masked' csv")
with open(f"{path}.masked", encoding="utf-8") as written:
    rows = written.read()
assert rows.count("\n") == 40 and "*" in rows and "4929" not in rows, rows
denied = psql.run(f"\\copy (select id from customers order by card_number) to '{path}.denied' csv")
assert "ERROR" in denied and "postern" in denied, denied
assert not os.path.exists(f"{path}.denied") or os.path.getsize(f"{path}.denied") == 0
psql.type("copy typed from stdin;\n")
psql.until(r">> $")
psql.type("401\ttyped by hand\n\\.\n")
assert "COPY 1" in psql.until(PROMPT)
assert re.search(r"\b401\b", psql.run("select count(*) from typed;"))
case("\\copy both ways, COPY typed by hand, a masked and a denied \\copy")

psql.run("begin;", r"shop=\*> $")
denied = psql.run("select id from customers where ssn = 'x';", r"shop=!> $")
assert "ERROR" in denied and "HINT" in denied, denied
assert "ROLLBACK" in psql.run("rollback;", r"shop=> $")
case("the prompt shows the transaction's state, after a denial too")

psql.type("select 'seen', now() \\watch 0.2\n")
psql.until(r"(?s)(\n seen .*?){3}")
psql.type("\x03")
psql.until(PROMPT)
# the request may reach PostgreSQL after the statement that it meant, and cancel the next: a statement to take it
psql.run("select 'late';")
case("\\watch, ended by Ctrl-C")

began = time.monotonic()
psql.type("select pg_sleep(60);\n")
while subprocess.run(sleeping, capture_output=True, text=True, check=True).stdout.strip() != "1":
    assert time.monotonic() - began < LIMIT, "pg_sleep does not run"
psql.type("\x03")
cancelled = psql.until(PROMPT)
assert "canceling statement due to user request" in cancelled, cancelled
assert time.monotonic() - began < LIMIT
assert re.search(r"\b42\b", psql.run("select 41 + 1;"))
case("Ctrl-C cancels the running statement, the session goes on")

psql.type("\\q\n")
_, status = os.waitpid(psql.pid, 0)
assert status == 0, status
print("all passed")
