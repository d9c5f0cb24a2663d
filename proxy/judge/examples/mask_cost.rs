//! What masking and searching cost for each row: `cargo run -p judge --example mask_cost`.
//!
//! Rows as the table `people` of the load tests has them, ten columns of about 140 bytes. Four plans: none, searching
//! alone, two columns hidden, and both. Prints nanoseconds a row and seconds a gigabyte of wire bytes.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a tool"
)]

use judge::{
    mask::{self, Column, Plan},
    policy::{Cache, Context, Judgement, Masking, Names, Rules, Subject, decide},
    sql::{ColumnId, Facts},
};
use std::{collections::BTreeSet, hint::black_box, time::Instant};

/// One table of ten columns.
struct People;

const NAMES: [(&str, u32); 10] = [
    ("id", 23),
    ("first_name", 25),
    ("last_name", 25),
    ("email", 25),
    ("card_number", 25),
    ("address", 25),
    ("created_at", 1184),
    ("balance", 1700),
    ("token", 2950),
    ("note", 25),
];

const TABLE: u32 = 20_000;

fn id(attribute: usize) -> ColumnId {
    ColumnId { relation: TABLE, attribute: i16::try_from(attribute).unwrap() }
}

impl Names for People {
    fn column(&self, _: &str, table: &str, column: &str) -> Option<ColumnId> {
        NAMES.iter().position(|(name, _)| table == "people" && *name == column).map(|n| id(n + 1))
    }
    fn origins(&self, column: ColumnId) -> BTreeSet<ColumnId> {
        [column].into()
    }
    fn relatives(&self, _: ColumnId) -> BTreeSet<ColumnId> {
        BTreeSet::new()
    }
    fn is_opaque(&self, _: ColumnId) -> bool {
        false
    }
    fn columns(&self) -> Vec<(ColumnId, String)> {
        NAMES.iter().enumerate().map(|(n, (name, _))| (id(n + 1), format!("public.people.{name}"))).collect()
    }
}

fn rows(count: u64) -> Vec<Vec<u8>> {
    let one = |n: u64| {
        let digest = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let fields = [
            Some(n.to_string()),
            Some("Chidi".to_owned()),
            Some(format!("{digest:016x}")[..6].to_owned()),
            Some(format!("{:08x}@mail.example", digest & 0xffff_ffff)),
            Some(format!("4{:015}", digest % 1_000_000_000_000_000)),
            Some(format!("{} Main St", n % 99_999)),
            Some("2026-05-06 07:08:09.123456+00".to_owned()),
            Some(format!("{}.{:02}", n % 10_000, n % 100)),
            Some("6f1e4c1a-58cc-4372-a567-0e02b2c3d479".to_owned()),
            (!n.is_multiple_of(3)).then(|| format!("note {digest:016x}{:016x}", digest.rotate_left(17))),
        ];
        let mut row = 10u16.to_be_bytes().to_vec();
        for field in fields {
            row.extend(field.as_ref().map_or(-1, |f| i32::try_from(f.len()).unwrap()).to_be_bytes());
            row.extend(field.unwrap_or_default().into_bytes());
        }
        row
    };
    (0..count).map(one).collect()
}

fn plan(hidden: &[&str], detectors: bool) -> (Plan, Judgement) {
    let mut rules = Rules::default();
    rules.masking = vec![Masking {
        columns: hidden.iter().map(|name| format!("public.people.{name}")).collect(),
        label: None,
        method: mask::Method::Redact,
        unmask_groups: Vec::new(),
    }];
    rules.detectors.on = Some(if detectors { mask::detect::USUAL.to_vec() } else { Vec::new() });
    let bound = rules.bind(&People);
    let judgement =
        decide(&Facts::default(), &bound, &Subject::of_groups(&[]), &Context::default(), &mut Cache::default());
    let columns: Vec<Column> = NAMES
        .iter()
        .enumerate()
        .map(|(n, (name, type_id))| Column {
            name: (*name).to_owned(),
            relation: TABLE,
            attribute: i16::try_from(n + 1).unwrap(),
            type_id: *type_id,
            modifier: -1,
            format: 0,
        })
        .collect();
    (mask::plan(&judgement, &bound, &columns).unwrap(), judgement)
}

fn main() {
    let rows = rows(20_000);
    let bytes: usize = rows.iter().map(|row| row.len() + 5).sum();
    println!("{} bytes a row", bytes / rows.len());
    for (what, hidden, detectors) in [
        ("copied only", &[][..], false),
        ("searched", &[], true),
        ("two columns hidden", &["email", "card_number"], false),
        ("two hidden, the others searched", &["email", "card_number"], true),
    ] {
        let (plan, _) = plan(hidden, detectors);
        let mut out = Vec::with_capacity(64 << 10);
        let mut best = f64::MAX;
        for _ in 0..15 {
            let start = Instant::now();
            for row in &rows {
                if out.len() > 60_000 {
                    out.clear();
                }
                mask::row(&plan, black_box(row), &mut out).unwrap();
            }
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{what}: {:.0} ns a row, {:.2} s a GB", best * 1e9 / rows.len() as f64, best * 1e9 / bytes as f64);
    }
}
