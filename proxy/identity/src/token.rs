//! A token as text, split and read. Nothing in it is believed until `verifier` has checked the signature.

use crate::rejection::{Kind, Rejection};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A token whose form is right and whose content is only claimed.
pub(crate) struct Unverified<'a> {
    pub(crate) header: Header,
    pub(crate) claims: Claims,
    /// Header and payload, as they were signed.
    pub(crate) message: &'a str,
    /// The signature, still encoded.
    pub(crate) signature: &'a str,
}

/// The header of a token. Members that name or carry a key (`jku`, `jwk`, `x5u`, `x5c`) are not even read.
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// The claims of a token.
pub(crate) struct Claims(Map<String, Value>);

/// Splits and reads a token.
pub(crate) fn read(token: &str) -> Result<Unverified<'_>, Rejection> {
    if token.is_empty() {
        return Err(malformed("no token was given: send one as the password"));
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(malformed(format!("the token is larger than {MAX_TOKEN_BYTES} bytes")));
    }
    let not_signed = || malformed("the password is not a signed JSON Web Token");
    let (message, signature) = token.rsplit_once('.').ok_or_else(not_signed)?;
    let (header, payload) = message.split_once('.').filter(|(_, p)| !p.contains('.')).ok_or_else(not_signed)?;
    let header: Header = decode(header).ok_or_else(not_signed)?;
    let claims: Map<String, Value> = decode(payload).ok_or_else(not_signed)?;
    if header.crit.is_some() {
        return Err(malformed("the token has critical header extensions, and none is supported"));
    }
    if header.kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KEY_ID_BYTES) {
        return Err(malformed("the token's key id is empty or too long"));
    }
    if !header.typ.as_deref().is_none_or(is_login_type) {
        return Err(malformed("the token is of a type that is not meant for logging in"));
    }
    Ok(Unverified { header, claims: Claims(claims), message, signature })
}

/// RFC 8725 section 3.11: a token made for another use (a logout token, a security event) must not pass as a login.
fn is_login_type(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

impl Claims {
    /// The issuer, if it is text.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.0.get("iss").and_then(Value::as_str)
    }

    /// Whether one of these audiences is among the token's.
    pub(crate) fn is_for(&self, audiences: &[String]) -> bool {
        let matches = |value: &Value| value.as_str().is_some_and(|text| audiences.iter().any(|a| a == text));
        match self.0.get("aud") {
            Some(Value::Array(list)) => list.iter().any(matches),
            Some(one) => matches(one),
            None => false,
        }
    }

    /// A NumericDate in whole seconds. `Err` where the claim is there and is not a usable number.
    pub(crate) fn seconds(&self, claim: &str) -> Result<Option<i64>, Rejection> {
        let Some(value) = self.0.get(claim) else { return Ok(None) };
        let unusable = || Rejection::new(Kind::Claims, format!("the token's `{claim}` is not a usable time"));
        if let Some(whole) = value.as_i64() {
            return Some(whole).filter(|n| (0..=MAX_TIME).contains(n)).map(Some).ok_or_else(unusable);
        }
        let number = value.as_f64().filter(|n| (0.0..=MAX_TIME_FLOAT).contains(n)).ok_or_else(unusable)?;
        #[allow(clippy::cast_possible_truncation, reason = "the range was checked just above")]
        Ok(Some(number.floor() as i64))
    }

    /// A text claim, by its path. `Err` where it is there but cannot be used.
    pub(crate) fn text(&self, path: &str) -> Result<Option<&str>, Rejection> {
        match self.at(path) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => usable(text, path).map(Some),
            Some(_) => Err(not_usable(path)),
        }
    }

    /// A list claim, by its path: a list of texts, or one text with spaces between.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<String>, Rejection> {
        let list: Vec<&str> = match self.at(path) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) => text.split(' ').filter(|part| !part.is_empty()).collect(),
            Some(Value::Array(values)) => {
                values.iter().map(|v| v.as_str().ok_or_else(|| not_usable(path))).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(not_usable(path)),
        };
        if list.len() > MAX_GROUPS {
            return Err(Rejection::new(
                Kind::Claims,
                format!("the token's `{path}` has more than {MAX_GROUPS} entries"),
            ));
        }
        list.into_iter().map(|text| usable(text, path).map(str::to_owned)).collect()
    }

    /// Whether the claim is there at all.
    pub(crate) fn is_there(&self, path: &str) -> bool {
        self.at(path).is_some()
    }

    /// Whether the claim is this text, or a list that has it.
    pub(crate) fn has(&self, path: &str, text: &str) -> bool {
        match self.at(path) {
            Some(Value::Array(list)) => list.iter().any(|value| value.as_str() == Some(text)),
            Some(one) => one.as_str() == Some(text),
            None => false,
        }
    }

    /// The subjects of the `act` chain, outermost first (RFC 8693 section 4.1).
    pub(crate) fn actors(&self) -> Result<Vec<String>, Rejection> {
        let mut actors = Vec::new();
        let mut next = self.0.get("act");
        while let Some(actor) = next {
            let subject = actor.get("sub").and_then(Value::as_str).ok_or_else(|| not_usable("act"))?;
            actors.push(usable(subject, "act")?.to_owned());
            if actors.len() > MAX_ACTORS {
                return Err(Rejection::new(Kind::Claims, format!("the token has more than {MAX_ACTORS} actors")));
            }
            next = actor.get("act");
        }
        Ok(actors)
    }

    /// The claim of that very name (some issuers use URLs), else the one at the end of the dotted path.
    fn at(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let mut parts = path.split('.');
        let first = self.0.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }
}

/// These texts stand in events, logs and on terminals: no control characters, nothing empty or endless.
fn usable<'a>(text: &'a str, claim: &str) -> Result<&'a str, Rejection> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
        return Err(not_usable(claim));
    }
    Ok(text)
}

fn not_usable(claim: &str) -> Rejection {
    Rejection::new(Kind::Claims, format!("the token's `{claim}` claim has no usable value"))
}

fn malformed(text: impl Into<String>) -> Rejection {
    Rejection::new(Kind::Malformed, text)
}

/// Larger than any provider's token with its groups; parsing and hashing stay cheap.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Key ids are short names or thumbprints.
const MAX_KEY_ID_BYTES: usize = 256;

/// Bounds one subject, name or group in every event that follows.
const MAX_TEXT_BYTES: usize = 512;

/// Bounds what each event and policy decision carries.
const MAX_GROUPS: usize = 256;

/// A chain of delegation longer than this is a mistake.
pub(crate) const MAX_ACTORS: usize = 8;

/// The year 9999: sums with it cannot overflow.
const MAX_TIME: i64 = 253_402_300_799;
const MAX_TIME_FLOAT: f64 = 253_402_300_799.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(value: Value) -> Claims {
        Claims(value.as_object().unwrap().clone())
    }

    #[test]
    fn groups_are_a_list_or_words_at_a_path() {
        let all = claims(json!({"groups": ["a", "b"], "roles": "c  d", "realm": {"roles": ["e"]}, "a.b": ["f"],
            "https://x.example/g": ["g"], "n": null, "bad": [1], "worse": 7, "empty": [""]}));
        for (path, expected) in [
            ("groups", vec!["a", "b"]),
            ("roles", vec!["c", "d"]),
            ("realm.roles", vec!["e"]),
            ("a.b", vec!["f"]),
            ("https://x.example/g", vec!["g"]),
            ("n", vec![]),
            ("absent.path", vec![]),
        ] {
            assert_eq!(all.list(path).unwrap(), expected, "{path}");
        }
        for path in ["bad", "worse", "empty"] {
            assert_eq!(all.list(path).unwrap_err().kind(), Kind::Claims, "{path}");
        }
    }

    #[test]
    fn audience_is_one_or_many() {
        let ours = ["x".to_owned(), "y".to_owned()];
        assert!(claims(json!({"aud": "y"})).is_for(&ours));
        assert!(claims(json!({"aud": ["z", "x"]})).is_for(&ours));
        for other in
            [json!({}), json!({"aud": "xy"}), json!({"aud": []}), json!({"aud": {"x": 1}}), json!({"aud": [["x"]]})]
        {
            assert!(!claims(other).is_for(&ours));
        }
    }

    #[test]
    fn times_are_numbers_within_reason() {
        let all = claims(json!({"a": 17, "b": 17.9, "c": -1, "d": 1e300, "e": "17", "f": 9_999_999_999_999i64}));
        assert_eq!(all.seconds("a").unwrap(), Some(17));
        assert_eq!(all.seconds("b").unwrap(), Some(17));
        assert_eq!(all.seconds("absent").unwrap(), None);
        for claim in ["c", "d", "e", "f"] {
            assert!(all.seconds(claim).is_err(), "{claim}");
        }
    }

    #[test]
    fn actors_are_read_from_the_outside_in() {
        let chain = claims(json!({"act": {"sub": "a", "act": {"sub": "b"}}}));
        assert_eq!(chain.actors().unwrap(), ["a", "b"]);
        let mut deep = json!({"sub": "x"});
        for _ in 0..MAX_ACTORS {
            deep = json!({"sub": "x", "act": deep});
        }
        assert!(claims(json!({"act": deep})).actors().is_err());
        assert!(claims(json!({"act": "a"})).actors().is_err());
        assert!(claims(json!({"act": {"sub": "a\nb"}})).actors().is_err());
    }

    #[test]
    fn a_token_for_another_use_is_refused() {
        let token = |header: Value| {
            let part = |v: &Value| BASE64_URL_SAFE_NO_PAD.encode(v.to_string());
            format!("{}.{}.AAAA", part(&header), part(&json!({})))
        };
        assert!(read(&token(json!({"alg": "ES256", "typ": "at+jwt"}))).is_ok());
        assert!(read(&token(json!({"alg": "ES256", "typ": "application/AT+JWT"}))).is_ok());
        for header in [
            json!({"alg": "ES256", "typ": "logout+jwt"}),
            json!({"alg": "ES256", "crit": ["b64"]}),
            json!({"alg": "ES256", "kid": ""}),
            json!({"alg": 1}),
            json!({}),
            json!([]),
        ] {
            assert_eq!(read(&token(header)).err().unwrap().kind(), Kind::Malformed);
        }
        for token in ["", "a", "a.b", "a.b.c", "....", "e30.e30.", "e30=.e30.AA"] {
            assert_eq!(read(token).err().unwrap().kind(), Kind::Malformed, "{token}");
        }
    }
}
