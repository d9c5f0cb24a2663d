//! Whole sessions: messages of a client, mostly right, in pieces, against a server that mostly answers as PostgreSQL
//! would, both sides of one gate without sockets.
//!
//! Whatever comes: no panic, no growth without bound, and
//! - every byte for the server is a frame that the client sent, in its order, and none of a statement that must be
//!   denied; or the gate's own, which names nothing of the client's (AUD-1);
//! - what may change something goes only behind a record (AUD-1);
//! - a row that comes while no statement awaits one does not reach the client, and a protected value never does (AUD-2,
//!   MSK-1);
//! - an answer that nobody asked for ends the session.

mod client;
mod server;

use crate::{random::Random, rows::damage};
use judge::{
    mask::Method,
    policy::{Masking, Rules},
    sql::catalog::Rows,
};
use proxy::{
    budget,
    conversation::{Conversation, Outbox},
    estimate,
    forward::Flow,
    frames::{self, Reader},
    testing::{self, Extras, Sessions},
    values::RecordedValues,
};
use server::Server;
use std::{collections::VecDeque, num::NonZeroU64};

/// A value of the protected column: the client never sees it.
const CARD: &str = "4929731608452298";

/// A value of rows that nobody asked for: the client never sees it either.
const UNASKED: &str = "nobody-asked-for-this";

/// Stands in every statement that must be denied: the server never sees it.
const FORBIDDEN: &str = "forbidden";

/// Sessions of one log; then it makes room.
const SESSIONS: u64 = 2_000;

/// Turns of one session; far more than its messages need.
const TURNS: usize = 4_000;

/// Bytes that a session may make of what it was given, in either direction, besides a multiple of that.
const MOST: usize = 1 << 20;

/// Makes sessions.
pub struct Subject {
    catalog: Vec<Rows>,
    open: Option<(tempfile::TempDir, [Sessions; 5])>,
    begun: u64,
}

impl Subject {
    /// For the schema of the corpus, as its server's catalog has it.
    pub fn new(catalog: Vec<Rows>) -> Self {
        Self { catalog, open: None, begun: 0 }
    }

    /// One session from its first message to its end; whether it lived to the end of its messages.
    ///
    /// # Errors
    /// What must not be.
    pub fn check(&mut self, random: &mut Random) -> Result<bool, String> {
        if self.begun.is_multiple_of(SESSIONS) {
            self.close();
        }
        self.begun += 1;
        if self.open.is_none() {
            self.open = Some(self.fresh()?);
        }
        let Some((_, sessions)) = &self.open else { return Err("no sessions can be had".to_owned()) };
        // most go without a budget and without estimates, and leave nothing out of the record
        let kind = random.below(10).saturating_sub(5);
        let sessions = sessions.get(kind).ok_or("no such sessions")?;
        let hostile = random.one_in(3);
        let asks = !matches!(kind, 0 | 3);
        Session::new(sessions.begin(), asks, hostile, random).run(random)
    }

    /// Ends the log that is open.
    pub fn close(&mut self) {
        if let Some((_folder, sessions)) = self.open.take() {
            sessions.into_iter().for_each(Sessions::close);
        }
    }

    fn fresh(&self) -> Result<(tempfile::TempDir, [Sessions; 5]), String> {
        let folder =
            tempfile::Builder::new().prefix("postern-fuzz-log").tempdir().map_err(|error| error.to_string())?;
        let budget = budget::Limits { rows_per_transaction: NonZeroU64::new(5), rows_per_session: None };
        let estimates = estimate::Settings {
            ask: estimate::Ask::Always,
            rows: NonZeroU64::new(1000),
            ..estimate::Settings::default()
        };
        let open = |name: &str, extras| {
            let folder = folder.path().join(name);
            std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
            Sessions::open(&folder, &self.catalog, rules(), extras).map_err(|error| error.to_string())
        };
        let sessions = [
            open("plain", Extras::default())?,
            open("budget", Extras { budget: Some(budget), ..Extras::default() })?,
            open("estimates", Extras { estimates, ..Extras::default() })?,
            open("unprotected", Extras { values: RecordedValues::Unprotected, ..Extras::default() })?,
            open("values", Extras { budget: Some(budget), values: RecordedValues::None, ..Extras::default() })?,
        ];
        Ok((folder, sessions))
    }
}

fn rules() -> Rules {
    let mut rules = Rules::default();
    rules.connect_groups = vec!["agents".to_owned()];
    rules.masking = vec![Masking {
        columns: vec!["public.customers.card_number".to_owned()],
        label: None,
        method: Method::Last4,
        unmask_groups: Vec::new(),
    }];
    rules
}

/// One session, with both its sides.
struct Session {
    conversation: Conversation,
    /// The gate asks the server on its own, beside the client's messages.
    asks: bool,
    hostile: bool,
    damaged: bool,
    /// The client's bytes that the gate has not got yet, and its frames that the server has not got yet.
    to_send: Vec<u8>,
    sent: VecDeque<Vec<u8>>,
    given: usize,
    client: Reader,
    from_server: Reader,
    to_server: Outbox,
    to_client: Outbox,
    server: Server,
    shown: Vec<u8>,
    gone: bool,
}

impl Session {
    fn new(conversation: Conversation, asks: bool, hostile: bool, random: &mut Random) -> Self {
        let frames = client::messages(random);
        let mut to_send = frames.concat();
        let damaged = hostile && random.one_in(3);
        if damaged {
            damage(&mut to_send, random);
        }
        Self {
            conversation,
            asks,
            hostile,
            damaged,
            to_send,
            sent: frames.into(),
            given: 0,
            client: Reader::default(),
            from_server: Reader::default(),
            to_server: Outbox::default(),
            to_client: Outbox::default(),
            server: Server::default(),
            shown: Vec::new(),
            gone: false,
        }
    }

    fn run(mut self, random: &mut Random) -> Result<bool, String> {
        for _ in 0..TURNS {
            let waits = self.conversation.client_waits();
            let may_send = !self.gone && !waits && (!self.to_send.is_empty() || !self.client.unread().is_empty());
            let may_answer = self.server.has_answers();
            let lived = match (may_send, may_answer) {
                (true, true) if random.one_in(2) => self.client_turn(random)?,
                (true, false) => self.client_turn(random)?,
                (_, true) => self.server_turn(random)?,
                (false, false) if self.hostile => return Ok(false), // one side waits for what the other kept back
                (false, false) => return self.at_the_end(waits),
            };
            if !lived {
                return Ok(false);
            }
        }
        if self.hostile { Ok(false) } else { Err("the session does not come to its end".to_owned()) }
    }

    /// Nobody has anything to say any more.
    fn at_the_end(&self, waits: bool) -> Result<bool, String> {
        if waits && !self.gone {
            return Err("the client waits, and the server owes nothing".to_owned());
        }
        Ok(true)
    }

    /// A piece of the client's bytes; false where the session ended.
    fn client_turn(&mut self, random: &mut Random) -> Result<bool, String> {
        let count = piece(self.to_send.len(), random);
        let bytes: Vec<u8> = self.to_send.drain(..count).collect();
        self.given += bytes.len();
        self.client.preload(&bytes);
        let mut refreshed = false;
        let lived = loop {
            match self.conversation.client(&mut self.client, &mut self.to_server) {
                Ok(Flow::RefreshCatalog) if refreshed => break false, // DDL worked, and nobody can read the catalog anew
                Ok(Flow::RefreshCatalog) => {
                    refreshed = true;
                    testing::refreshed(&mut self.conversation);
                }
                Ok(Flow::Terminate) => {
                    self.gone = true;
                    break true;
                }
                Ok(Flow::More | Flow::Wait) => break true,
                // what was to go to the server goes nowhere then
                Err(_end) => return Ok(false),
            }
        };
        self.take_for_server()?;
        Ok(lived)
    }

    /// A piece of the server's answers, or something that nobody asked for; false where the session ended.
    fn server_turn(&mut self, random: &mut Random) -> Result<bool, String> {
        if self.hostile && random.one_in(12) {
            return self.unasked_turn(random);
        }
        let mut bytes = self.server.answer(piece(usize::MAX, random), random);
        if self.hostile && random.one_in(40) {
            self.server.spoil();
            damage(&mut bytes, random);
        }
        self.feed(&bytes)
    }

    /// Something that nobody asked for, between two answers: then it is known what the gate waits for.
    fn unasked_turn(&mut self, random: &mut Random) -> Result<bool, String> {
        let rest = self.server.boundary(random);
        if !self.feed(&rest)? {
            return Ok(false);
        }
        let (bytes, row) = server::unasked(random);
        let known = !self.server.spoiled();
        let must_end = known && self.conversation.is_idle() && server::fits_nowhere(&bytes);
        let for_nobody = known && row && !self.server.runs();
        let before = self.shown.len();
        if server::fits_nowhere(&bytes) {
            self.server.spoil();
        }
        let lived = self.feed(&bytes)?;
        if for_nobody && contains(self.shown.get(before..).unwrap_or_default(), UNASKED.as_bytes()) {
            return Err("a row that no statement awaits reached the client".to_owned());
        }
        if must_end && lived {
            return Err(format!("an answer that nobody asked for was taken: {}", String::from_utf8_lossy(&bytes)));
        }
        Ok(lived)
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<bool, String> {
        self.from_server.preload(bytes);
        self.given += bytes.len();
        let lived = self.conversation.server(&mut self.from_server, &mut self.to_client).is_ok();
        testing::proceed(&mut self.conversation, &mut self.to_server);
        self.take_for_client()?;
        self.take_for_server()?;
        Ok(lived && self.conversation.ending().is_none())
    }

    fn take_for_client(&mut self) -> Result<(), String> {
        let bytes = std::mem::take(&mut self.to_client.bytes);
        self.shown.extend_from_slice(&bytes);
        if !self.server.spoiled() && contains(&self.shown, CARD.as_bytes()) {
            return Err("a protected value reached the client".to_owned());
        }
        self.bounded(self.shown.len(), "for the client")
    }

    fn take_for_server(&mut self) -> Result<(), String> {
        let bytes = std::mem::take(&mut self.to_server.bytes);
        let recorded = self.to_server.gate.take().is_some();
        if !self.damaged && contains(&bytes, FORBIDDEN.as_bytes()) {
            return Err("a statement that must be denied reached the server".to_owned());
        }
        // a simple message without a budget goes with its own step; a window's and a budget's may be held over; and a
        // length that was damaged may make rows of a COPY of it
        if !recorded
            && !self.asks
            && !self.damaged
            && client::WRITES.iter().any(|text| contains(&bytes, &client::query(text)))
        {
            return Err(format!("a statement that writes went before its record: {}", String::from_utf8_lossy(&bytes)));
        }
        self.server.got(&bytes);
        self.bounded(self.server.bytes_got(), "for the server")?;
        while let Some(frame) = self.server.next_frame() {
            if !self.damaged {
                self.has_a_permit(&frame)?;
            }
            self.server.reads(&frame);
        }
        Ok(())
    }

    /// A frame for the server is the next of the client's that may go, or the gate's own.
    fn has_a_permit(&mut self, frame: &[u8]) -> Result<(), String> {
        let own = match frame.first() {
            _ if contains(frame, b"postern refused") || contains(frame, b"refused by postern") => true,
            // it asks for the description of what it is about to mask, as the client may
            Some(b'D') => frame.get(frames::HEAD) == Some(&b'P'),
            Some(b'P' | b'B' | b'E' | b'C') => self.asks && contains(frame, b"postern own"),
            Some(b'H') => self.asks,
            _ => false,
        };
        if own {
            return Ok(());
        }
        // a budget sends the client's message statement by statement; a part may equal a later message
        if self.asks && frame.first() == Some(&b'Q') && self.is_own_or_a_part(frame) {
            return Ok(());
        }
        if let Some(place) = self.sent.iter().position(|sent| sent == frame) {
            self.sent.drain(..=place);
            return Ok(());
        }
        Err(format!("no client sent this, in this order: {}", String::from_utf8_lossy(frame)))
    }

    fn is_own_or_a_part(&self, frame: &[u8]) -> bool {
        let text = frame.get(frames::HEAD..frame.len().saturating_sub(1)).unwrap_or_default();
        // the planner is asked about the statements of a message in one of the gate's own
        text.split(|byte| *byte == b';').all(|part| {
            let part = part.trim_ascii();
            let part = part.strip_prefix(b"EXPLAIN (FORMAT JSON) ").unwrap_or(part);
            client::ALLOWED.iter().any(|allowed| contains(allowed.as_bytes(), part))
                || (!contains(part, b"customers") && !contains(part, b"scratch"))
        })
    }

    fn bounded(&self, bytes: usize, what: &str) -> Result<(), String> {
        let most = MOST + 64 * self.given;
        if bytes > most { Err(format!("{bytes} bytes {what} of {} given", self.given)) } else { Ok(()) }
    }
}

/// Where to cut what is left: mostly small pieces, sometimes all.
fn piece(left: usize, random: &mut Random) -> usize {
    let most = if random.one_in(3) { usize::MAX } else { random.below(64) + 1 };
    most.min(left)
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && bytes.windows(needle.len()).any(|window| window == needle)
}
