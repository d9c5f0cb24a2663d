//! Statements: words of known ones, changed, exchanged and put into each other.

use crate::{random::Random, rows};
use judge::{
    mask,
    policy::{self, Bound, Masking, Rules},
    sql::{self, Catalog, Context, Limits},
};

/// Texts in which another stands at `@`.
const SHAPES: [&str; 22] = [
    "(@)",
    "SELECT (@)",
    "SELECT * FROM (@) AS s",
    "WITH w AS (@) SELECT * FROM w",
    "WITH RECURSIVE w AS (@) SELECT * FROM w, w x",
    "SELECT EXISTS (@)",
    "SELECT ARRAY(@)",
    "(@) UNION ALL (@)",
    "(@) EXCEPT (@) ORDER BY 1",
    "INSERT INTO scratch(v) @",
    "CREATE TABLE t AS @",
    "CREATE VIEW v AS @",
    "PREPARE p AS @",
    "DECLARE c CURSOR FOR @",
    "COPY (@) TO STDOUT",
    "EXPLAIN ANALYZE @",
    "SELECT s.* FROM customers c, LATERAL (@) s",
    "SELECT CASE WHEN EXISTS (@) THEN 1 END",
    "UPDATE customers SET name = (@) WHERE id IN (@) RETURNING *",
    "MERGE INTO scratch USING (@) s ON true WHEN MATCHED THEN DELETE",
    "@; @",
    "DO $x$ BEGIN @; END $x$",
];

/// Words that are put in.
const WORDS: [&str; 52] = [
    "customers",
    "card_number",
    "ssn",
    "c",
    "*",
    "c.*",
    "(c).*",
    ".",
    ",",
    "(",
    ")",
    "[",
    "]",
    "::text",
    "||",
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "UNION",
    "JOIN",
    "USING (id)",
    "NATURAL JOIN",
    "LATERAL",
    "ROWS FROM (",
    "OVER ()",
    "FILTER (WHERE true)",
    "WITHIN GROUP (ORDER BY 1)",
    "COLLATE \"C\"",
    "NULL",
    "$1",
    "'x'",
    "E'\\''",
    "$$",
    "--",
    "/*",
    "*/",
    "U&\"a\"",
    ";",
    "ON CONFLICT DO NOTHING",
    "RETURNING *",
    "FOR UPDATE",
    "LIMIT 1",
    "TABLESAMPLE SYSTEM (1)",
    "ONLY",
    "VALUES (1)",
    "DEFAULT",
    "hr.salaries",
    "v_pan2",
    "ROW(",
    "\u{e9}",
];

/// Longest text; longer ones are cut. The analysis' own limit is larger, so a few are let through.
const LONGEST: usize = 6000;

/// What statements are put to.
pub struct Subject {
    catalog: Catalog,
    bound: Bound,
    texts: Vec<Vec<String>>,
    /// Those of them that may stand inside of others.
    queries: Vec<Vec<String>>,
    path: [String; 1],
}

impl Subject {
    pub fn new(catalog: Catalog, texts: Vec<String>) -> Self {
        let columns = ["card_number", "ssn", "email"].map(|name| format!("public.customers.{name}")).to_vec();
        let masking = Masking { columns, label: None, method: mask::Method::Last4, unmask_groups: Vec::new() };
        let closed = vec!["hr.*".to_owned()];
        let mut rules = Rules::default();
        rules.connect_groups = vec!["agents".to_owned()];
        rules.masking = vec![masking];
        rules.closed = closed;
        let bound = rules.bind(&catalog);
        let texts: Vec<Vec<String>> = texts.iter().map(|text| words(text)).filter(|words| !words.is_empty()).collect();
        let begins = |words: &&Vec<String>| {
            let first = words.first().map(|word| word.to_ascii_lowercase());
            first.is_some_and(|first| ["select", "with", "values", "table"].contains(&first.as_str()))
        };
        let queries = texts.iter().filter(begins).cloned().collect();
        Self { catalog, bound, texts, queries, path: ["public".to_owned()] }
    }

    /// A text that is mostly SQL.
    pub fn statement(&self, random: &mut Random) -> String {
        let nested = random.below(4);
        let mut text = self.mutated(if nested > 0 { &self.queries } else { &self.texts }, random);
        for _ in 0..nested {
            let shape = random.pick(&SHAPES).copied().unwrap_or("@");
            let mut parts = shape.split('@').map(str::to_owned);
            let mut made = parts.next().unwrap_or_default();
            for part in parts {
                let inner = if random.one_in(3) { self.mutated(&self.queries, random) } else { text.clone() };
                made.push_str(inner.trim_end_matches([';', ' ', '\n']));
                made.push_str(&part);
            }
            text = made;
        }
        if random.one_in(400) {
            text = deep(random, &text);
        }
        let limit = if random.one_in(500) { 400_000 } else { LONGEST };
        text.chars().take(limit).collect()
    }

    fn mutated(&self, from: &[Vec<String>], random: &mut Random) -> String {
        let mut words = random.pick(from).cloned().unwrap_or_default();
        let changes = if random.one_in(2) { 0 } else { random.below(3) + 1 };
        for _ in 0..changes {
            let place = random.below(words.len().max(1));
            match random.below(7) {
                0 if !words.is_empty() => drop(words.remove(place)),
                1 => words.insert(place, random.pick(&WORDS).copied().unwrap_or_default().to_owned()),
                2 => {
                    let other = random.below(words.len().max(1));
                    if place < words.len() && other < words.len() {
                        words.swap(place, other);
                    }
                }
                3 => {
                    let donor = random.pick(&self.texts).cloned().unwrap_or_default();
                    let from = random.below(donor.len().max(1));
                    let taken: Vec<String> = donor.into_iter().skip(from).take(random.below(8) + 1).collect();
                    words.splice(place..place, taken);
                }
                4 => {
                    let run: Vec<String> = words.iter().skip(place).take(random.below(5) + 1).cloned().collect();
                    words.splice(place..place, run);
                }
                _ => {
                    if let Some(word) = words.get_mut(place) {
                        random.pick(&WORDS).copied().unwrap_or_default().clone_into(word);
                    }
                }
            }
        }
        words.concat()
    }

    /// Facts, judgement, and the masking of a row; whether the text was understood.
    ///
    /// # Errors
    /// What must not be.
    pub fn check(&self, text: &str, random: &mut Random) -> Result<bool, String> {
        let limits = Limits::default();
        let context = Context { catalog: &self.catalog, search_path: &self.path, limits, tripwire: true };
        let Ok(all) = sql::analyze(text, &context) else { return Ok(false) };
        for facts in &all {
            if text.get(facts.text.clone()).is_none() {
                return Err(format!("a statement is said to be at {:?}", facts.text));
            }
            let (subject, now) = (policy::Subject::of_groups(&["agents"]), policy::Context::default());
            let judgement = policy::decide(facts, &self.bound, &subject, &now, &mut policy::Cache::default());
            // system columns such as tableoid tell nothing that is protected
            let reads = facts.columns.iter().any(|used| used.column.attribute > 0);
            if reads && judgement.columns.is_empty() {
                return Err("the facts' columns are not in the judgement".to_owned());
            }
            rows::check(&judgement, facts, &self.bound, random)?;
        }
        Ok(true)
    }
}

/// Words, numbers, strings, blanks and single characters.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut kind = ' ';
    let mut quoted = false;
    for character in text.chars() {
        let this = match character {
            _ if quoted => '\'',
            '\'' => '\'',
            c if c.is_alphanumeric() || c == '_' => 'a',
            c if c.is_whitespace() => 's',
            _ => '.',
        };
        match words.last_mut() {
            Some(last) if this == kind && this != '.' => last.push(character),
            _ => words.push(character.to_string()),
        }
        if character == '\'' {
            quoted = !quoted;
        }
        kind = this;
    }
    words
}

/// Something deep or long.
fn deep(random: &mut Random, text: &str) -> String {
    let times = random.below(30_000);
    match random.below(6) {
        0 => format!("SELECT {}1{}", "(".repeat(times), ")".repeat(times)),
        1 => format!("SELECT 1{}", "+1".repeat(times)),
        2 => format!("SELECT {}ssn FROM customers", "NOT ".repeat(times)),
        3 => format!("{}{text}{}", "SELECT * FROM (".repeat(times.min(3000)), ") s".repeat(times.min(3000))),
        4 => format!("{text}{}", " UNION SELECT 1".repeat(times.min(4000))),
        _ => format!("{}{text}{}", "/*".repeat(times), "*/".repeat(times)),
    }
}
