//! TLS towards the server: how its certificate is checked, and what binds the login to it.

use super::TlsMode;
use ring::digest::{SHA256, SHA384, SHA512, digest};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring as provider},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use std::{path::Path, sync::Arc};

/// The client's side of TLS; none for [`TlsMode::Disable`].
pub(super) fn client(mode: TlsMode, ca_file: Option<&Path>) -> Result<Option<Arc<ClientConfig>>, String> {
    let provider = Arc::new(provider::default_provider());
    let mut pinned = Vec::new();
    let trust = match (mode, ca_file) {
        (TlsMode::Disable, _) => return Ok(None),
        (TlsMode::Require, _) => Trust::Anybody,
        (TlsMode::VerifyCa | TlsMode::VerifyFull, None) => {
            return Err("ca_file: is required to verify the server (tls = verify-ca or verify-full)".to_owned());
        }
        (TlsMode::VerifyCa, Some(path)) => Trust::Authority(verifier(path, &provider, &mut pinned)?),
        (TlsMode::VerifyFull, Some(path)) => Trust::Host(verifier(path, &provider, &mut pinned)?),
    };
    let verifier = Arc::new(Verifier { trust, pinned, provider: provider.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("tls: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(Some(Arc::new(config)))
}

fn verifier(
    path: &Path,
    provider: &Arc<CryptoProvider>,
    pinned: &mut Vec<CertificateDer<'static>>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let chain = crate::tls::read_chain(path).map_err(|error| format!("ca_file: {}", crate::chain(&error)))?;
    pinned.clone_from(&chain);
    let mut roots = RootCertStore::empty();
    for certificate in chain {
        roots.add(certificate).map_err(|error| format!("ca_file: {}: {error}", path.display()))?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| format!("ca_file: {}: {error}", path.display()))
}

/// Checks the server's certificate as far as the mode says, and its signature always.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    /// The certificates of `ca_file`. A server may present one of them itself, as PostgreSQL's own instructions for a
    /// self-signed certificate have it; as the chain of an authority rustls would refuse it, since it signs others.
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Trust {
    Anybody,
    Authority(Arc<WebPkiServerVerifier>),
    Host(Arc<WebPkiServerVerifier>),
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let check = |verifier: &WebPkiServerVerifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        let is_pinned = self.pinned.iter().any(|own| own == end_entity);
        match &self.trust {
            Trust::Authority(_) if is_pinned => Ok(ServerCertVerified::assertion()),
            Trust::Host(_) if is_pinned => {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            Trust::Anybody => Ok(ServerCertVerified::assertion()),
            Trust::Host(verifier) => check(verifier),
            // rustls checks the chain first and the name last: an error about the name means that the chain is good.
            Trust::Authority(verifier) => match check(verifier) {
                Err(rustls::Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                other => other,
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The channel binding `tls-server-end-point` (RFC 5929): the certificate's hash, by the hash function of its own
/// signature. None where that function is not defined or not known: the login is then not bound to the connection.
pub(super) fn server_end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let algorithm = match signature_algorithm(certificate)? {
        // md5, sha1, sha256 with RSA; sha1, sha256 with ECDSA: RFC 5929 puts SHA-256 in the place of the weak ones
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 4 | 5 | 11]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01 | 0x03, 0x01 | 0x02] => &SHA256,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 12] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03] => {
            &SHA384
        }
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 13] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04] => {
            &SHA512
        }
        _ => return None,
    };
    Some(digest(algorithm, certificate).as_ref().to_vec())
}

/// `Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { algorithm OBJECT IDENTIFIER, .. }, .. }`
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(certificate, 0x30)?;
    let (_, rest) = element(certificate, 0x30)?;
    let (algorithm, _) = element(rest, 0x30)?;
    element(algorithm, 0x06).map(|(oid, _)| oid)
}

/// One DER element of this tag: its content, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ 0..=0x7f => (short, rest),
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(long - 0x80)?;
            (digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (*found == tag).then_some(rest.split_at_checked(length)?)
}
