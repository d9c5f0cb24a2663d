//! What tests of the control plane and of its users share.

use crate::config::Config;
use crate::record::AccessRequest;
use kit::kms::Kms;
use ring::signature::Ed25519KeyPair;
use schemas::event::RequestKind;
use schemas::{Identity, IdentityKind, RequestId};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// A node whose control topic is a journal in a folder of its own.
pub fn config(folder: &Path, node: &str) -> Config {
    Config {
        node: node.to_owned(),
        signing_key: folder.join(node).join("control.pk8"),
        kms: Kms::none(),
        trusted: BTreeMap::new(),
        retired: BTreeMap::new(),
        directory: folder.join(node),
        max_staleness: Duration::from_secs(2),
        kafka: None,
        keks: None,
    }
}

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

/// A request of half an hour for a role, which one of `dba` answers within the first hour of 1970.
pub fn request(number: u8) -> AccessRequest {
    const MINUTE: i64 = 60_000_000;
    AccessRequest {
        id: RequestId::from_bytes([number; 16]),
        requester: identity("bot", &["agents"]),
        resource: "shop".into(),
        role: "billing".into(),
        duration: 30 * MINUTE,
        reason: "ticket".into(),
        kind: RequestKind::Reviewed,
        rule: None,
        extends: None,
        reviewers: vec!["dba".into()],
        approvals: 1,
        expires: 60 * MINUTE,
    }
}
