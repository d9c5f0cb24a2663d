//! SCRAM-SHA-256 without channel binding, the client's side (RFC 5802, RFC 7677), as cheap as `ring` does it.
use ring::{digest, hmac, pbkdf2, rand::{SecureRandom, SystemRandom}};
use std::num::NonZeroU32;

pub struct Scram { nonce: String, first_bare: String }
impl Scram {
    pub fn new() -> Scram {
        let mut raw = [0; 18]; SystemRandom::new().fill(&mut raw).expect("random numbers");
        let nonce = encode(&raw); let first_bare = format!("n=,r={nonce}"); Scram { nonce, first_bare }
    }
    pub fn first(&self) -> String { format!("n,,{}", self.first_bare) }
    pub fn last(&self, password: &str, challenge: &str) -> Result<String, String> {
        let of = |key: char| challenge.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('=')).ok_or_else(|| format!("a challenge without {key}"));
        let (nonce, salt, count) = (of('r')?, decode(of('s')?), of('i')?.parse::<NonZeroU32>().map_err(|e| e.to_string())?);
        if !nonce.starts_with(&self.nonce) { return Err("another nonce".into()); }
        let mut salted = [0; 32]; pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, count, &salt, password.as_bytes(), &mut salted);
        let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
        let key = mac(&salted, b"Client Key"); let stored = digest::digest(&digest::SHA256, key.as_ref());
        let without = format!("c=biws,r={nonce}"); let text = format!("{},{challenge},{without}", self.first_bare);
        let proof: Vec<u8> = mac(stored.as_ref(), text.as_bytes()).as_ref().iter().zip(key.as_ref()).map(|(a, b)| a ^ b).collect();
        Ok(format!("{without},p={}", encode(&proof)))
    }
}
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
fn encode(bytes: &[u8]) -> String {
    bytes.chunks(3).flat_map(|c| { let n = c.iter().enumerate().fold(0u32, |n, (i, b)| n | u32::from(*b) << (16 - 8 * i));
        (0..4).map(move |i| if i > c.len() { '=' } else { LETTERS[(n >> (18 - 6 * i) & 63) as usize] as char }) }).collect()
}
fn decode(text: &str) -> Vec<u8> {
    let mut out = vec![]; let (mut n, mut bits) = (0u32, 0);
    for v in text.bytes().filter_map(|b| LETTERS.iter().position(|l| *l == b)) { n = n << 6 | v as u32; bits += 6; if bits >= 8 { bits -= 8; out.push((n >> bits) as u8); } }
    out
}
