"""What psycopg sees of answers that are cut off: ordinary errors, and a session that goes on."""

import sys, psycopg
connection = psycopg.connect(sys.argv[1], autocommit=True)
def fails(run):
    try: run()
    except psycopg.Error as error: assert error.sqlstate == '53400', error.sqlstate; return
    raise AssertionError('it was not cut off')
big = 'select a from generate_series(1, 10000) a, generate_series(1, 10000) b'
for prepare in (False, True):
    fails(lambda: connection.execute(big, prepare=prepare))
    assert connection.execute('select 1', prepare=prepare).fetchone() == (1,)
def copy():
    with connection.cursor().copy('copy (' + big + ') to stdout') as rows:
        for row in rows: pass
fails(copy)
with connection.transaction(force_rollback=True):
    connection.execute('create temp table t (a int)')
    def inner():
        with connection.transaction(): connection.execute(big)
    fails(inner)
    assert connection.execute('select count(*) from t').fetchone() == (0,)
def pipeline():
    with connection.pipeline() as p:
        connection.execute('select 1'); connection.execute(big); connection.execute('select 2'); p.sync()
fails(pipeline)
with connection.cursor(name='c', withhold=True) as rows:
    rows.itersize = 500
    rows.execute('select g from generate_series(1, 2500) g')
    assert sum(1 for _ in rows) == 2500
print(connection.execute('select 42').fetchone()[0])
