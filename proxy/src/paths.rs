//! The session's search path: what unqualified names resolve against, followed through SET, transactions and pipelines.
//!
//! PostgreSQL before 18 does not report a change, so the gate follows the statements that make one. Where it cannot
//! know yet (an answer is under way, a savepoint was rolled back), several paths are possible and a decision must hold
//! for each of them.
//!
//! ```text
//! sent in this window: a SET, and nothing behind it that ends a transaction     its path alone: had it failed, the server
//!                                                                               would skip what follows
//! nothing under way that sets the path or ends what set it                      the path that was confirmed last
//! otherwise                                                                     each that was set since all was certain
//! ```

use crate::{
    frames::backend::Transaction,
    names::{Slot, Ticket, Tickets, Window},
};
use judge::sql::{Effect, search_path};
use std::sync::Arc;

/// Paths that may be possible at once; beyond it the session ends, since nobody needs that many.
pub const MAX_POSSIBLE: usize = 16;

/// A search path, as PostgreSQL resolves it, `"$user"` replaced.
pub type Path = Arc<[String]>;

/// Kinds of statements that never end a transaction by themselves, in whatever protocol they come.
const STAY: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "SET",
    "RESET",
    "SHOW",
    "BEGIN",
    "COPY",
    "EXPLAIN",
    "PREPARE",
    "EXECUTE",
    "DEALLOCATE",
    "DECLARE CURSOR",
    "FETCH",
    "MOVE",
    "CLOSE CURSOR",
    "EMPTY",
];

/// What the search path may be.
#[derive(Clone)]
pub struct Paths {
    /// The path that the session began with: what RESET and DISCARD ALL return to.
    initial: Path,
    now: Slot<Path>,
    /// Further paths that are possible until the transaction ends or a new SET outside of one.
    doubtful: Vec<Path>,
    /// The path when the open transaction began.
    before: Option<Path>,
    /// Every path that the open transaction set.
    set_here: Vec<Path>,
    /// A SET LOCAL happened in the open transaction, or a savepoint came after a SET.
    uncertain: bool,
    /// What the newest statement in its window that set the path set it to; `None`: it may have been undone since.
    newest: Option<(Window, Newest)>,
    /// What was sent and not answered yet.
    sent: Vec<(Ticket, Sent)>,
    /// The server answered what set the path, and has not said yet how the transaction stands.
    unready: bool,
    tickets: Tickets,
    role: String,
    version: u64,
}

/// The last path that was sent.
#[derive(Clone)]
struct Newest {
    path: Path,
    local: bool,
}

/// A statement that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// It sets the path.
    Set,
    /// It ends a transaction as a whole.
    End,
    /// It begins or ends a part of one, or one more begins at once.
    Part,
}

impl Paths {
    /// Begins with what `SHOW search_path` said, for a session of `role`.
    pub fn new(shown: &str, role: &str) -> Self {
        let initial = parse(shown, role);
        Self {
            now: Slot::holding(initial.clone()),
            initial,
            doubtful: Vec::new(),
            before: None,
            set_here: Vec::new(),
            uncertain: false,
            newest: None,
            sent: Vec::new(),
            unready: false,
            tickets: Tickets::default(),
            role: role.to_owned(),
            version: 0,
        }
    }

    /// Changes whenever the path does; `None` while it is in doubt.
    pub fn version(&self) -> Option<u64> {
        (self.doubtful.is_empty() && self.is_settled()).then_some(self.version)
    }

    /// Nothing is under way that could change the path, or undo what did.
    fn is_settled(&self) -> bool {
        self.sent.is_empty() && self.now.is_settled() && !self.unready
    }

    /// Every path under which the server may see what is sent now.
    pub fn possible(&self, window: Window) -> Vec<Path> {
        if let Some((_, newest)) = self.newest.as_ref().filter(|(sent, _)| *sent == window) {
            return vec![newest.path.clone()];
        }
        let mut all = self.now.candidates(Window::MAX);
        let undone = self.before.iter().chain(&self.set_here).filter(|_| !self.is_settled());
        for path in self.doubtful.iter().chain(undone) {
            if !all.contains(path) {
                all.push(path.clone());
            }
        }
        all
    }

    /// A statement of these effects was sent. The tickets are to be settled when it is answered.
    pub fn send(&mut self, effects: &[Effect], kind: &str, window: Window) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        for effect in effects {
            let what = match effect {
                Effect::Set { name, value, local } if name == "search_path" => {
                    tickets.push(self.propose(value.as_deref(), *local, window));
                    continue;
                }
                Effect::Set { name, .. } if name == "all" => {
                    tickets.push(self.propose(None, false, window));
                    continue;
                }
                Effect::Discard => {
                    tickets.push(self.propose(None, false, window));
                    continue;
                }
                Effect::Commit { chain: false } | Effect::Rollback { chain: false } => Sent::End,
                Effect::Commit { chain: true } | Effect::Rollback { chain: true } | Effect::Savepoint => Sent::Part,
                Effect::Begin
                | Effect::Prepare { .. }
                | Effect::Execute { .. }
                | Effect::Deallocate { .. }
                | Effect::Declare { .. }
                | Effect::Fetch { .. }
                | Effect::Close { .. }
                | Effect::Set { .. }
                | Effect::ChangesCatalog
                | Effect::Notify => continue,
            };
            // most sessions set no path: nothing can be undone
            if self.is_settled() && self.before.is_none() {
                continue;
            }
            self.version += 1;
            self.newest = None;
            let ticket = self.tickets.issue();
            self.sent.push((ticket, what));
            tickets.push(ticket);
        }
        // some commit by themselves, and with that end a SET LOCAL
        if self.newest.as_ref().is_some_and(|(_, newest)| newest.local) && !STAY.contains(&kind) {
            self.newest = None;
        }
        tickets
    }

    /// A statement that sets the path was sent; `None` stands for its default.
    fn propose(&mut self, value: Option<&str>, local: bool, window: Window) -> Ticket {
        self.version += 1;
        let path = value.map_or_else(|| self.initial.clone(), |text| parse(text, &self.role));
        self.newest = Some((window, Newest { path: path.clone(), local }));
        let ticket = self.now.propose(window, Some(path), &mut self.tickets);
        self.sent.push((ticket, Sent::Set));
        ticket
    }

    /// The server did it, or not.
    pub fn settle(&mut self, ticket: Ticket, done: bool, local: bool) {
        let Some(place) = self.sent.iter().position(|(sent, _)| *sent == ticket) else { return };
        let (_, what) = self.sent.remove(place);
        self.version += 1;
        self.unready = true;
        match (what, done) {
            (Sent::Set, true) => {
                let current = self.now.candidates(Window::MAX).first().cloned();
                self.before = self.before.take().or(current);
                self.uncertain |= local;
                self.now.confirm(ticket);
                self.set_here.extend(self.now.candidates(Window::MAX).first().cloned());
            }
            (Sent::Set, false) => {
                self.now.reject(ticket);
                self.newest = None;
            }
            (Sent::Part, _) if self.before.is_some() => {
                self.uncertain = true;
                self.suspect_all();
            }
            (Sent::End | Sent::Part, _) => self.suspect_all(),
        }
    }

    /// PostgreSQL 18 and later report the path when it changes: no doubt is left but of what was sent since.
    pub fn reported(&mut self, value: &str) {
        self.version += 1;
        self.doubtful.clear();
        self.now.hold(parse(value, &self.role));
    }

    /// The server is ready again. `committed`: nothing failed or was rolled back since it was last idle.
    ///
    /// Only a plain SET that surely was committed leaves one path. What was rolled back, and how far, cannot be told from
    /// here in every case (a message may hold several transactions, COMMIT of a failed one rolls back), so that all paths
    /// that were set then stay possible until the next SET that surely holds.
    pub fn ready(&mut self, transaction: Transaction, committed: bool) {
        self.unready = false;
        if transaction != Transaction::Idle || self.before.is_none() {
            return;
        }
        self.version += 1;
        if committed && !self.uncertain {
            self.doubtful.clear();
        } else {
            self.suspect_all();
        }
        self.before = None;
        self.set_here.clear();
        self.uncertain = false;
    }

    /// One more than [`MAX_POSSIBLE`] is kept at most: statements are refused then, no candidate is forgotten silently.
    fn suspect_all(&mut self) {
        self.version += 1;
        for path in self.before.iter().chain(&self.set_here) {
            if !self.doubtful.contains(path) && self.doubtful.len() <= MAX_POSSIBLE {
                self.doubtful.push(path.clone());
            }
        }
    }
}

/// The schemas that a text of `search_path` names. PostgreSQL has accepted it, or will not.
fn parse(text: &str, role: &str) -> Path {
    let names = search_path::split(text).unwrap_or_default().into_iter().filter(|name| !name.is_empty());
    names.map(|name| if name == "$user" { role.to_owned() } else { name }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &Paths) -> Vec<String> {
        paths.possible(Window::MAX).iter().map(|path| path.join(",")).collect()
    }

    fn set(value: &str) -> Effect {
        Effect::Set { name: "search_path".into(), value: Some(value.into()), local: false }
    }

    fn local(value: &str) -> Effect {
        Effect::Set { name: "search_path".into(), value: Some(value.into()), local: true }
    }

    /// Sends a statement of that effect.
    fn send(paths: &mut Paths, effect: Effect, window: Window) -> Vec<Ticket> {
        paths.send(&[effect], "SET", window)
    }

    /// Sends a statement of that effect, which works.
    fn works(paths: &mut Paths, effect: Effect, window: Window) {
        let local = matches!(effect, Effect::Set { local: true, .. });
        for ticket in send(paths, effect, window) {
            paths.settle(ticket, true, local);
        }
    }

    const ROLLBACK: Effect = Effect::Rollback { chain: false };

    #[test]
    fn the_users_name_and_empty_ones_are_replaced() {
        assert_eq!(*parse("\"$user\", public", "gate"), ["gate", "public"]);
        assert_eq!(parse("\"\"", "gate").len(), 0);
        assert_eq!(parse("", "gate").len(), 0);
    }

    #[test]
    fn what_ends_a_transaction_brings_back_every_path_of_it_as_soon_as_it_is_sent() {
        for control in [ROLLBACK, Effect::Commit { chain: false }, Effect::Rollback { chain: true }, Effect::Savepoint]
        {
            // in one window
            let mut paths = Paths::new("public", "gate");
            send(&mut paths, set("hr"), 1);
            assert_eq!(paths.possible(1).len(), 1);
            send(&mut paths, control.clone(), 1);
            assert_eq!(paths.possible(1).len(), 2, "{control:?}");
            // in the next, with nothing answered; and once the transaction is known to be open
            let mut paths = Paths::new("public", "gate");
            works(&mut paths, set("hr"), 1);
            assert_eq!(list(&paths), ["hr", "public"], "what follows in the message may still fail");
            paths.ready(Transaction::Open, true);
            assert_eq!(list(&paths), ["hr"]);
            send(&mut paths, control.clone(), 2);
            assert_eq!(paths.possible(2).len(), 2, "{control:?}");
            assert_eq!(paths.possible(3).len(), 2, "{control:?}");
            assert_eq!(paths.version(), None);
        }
    }

    #[test]
    fn a_transaction_that_is_chained_leaves_the_path_in_doubt() {
        let mut paths = Paths::new("public", "gate");
        works(&mut paths, set("hr"), 1);
        works(&mut paths, Effect::Rollback { chain: true }, 2);
        paths.ready(Transaction::Open, true);
        assert_eq!(list(&paths), ["hr", "public"]);
    }

    #[test]
    fn a_local_path_ends_with_what_commits_by_itself() {
        let mut paths = Paths::new("public", "gate");
        send(&mut paths, local("hr"), 1);
        paths.send(&[], "SELECT", 1);
        assert_eq!(paths.possible(1).len(), 1);
        paths.send(&[], "VACUUM", 1);
        assert_eq!(paths.possible(1).len(), 2);
    }

    #[test]
    fn a_report_says_nothing_of_what_was_sent_since() {
        let mut paths = Paths::new("public", "gate");
        send(&mut paths, set("hr"), 1);
        send(&mut paths, set("sales"), 2);
        paths.reported("hr");
        assert!(list(&paths).contains(&"sales".to_owned()));
    }

    #[test]
    fn transactions_that_set_no_path_cost_nothing() {
        let mut paths = Paths::new("public", "gate");
        let version = paths.version();
        for effect in [Effect::Begin, Effect::Savepoint, Effect::Commit { chain: false }, ROLLBACK] {
            assert!(send(&mut paths, effect, 1).is_empty());
        }
        assert_eq!(paths.version(), version);
    }

    #[test]
    fn a_set_counts_when_it_worked_and_both_are_possible_before() {
        let mut paths = Paths::new("public", "gate");
        let ticket = send(&mut paths, set("hr"), 1)[0];
        assert_eq!(paths.possible(1).len(), 1);
        assert_eq!(list(&paths), ["public", "hr"]);
        paths.settle(ticket, true, false);
        paths.ready(Transaction::Idle, true);
        assert_eq!(list(&paths), ["hr"]);
    }

    #[test]
    fn after_a_rollback_every_path_of_the_transaction_stays_possible_until_a_set_surely_holds() {
        let mut paths = Paths::new("public", "gate");
        let ticket = send(&mut paths, set("hr"), 1)[0];
        paths.settle(ticket, true, false);
        paths.ready(Transaction::Open, true);
        assert_eq!(list(&paths), ["hr"]);
        paths.ready(Transaction::Idle, false);
        assert_eq!(list(&paths), ["hr", "public"]);
        assert_eq!(paths.version(), None);
        let ticket = send(&mut paths, set("sales"), 2)[0];
        paths.settle(ticket, true, false);
        paths.ready(Transaction::Idle, true);
        assert_eq!(list(&paths), ["sales"]);
        assert!(paths.version().is_some());
    }

    #[test]
    fn a_rollback_and_a_set_in_one_message_leave_all_of_them_possible() {
        let mut paths = Paths::new("public", "gate");
        for (window, path) in [(1, "hr"), (1, "sales")] {
            let ticket = send(&mut paths, set(path), window)[0];
            paths.settle(ticket, true, false);
        }
        paths.ready(Transaction::Idle, false);
        let mut possible = list(&paths);
        possible.sort();
        assert_eq!(possible, ["hr", "public", "sales"]);
    }

    #[test]
    fn after_a_savepoint_every_path_of_the_transaction_is_possible() {
        let mut paths = Paths::new("public", "gate");
        works(&mut paths, Effect::Savepoint, 1);
        assert_eq!(list(&paths), ["public"]);
        let ticket = send(&mut paths, set("hr"), 1)[0];
        paths.settle(ticket, true, false);
        works(&mut paths, Effect::Savepoint, 1);
        assert_eq!(list(&paths), ["hr", "public"]);
        paths.ready(Transaction::Idle, true);
        assert_eq!(list(&paths), ["hr", "public"]);
    }

    #[test]
    fn a_local_set_leaves_both_possible_after_its_transaction() {
        let mut paths = Paths::new("public", "gate");
        let ticket = send(&mut paths, set("hr"), 1)[0];
        paths.settle(ticket, true, true);
        paths.ready(Transaction::Idle, true);
        assert_eq!(list(&paths), ["hr", "public"]);
    }
}
