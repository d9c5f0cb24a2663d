//! The session's search path: what unqualified names resolve against, followed through SET, transactions and pipelines.
//!
//! PostgreSQL before 18 does not report a change, so the gate follows the statements that make one. Where it cannot
//! know yet (an answer is under way, a savepoint was rolled back), several paths are possible and a decision must hold
//! for each of them.

use crate::{
    frames::backend::Transaction,
    names::{Slot, Ticket, Tickets, Window},
};
use std::sync::Arc;

/// Paths that may be possible at once; beyond it the session ends, since nobody needs that many.
pub const MAX_POSSIBLE: usize = 16;

/// A search path, as PostgreSQL resolves it, `"$user"` replaced.
pub type Path = Arc<[String]>;

/// What the search path may be.
pub struct Paths {
    /// The path that the session began with: what RESET and DISCARD return to.
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
    tickets: Tickets,
    role: String,
    version: u64,
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
            tickets: Tickets::default(),
            role: role.to_owned(),
            version: 0,
        }
    }

    /// Changes whenever the path does; `None` while it is in doubt.
    pub fn version(&self) -> Option<u64> {
        (self.doubtful.is_empty() && self.now.is_settled()).then_some(self.version)
    }

    /// Every path under which the server may see what is sent now.
    pub fn possible(&self, window: Window) -> Vec<Path> {
        let mut all = self.now.candidates(window);
        for path in &self.doubtful {
            if !all.contains(path) {
                all.push(path.clone());
            }
        }
        all
    }

    /// A statement that sets the path was sent; `None` stands for its default.
    pub fn propose(&mut self, value: Option<&str>, window: Window) -> Ticket {
        self.version += 1;
        let path = value.map_or_else(|| self.initial.clone(), |text| parse(text, &self.role));
        self.now.propose(window, Some(path), &mut self.tickets)
    }

    /// The server did it, or not.
    pub fn settle(&mut self, ticket: Ticket, done: bool, local: bool) {
        self.version += 1;
        if done {
            let current = self.now.candidates(Window::MAX).first().cloned();
            self.before = self.before.take().or(current);
            self.uncertain |= local;
            self.now.confirm(ticket);
            self.set_here.extend(self.now.candidates(Window::MAX).first().cloned());
        } else {
            self.now.reject(ticket);
        }
    }

    /// PostgreSQL 18 and later report the path when it changes: no doubt is left.
    pub fn reported(&mut self, value: &str) {
        self.version += 1;
        self.doubtful.clear();
        self.now = Slot::holding(parse(value, &self.role));
    }

    /// A savepoint was made, released or rolled back: any path that this transaction set may be in force, or undone.
    pub fn doubt(&mut self) {
        if self.before.is_some() {
            self.uncertain = true;
            self.suspect_all();
        }
    }

    /// The server is ready again. `committed`: nothing failed or was rolled back since it was last idle.
    ///
    /// Only a plain SET that surely was committed leaves one path. What was rolled back, and how far, cannot be told from
    /// here in every case (a message may hold several transactions, COMMIT of a failed one rolls back), so that all paths
    /// that were set then stay possible until the next SET that surely holds.
    pub fn ready(&mut self, transaction: Transaction, committed: bool) {
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

/// Reads a list of identifiers as `search_path` has it.
fn parse(text: &str, role: &str) -> Path {
    let mut names = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            let mut end = quoted.len();
            while let Some((index, c)) = chars.next() {
                if c != '"' {
                    name.push(c);
                } else if chars.next_if(|(_, next)| *next == '"').is_some() {
                    name.push('"');
                } else {
                    end = index + 1;
                    break;
                }
            }
            (name, quoted.get(end..).unwrap_or_default())
        } else {
            let (name, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
            (name.trim().to_ascii_lowercase(), after)
        };
        match name.as_str() {
            "$user" => names.push(role.to_owned()),
            "" => {}
            _ => names.push(name),
        }
        rest = after.trim_start().strip_prefix(',').unwrap_or_default().trim_start();
    }
    names.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &Paths) -> Vec<String> {
        paths.possible(Window::MAX).iter().map(|path| path.join(",")).collect()
    }

    #[test]
    fn text_is_read_as_postgresql_reads_it() {
        assert_eq!(*parse("\"$user\", public", "gate"), ["gate", "public"]);
        assert_eq!(*parse("\"A \"\"b\", Hr", "gate"), ["A \"b", "hr"]);
        assert_eq!(parse("\"\"", "gate").len(), 0);
        assert_eq!(parse("", "gate").len(), 0);
    }

    #[test]
    fn a_set_counts_when_it_worked_and_both_are_possible_before() {
        let mut paths = Paths::new("public", "gate");
        let ticket = paths.propose(Some("hr"), 1);
        assert_eq!(paths.possible(1).len(), 1);
        assert_eq!(list(&paths), ["public", "hr"]);
        paths.settle(ticket, true, false);
        paths.ready(Transaction::Idle, true);
        assert_eq!(list(&paths), ["hr"]);
    }

    #[test]
    fn after_a_rollback_every_path_of_the_transaction_stays_possible_until_a_set_surely_holds() {
        let mut paths = Paths::new("public", "gate");
        let ticket = paths.propose(Some("hr"), 1);
        paths.settle(ticket, true, false);
        paths.ready(Transaction::Open, true);
        assert_eq!(list(&paths), ["hr"]);
        paths.ready(Transaction::Idle, false);
        assert_eq!(list(&paths), ["hr", "public"]);
        assert_eq!(paths.version(), None);
        let ticket = paths.propose(Some("sales"), 2);
        paths.settle(ticket, true, false);
        paths.ready(Transaction::Idle, true);
        assert_eq!(list(&paths), ["sales"]);
        assert!(paths.version().is_some());
    }

    #[test]
    fn a_rollback_and_a_set_in_one_message_leave_all_of_them_possible() {
        let mut paths = Paths::new("public", "gate");
        for (window, path) in [(1, "hr"), (1, "sales")] {
            let ticket = paths.propose(Some(path), window);
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
        paths.doubt();
        assert_eq!(list(&paths), ["public"]);
        let ticket = paths.propose(Some("hr"), 1);
        paths.settle(ticket, true, false);
        paths.doubt();
        assert_eq!(list(&paths), ["hr", "public"]);
        paths.ready(Transaction::Idle, true);
        assert_eq!(list(&paths), ["hr", "public"]);
    }

    #[test]
    fn a_local_set_leaves_both_possible_after_its_transaction() {
        let mut paths = Paths::new("public", "gate");
        let ticket = paths.propose(Some("hr"), 1);
        paths.settle(ticket, true, true);
        paths.ready(Transaction::Idle, true);
        assert_eq!(list(&paths), ["hr", "public"]);
    }
}
