//! Who holds a token: the gate asks it of agents, the API asks it of auditors.
//!
//! A token is a JSON Web Token (RFC 7519) that an OpenID Connect provider signed. [`Verifier::verify`] answers with a
//! [`Verified`] identity or a [`Rejection`] whose text says why and never shows the token. The checks, in this order:
//!
//! ```text
//! size and form -> issuer (exact) -> algorithm (allow list, before any key is looked at) -> key (kid, type, use)
//!               -> signature -> exp, nbf, iat -> audience -> subject, groups, actors
//! ```
//!
//! - [`config`]: which issuers are trusted, and for whom their tokens must be meant.
//! - `token`: a token as text; nothing in it is believed yet.
//! - `keys`: an issuer's published keys (RFC 7517), and which of them may check which algorithm.
//! - `fetch`: discovery and download of those keys; `jwks`: how long they are believed, and when they are fetched again.
//! - [`certificate`]: client certificates, revocation lists, and whose names are whose.
//! - [`api_key`]: long-lived keys for programs that cannot get tokens yet.
//! - [`exchange`]: short tokens of the gate's own for those of other issuers (RFC 8693); `signing`: the keys for both.
//! - `cache`: tokens that were verified a moment ago, so that a reconnecting agent costs no signature check.
//! - [`development`]: an issuer for trials, where no provider is configured.
//!
//! A verifier may be used from several runtimes at once: fetches run on a thread of their own, and waiting for one
//! needs no timer of the caller's runtime. What a token allows is not decided here.

pub mod api_key;
mod cache;
pub mod certificate;
pub mod config;
pub mod development;
pub mod exchange;
mod fetch;
mod jwks;
mod keys;
mod rejection;
pub mod signing;
mod token;
mod verifier;

/// An error with everything that caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

pub use config::Config;
pub use rejection::{Kind, Rejection};
pub use verifier::{Error, Method, Verified, Verifier};
