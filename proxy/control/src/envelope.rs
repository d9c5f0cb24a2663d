//! A record as it lies on the topic: signed by the node that wrote it, so that who can write to the topic cannot forge one.
//!
//! ```text
//! "PCT1" | version u16 | time i64 | epoch u64 | sequence u64 | key 32 | read u64 | digest 32      (these two since version 2)
//!        | author length u16 | author | payload length u32 | payload | signature 64               big endian
//! ```
//!
//! The signature is Ed25519 over a domain name and all bytes before it. `key` is the public key itself: whether it is
//! trusted, and for that author, is [`crate::keys`]'s to say. `epoch` is one start of one process and `sequence` grows by
//! one in it, so that a record that is played again is noticed. `read` and `digest` say what its writer had read of the
//! topic ([`crate::seen`]): so that a topic from which something went is noticed by who reads it for the first time.
//!
//! In every later version the key stays at its place, and the signature is the last 64 bytes, over the same: so an older
//! node can tell that somebody whom it trusts wrote what it cannot read.

use crate::record::Record;
use crate::seen::Seen;
use bytes::Bytes;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

const MAGIC: &[u8; 4] = b"PCT1";
const VERSION: u16 = 2;
/// What is signed begins with it, so that no signature of another use is one of this.
const DOMAIN: &[u8] = b"postern.control.v1\0";
const SIGNATURE: usize = 64;
/// A node's name has at most 64 bytes; others are refused.
const MAX_AUTHOR_BYTES: usize = 256;

/// A public key.
pub type PublicKey = [u8; 32];

/// Who wrote a record, when, and its place among theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The node's name.
    pub author: String,
    /// The key that signed.
    pub key: PublicKey,
    /// The start of the process that wrote it.
    pub epoch: u64,
    /// Its place among what that process wrote, from 1.
    pub sequence: u64,
    /// By the writer's clock, microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// What it had read of the topic; none: a program that did not say so wrote it.
    pub seen: Option<Seen>,
}

/// A record whose signature verifies. It has one maker, [`open`].
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    stamp: Stamp,
    payload: Bytes,
}

impl Signed {
    /// Who and when.
    pub const fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// The record.
    ///
    /// # Errors
    /// The parser's: a record of a later version.
    pub fn record(&self) -> Result<Record, serde_json::Error> {
        serde_json::from_slice(&self.payload)
    }
}

/// Why bytes are no signed record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They are cut short, or no envelope at all.
    #[error("the bytes are no control record")]
    Form,
    /// A later version wrote it.
    #[error("the record has the envelope version {0}, this is version {VERSION}")]
    Version(u16),
    /// The signature is not that key's over these bytes.
    #[error("the signature does not verify; the record names the node {author:?}")]
    Signature {
        /// Whom the record names.
        author: String,
    },
}

/// Signs a record.
///
/// # Errors
/// The serializer's.
pub fn seal(pair: &Ed25519KeyPair, stamp: &Stamp, record: &Record) -> Result<Bytes, serde_json::Error> {
    let payload = serde_json::to_vec(record)?;
    let mut bytes = Vec::with_capacity(payload.len() + 256);
    bytes.extend_from_slice(MAGIC);
    let version = if stamp.seen.is_some() { VERSION } else { 1 };
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&stamp.time.to_be_bytes());
    bytes.extend_from_slice(&stamp.epoch.to_be_bytes());
    bytes.extend_from_slice(&stamp.sequence.to_be_bytes());
    bytes.extend_from_slice(pair.public_key().as_ref());
    if let Some(seen) = &stamp.seen {
        bytes.extend_from_slice(&seen.next.to_be_bytes());
        bytes.extend_from_slice(&seen.digest);
    }
    let author = stamp.author.as_bytes().get(..MAX_AUTHOR_BYTES).unwrap_or(stamp.author.as_bytes());
    bytes.extend_from_slice(&u16::try_from(author.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend_from_slice(author);
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&payload);
    let signature = pair.sign(&[DOMAIN, &bytes].concat());
    bytes.extend_from_slice(signature.as_ref());
    Ok(bytes.into())
}

/// Reads an envelope and verifies its signature by the key that it names.
///
/// # Errors
/// [`Error`].
pub fn open(bytes: &Bytes) -> Result<Signed, Error> {
    let form = || Error::Form;
    let mut rest: &[u8] = bytes.strip_prefix(MAGIC.as_slice()).ok_or_else(form)?;
    let version = u16::from_be_bytes(take(&mut rest)?);
    if !(1..=VERSION).contains(&version) {
        return Err(Error::Version(version));
    }
    let time = i64::from_be_bytes(take(&mut rest)?);
    let epoch = u64::from_be_bytes(take(&mut rest)?);
    let sequence = u64::from_be_bytes(take(&mut rest)?);
    let key: PublicKey = take(&mut rest)?;
    let seen = match version {
        1 => None,
        _ => Some(Seen { next: u64::from_be_bytes(take(&mut rest)?), digest: take(&mut rest)? }),
    };
    let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
    let (author, mut rest) = rest.split_at_checked(length).filter(|_| length <= MAX_AUTHOR_BYTES).ok_or_else(form)?;
    let author = std::str::from_utf8(author).map_err(|_| form())?.to_owned();
    let length = usize::try_from(u32::from_be_bytes(take(&mut rest)?)).map_err(|_| form())?;
    let (payload, signature) = rest.split_at_checked(length).ok_or_else(form)?;
    if signature.len() != SIGNATURE {
        return Err(form());
    }
    let signed = bytes.get(..bytes.len().saturating_sub(SIGNATURE)).ok_or_else(form)?;
    let verified = UnparsedPublicKey::new(&ED25519, key).verify(&[DOMAIN, signed].concat(), signature);
    verified.map_err(|_| Error::Signature { author: author.clone() })?;
    let payload = bytes.slice_ref(payload);
    Ok(Signed { stamp: Stamp { author, key, epoch, sequence, time, seen }, payload })
}

/// By whose key a record of another envelope version is signed; none where its signature does not verify.
pub fn other_versions_key(bytes: &Bytes) -> Option<PublicKey> {
    // version, time, epoch and sequence
    const BEFORE_THE_KEY: usize = 2 + 8 + 8 + 8;
    let (signed, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE)?)?;
    let mut rest = signed.strip_prefix(MAGIC.as_slice())?;
    take::<BEFORE_THE_KEY>(&mut rest).ok()?;
    let key: PublicKey = take(&mut rest).ok()?;
    let verified = UnparsedPublicKey::new(&ED25519, key).verify(&[DOMAIN, signed].concat(), signature);
    verified.is_ok().then_some(key)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or(Error::Form)?;
    *rest = left;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{identity, pair};
    use schemas::SessionId;

    const OLD: &str = "\
        5043543100010000000000000003000000000000000100000000000000028a88e3dd7409f195fd52db2d3cba5d72ca6709bf \
        1d94121bf3748801b40f6f5c000161000000e67b2274797065223a2273657373696f6e5f6b696c6c6564222c227365737369 \
        6f6e223a227365735f3033303330333033303330333033303330333033303330333033303330333033222c226279223a7b22 \
        6b696e64223a2268756d616e222c227375626a656374223a22616461222c22697373756572223a2268747470733a2f2f6973 \
        737565722e6578616d706c65222c226e616d65223a22616461222c2267726f757073223a5b226f70657261746f7273225d2c \
        226f6e5f626568616c665f6f66223a5b5d2c227461736b223a6e756c6c7d2c22726561736f6e223a227469636b6574227dab \
        71761e55ac124f230dc75f2bc01e75b3c011350f0f62f206ed0e36d5e6721b6721a644ad00b716d4899879b1cdd80e9f0b9e \
        f015e7de0606af4635cbd2ee04";

    #[test]
    fn every_changed_byte_is_noticed() {
        let record = Record::SessionKilled {
            session: SessionId::from_bytes([3; 16]),
            by: identity("ada", &["operators"]),
            reason: "ticket".to_owned(),
        };
        let pair = pair(1);
        let key: PublicKey = pair.public_key().as_ref().try_into().unwrap();
        let seen = Some(Seen { next: 7, digest: [8; 32] });
        let stamp = Stamp { author: "a".to_owned(), key, epoch: 1, sequence: 2, time: 3, seen };
        let bytes = seal(&pair, &stamp, &record).unwrap();
        let signed = open(&bytes).unwrap();
        assert_eq!((signed.stamp(), signed.record().unwrap()), (&stamp, record));
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert!(open(&changed.into()).is_err(), "byte {at}");
            assert!(open(&bytes.slice(..at)).is_err(), "{at} bytes");
        }
        assert!(open(&[&bytes[..], b"x"].concat().into()).is_err());
    }

    #[test]
    fn of_a_later_version_it_is_known_who_signed_it() {
        let pair = pair(1);
        let key: PublicKey = pair.public_key().as_ref().try_into().unwrap();
        let later = |body: &[u8]| {
            let before = [&b"PCT1"[..], &9u16.to_be_bytes(), &[0; 24], &key, body].concat();
            let signature = pair.sign(&[DOMAIN, &before].concat());
            Bytes::from([&before, signature.as_ref()].concat())
        };
        for body in [&b""[..], b"whatever a later version has here"] {
            let bytes = later(body);
            assert_eq!(open(&bytes), Err(Error::Version(9)));
            assert_eq!(other_versions_key(&bytes), Some(key));
            for at in 0..bytes.len() {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1;
                assert_eq!(other_versions_key(&changed.into()), None, "byte {at}");
                assert_eq!(other_versions_key(&bytes.slice(..at)), None, "{at} bytes");
            }
        }
    }

    /// Bytes as the first version wrote them.
    #[test]
    fn the_first_version_is_read_for_ever() {
        let text = OLD.split_whitespace().collect::<String>();
        let bytes: Vec<u8> =
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
        let signed = open(&bytes.into()).unwrap();
        let key: PublicKey = pair(1).public_key().as_ref().try_into().unwrap();
        let stamp = Stamp { author: "a".to_owned(), key, epoch: 1, sequence: 2, time: 3, seen: None };
        assert_eq!(signed.stamp(), &stamp);
        assert!(matches!(signed.record(), Ok(Record::SessionKilled { reason, .. }) if reason == "ticket"));
    }
}
