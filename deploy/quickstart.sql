-- A small shop, for a first look at the gate: customers with what should not be shown, their payments, and a personnel
-- schema next to it. Names and numbers are made up; the card numbers are valid (Luhn), but nobody's.
-- The role `gate` is what the gate logs in as; its password is set by whoever runs this.

create role gate login nosuperuser nocreatedb nocreaterole noreplication;
create schema hr;

-- The Luhn check digit of a number without it.
create function pg_temp.luhn(digits text) returns text language sql immutable as $$
  select digits || ((10 - sum(case when n % 2 = 1 then d * 2 - case when d > 4 then 9 else 0 end else d end) % 10) % 10)::text
  from (select substr(reverse(digits), n, 1)::int as d, n from generate_series(1, length(digits)) n) x
$$;

create table customers (
  id          bigint generated always as identity primary key,
  name        text not null,
  email       text not null unique,
  city        text not null,
  card_number text not null,
  ssn         text not null,
  created_at  timestamptz not null
);
comment on column customers.card_number is 'primary account number (PCI DSS)';
comment on column customers.ssn is 'US social security number';

insert into customers (name, email, city, card_number, ssn, created_at)
select first || ' ' || last,
       lower(first) || '.' || lower(last) || n || '@example.com',
       (array['Lisbon','Osaka','Tampere','Leeds','Denver','Accra','Porto','Graz','Quito','Pune'])[1 + (n * 7) % 10],
       pg_temp.luhn((array['4539','5425','4485','5105','4716'])[1 + n % 5] || lpad(((n::bigint * 7919 * 104729) % 99999999999)::text, 11, '0')),
       lpad((100 + (n * 37) % 665)::text, 3, '0') || '-' || lpad((1 + (n * 13) % 99)::text, 2, '0') || '-' || lpad((1 + (n * 7919) % 9998)::text, 4, '0'),
       timestamptz '2024-01-01 08:00:00+00' + n * interval '53 hours'
from (select n,
        (array['Amelia','Noah','Sofia','Kwame','Yuki','Mateo','Ines','Oskar','Leila','Ravi','Chloe','Tomas','Aino','Diego','Hana','Femi'])[1 + n % 16] as first,
        (array['Okafor','Lindgren','Pereira','Tanaka','Novak','Garcia','Haddad','Kowalski','Mensah','Rossi','Virtanen','Patel','Moreau'])[1 + n % 13] as last
      from generate_series(1, 300) n) people;

create table payments (
  id          bigint generated always as identity primary key,
  customer_id bigint not null references customers,
  amount      numeric(10, 2) not null check (amount > 0),
  currency    text not null default 'EUR',
  status      text not null check (status in ('settled', 'pending', 'refunded', 'failed')),
  paid_at     timestamptz not null
);
create index on payments (customer_id);

insert into payments (customer_id, amount, status, paid_at)
select 1 + (n * 31) % 300,
       round((5 + (n * 7919) % 49500 / 100.0)::numeric, 2),
       (array['settled','settled','settled','settled','pending','refunded','failed'])[1 + (n * 5) % 7],
       timestamptz '2025-03-01 00:00:00+00' + n * interval '11 hours'
from generate_series(1, 900) n;

create table hr.employees (
  id         int generated always as identity primary key,
  name       text not null,
  email      text not null,
  department text not null,
  hired_on   date not null
);
create table hr.salaries (
  employee_id int primary key references hr.employees,
  yearly      numeric(10, 2) not null,
  iban        text not null
);

insert into hr.employees (name, email, department, hired_on)
select (array['Marta','Jonas','Priya','Luca','Ebba','Samir','Grace','Pavel'])[1 + n % 8] || ' ' ||
       (array['Silva','Berg','Iyer','Conti','Holm','Nasser','Owusu'])[1 + n % 7],
       'staff' || n || '@shop.example',
       (array['support','billing','engineering','warehouse'])[1 + n % 4],
       date '2019-02-01' + n * 37
from generate_series(1, 40) n;

insert into hr.salaries
select id, 31000 + (id * 1373) % 64000, 'PT50' || lpad(((id::bigint * 104729 * 15485863) % 1000000000000000000000::numeric)::text, 21, '0')
from hr.employees;

-- What the gate's role may do: the shop's tables, no more. What an agent may do through the gate can only be less.
grant usage on schema public, hr to gate;
grant select, insert, update on customers, payments to gate;
grant select on hr.employees, hr.salaries to gate;
analyze;
