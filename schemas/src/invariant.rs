//! The numbered promises of the whole system. Code, tests, documents and alerts use these numbers.

/// One promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invariant {
    /// The number by which code, tests and alerts name it.
    pub number: &'static str,
    /// What holds at all times.
    pub promise: &'static str,
}

macro_rules! invariants {
    ($($name:ident = $number:literal: $promise:literal;)*) => {
        $(#[doc = $promise] pub const $name: Invariant = Invariant { number: $number, promise: $promise };)*
        /// Every promise, in the order of the numbers.
        pub const ALL: &[Invariant] = &[$($name),*];
    };
}

invariants! {
    AUD_1 = "AUD-1": "No frame reaches PostgreSQL without a permit.";
    AUD_2 = "AUD-2": "No row, error or notice reaches a client except through mask.";
    AUD_3 = "AUD-3": "A session's events have a dense sequence.";
    AUD_4 = "AUD-4": "Every session ends in exactly one SessionClosed.";
    AUD_5 = "AUD-5": "What a client saw acknowledged is in the archive, with its outcome (after power loss: at least the statement).";
    SCP_1 = "SCP-1": "A leased role does not outlive its session by more than its grace.";
    SCP_2 = "SCP-2": "The database credential appears in no event, log, error or agent-side byte.";
    MSK_1 = "MSK-1": "A protected value that the database returned appears in no event, log line, index or client byte unless read_clear permits it; one that the client itself sent appears only in its own recorded frames, never in index, log or metric.";
    ARC_1 = "ARC-1": "An archived batch equals the shipped bytes, and its chain verifies.";
    IDX_1 = "IDX-1": "Index and offsets commit together.";
    CTL_1 = "CTL-1": "An approval releases one statement, once, for the identity, text, bind values, objects and policy version that it was asked for.";
}
