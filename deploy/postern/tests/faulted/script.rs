//! What the clients send: every statement bears an id of its own, in its text or as its first bound value.

use super::lines::{BOUND, MARK};
use crate::wire::{bind, execute, parse, query, sync};
use fastrand::Rng as Random;
use std::ops::Range;

/// The statement that every connection prepares.
pub const PREPARED: &str = "insert_bound";

/// Its text: see [`super::lines::BOUND`].
pub const INSERT_BOUND: &str = "insert /* ledger bound */ into ledger values ($1, $2, 'bound')";

/// The id of a row that is there from the beginning: whoever inserts it again fails.
pub const TAKEN: &str = "-1";

/// A statement as it is sent.
#[derive(Debug)]
pub struct Statement {
    pub id: u64,
    /// It inserts a row of its id.
    pub inserts: bool,
    text: String,
}

/// A simple message, or a window of the extended protocol with its Sync: what one ReadyForQuery answers.
#[derive(Debug)]
pub struct Unit {
    /// It is a simple message.
    pub simple: bool,
    pub bytes: Vec<u8>,
    pub statements: Vec<Statement>,
}

impl Unit {
    pub fn new(simple: bool, statements: Vec<Statement>) -> Self {
        if simple {
            let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
            return Self { simple, bytes: query(&texts.join("; ")), statements };
        }
        let mut bytes = Vec::new();
        for statement in &statements {
            let frames = [parse("", &statement.text), bind("", "", false, &[], false), execute("", 0)];
            bytes.extend(frames.concat());
        }
        bytes.extend(sync());
        Self { simple, bytes, statements }
    }

    /// A window that runs what the connection prepared, once for each id.
    fn bound(ids: impl Iterator<Item = u64>, client: u64) -> Self {
        debug_assert!(INSERT_BOUND.contains(&format!("{MARK}{BOUND} */")));
        let mut bytes = Vec::new();
        let mut statements = Vec::new();
        for id in ids {
            let values = [id.to_string(), client.to_string()];
            let values = values.each_ref().map(|value| Some(value.as_bytes()));
            bytes.extend([bind("", PREPARED, false, &values, false), execute("", 0)].concat());
            statements.push(Statement { id, inserts: true, text: String::new() });
        }
        bytes.extend(sync());
        Self { simple: false, bytes, statements }
    }
}

/// Units that are sent together, or each after the answer to the one before.
#[derive(Debug)]
pub struct Batch {
    pub units: Vec<Unit>,
    pub stepwise: bool,
}

/// The next batch of a client.
pub fn batch(ids: &mut Range<u64>, random: &mut Random, client: u64) -> Batch {
    let mut maker = Maker { ids, client };
    let simple = random.u64(..2) == 0;
    let some = random.u64(2..=12);
    let units = match random.u64(..20) {
        0..=2 => vec![Unit::new(simple, vec![maker.insert()])],
        3 => vec![Unit::new(simple, vec![maker.select()])],
        4 => (0..some).map(|_| Unit::new(random.u64(..2) == 0, vec![maker.any(random)])).collect(),
        5 => vec![Unit::new(false, (0..some).map(|_| maker.any(random)).collect())],
        6 | 7 => vec![maker.bound(some)],
        8 | 9 => (0..some).map(|_| maker.bound(1 + some % 3)).collect(),
        10 => vec![Unit::new(true, (0..some).map(|_| maker.harmless(random)).collect())],
        11 => vec![Unit::new(simple, vec![maker.fails()])],
        12 => vec![Unit::new(simple, vec![maker.denied(random)])],
        13 => vec![Unit::new(simple, vec![maker.insert(), maker.fails(), maker.insert()])],
        14..=18 => maker.transaction(random),
        _ => maker.large(random),
    };
    Batch { units, stepwise: random.u64(..2) == 0 }
}

struct Maker<'a> {
    ids: &'a mut Range<u64>,
    client: u64,
}

impl Maker<'_> {
    /// A statement with the mark where the text says `{}`.
    fn make(&mut self, text: &str) -> Statement {
        let id = self.ids.next().expect("fewer statements than ids");
        Statement { id, inserts: false, text: text.replacen("{}", &format!("{MARK}{id} */"), 1) }
    }

    fn insert(&mut self) -> Statement {
        self.insert_note("plain")
    }

    fn insert_note(&mut self, note: &str) -> Statement {
        let (id, client) = (self.ids.start, self.client);
        Statement { inserts: true, ..self.make(&format!("insert {{}} into ledger values ({id}, {client}, '{note}')")) }
    }

    fn select(&mut self) -> Statement {
        let before = self.ids.start.saturating_sub(1);
        self.make(&format!("select {{}} id, client, note from ledger where id = {before}"))
    }

    fn fails(&mut self) -> Statement {
        self.make(&format!("insert {{}} into ledger values ({TAKEN}, 0, 'taken')"))
    }

    /// The gate's guardrails refuse these.
    fn denied(&mut self, random: &mut Random) -> Statement {
        let texts = ["drop {} table ledger", "delete {} from ledger", "truncate {} ledger"];
        self.make(texts[random.usize(..texts.len())])
    }

    fn harmless(&mut self, random: &mut Random) -> Statement {
        match random.u64(..3) {
            0 => self.select(),
            1 => {
                let before = self.ids.start.saturating_sub(random.u64(1..=20));
                self.make(&format!("update {{}} ledger set note = 'changed' where id = {before}"))
            }
            _ => self.insert(),
        }
    }

    fn any(&mut self, random: &mut Random) -> Statement {
        match random.u64(..12) {
            0 => self.fails(),
            1 => self.denied(random),
            _ => self.harmless(random),
        }
    }

    fn bound(&mut self, count: u64) -> Unit {
        let client = self.client;
        Unit::bound(self.ids.by_ref().take(usize::try_from(count).unwrap()), client)
    }

    /// From BEGIN to its end; some fail inside, and then everything up to the end does.
    fn transaction(&mut self, random: &mut Random) -> Vec<Unit> {
        let one = |statement: Statement, random: &mut Random| Unit::new(random.u64(..2) == 0, vec![statement]);
        let mut units = vec![one(self.make("begin {} transaction"), random)];
        for _ in 0..random.u64(1..=6) {
            units.push(match random.u64(..4) {
                0 => self.bound(2),
                _ => one(self.any(random), random),
            });
        }
        let end = if random.u64(..4) == 0 { "rollback {} work" } else { "commit {} work" };
        units.push(one(self.make(end), random));
        units
    }

    /// Statements and answers larger than what the gate reads at once.
    fn large(&mut self, random: &mut Random) -> Vec<Unit> {
        let note = "n".repeat(usize::try_from(random.u64(70_000..=200_000)).unwrap());
        match random.u64(..3) {
            0 => vec![Unit::new(random.u64(..2) == 0, vec![self.insert_note(&note)])],
            1 => {
                let (id, client) = (self.ids.start, self.client);
                let text = format!("insert {{}} into ledger values ({id}, {client}, $1)");
                let statement = Statement { inserts: true, ..self.make(&text) };
                let values = [Some(note.as_bytes())];
                let frames = [parse("", &statement.text), bind("", "", false, &values, false), execute("", 0), sync()];
                vec![Unit { simple: false, bytes: frames.concat(), statements: vec![statement] }]
            }
            _ => {
                let text = "select {} g, g * 2 from generate_series(1, 20000) g";
                vec![Unit::new(random.u64(..2) == 0, vec![self.make(text)])]
            }
        }
    }
}
