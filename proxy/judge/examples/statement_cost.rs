//! What a statement costs that was never seen before: `cargo run --release -p judge --example statement_cost`.
//!
//! Queries of about 400 bytes as SQLAlchemy and Django write them, with joins, under the billing agent's policies and masking
//! rules that ship. Each run has other aliases, so that neither the text nor its shape is known: the whole of parsing,
//! facts, policies and masking is paid. Prints the parts' medians in microseconds; what the kernel and the wire cost is in
//! `loadtest/bench/run`.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, reason = "a tool")]

use judge::{
    mask::Method,
    policy::{self, Cache, Judgement, Masking, Rules, Source, Subject, decide},
    sql::{self, Catalog, Context, Facts, Limits, shape::Shape},
};
use schemas::event::VerdictKind;
use std::{collections::BTreeMap, hint::black_box, time::Instant};

/// Texts of each kind.
const RUNS: usize = 5_000;

/// Tables of the billing agent, as `deploy/config/policies/billing.test.toml` has them, and more columns.
const TABLES: &[(&str, &[&str])] = &[
    ("public.customers", &["id", "name", "email", "card_number", "ssn", "region", "created_at"]),
    ("public.invoices", &["id", "customer_id", "total", "status", "due", "created_at"]),
    ("public.invoice_items", &["id", "invoice_id", "sku", "price", "quantity"]),
    ("public.payroll", &["id", "amount"]),
];

fn sqlalchemy(n: usize) -> String {
    format!(
        "SELECT invoices_{n}.id AS invoices_{n}_id, invoices_{n}.total AS invoices_{n}_total, invoices_{n}.status AS \
         invoices_{n}_status, customers_{n}.id AS customers_{n}_id, customers_{n}.name AS customers_{n}_name, \
         customers_{n}.email AS customers_{n}_email \nFROM invoices AS invoices_{n} JOIN customers AS customers_{n} ON \
         customers_{n}.id = invoices_{n}.customer_id \nWHERE invoices_{n}.status = 'open' AND invoices_{n}.id > {n} \n LIMIT 50"
    )
}

fn django(n: usize) -> String {
    format!(
        "SELECT \"invoices\".\"id\", \"invoices\".\"total\", \"invoices\".\"status\", \"T{n}\".\"name\", \"T{n}\".\"email\", \
         COUNT(\"invoice_items\".\"id\") AS \"items_{n}\" FROM \"invoices\" INNER JOIN \"customers\" \"T{n}\" ON \
         (\"invoices\".\"customer_id\" = \"T{n}\".\"id\") LEFT OUTER JOIN \"invoice_items\" ON (\"invoices\".\"id\" = \
         \"invoice_items\".\"invoice_id\") WHERE \"T{n}\".\"id\" = {n} GROUP BY \"invoices\".\"id\" LIMIT 21"
    )
}

/// A short one, for comparison.
fn short(n: usize) -> String {
    format!("SELECT id, total, status AS s_{n} FROM invoices WHERE id = {n}")
}

fn rules() -> Rules {
    let hidden = |column: &str, label: &str, method| Masking {
        columns: vec![format!("public.customers.{column}")],
        label: Some(label.to_owned()),
        method,
        unmask_groups: vec!["fraud".to_owned()],
    };
    let mut rules = Rules::default();
    rules.resource = "shop".to_owned();
    rules.masking = vec![
        hidden("card_number", "pan", Method::Last4),
        hidden("ssn", "ssn", Method::Redact),
        hidden("email", "email", Method::Redact),
    ];
    let shipped = [
        ("analyst.cedar", include_str!("../../../deploy/config/policies/analyst.cedar")),
        ("billing.cedar", include_str!("../../../deploy/config/policies/billing.cedar")),
        ("fraud.cedar", include_str!("../../../deploy/config/policies/fraud.cedar")),
        ("migration.cedar", include_str!("../../../deploy/config/policies/migration.cedar")),
    ];
    rules.policies = shipped.map(|(name, text)| Source { name: name.to_owned(), text: text.to_owned() }).into();
    rules
}

fn median(times: &mut [u128]) -> f64 {
    times.sort_unstable();
    f64::from(u32::try_from(times[times.len() / 2]).unwrap()) / 1000.0
}

fn main() {
    let tables = TABLES
        .iter()
        .map(|(table, columns)| ((*table).to_owned(), columns.iter().map(|column| (*column).to_owned()).collect()));
    let catalog = Catalog::of_tables(&tables.collect::<BTreeMap<_, _>>()).unwrap();
    let bound = rules().bind(&catalog);
    // the fraud team's policies read the time, too
    let subject = Subject::of_groups(if std::env::args().any(|word| word == "fraud") {
        &["fraud", "billing"]
    } else {
        &["billing"]
    });
    let path = ["public".to_owned()];
    let context = Context { catalog: &catalog, search_path: &path, limits: Limits::default(), tripwire: true };
    let untripped = Context { tripwire: false, ..context };
    // what a worker has answered before: the questions, not the texts
    let mut answers = Cache::default();
    let now = policy::Context::default();
    let judge = |facts: &[Facts], answers: &mut Cache| -> Vec<Judgement> {
        facts.iter().map(|facts| decide(facts, &bound, &subject, &now, answers)).collect()
    };
    for (what, write) in [("sqlalchemy", sqlalchemy as fn(usize) -> String), ("django", django), ("short", short)] {
        let (mut parts, mut bytes) = ([const { Vec::new() }; 5], 0);
        for n in 0..RUNS {
            let text = write(10_000 + n);
            bytes = text.len();
            let start = Instant::now();
            black_box(Shape::of(&text));
            parts[0].push(start.elapsed().as_nanos());
            let start = Instant::now();
            black_box(sql::analyze(&text, &untripped).unwrap());
            parts[1].push(start.elapsed().as_nanos());
            let start = Instant::now();
            let facts = sql::analyze(&text, &context).unwrap();
            parts[2].push(start.elapsed().as_nanos());
            let start = Instant::now();
            let judged = judge(&facts, &mut answers);
            parts[3].push(start.elapsed().as_nanos());
            assert!(judged.iter().all(|j| matches!(j.verdict, VerdictKind::Mask | VerdictKind::Allow)), "{judged:?}");
            if n < 100 {
                let start = Instant::now();
                black_box(judge(&facts, &mut Cache::default()));
                parts[4].push(start.elapsed().as_nanos());
            }
        }
        let [shape, plain, facts, judged, first] = parts.each_mut().map(|part| median(part));
        println!(
            "{what}, {bytes} bytes: shape {shape:.1} us, facts {plain:.1} us, decision {judged:.1} us: {:.1} us in all \
             (with the tripwire {:.1} us more; a worker's first decision {first:.1} us)",
            shape + plain + judged,
            facts - plain
        );
    }
}
