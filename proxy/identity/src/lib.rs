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
//! - `cache`: tokens that were verified a moment ago, so that a reconnecting agent costs no signature check.
//! - [`development`]: an issuer for trials, where no provider is configured.
//!
//! A verifier may be used from several runtimes at once: fetches run on a thread of their own, and waiting for one
//! needs no timer of the caller's runtime. What a token allows is not decided here.

mod cache;
pub mod config;
pub mod development;
mod fetch;
mod jwks;
mod keys;
mod rejection;
mod token;
mod verifier;

pub use config::Config;
pub use rejection::{Kind, Rejection};
pub use verifier::{Error, Verified, Verifier};
