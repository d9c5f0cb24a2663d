//! A server that answers frames as PostgreSQL does, as far as the client's statements need it: names of statements and
//! portals, transactions, COPY, errors that skip a window.

use super::{CARD, UNASKED};
use crate::random::Random;
use proxy::frames::{self, Fields, HEAD};
use std::collections::{HashMap, VecDeque};

/// What a statement comes to.
enum Shape {
    /// Rows with these columns; true: the protected one.
    Rows(Vec<bool>),
    CopyOut,
    CopyIn,
    Empty,
    Fails,
    Done,
}

/// The plan that an EXPLAIN of the gate's own may get.
const PLANS: [&str; 3] = [
    r#"[{"Plan": {"Node Type": "Seq Scan", "Startup Cost": 0.0, "Total Cost": 10.0, "Plan Rows": 5, "Plan Width": 8}}]"#,
    r#"[{"Plan": {"Node Type": "Seq Scan", "Startup Cost": 0.0, "Total Cost": 1e9, "Plan Rows": 100000, "Plan Width": 8}}]"#,
    "no plan",
];

/// A COPY FROM STDIN that is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CopyIn {
    No,
    Simple,
    Extended,
}

/// The server of one session.
pub struct Server {
    incoming: Vec<u8>,
    got: usize,
    queue: VecDeque<Vec<u8>>,
    out: Vec<u8>,
    prepared: HashMap<String, String>,
    portals: HashMap<String, (String, bool)>,
    /// Declared WITH HOLD, in the transaction that is open.
    declared: bool,
    status: u8,
    savepoint: bool,
    skipping: bool,
    copy_in: CopyIn,
    spoiled: bool,
    ended: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            incoming: Vec::new(),
            got: 0,
            queue: VecDeque::new(),
            out: Vec::new(),
            prepared: HashMap::new(),
            portals: HashMap::new(),
            declared: false,
            status: b'I',
            savepoint: false,
            skipping: false,
            copy_in: CopyIn::No,
            spoiled: false,
            ended: false,
        }
    }
}

impl Server {
    /// Bytes came.
    pub fn got(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
        self.got += bytes.len();
    }

    pub fn bytes_got(&self) -> usize {
        self.got
    }

    /// The next whole frame of what came.
    pub fn next_frame(&mut self) -> Option<Vec<u8>> {
        let head = frames::head(&self.incoming).ok()??;
        (head.total <= self.incoming.len()).then(|| self.incoming.drain(..head.total).collect())
    }

    /// A frame is to be answered.
    pub fn reads(&mut self, frame: &[u8]) {
        self.queue.push_back(frame.to_vec());
    }

    /// Its answers were damaged, or something stood between them: what belongs to what is not known any more.
    pub fn spoil(&mut self) {
        self.spoiled = true;
    }

    pub fn spoiled(&self) -> bool {
        self.spoiled
    }

    pub fn has_answers(&self) -> bool {
        !self.out.is_empty() || !self.queue.is_empty()
    }

    /// The next of its answers, at most so many bytes.
    pub fn answer(&mut self, most: usize, random: &mut Random) -> Vec<u8> {
        while self.out.len() < most {
            let Some(frame) = self.queue.pop_front() else { break };
            self.one(&frame, random);
        }
        self.out.drain(..most.min(self.out.len())).collect()
    }

    /// What is answered so far, and some more messages: it ends between two answers.
    pub fn boundary(&mut self, random: &mut Random) -> Vec<u8> {
        for _ in 0..random.below(self.queue.len() + 1) {
            if let Some(frame) = self.queue.pop_front() {
                self.one(&frame, random);
            }
        }
        std::mem::take(&mut self.out)
    }

    /// At a boundary: a statement may send rows now.
    pub fn runs(&self) -> bool {
        let mut rest = self.queue.iter().filter(|frame| {
            let kind = frame.first().copied().unwrap_or_default();
            kind == b'S' || (!self.skipping && !matches!(kind, b'H' | b'd' | b'c' | b'f'))
        });
        self.copy_in != CopyIn::No
            || rest.next().is_some_and(|frame| {
                let refused = super::contains(frame, b"postern refused");
                matches!(frame.first(), Some(b'E' | b'Q')) && !refused
            })
    }

    fn one(&mut self, frame: &[u8], random: &mut Random) {
        let (kind, body) = (frame.first().copied().unwrap_or_default(), frame.get(HEAD..).unwrap_or_default());
        if self.ended {
            return;
        }
        if self.copy_in != CopyIn::No {
            return self.copied(kind);
        }
        if self.skipping && !matches!(kind, b'S' | b'X') {
            return;
        }
        let mut fields = Fields::of(kind, body);
        match kind {
            b'Q' => self.query(&word(&mut fields), random),
            b'P' => {
                let name = word(&mut fields);
                let text = word(&mut fields);
                self.parse(name, text, random);
            }
            b'B' => {
                let (portal, statement) = (word(&mut fields), word(&mut fields));
                self.bind(portal, &statement, body.ends_with(&[0, 1, 0, 1]), random);
            }
            b'D' => self.describe(body, random),
            b'E' => {
                let portal = word(&mut fields);
                self.execute(&portal, fields.rest().ends_with(&[1]), random);
            }
            b'C' => {
                let name = body.get(1..body.len().saturating_sub(1)).unwrap_or_default();
                let name = String::from_utf8_lossy(name).into_owned();
                match body.first() {
                    Some(b'S') => drop(self.prepared.remove(&name)),
                    _ => drop(self.portals.remove(&name)),
                }
                self.put(b'3', &[]);
            }
            b'S' => {
                self.skipping = false;
                self.ends_window();
                self.put(b'Z', &[self.status]);
            }
            b'X' => self.ended = true,
            _ => {}
        }
    }

    /// A message while a COPY FROM STDIN is under way.
    fn copied(&mut self, kind: u8) {
        let simple = self.copy_in == CopyIn::Simple;
        match kind {
            b'd' | b'H' | b'S' => return,
            b'c' => self.put(b'C', b"COPY 1\0"),
            b'X' => self.ended = true,
            _ => self.fail("57014", "COPY from stdin failed", !simple),
        }
        self.copy_in = CopyIn::No;
        if simple {
            self.put(b'Z', &[self.status]);
        }
    }

    fn put(&mut self, kind: u8, body: &[u8]) {
        frames::put(&mut self.out, kind, body);
    }

    fn fail(&mut self, sqlstate: &str, text: &str, extended: bool) {
        self.put(b'E', format!("SERROR\0VERROR\0C{sqlstate}\0M{text}\0\0").as_bytes());
        self.skipping = extended;
        if self.status == b'T' {
            self.status = b'E';
        }
    }

    fn ends_window(&mut self) {
        if self.status == b'I' {
            self.portals.retain(|name, (_, held)| *held && !name.is_empty());
        }
    }

    fn query(&mut self, text: &str, random: &mut Random) {
        self.prepared.remove("");
        self.portals.remove("");
        let several: Vec<&str> = text.split(';').map(str::trim).filter(|text| !text.is_empty()).collect();
        if several.is_empty() {
            self.put(b'I', &[]);
        }
        for text in several {
            if !self.run(text, None, random) || self.copy_in != CopyIn::No {
                break;
            }
        }
        if self.copy_in == CopyIn::No {
            self.ends_window();
            self.put(b'Z', &[self.status]);
        }
    }

    fn parse(&mut self, name: String, text: String, random: &mut Random) {
        if name.is_empty() {
            self.prepared.remove("");
        }
        let several = text.split(';').filter(|text| !text.trim().is_empty()).count() > 1;
        let wrong = super::contains(text.as_bytes(), b"postern refused") || several;
        if wrong || self.prepared.contains_key(&name) || random.one_in(30) {
            return self.fail("42601", "cannot be parsed", true);
        }
        self.prepared.insert(name, text);
        self.put(b'1', &[]);
    }

    fn bind(&mut self, portal: String, statement: &str, binary: bool, random: &mut Random) {
        let text = self.prepared.get(statement).cloned();
        let taken = !portal.is_empty() && self.portals.contains_key(&portal);
        if portal.is_empty() {
            self.portals.remove("");
        }
        match text {
            Some(text) if !taken && !random.one_in(30) => {
                let _ = binary; // values are texts, which are the same in both formats
                self.portals.insert(portal, (text, false));
                self.put(b'2', &[]);
            }
            _ => self.fail("26000", "no such statement", true),
        }
    }

    fn describe(&mut self, body: &[u8], random: &mut Random) {
        let name = body.get(1..body.len().saturating_sub(1)).unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let statement = body.first() == Some(&b'S');
        let text = if statement {
            self.prepared.get(&name).cloned()
        } else {
            self.portals.get(&name).map(|(text, _)| text.clone())
        };
        let Some(text) = text else { return self.fail("34000", "nothing of that name", true) };
        if statement {
            self.put(b't', &[0, 0]);
        }
        match self.shape(&text) {
            Shape::Rows(columns) => self.describes(&columns, random),
            _ => self.put(b'n', &[]),
        }
    }

    fn execute(&mut self, portal: &str, limited: bool, random: &mut Random) {
        match self.portals.get(portal).cloned() {
            Some((text, _)) => drop(self.run(text.trim(), Some(limited), random)),
            None => self.fail("34000", "no such portal", true),
        }
    }

    /// Runs one statement; `extended` says whether a limit of one row was asked for. False: it failed.
    fn run(&mut self, text: &str, extended: Option<bool>, random: &mut Random) -> bool {
        let aborts = matches!(text, "rollback" | "commit" | "rollback to a" | "ROLLBACK" | "COMMIT");
        if self.status == b'E' && !aborts {
            self.fail("25P02", "the transaction is aborted", extended.is_some());
            return false;
        }
        let shape = self.shape(text);
        if matches!(shape, Shape::Fails) || random.one_in(14) {
            // an error of what reads the protected column may quote it
            let protected = matches!(&shape, Shape::Rows(columns) if columns.contains(&true));
            let quoted = if protected || matches!(shape, Shape::CopyOut) { CARD } else { "it does not work" };
            self.fail("22P02", quoted, extended.is_some());
            return false;
        }
        match shape {
            Shape::Rows(columns) => self.sends(text, &columns, extended, random),
            Shape::CopyOut => {
                self.put(b'H', &[0, 0, 2, 0, 0, 0, 0]);
                let comma = if text.contains("csv") { ',' } else { '\t' };
                for number in 0..random.below(3) {
                    self.put(b'd', format!("{number}{comma}{CARD}\n").as_bytes());
                }
                self.put(b'c', &[]);
                self.put(b'C', b"COPY 2\0");
            }
            Shape::CopyIn => {
                self.put(b'G', &[0, 0, 2, 0, 0, 0, 0]);
                self.copy_in = if extended.is_some() { CopyIn::Extended } else { CopyIn::Simple };
            }
            Shape::Empty => self.put(b'I', &[]),
            Shape::Fails | Shape::Done => {
                self.changes(text);
                let tag = text.split(' ').next().unwrap_or_default().to_uppercase();
                let tag = if matches!(tag.as_str(), "INSERT") { "INSERT 0 1".to_owned() } else { tag };
                self.put(b'C', format!("{tag}\0").as_bytes());
            }
        }
        true
    }

    /// Rows, and the end of the statement or of what was asked for.
    fn sends(&mut self, text: &str, columns: &[bool], extended: Option<bool>, random: &mut Random) {
        if extended.is_none() {
            self.describes(columns, random);
        }
        let explains = text.starts_with("EXPLAIN");
        for number in 0..if explains { 1 } else { random.below(4) } {
            let mut row = u16::try_from(columns.len()).unwrap_or(0).to_be_bytes().to_vec();
            for protected in columns {
                let number = number.to_string();
                let plan = random.pick(&PLANS).copied().unwrap_or_default();
                let value = if explains {
                    plan
                } else if *protected {
                    CARD
                } else {
                    &number
                };
                row.extend(u32::try_from(value.len()).unwrap_or(0).to_be_bytes());
                row.extend(value.as_bytes());
            }
            self.put(b'D', &row);
        }
        if columns.contains(&true) && random.one_in(5) {
            self.put(b'N', format!("SNOTICE\0VNOTICE\0C00000\0M{CARD}\0\0").as_bytes());
        }
        match extended {
            Some(true) => self.put(b's', &[]),
            _ => self.put(b'C', b"SELECT 3\0"),
        }
    }

    fn describes(&mut self, columns: &[bool], random: &mut Random) {
        let mut body = u16::try_from(columns.len()).unwrap_or(0).to_be_bytes().to_vec();
        for _ in columns {
            body.extend_from_slice(b"column\0");
            // the origin that it states may say nothing
            body.extend_from_slice(&if random.one_in(2) { 0_u32 } else { 16_384 }.to_be_bytes());
            body.extend_from_slice(&[0, 0, 0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        }
        self.put(b'T', &body);
    }

    /// What a statement does to the session.
    fn changes(&mut self, text: &str) {
        match text {
            "begin" | "BEGIN" if self.status == b'I' => self.status = b'T',
            "commit" | "rollback" | "COMMIT" | "ROLLBACK" => {
                if self.status == b'E' || text.eq_ignore_ascii_case("rollback") {
                    self.portals.retain(|_, (_, held)| *held && !self.declared);
                }
                (self.status, self.savepoint, self.declared) = (b'I', false, false);
                self.ends_window();
            }
            "savepoint a" => self.savepoint = true,
            "rollback to a" => self.status = b'T',
            "deallocate p" => drop(self.prepared.remove("p")),
            "close c" => drop(self.portals.remove("c")),
            _ if text.starts_with("prepare p as ") => {
                self.prepared.insert("p".to_owned(), "select card_number from customers where id = $1".to_owned());
            }
            _ if text.starts_with("declare c ") => {
                self.portals.insert("c".to_owned(), ("select id, card_number from customers".to_owned(), true));
                self.declared = self.status == b'T';
            }
            _ => {}
        }
    }

    fn shape(&self, text: &str) -> Shape {
        match text {
            "" => Shape::Empty,
            "select 1" | "select id from customers" | "show search_path" => Shape::Rows(vec![false]),
            "delete from scratch where id = 1 returning id" => Shape::Rows(vec![false]),
            "select card_number from customers where id = $1" => Shape::Rows(vec![true]),
            "execute p" => match self.prepared.get("p") {
                Some(text) if !leads_on(text) => self.shape(text),
                _ => Shape::Fails,
            },
            "fetch all from c" => match self.portals.get("c").map(|(text, _)| text.as_str()) {
                Some(text) if !leads_on(text) => self.shape(text),
                _ => Shape::Fails,
            },
            "close c" if !self.portals.contains_key("c") => Shape::Fails,
            "deallocate p" if !self.prepared.contains_key("p") => Shape::Fails,
            "savepoint a" if self.status != b'T' => Shape::Fails,
            "rollback to a" if self.status == b'I' || !self.savepoint => Shape::Fails,
            _ if text.starts_with("copy scratch") => Shape::CopyIn,
            _ if text.starts_with("copy customers") => Shape::CopyOut,
            _ if text.contains("postern refused") => Shape::Fails,
            _ if text.starts_with("EXPLAIN") => Shape::Rows(vec![false]),
            _ if text.starts_with("prepare p") && self.prepared.contains_key("p") => Shape::Fails,
            _ if text.starts_with("declare c") && self.portals.contains_key("c") => Shape::Fails,
            _ if text.starts_with("select") && text.contains("card_number") => {
                // of a name that was damaged there is no table
                if names(text, "customers") { Shape::Rows(vec![false, true]) } else { Shape::Fails }
            }
            // the counters that a budget reads
            _ if text.to_ascii_lowercase().starts_with("select") => Shape::Rows(vec![false; 4]),
            _ => Shape::Done,
        }
    }
}

/// The name stands in the text as a word.
fn names(text: &str, name: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
}

/// It runs what another name stands for.
fn leads_on(text: &str) -> bool {
    matches!(text, "execute p" | "fetch all from c")
}

fn word(fields: &mut Fields<'_>) -> String {
    String::from_utf8_lossy(fields.text().unwrap_or_default()).into_owned()
}

/// A frame that nobody asked for, and whether it is a row.
pub fn unasked(random: &mut Random) -> (Vec<u8>, bool) {
    let value = UNASKED.as_bytes();
    let length = u32::try_from(value.len()).unwrap_or(0).to_be_bytes();
    let row = [&[0, 1], length.as_slice(), value].concat();
    let description = b"\0\x01name\0\0\0\x40\0\0\x01\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    let (kind, body): (u8, &[u8]) = match random.below(20) {
        0..=3 => (b'D', &row),
        4 | 5 => (b'd', value),
        6 => (b'T', description),
        7 => (b'C', b"SELECT 5\0"),
        8 => (b'E', b"SERROR\0VERROR\0C42501\0Mno\0\0"),
        9 => (b'N', b"SNOTICE\0VNOTICE\0C00000\0Mso\0\0"),
        10 => (b'Z', b"I"),
        11 => (b'S', b"TimeZone\0UTC\0"),
        12 => (b'A', b"\0\0\0\x01channel\0payload\0"),
        13 => (b'G', b"\0\0\x01\0\0"),
        14 => (b'H', b"\0\0\x01\0\0"),
        15 => (b'c', b""),
        16 => (b'n', b""),
        17 => (b's', b""),
        18 => (b'I', b""),
        _ => (random.pick(b"123tvVWKRz").copied().unwrap_or(b'1'), b""),
    };
    let mut frame = Vec::new();
    frames::put(&mut frame, kind, body);
    (frame, matches!(kind, b'D' | b'd'))
}

/// What only the answer to a message can be: errors, notices, settings and notifications may come at any time.
pub fn fits_nowhere(frame: &[u8]) -> bool {
    !matches!(frame.first(), Some(b'E' | b'N' | b'S' | b'A'))
}
