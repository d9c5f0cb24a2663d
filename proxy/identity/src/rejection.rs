//! Why a token was not accepted, in words that its holder may read.

use std::fmt;

/// The reason of a rejection: a closed set, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Not a signed JSON Web Token, or larger than any.
    Malformed,
    /// Signed with an algorithm that is not on the issuer's allow list.
    Algorithm,
    /// From an issuer that is not configured.
    Issuer,
    /// The issuer has no such key.
    UnknownKey,
    /// The signature is not the issuer's.
    Signature,
    /// Expired, or without an expiry.
    Expired,
    /// Not valid yet.
    NotYetValid,
    /// Meant for somebody else.
    Audience,
    /// A claim is missing or has an unusable value.
    Claims,
    /// A client certificate that is not acceptable.
    Certificate,
    /// An API key that is unknown or revoked.
    ApiKey,
    /// The issuer's keys cannot be had, and none that are recent enough are held.
    Unavailable,
}

impl Kind {
    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Issuer => "issuer",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::Certificate => "certificate",
            Self::ApiKey => "api_key",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A token was not accepted. Its `Display` is the text for the client: it names what the gate expects, and repeats
/// nothing of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    kind: Kind,
    text: String,
}

impl Rejection {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// The reason as a closed set.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// `28P01` (invalid password) where the token proves nothing, `28000` (invalid authorization) where it is the
    /// issuer's but not acceptable here, or cannot be checked.
    pub const fn sqlstate(&self) -> &'static str {
        match self.kind {
            Kind::Malformed | Kind::UnknownKey | Kind::Signature | Kind::ApiKey => "28P01",
            Kind::Algorithm
            | Kind::Issuer
            | Kind::Expired
            | Kind::NotYetValid
            | Kind::Audience
            | Kind::Claims
            | Kind::Certificate
            | Kind::Unavailable => "28000",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Rejection {}
