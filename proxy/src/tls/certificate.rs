//! The gate's certificate: from files, or a self-signed one for development.

use super::{Error, possession::Possession};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Where certificate and key come from.
#[derive(Debug, Clone)]
pub enum Files {
    /// PEM files.
    Given {
        /// The chain, the gate's own certificate first.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// A self-signed certificate for this machine's loopback names, made in this folder where it is missing. Its public
    /// part is `gate-development.crt`, for clients' `sslrootcert`.
    Development {
        /// The folder of the process's own keys.
        folder: PathBuf,
    },
}

/// Accepts TLS connections: TLS 1.2 and 1.3, ALPN `postgresql`. Clones share the certificate.
#[derive(Clone)]
pub struct Acceptor(Arc<Inner>);

struct Inner {
    files: Files,
    allow_plaintext: bool,
    ask_certificates: bool,
    current: RwLock<Arc<ServerConfig>>,
}

impl Acceptor {
    /// Reads certificate and key, or makes them for development.
    ///
    /// # Errors
    /// [`Error`], naming the file.
    pub fn new(files: &Files, allow_plaintext: bool) -> Result<Self, Error> {
        Self::asking(files, allow_plaintext, false)
    }

    /// As [`Acceptor::new`]; clients may be asked for a certificate, which [`crate::authenticate`] then judges.
    ///
    /// # Errors
    /// Likewise.
    pub fn asking(files: &Files, allow_plaintext: bool, ask_certificates: bool) -> Result<Self, Error> {
        let current = RwLock::new(load(files, ask_certificates)?);
        Ok(Self(Arc::new(Inner { files: files.clone(), allow_plaintext, ask_certificates, current })))
    }

    /// Reads the files again: connections from now on see the new certificate, running ones stay as they are.
    ///
    /// # Errors
    /// [`Error`]; the certificate in use then stays in use.
    pub fn reload(&self) -> Result<(), Error> {
        let fresh = load(&self.0.files, self.0.ask_certificates)?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn allows_plaintext(&self) -> bool {
        self.0.allow_plaintext
    }
}

fn load(files: &Files, ask_certificates: bool) -> Result<Arc<ServerConfig>, Error> {
    let (certificate, key) = match files {
        Files::Given { certificate, key } => (certificate.clone(), key.clone()),
        Files::Development { folder } => {
            let both = development(folder)?;
            (both.clone(), both)
        }
    };
    let chain = read_chain(&certificate)?;
    let pem = read(&key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| Error::Pem { path: key, what: "private key" })?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Error::Configuration)?;
    let builder = if ask_certificates {
        builder.with_client_cert_verifier(Arc::new(Possession::new(provider)))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).map_err(Error::Configuration)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(Error::Configuration)?;
    Ok(Arc::new(config))
}

/// Reads the certificates of a PEM file, in order.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(Error::Pem { path: path.to_owned(), what: "certificate" }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// The file with the development certificate and its key; made where it is missing.
fn development(folder: &Path) -> Result<PathBuf, Error> {
    let path = folder.join("gate-development.pem");
    if !path.exists() {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let made = rcgen::generate_simple_self_signed(names).map_err(Error::Development)?;
        let both = format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem());
        fs::create_dir_all(folder)
            .and_then(|()| place(&path, both.as_bytes(), 0o600, true))
            .map_err(|source| Error::Write { path: path.clone(), source })?;
        tracing::warn!(path = %path.display(), "made a self-signed certificate for development; give a real one in production");
    }
    let public = folder.join("gate-development.crt");
    let chain = read_chain(&path)?;
    let pem: String = chain.iter().map(|certificate| to_pem(certificate)).collect();
    if fs::read_to_string(&public).ok().as_deref() != Some(&pem) {
        place(&public, pem.as_bytes(), 0o644, false).map_err(|source| Error::Write { path: public, source })?;
    }
    Ok(path)
}

fn to_pem(certificate: &CertificateDer<'_>) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let text = BASE64_STANDARD.encode(certificate);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// Puts a whole file in place at once: written aside, then linked (the first one wins) or renamed over.
fn place(path: &Path, bytes: &[u8], mode: u32, keep_first: bool) -> io::Result<()> {
    let attempt = ATTEMPT.fetch_add(1, Ordering::Relaxed);
    let aside = path.with_extension(format!("{}.{attempt}.tmp", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    if !keep_first {
        return fs::rename(&aside, path);
    }
    let linked = match fs::hard_link(&aside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    fs::remove_file(&aside).and(linked)
}

/// Keeps the attempts of one process apart.
static ATTEMPT: AtomicU64 = AtomicU64::new(0);

/// The name of PostgreSQL's protocol in ALPN.
pub(super) const PROTOCOL: &[u8] = b"postgresql";
