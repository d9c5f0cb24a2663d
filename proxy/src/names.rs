//! What a name stands for while answers are still under way.
//!
//! A client may pipeline: Parse `s` arrives, and Bind `s` behind it, before the server said whether the Parse worked.
//! Until it has, `s` may stand for the old statement or the new one. A [`Slot`] keeps every candidate, so that a
//! decision can hold for each of them. Within one **window** (an extended pipeline up to its Sync, or one simple
//! message) the newest candidate alone counts: had it failed, the server would skip what follows it.

/// One window of a pipeline.
pub type Window = u64;

/// The handle by which a proposal is confirmed or rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// What a name stands for.
#[derive(Debug, Clone)]
pub struct Slot<T> {
    confirmed: Option<T>,
    proposed: Vec<(Window, Ticket, Option<T>)>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { confirmed: None, proposed: Vec::new() }
    }
}

impl<T: Clone> Slot<T> {
    /// A slot whose meaning is known.
    pub fn holding(value: T) -> Self {
        Self { confirmed: Some(value), proposed: Vec::new() }
    }

    /// Says that the server was sent what gives the name this meaning (`None`: frees it).
    pub fn propose(&mut self, window: Window, value: Option<T>, tickets: &mut Tickets) -> Ticket {
        let ticket = tickets.issue();
        self.proposed.push((window, ticket, value));
        ticket
    }

    /// Says that the server did it.
    pub fn confirm(&mut self, ticket: Ticket) {
        if let Some(place) = self.proposed.iter().position(|(_, t, _)| *t == ticket) {
            self.confirmed = self.proposed.drain(..=place).next_back().and_then(|(_, _, value)| value);
        }
    }

    /// Says what the name means to the server now; what was proposed since is still open.
    pub fn hold(&mut self, value: T) {
        self.confirmed = Some(value);
    }

    /// Says that the server did not do it.
    pub fn reject(&mut self, ticket: Ticket) {
        self.proposed.retain(|(_, t, _)| *t != ticket);
    }

    /// Everything that the name may stand for when the server comes to what is sent now.
    pub fn candidates(&self, window: Window) -> Vec<T> {
        match self.proposed.last() {
            Some((newest, _, value)) if *newest == window => value.iter().cloned().collect(),
            _ => {
                self.confirmed.iter().chain(self.proposed.iter().filter_map(|(_, _, v)| v.as_ref())).cloned().collect()
            }
        }
    }

    /// No answer about it is under way.
    pub fn is_settled(&self) -> bool {
        self.proposed.is_empty()
    }

    /// Nothing is known of the name any more.
    pub fn is_free(&self) -> bool {
        self.confirmed.is_none() && self.proposed.is_empty()
    }
}

/// Where tickets come from: one counter a session.
#[derive(Debug, Default, Clone)]
pub struct Tickets(u64);

impl Tickets {
    /// A ticket that no other equals.
    pub fn issue(&mut self) -> Ticket {
        self.0 += 1;
        Ticket(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_window_the_newest_counts_and_across_windows_all_do() {
        let (mut slot, mut tickets) = (Slot::holding('a'), Tickets::default());
        let ticket = slot.propose(1, Some('b'), &mut tickets);
        assert_eq!(slot.candidates(1), ['b']);
        assert_eq!(slot.candidates(2), ['a', 'b']);
        slot.reject(ticket);
        assert_eq!(slot.candidates(2), ['a']);
        let ticket = slot.propose(2, Some('c'), &mut tickets);
        slot.confirm(ticket);
        assert_eq!(slot.candidates(3), ['c']);
    }

    #[test]
    fn a_later_confirmation_drops_what_came_before() {
        let (mut slot, mut tickets) = (Slot::default(), Tickets::default());
        slot.propose(1, Some('a'), &mut tickets);
        let close = slot.propose(2, None, &mut tickets);
        slot.confirm(close);
        assert!(slot.is_free());
    }
}
