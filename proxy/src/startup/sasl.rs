//! SASL OAUTHBEARER (RFC 7628), as libpq 18 speaks it: the token as what it is, not as a password.
//!
//! ```text
//! gate    AuthenticationSASL ["OAUTHBEARER"]
//! client  SASLInitialResponse "n,,^Aauth=Bearer <token>^A^A"       without a token: auth=, to learn where to get one
//! gate    on success nothing: AuthenticationOk follows
//!         otherwise SASLContinue {"status": ..., "openid-configuration": ..., "scope": ...}
//! client  SASLResponse "^A"
//! gate    ErrorResponse
//! ```
//!
//! libpq without a token makes the second way once, fetches the discovery document that it names, gets a token from its
//! user (device flow, or the program's hook), and connects again.

use super::{Error, Stream, message, read_answer};
use kit::Secret;
use tokio::io::AsyncWriteExt;

/// Where a client that has no good token may get one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The issuer's URL.
    pub issuer: String,
    /// What to ask it for.
    pub scope: String,
}

/// Offers OAUTHBEARER and reads the client's first message: its token, or none where it asks where to get one.
///
/// # Errors
/// [`Error`]: the client went, or sent something else.
pub async fn read_bearer(stream: &mut Stream) -> Result<Option<Secret<String>>, Error> {
    let offer = [&[0, 0, 0, 10][..], MECHANISM, &[0, 0]].concat();
    send(stream, &offer).await?;
    let body = read_answer(stream).await?;
    let (mechanism, rest) = until_nul(body.expose()).ok_or(Error::Sasl("the mechanism has no end"))?;
    if mechanism != MECHANISM {
        return Err(Error::Mechanism);
    }
    let (length, response) = rest.split_first_chunk::<4>().ok_or(Error::Sasl("there is no initial response"))?;
    if usize::try_from(i32::from_be_bytes(*length)) != Ok(response.len()) {
        return Err(Error::Sasl("the initial response has another length than it says"));
    }
    bearer(response)
}

/// Tells the client that it needs another token and where to get it, and waits for its acknowledgement: what follows is
/// an ErrorResponse.
///
/// # Errors
/// [`Error`]: the client went, or sent something else.
pub async fn refuse(stream: &mut Stream, discovery: Option<&Discovery>) -> Result<(), Error> {
    let status = match discovery {
        Some(Discovery { issuer, scope }) => serde_json::json!({
            "status": "invalid_token",
            "openid-configuration": format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')),
            "scope": scope,
        }),
        None => serde_json::json!({"status": "invalid_token"}),
    };
    send(stream, &[&[0, 0, 0, 11][..], status.to_string().as_bytes()].concat()).await?;
    let body = read_answer(stream).await?;
    if body.expose() == &[SEPARATOR] { Ok(()) } else { Err(Error::Sasl("the failure was not acknowledged")) }
}

async fn send(stream: &mut Stream, body: &[u8]) -> Result<(), Error> {
    stream.write_all(&message(b'R', body)).await.map_err(Error::Connection)?;
    stream.flush().await.map_err(Error::Connection)
}

/// The token of a client's first message (RFC 7628, section 3.1); none where it is empty.
fn bearer(response: &[u8]) -> Result<Option<Secret<String>>, Error> {
    let text = std::str::from_utf8(response).map_err(|_| Error::Sasl("it is not UTF-8"))?;
    // no channel binding; an identity to act as would be a second opinion on who this is
    let rest = text.strip_prefix("n,,").or_else(|| text.strip_prefix("y,,"));
    let rest = rest.ok_or(Error::Sasl("the header must say n,, (no channel binding, no other identity)"))?;
    let pairs = rest.strip_prefix('\u{1}').and_then(|rest| rest.strip_suffix("\u{1}\u{1}"));
    let mut auth = None;
    for pair in pairs.ok_or(Error::Sasl("its parts are not separated as they must be"))?.split('\u{1}') {
        let (name, value) = pair.split_once('=').ok_or(Error::Sasl("a part is not name=value"))?;
        if name == "auth" && auth.replace(value).is_some() {
            return Err(Error::Sasl("auth is given twice"));
        }
    }
    let auth = auth.ok_or(Error::Sasl("auth is missing"))?;
    if auth.is_empty() {
        return Ok(None);
    }
    let (scheme, token) = auth.split_once(' ').ok_or(Error::Sasl("auth has no token"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Error::Sasl("the scheme of auth is not Bearer"));
    }
    let token = token.trim_start_matches(' ');
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)) {
        return Err(Error::Sasl("the token has characters that no token has"));
    }
    Ok(Some(Secret::new(token.to_owned())))
}

fn until_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

const MECHANISM: &[u8] = b"OAUTHBEARER";

const SEPARATOR: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_holds_one_token_or_none() {
        let read = |text: &str| bearer(text.as_bytes()).map(|token| token.map(|token| token.expose().clone()));
        assert_eq!(read("n,,\x01auth=Bearer a.b-c\x01\x01").unwrap().as_deref(), Some("a.b-c"));
        assert_eq!(read("y,,\x01host=h\x01port=1\x01auth=bearer  a\x01\x01").unwrap().as_deref(), Some("a"));
        assert_eq!(read("n,,\x01auth=\x01\x01").unwrap(), None);
        for wrong in [
            "",
            "n,,",
            "n,,\x01\x01",
            "n,,\x01auth=Bearer a\x01",
            "p=tls-exporter,,\x01auth=Bearer a\x01\x01",
            "n,a=root,\x01auth=Bearer a\x01\x01",
            "n,,\x01auth=Basic a\x01\x01",
            "n,,\x01auth=Bearer\x01\x01",
            "n,,\x01auth=Bearer \x01\x01",
            "n,,\x01auth=Bearer a b\x01\x01",
            "n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
            "n,,\x01host\x01\x01",
            "n,,\x01host=a\x01\x01",
            "n,,\x01auth=Bearer a\x01\x01\x01\x01",
        ] {
            assert!(matches!(read(wrong), Err(Error::Sasl(_))), "{wrong:?}");
        }
    }
}
