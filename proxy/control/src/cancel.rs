//! By what any node recognises the client's own cancel request for a held statement.
//!
//! PostgreSQL's cancel key may have 32 bits only, and the topic is read by others than the gates: what stands there is a slow
//! hash of it, salted with the session. All keys of 32 bits are months of one core; who reads the topic and has enough
//! machines finds it, and can take back what the client asked for, nothing else.

use crate::record::Digest;
use ring::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use schemas::SessionId;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// Some milliseconds for one key.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(20_000).unwrap();

/// What recognises a cancel request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelMark {
    /// The process id that the client was told.
    pub backend_pid: i32,
    /// The hash of the key.
    pub hash: Digest,
}

impl CancelMark {
    /// Of a session's key. It takes milliseconds: not on a thread that others wait for.
    pub fn of(session: SessionId, backend_pid: i32, key: &[u8]) -> Self {
        let mut hash = [0; 32];
        let salt = format!("postern.cancel.v1 {session} {backend_pid}");
        derive(PBKDF2_HMAC_SHA256, ITERATIONS, salt.as_bytes(), key, &mut hash);
        Self { backend_pid, hash: Digest::from_bytes(hash) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_of_the_session_is_recognised() {
        let session = SessionId::from_bytes([1; 16]);
        let mark = CancelMark::of(session, 7, &[1, 2, 3, 4]);
        assert_eq!(mark, CancelMark::of(session, 7, &[1, 2, 3, 4]));
        for other in [
            CancelMark::of(session, 7, &[1, 2, 3, 5]),
            CancelMark::of(session, 8, &[1, 2, 3, 4]),
            CancelMark::of(SessionId::from_bytes([2; 16]), 7, &[1, 2, 3, 4]),
        ] {
            assert_ne!(mark.hash, other.hash);
        }
    }
}
