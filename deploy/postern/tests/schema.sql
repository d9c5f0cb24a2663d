-- A small shop, for tests.
CREATE SCHEMA hr;
CREATE TABLE customers (
  id int PRIMARY KEY, name text NOT NULL, email text NOT NULL UNIQUE, ssn text NOT NULL, card_number text NOT NULL UNIQUE,
  region text NOT NULL DEFAULT 'eu', balance numeric(12, 2) NOT NULL DEFAULT 0);
INSERT INTO customers(id, name, email, ssn, card_number, region, balance)
  SELECT g, 'Customer ' || g, 'person' || g || '@private.example', lpad((100 + g)::text, 3, '0') || '-45-' || lpad((6000 + g)::text, 4, '0'),
         '4929' || lpad((g * 7919)::text, 12, '3'), CASE g % 3 WHEN 0 THEN 'eu' WHEN 1 THEN 'us' ELSE 'apac' END, g
  FROM generate_series(1, 40) g;
CREATE TABLE payments (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers(id), amount numeric(12, 2) NOT NULL, memo text);
INSERT INTO payments SELECT g, g % 40 + 1, g * 1.25, 'invoice ' || g FROM generate_series(1, 400) g;
CREATE TABLE ledger (id bigint PRIMARY KEY, client int NOT NULL, note text);
CREATE TABLE hr.salaries (emp_id int PRIMARY KEY, full_name text, salary numeric(12, 2));
INSERT INTO hr.salaries VALUES (1, 'Hanna Hale', 987654.31);
CREATE VIEW v_cards AS SELECT id, card_number AS pan FROM customers;
