//! Who and which: the identifiers that events, archive, index and people use.
//!
//! Each is a type of its own, so that a session cannot be passed where a statement is meant, and carries a prefix in
//! text (`ses_`, `stm_`, `evt_`), so that a person who finds one in a log knows what to look up. In Avro they are
//! `fixed(16)` or `long`; in JSON they are their text.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// The text is not an identifier of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseError {
    text: String,
    expected: &'static str,
}

/// One connection of one identity to one resource: a UUID version 7, so that ids sort by the time of opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Wraps 16 bytes that a decoder or a test supplied.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Makes a fresh id from the wall clock and the system's randomness.
    pub fn generate() -> Self {
        Self(*uuid::Uuid::now_v7().as_bytes())
    }

    /// The id of what stands alone and may be told again: the same for the same name and time (microseconds since 1970).
    pub fn derived(time: i64, name: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, name);
        let mut bits = [0; 10];
        bits.iter_mut().zip(digest.as_ref()).for_each(|(bit, byte)| *bit = *byte);
        let millis = u64::try_from(time / 1000).unwrap_or_default();
        Self(*uuid::Builder::from_unix_timestamp_millis(millis, &bits).as_uuid().as_bytes())
    }

    /// The 16 bytes as they stand in an event.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ses_{}", uuid::Uuid::from_bytes(self.0).simple())
    }
}

impl FromStr for SessionId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError { text: text.to_owned(), expected: "a session id (ses_ and 32 hexadecimal digits)" };
        let digits = text.strip_prefix("ses_").filter(|d| d.len() == 32).ok_or_else(error)?;
        uuid::Uuid::try_parse(digits).map(|id| Self(*id.as_bytes())).map_err(|_| error())
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            crate::codec::fixed::deserialize(deserializer).map(Self)
        }
    }
}

macro_rules! control_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Wraps 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Makes a fresh id from the wall clock and the system's randomness.
            pub fn generate() -> Self {
                Self(*uuid::Uuid::now_v7().as_bytes())
            }

            /// The 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), uuid::Uuid::from_bytes(self.0).simple())
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                let error = || ParseError { text: text.to_owned(), expected: $expected };
                let digits = text.strip_prefix($prefix).filter(|d| d.len() == 32).ok_or_else(error)?;
                uuid::Uuid::try_parse(digits).map(|id| Self(*id.as_bytes())).map_err(|_| error())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

control_id!(
    /// One access request: a UUID version 7.
    RequestId, "req_", "a request id (req_ and 32 hexadecimal digits)"
);
control_id!(
    /// One grant: the 16 bytes of the request that it answers.
    GrantId, "grt_", "a grant id (grt_ and 32 hexadecimal digits)"
);
control_id!(
    /// One held statement: a UUID version 7.
    HoldId, "hld_", "a hold id (hld_ and 32 hexadecimal digits)"
);

/// One statement of one session: the session's id and the statement's number in it, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatementId {
    /// The session that sent it.
    pub session: SessionId,
    /// Its number in the session, from 1.
    pub number: u64,
}

impl fmt::Display for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stm_{}_{}", uuid::Uuid::from_bytes(self.session.0).simple(), self.number)
    }
}

impl FromStr for StatementId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError {
            text: text.to_owned(),
            expected: "a statement id (stm_, 32 hexadecimal digits, _, number)",
        };
        let (digits, number) = text.strip_prefix("stm_").and_then(|t| t.split_once('_')).ok_or_else(error)?;
        let session = format!("ses_{digits}").parse().map_err(|_| error())?;
        Ok(Self { session, number: number.parse().map_err(|_| error())? })
    }
}

impl Serialize for StatementId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether a word is the id of something here: a session, statement, request, grant or held statement. Its digits are no
/// number of a card or a person, however many stand in a row.
pub fn is_id(word: &str) -> bool {
    match word.get(..4) {
        Some("ses_") => word.parse::<SessionId>().is_ok(),
        Some("stm_") => word.parse::<StatementId>().is_ok(),
        Some("req_") => word.parse::<RequestId>().is_ok(),
        Some("grt_") => word.parse::<GrantId>().is_ok(),
        Some("hld_") => word.parse::<HoldId>().is_ok(),
        Some(_) | None => false,
    }
}

/// One event: its session and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The session that emitted it.
    pub session: SessionId,
    /// Its dense sequence number (AUD-3).
    pub sequence: SequenceNumber,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evt_{}_{}", uuid::Uuid::from_bytes(self.session.0).simple(), self.sequence)
    }
}

/// The place of an event in its session, dense from 0 (AUD-3).
pub type SequenceNumber = u64;

/// The name of a node: of one process that writes a log, as the config names it.
pub type NodeId = String;

/// One start of a node. Grows with every start, so that what an earlier start wrote is told apart from what a later did.
pub type Epoch = u64;

/// A lane of a node's log. A session stays on its shard, and the shard is the Kafka key.
pub type Shard = u32;
