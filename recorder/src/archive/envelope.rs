//! What is signed in an archive and its envelope: checkpoints and the entries of the custody log.
//!
//! A DSSE envelope, in exactly one form of bytes, so that a change of any byte is a change that is found.
//! Source: <https://github.com/secure-systems-lab/dsse> (protocol and envelope).

use base64::{Engine, prelude::BASE64_STANDARD};
use schemas::chain::{from_hexadecimal, hexadecimal};
use schemas::signature::PublicKey;
use schemas::{Signature, Signer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// What DSSE says that the payload is.
    pub(crate) payload_type: &'static str,
    /// Its name in the plural, for findings.
    pub(crate) named: &'static str,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: [EnvelopeSignature; 1],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

impl Form {
    /// DSSE's pre-authentication encoding: what is signed.
    fn authenticated(self, payload: &[u8]) -> Vec<u8> {
        let head = format!("DSSEv1 {} {} {} ", self.payload_type.len(), self.payload_type, payload.len());
        [head.as_bytes(), payload].concat()
    }

    /// Signs a document and puts it in its envelope.
    ///
    /// # Errors
    /// A fault in this package.
    pub(crate) fn seal(self, document: &impl Serialize, signer: &Signer) -> Result<Vec<u8>, serde_json::Error> {
        let payload = serde_json::to_vec(document)?;
        self.enveloped(&payload, &signer.sign(&self.authenticated(&payload)))
    }

    fn enveloped(self, payload: &[u8], signature: &Signature) -> Result<Vec<u8>, serde_json::Error> {
        let signature =
            EnvelopeSignature { keyid: hexadecimal(&signature.key), sig: BASE64_STANDARD.encode(signature.signature) };
        serde_json::to_vec(&Envelope {
            payload_type: self.payload_type.to_owned(),
            payload: BASE64_STANDARD.encode(payload),
            signatures: [signature],
        })
    }

    /// Reads an envelope, and checks its form and that the key which it names signed it. Whose key that is, is the
    /// caller's to know.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub(crate) fn open<T: Serialize + DeserializeOwned>(self, bytes: &[u8]) -> Result<(T, PublicKey), String> {
        let envelope: Envelope =
            serde_json::from_slice(bytes).map_err(|error| format!("it cannot be read: {error}"))?;
        let decoded = |text: &str, what: &str| {
            BASE64_STANDARD.decode(text).map_err(|error| format!("its {what} is not base64: {error}"))
        };
        let [EnvelopeSignature { keyid, sig }] = &envelope.signatures;
        let key = from_hexadecimal(keyid).ok_or("its keyid is not a public key")?;
        let payload = decoded(&envelope.payload, "payload")?;
        let signature = decoded(sig, "signature")?.try_into().map_err(|_| "its signature has not 64 bytes")?;
        let signature = Signature { key, signature };
        if !signature.verifies(&self.authenticated(&payload)) {
            return Err("its signature is not by the key that it names".to_owned());
        }
        let unreadable = |error: serde_json::Error| format!("its payload cannot be read: {error}");
        let document: T = serde_json::from_slice(&payload).map_err(unreadable)?;
        let again = serde_json::to_vec(&document).and_then(|payload| self.enveloped(&payload, &signature));
        if again.map_err(unreadable)? != bytes || envelope.payload_type != self.payload_type {
            return Err(format!("it has not the form in which {} are written", self.named));
        }
        Ok((document, key))
    }
}
