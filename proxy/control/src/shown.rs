//! What reviewers are shown of a sealed session's statement: sealed on the topic, open in the memory of nodes that have the
//! key.
//!
//! What decides (limits, digests) is taken from the sealed form, so that nodes with and without the key agree.

use base64::{Engine, prelude::BASE64_STANDARD};
use schemas::HoldId;
use schemas::seal::{Error, Keks};
use serde_json::{Value, json};

/// Seals what is shown under the key-encryption key.
pub(crate) fn seal(keks: &Keks, hold: HoldId, shown: &Value) -> Result<Value, Error> {
    let kek = keks.present();
    let sealed = kek.seal(&hold.to_string(), shown.to_string().as_bytes())?;
    Ok(json!({"kek": kek.id(), "sealed": BASE64_STANDARD.encode(sealed)}))
}

/// Opens it; none where it is not sealed, or not for this node.
pub(crate) fn open(keks: &Keks, hold: HoldId, shown: &Value) -> Option<Value> {
    let text = |name| shown.get(name).and_then(Value::as_str);
    let sealed = BASE64_STANDARD.decode(text("sealed")?).ok()?;
    let opened = keks.get(text("kek")?)?.open(&hold.to_string(), &sealed);
    let opened = opened.inspect_err(|error| tracing::warn!(%hold, %error, "what is shown of a hold stays sealed"));
    serde_json::from_slice(&opened.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::seal::Kek;

    #[test]
    fn it_opens_for_its_hold_and_key_alone() {
        let (mine, other) = (Keks::new(Kek::new(&[1; 32]), vec![]), Keks::new(Kek::new(&[2; 32]), vec![]));
        let [hold, another] = [1, 2].map(|byte| HoldId::from_bytes([byte; 16]));
        let shown = json!({"text": "delete from t where card = '4111111111111111'"});
        let sealed = seal(&mine, hold, &shown).unwrap();
        assert!(!sealed.to_string().contains("4111"));
        assert_eq!(open(&mine, hold, &sealed), Some(shown.clone()));
        assert_eq!(open(&mine, another, &sealed), None);
        assert_eq!(open(&other, hold, &sealed), None);
        assert_eq!(open(&mine, hold, &shown), None, "it was never sealed");
        let rotated = Keks::new(Kek::new(&[3; 32]), vec![Kek::new(&[1; 32])]);
        assert_eq!(open(&rotated, hold, &sealed), Some(shown));
    }
}
