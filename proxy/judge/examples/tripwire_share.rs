//! What share of statements the tripwire flags: `cargo run -p judge --example tripwire_share -- FILE...`.
//!
//! Reads scripts of SQL, such as those of PostgreSQL's regression tests, or corpora of one JSON object a line with the
//! statements under `sql`. Prints each statement that PostgreSQL's grammar accepts and that is flagged, and the counts.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, reason = "a tool")]

use judge::sql::{self, Catalog, Context, Limits};

fn main() {
    let catalog = Catalog::empty();
    let path = ["public".to_owned()];
    let context = Context { catalog: &catalog, search_path: &path, limits: Limits::default(), tripwire: true };
    let (mut understood, mut flagged) = (0usize, 0usize);
    for file in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&file).unwrap();
        for statement in statements(&file, &text) {
            let Ok(all) = sql::analyze(&statement, &context) else { continue };
            understood += 1;
            if all.iter().any(|facts| facts.flags.iter().any(|flag| flag.starts_with("tripwire"))) {
                flagged += 1;
                println!("{file}: {}", statement.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }
    println!("{flagged} of {understood} flagged");
}

fn statements(file: &str, text: &str) -> Vec<String> {
    if file.ends_with(".jsonl") {
        let cases = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        return cases.filter_map(|case| case["sql"].as_str().map(str::to_owned)).collect();
    }
    let clean: Vec<&str> = text.lines().filter(|line| !line.starts_with(['\\', '-'])).collect();
    clean.join("\n").split(";\n").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
}
