//! What tests of the control plane and of its users share.

use ring::signature::Ed25519KeyPair;
use schemas::{Identity, IdentityKind};

/// An identity of this subject, with these groups.
pub fn identity(subject: &str, groups: &[&str]) -> Identity {
    Identity {
        kind: IdentityKind::Human,
        subject: subject.to_owned(),
        issuer: "https://issuer.example".to_owned(),
        name: subject.to_owned(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        on_behalf_of: Vec::new(),
        task: None,
    }
}

/// A key pair that follows from a number.
pub fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("every seed of 32 bytes is a key")
}
