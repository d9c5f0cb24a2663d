//! Why a record changes nothing.

use schemas::event::RequestKind;

/// Why a record was refused by the fold. The text is for the one who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The same record came before, or it is older than one of the same process.
    #[error("this record came before: it is a replay")]
    Replayed,
    /// Nothing has this id.
    #[error("there is no {0}")]
    Unknown(String),
    /// Something has this id already.
    #[error("{0} exists already")]
    Exists(String),
    /// The requester, somebody for whom the requester acts, or somebody who acts for them.
    #[error("the requester may not answer, nor whom the requester acts for: another person must")]
    Requester,
    /// The reviewer issued an API key by which the requester asks, or the other way round: both may be one person.
    #[error("whoever issued an API key of one side may not answer for the other: another person must")]
    KeyIssuer,
    /// None of the reviewer's groups may answer.
    #[error("only members of {0} may answer")]
    NotReviewer(String),
    /// No person answers.
    #[error("only a person may answer: {0} (access.machine_reviewers names exceptions)")]
    NotPerson(&'static str),
    /// The same reviewer answered before.
    #[error("{0} has answered already: each reviewer counts once")]
    Twice(String),
    /// It was not answered in time.
    #[error("it has expired, and must be asked for again")]
    Expired,
    /// The reviewer saw something else.
    #[error("the answer is about something else than what is asked: its digest differs; look at it again")]
    OtherDigest,
    /// It was answered before.
    #[error("it is {0} already")]
    Answered(&'static str),
    /// An approval is used up by one release (CTL-1).
    #[error("its approval has been used: an approval releases one statement, once")]
    Released,
    /// Too few have agreed.
    #[error("{given} of {needed} approvals are there")]
    TooFew {
        /// Approvals so far.
        given: u32,
        /// As many are needed.
        needed: u32,
    },
    /// Whoever acts has been disabled.
    #[error("{0} is disabled")]
    Disabled(String),
    /// The grant is over.
    #[error("the grant has ended")]
    Ended,
    /// Only the holder may do this.
    #[error("only {0} may do this")]
    NotHolder(String),
    /// Another node has taken it upon itself.
    #[error("the node {0:?} does this already")]
    Taken(String),
    /// A time or a number makes no sense.
    #[error("the record is not valid: {0}")]
    Invalid(&'static str),
    /// A request of this kind is not reviewed in this way.
    #[error("a request of the kind {0:?} cannot be answered so")]
    Kind(RequestKind),
    /// Another party's clock said that its time was over, and what reviewers were shown was let go.
    #[error("what is asked cannot be shown whole any more, for its time was over: it must be asked for again")]
    Shortened,
    /// The session whose statement it is was ended.
    #[error("the session was ended by an operator")]
    Killed,
    /// The glass was broken before, and nobody has looked at that yet.
    #[error("the glass is broken already ({0}): it must be reviewed before it can be broken again")]
    Unreviewed(String),
    /// The writer's clock and the topic's differ: a grant would last longer than it says, an answer would count too late.
    #[error(
        "the clock of the node {node:?} and the topic's are {seconds} s apart, at most {limit} s count: set it right"
    )]
    Clock {
        /// Whose.
        node: String,
        /// How far apart.
        seconds: u64,
        /// How far they may be.
        limit: u64,
    },
    /// A party has as much open as it may have.
    #[error("{who} may not have more open at once ({limit}): end some, or wait until they are answered")]
    Share {
        /// The party.
        who: String,
        /// How many it may have.
        limit: usize,
    },
    /// Nothing that is kept has ended.
    #[error("{limit} of them are open at once, which is the limit")]
    Full {
        /// The limit.
        limit: usize,
    },
}

impl Refused {
    /// A name for metrics and the API.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Unknown(_) => "unknown",
            Self::Exists(_) => "exists",
            Self::Requester => "requester",
            Self::KeyIssuer => "key_issuer",
            Self::NotReviewer(_) => "not_reviewer",
            Self::NotPerson(_) => "not_person",
            Self::Twice(_) => "twice",
            Self::Expired => "expired",
            Self::OtherDigest => "other_digest",
            Self::Answered(_) => "answered",
            Self::Released => "released",
            Self::TooFew { .. } => "too_few",
            Self::Disabled(_) => "disabled",
            Self::Ended => "ended",
            Self::NotHolder(_) => "not_holder",
            Self::Taken(_) => "taken",
            Self::Invalid(_) => "invalid",
            Self::Kind(_) => "kind",
            Self::Shortened => "shortened",
            Self::Killed => "killed",
            Self::Unreviewed(_) => "unreviewed",
            Self::Clock { .. } => "clock",
            Self::Share { .. } => "share",
            Self::Full { .. } => "full",
        }
    }
}
