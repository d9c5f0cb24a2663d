//! Payloads that only the holders of a key can read, and that nobody can read any more when the key is erased.
//!
//! ```text
//! payload --zstd, with a dictionary--> --AES-256-GCM under the session's data key--> sealed payload, in an event
//! data key --AES-256-GCM under a key-encryption key--> wrapped key, beside the batch, then an object of its own
//! ```
//!
//! Hashes, signatures and proofs are over sealed payloads, so that they hold with and without the keys. The wrapped key is no
//! part of what is hashed: it can be erased (crypto-shredding), and the proofs still verify.
//!
//! Sources: NIST SP 800-38D (AES-GCM); RFC 8878 (zstd, dictionaries).

use crate::chain::{from_hexadecimal, hexadecimal};
use crate::codec::{self, MAX_EVENT_BYTES};
use crate::event::{Body, Event, Payload, PayloadCodec};
use crate::id::SessionId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::sync::{Arc, LazyLock};
use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

/// Bytes of a data key and of a key-encryption key.
pub const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// What short payloads have in common, so that each need not say it: `schemas/seal/train` made it. Every frame names it by
/// the id that stands in it; a new one gets a new id, and this one stays.
static DICTIONARY: &[u8] = include_bytes!("../seal/dictionary.zdict");
static ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, codec::ZSTD_LEVEL));
static DECODER: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

/// A payload cannot be sealed or opened; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The machine has no randomness, or a session sealed more than a key may.
    #[error("cannot seal a payload: {0}")]
    Seal(&'static str),
    /// It was sealed under another key.
    #[error("it is sealed under key {0}, which is not this session's")]
    OtherKey(String),
    /// It is damaged, or was moved here from another session.
    #[error("it cannot be opened: damaged, or of another session")]
    Damaged,
    /// The wrapped key is under another key-encryption key.
    #[error("the session's key is wrapped under the key-encryption key {0}, which is not configured")]
    OtherKek(String),
    /// What came out of a wrapped key is not the key that it is said to be.
    #[error("the session's wrapped key is damaged, or of another session")]
    WrongKey,
    /// Not [`KEY_BYTES`] bytes in hexadecimal.
    #[error("a key-encryption key is 64 hexadecimal digits; `openssl rand -hex 32` makes one")]
    Kek,
}

fn nonce(bytes: [u8; NONCE_BYTES]) -> Nonce {
    Nonce::assume_unique_for_key(bytes)
}

fn cipher(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes"))
}

fn digest(label: &[u8], key: &[u8; KEY_BYTES]) -> [u8; 32] {
    let bytes = [label, key].concat();
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The id of a data key: a commitment to it, from which nothing of it can be learned.
fn key_id(key: &[u8; KEY_BYTES]) -> String {
    hexadecimal(digest(b"postern.key.v1", key).split_at(16).0)
}

/// What a sealed payload is bound to besides its key.
fn bound(session: SessionId) -> Aad<[u8; 34]> {
    let mut bytes = [0; 34];
    let (label, id) = bytes.split_at_mut(18);
    label.copy_from_slice(b"postern.payload.v1");
    id.copy_from_slice(session.as_bytes());
    Aad::from(bytes)
}

/// A key-encryption key: it wraps the data keys of sessions. Clones share it; its `Debug` shows its id.
#[derive(Clone)]
pub struct Kek {
    id: String,
    key: Arc<LessSafeKey>,
}

impl Kek {
    /// This one.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self { id: hexadecimal(digest(b"postern.kek.v1", key).split_at(8).0), key: Arc::new(cipher(key)) }
    }

    /// Reads 64 hexadecimal digits, with white space around them.
    ///
    /// # Errors
    /// [`Error::Kek`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self::new(&from_hexadecimal(text.trim()).ok_or(Error::Kek)?))
    }

    /// Its id: 16 hexadecimal digits that tell nothing of it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Draws a data key for a session, and wraps it.
    ///
    /// # Errors
    /// [`Error::Seal`] without randomness.
    pub fn draw(&self, session: SessionId) -> Result<(Sealer, WrappedKey), Error> {
        let (mut key, mut fresh) = ([0; KEY_BYTES], [0; NONCE_BYTES]);
        let random = SystemRandom::new();
        let filled = random.fill(&mut key).and_then(|()| random.fill(&mut fresh));
        filled.map_err(|_| Error::Seal("no randomness"))?;
        let id = key_id(&key);
        let mut wrapped = key.to_vec();
        let sealed = self.key.seal_in_place_append_tag(nonce(fresh), Aad::from(wrap_bound(session, &id)), &mut wrapped);
        sealed.map_err(|_| Error::Seal("the cipher refused"))?;
        let wrapped = [&fresh[..], &wrapped].concat();
        let sealer = Sealer { session, id: id.clone(), key: cipher(&key), next: 0 };
        Ok((sealer, WrappedKey { session, key: id, kek: self.id.clone(), wrapped }))
    }

    /// Unwraps a session's data key.
    ///
    /// # Errors
    /// [`Error::OtherKek`], [`Error::WrongKey`].
    pub fn unwrap(&self, wrapped: &WrappedKey) -> Result<Opener, Error> {
        if wrapped.kek != self.id {
            return Err(Error::OtherKek(wrapped.kek.clone()));
        }
        let (fresh, rest) = wrapped.wrapped.split_first_chunk().ok_or(Error::WrongKey)?;
        let mut rest = rest.to_vec();
        let aad = Aad::from(wrap_bound(wrapped.session, &wrapped.key));
        let opened = self.key.open_in_place(nonce(*fresh), aad, &mut rest).map_err(|_| Error::WrongKey)?;
        let key: &[u8; KEY_BYTES] = (&*opened).try_into().map_err(|_| Error::WrongKey)?;
        if key_id(key) != wrapped.key {
            return Err(Error::WrongKey);
        }
        Ok(Opener { session: wrapped.session, id: wrapped.key.clone(), key: Arc::new(cipher(key)) })
    }

    /// Seals bytes that belong to no session, such as what reviewers are shown; `bound` is what they belong to.
    ///
    /// # Errors
    /// [`Error::Seal`] without randomness.
    pub fn seal(&self, bound: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut fresh = [0; NONCE_BYTES];
        SystemRandom::new().fill(&mut fresh).map_err(|_| Error::Seal("no randomness"))?;
        let mut sealed = bytes.to_vec();
        let aad = Aad::from([b"postern.shown.v1", bound.as_bytes()].concat());
        let done = self.key.seal_in_place_append_tag(nonce(fresh), aad, &mut sealed);
        done.map_err(|_| Error::Seal("the cipher refused"))?;
        Ok([&fresh[..], &sealed].concat())
    }

    /// Opens what [`Kek::seal`] made.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn open(&self, bound: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let (fresh, rest) = sealed.split_first_chunk().ok_or(Error::Damaged)?;
        let mut rest = rest.to_vec();
        let aad = Aad::from([b"postern.shown.v1", bound.as_bytes()].concat());
        let opened = self.key.open_in_place(nonce(*fresh), aad, &mut rest).map_err(|_| Error::Damaged)?;
        Ok(opened.to_vec())
    }
}

impl std::fmt::Debug for Kek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Kek").field(&self.id).finish()
    }
}

impl PartialEq for Kek {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Kek {}

/// The key-encryption keys of a node: the one that wraps, and those before it, which still unwrap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keks {
    present: Kek,
    before: Vec<Kek>,
}

impl Keks {
    /// `present` wraps.
    pub fn new(present: Kek, before: Vec<Kek>) -> Self {
        Self { present, before }
    }

    /// The one that wraps.
    pub fn present(&self) -> &Kek {
        &self.present
    }

    /// The one of this id.
    pub fn get(&self, id: &str) -> Option<&Kek> {
        std::iter::once(&self.present).chain(&self.before).find(|kek| kek.id == id)
    }

    /// Unwraps a session's data key.
    ///
    /// # Errors
    /// [`Error::OtherKek`], [`Error::WrongKey`].
    pub fn unwrap(&self, wrapped: &WrappedKey) -> Result<Opener, Error> {
        self.get(&wrapped.kek).ok_or_else(|| Error::OtherKek(wrapped.kek.clone()))?.unwrap(wrapped)
    }
}

fn wrap_bound(session: SessionId, key: &str) -> Vec<u8> {
    [b"postern.wrap.v1", &session.as_bytes()[..], key.as_bytes()].concat()
}

/// A session's data key, wrapped: as it travels beside the batch with the session's first event, and as it lies in the
/// archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// The session.
    pub session: SessionId,
    /// The data key's id, as payloads name it.
    pub key: String,
    /// The id of the key that wraps it.
    pub kek: String,
    /// Nonce, ciphertext and tag.
    #[serde(with = "codec::blob")]
    pub wrapped: Vec<u8>,
}

/// Seals the payloads of one session. There is one for each key, so that no nonce comes twice.
pub struct Sealer {
    session: SessionId,
    id: String,
    key: LessSafeKey,
    next: u64,
}

impl Sealer {
    /// The data key's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Compresses and seals bytes into `out`, from its beginning.
    ///
    /// # Errors
    /// [`Error::Seal`]; the session ends.
    pub fn seal(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let mut fresh = [0; NONCE_BYTES];
        let [.., a, b, c, d, e, f, g, h] = &mut fresh;
        for (place, byte) in [a, b, c, d, e, f, g, h].into_iter().zip(self.next.to_be_bytes()) {
            *place = byte;
        }
        // far below the 2^32 messages after which a key should go
        self.next = self.next.checked_add(1).filter(|next| *next < 1 << 32).ok_or(Error::Seal("too many payloads"))?;
        let compressed = compress(bytes)?;
        out.clear();
        out.reserve(NONCE_BYTES + compressed.len() + TAG_BYTES);
        out.extend_from_slice(&fresh);
        out.extend_from_slice(&compressed);
        let (_, body) = out.split_at_mut(NONCE_BYTES);
        let tag = self.key.seal_in_place_separate_tag(nonce(fresh), bound(self.session), body);
        out.extend_from_slice(tag.map_err(|_| Error::Seal("the cipher refused"))?.as_ref());
        Ok(())
    }

    /// Likewise, as a payload.
    ///
    /// # Errors
    /// [`Error::Seal`]; the session ends.
    pub fn payload(&mut self, bytes: &[u8]) -> Result<Payload, Error> {
        let mut out = Vec::new();
        self.seal(bytes, &mut out)?;
        Ok(Payload { codec: PayloadCodec::SealedZstd, key: Some(self.id.clone()), bytes: out })
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sealer").field(&self.id).finish()
    }
}

/// Opens the payloads of one session.
#[derive(Clone)]
pub struct Opener {
    session: SessionId,
    id: String,
    key: Arc<LessSafeKey>,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Opener").field(&self.id).finish()
    }
}

impl Opener {
    /// Its session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Opens a payload; one that is not sealed stays as it is.
    ///
    /// # Errors
    /// [`Error::OtherKey`], [`Error::Damaged`]; the payload is then as it was.
    pub fn open(&self, payload: &mut Payload) -> Result<(), Error> {
        let within = match payload.codec {
            PayloadCodec::Plain | PayloadCodec::Digest => return Ok(()),
            PayloadCodec::SealedZstd => PayloadCodec::Plain,
            PayloadCodec::SealedDigest => PayloadCodec::Digest,
        };
        if payload.key.as_deref() != Some(&self.id) {
            return Err(Error::OtherKey(payload.key.clone().unwrap_or_default()));
        }
        let (fresh, rest) = payload.bytes.split_first_chunk().ok_or(Error::Damaged)?;
        let mut rest = rest.to_vec();
        let opened = self.key.open_in_place(nonce(*fresh), bound(self.session), &mut rest);
        let bytes = expand(opened.map_err(|_| Error::Damaged)?)?;
        *payload = Payload { codec: within, key: None, bytes };
        Ok(())
    }

    /// Opens all payloads of an event of its session.
    ///
    /// # Errors
    /// Likewise; those before the one that cannot be opened are open.
    pub fn open_event(&self, event: &mut Event) -> Result<(), Error> {
        payloads(&mut event.body).into_iter().try_for_each(|payload| self.open(payload))
    }
}

/// Whether an event has a sealed payload.
pub fn is_sealed(event: &Event) -> bool {
    let sealed = |payload: &Payload| matches!(payload.codec, PayloadCodec::SealedZstd | PayloadCodec::SealedDigest);
    match &event.body {
        Body::Statement(statement) => sealed(&statement.text) || statement.parameters.as_ref().is_some_and(sealed),
        Body::Frames(frames) => sealed(&frames.payload),
        _ => false,
    }
}

fn payloads(body: &mut Body) -> Vec<&mut Payload> {
    match body {
        Body::Statement(statement) => std::iter::once(&mut statement.text).chain(&mut statement.parameters).collect(),
        Body::Frames(frames) => vec![&mut frames.payload],
        _ => Vec::new(),
    }
}

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let failed = |_| Error::Seal("zstd refused");
    COMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(bytes).map_err(failed),
        None => {
            let made = Compressor::with_prepared_dictionary(&ENCODER).map_err(failed)?;
            kept.insert(made).compress(bytes).map_err(failed)
        }
    })
}

fn expand(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let expanded = DECOMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(decompressor) => decompressor.decompress(bytes, MAX_EVENT_BYTES).map_err(|_| Error::Damaged),
        None => {
            let made = Decompressor::with_prepared_dictionary(&DECODER).map_err(|_| Error::Damaged)?;
            kept.insert(made).decompress(bytes, MAX_EVENT_BYTES).map_err(|_| Error::Damaged)
        }
    });
    // the buffer was made for the largest payload
    expanded.map(|mut bytes| {
        bytes.shrink_to_fit();
        bytes
    })
}

#[cfg(test)]
mod tests {
    //! Only the session's key opens a payload, and only where nothing was changed.

    use super::*;
    use proptest::prelude::*;

    fn session(byte: u8) -> SessionId {
        SessionId::from_bytes([byte; 16])
    }

    #[test]
    fn a_payload_returns_to_the_holder_of_the_key_alone() {
        let (kek, other) = (Kek::new(&[1; 32]), Kek::new(&[2; 32]));
        let (mut sealer, wrapped) = kek.draw(session(7)).unwrap();
        let text = b"select card_number from payments where id = 4711";
        let sealed = sealer.payload(text).unwrap();
        assert!(!sealed.bytes.windows(4).any(|window| window == b"4711"));
        let mut opened = sealed.clone();
        kek.unwrap(&wrapped).unwrap().open(&mut opened).unwrap();
        assert_eq!(opened, Payload::plain(&text[..]));

        assert_eq!(other.unwrap(&wrapped).unwrap_err(), Error::OtherKek(kek.id().to_owned()));
        let moved = WrappedKey { session: session(8), ..wrapped.clone() };
        assert_eq!(kek.unwrap(&moved).unwrap_err(), Error::WrongKey);
        let (_, second) = kek.draw(session(7)).unwrap();
        let swapped = WrappedKey { wrapped: second.wrapped.clone(), ..wrapped.clone() };
        assert_eq!(kek.unwrap(&swapped).unwrap_err(), Error::WrongKey);
        let error = kek.unwrap(&second).unwrap().open(&mut sealed.clone()).unwrap_err();
        assert_eq!(error, Error::OtherKey(wrapped.key));
    }

    #[test]
    fn no_two_payloads_have_the_same_bytes() {
        let (mut sealer, _) = Kek::new(&[1; 32]).draw(session(7)).unwrap();
        assert_ne!(sealer.payload(b"same").unwrap(), sealer.payload(b"same").unwrap());
    }

    #[test]
    fn the_dictionary_is_one_and_pays() {
        assert_eq!(DICTIONARY.first_chunk(), Some(&[0x37, 0xa4, 0x30, 0xec]), "RFC 8878, section 5");
        let text = b"SELECT id, name, email FROM public.customers WHERE id = $1 ORDER BY created_at DESC LIMIT 10";
        assert!(compress(text).unwrap().len() < zstd::bulk::compress(text, codec::ZSTD_LEVEL).unwrap().len());
    }

    #[test]
    fn a_key_encryption_key_is_read_strictly() {
        assert_eq!(Kek::parse(&format!(" {}\n", "0a".repeat(32))).unwrap(), Kek::new(&[10; 32]));
        for wrong in ["", "0a", &"0A".repeat(32)[..63], &"zz".repeat(32)] {
            assert_eq!(Kek::parse(wrong).unwrap_err(), Error::Kek);
        }
        assert_eq!(format!("{:?}", Kek::new(&[10; 32])).matches("0a0a").count(), 0);
    }

    proptest! {
        #[test]
        fn whatever_was_sealed_returns_and_every_change_is_noticed(
            bytes in proptest::collection::vec(any::<u8>(), 0..3000), bit in any::<proptest::sample::Index>(),
        ) {
            let kek = Kek::new(&[3; 32]);
            let (mut sealer, wrapped) = kek.draw(session(9)).unwrap();
            let opener = kek.unwrap(&wrapped).unwrap();
            let sealed = sealer.payload(&bytes).unwrap();
            let mut opened = sealed.clone();
            opener.open(&mut opened).unwrap();
            prop_assert_eq!(opened.bytes, bytes);
            let mut changed = sealed.clone();
            let bit = bit.index(changed.bytes.len() * 8);
            changed.bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(opener.open(&mut changed).unwrap_err(), Error::Damaged);
        }
    }
}
