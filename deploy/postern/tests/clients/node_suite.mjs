// node-postgres through the gate, unmodified: simple and prepared queries, parallel clients, errors, transactions.
// Reads PGHOST, PGPORT, PGUSER, PGPASSWORD (the token), PGDATABASE from the environment; prints one line a case.
import assert from 'node:assert/strict';
import pg from 'pg';

const ok = (name) => console.log('ok', name);
const options = { ssl: { rejectUnauthorized: false } };
const client = new pg.Client(options);
await client.connect();

assert.equal((await client.query('select 1 as one')).rows[0].one, 1);
ok('simple query');
assert.equal((await client.query('select $1::int + 1 as n', [41])).rows[0].n, 42);
ok('parameters');
for (let n = 0; n < 5; n++) {
  const { rows } = await client.query({ name: 'card', text: 'select card_number as c from customers where id = $1', values: [n + 1] });
  assert.match(rows[0].c, /\*/);
}
ok('named statement, masked under an alias');
const many = await client.query("select 1 as a; select 'x' as b; select card_number from customers limit 1");
assert.equal(many.length, 3);
assert.match(many[2].rows[0].card_number, /\*/);
ok('several statements in one message');
await assert.rejects(client.query('select * from no_such_table'), { code: '42P01' });
await assert.rejects(client.query('select 1; select nonsense from; select 2'), { code: '42601' });
await assert.rejects(client.query("select id from customers where ssn = '000'"), { code: '42501' });
assert.equal((await client.query('select 5 as five')).rows[0].five, 5);
ok('errors and denials leave the session alive');
await client.query('begin');
await client.query('create table if not exists node_suite (n int)');
await client.query('insert into node_suite select generate_series(1, 10)');
await client.query('rollback');
await assert.rejects(client.query('select * from node_suite'), { code: '42P01' });
ok('transaction rolled back');
const dates = await client.query("select now() as t, '{\"a\": 1}'::jsonb as j, array[1,2] as a, null as n");
assert.ok(dates.rows[0].t instanceof Date && dates.rows[0].j.a === 1 && dates.rows[0].a.length === 2 && dates.rows[0].n === null);
ok('types');
await client.end();

const pool = new pg.Pool({ ...options, max: 8 });
const sums = await Promise.all(Array.from({ length: 200 }, (_, n) => pool.query('select $1::int * 2 as n', [n])));
assert.deepEqual(sums.map((r) => r.rows[0].n), Array.from({ length: 200 }, (_, n) => n * 2));
ok('pool of eight');
await pool.end();
console.log('all passed');
