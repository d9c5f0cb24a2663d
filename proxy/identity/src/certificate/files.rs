//! The files of authorities and revocation lists, and whether they have changed.

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, pem::PemObject};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};
use webpki::{CertRevocationList, OwnedCertRevocationList, anchor_from_trusted_cert};

/// The files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// One does not hold what it must.
    #[error("{} holds no usable {what} in PEM", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Certificate of an authority, or revocation list.
        what: &'static str,
    },
    /// They cannot be watched.
    #[error("watching the files of client certificates")]
    Watch(#[source] io::Error),
}

/// What is believed.
pub(super) struct Trust {
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    pub(super) lists: Vec<CertRevocationList<'static>>,
}

/// The files, as they were when they were read.
pub(super) struct Files {
    authorities: PathBuf,
    lists: Option<PathBuf>,
    seen: Vec<Seen>,
}

type Seen = Option<(SystemTime, u64)>;

impl Files {
    pub(super) fn new(authorities: PathBuf, lists: Option<PathBuf>) -> Self {
        Self { authorities, lists, seen: Vec::new() }
    }

    /// Whether they look different from when they were last read, well or not.
    pub(super) fn changed(&self) -> bool {
        self.look() != self.seen
    }

    pub(super) fn read(&mut self) -> Result<Trust, Error> {
        self.seen = self.look();
        let path = &self.authorities;
        let wrong = |what| Error::Content { path: path.clone(), what };
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(&bytes(path)?) {
            let certificate = certificate.map_err(|_| wrong("certificate of an authority"))?;
            let anchor = anchor_from_trusted_cert(&certificate).map_err(|_| wrong("certificate of an authority"))?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() {
            return Err(wrong("certificate of an authority"));
        }
        let lists = self.lists.as_deref().map(read_lists).transpose()?.unwrap_or_default();
        Ok(Trust { anchors, lists })
    }

    fn look(&self) -> Vec<Seen> {
        let look = |path: &PathBuf| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        std::iter::once(&self.authorities).chain(&self.lists).map(look).collect()
    }
}

fn read_lists(path: &Path) -> Result<Vec<CertRevocationList<'static>>, Error> {
    let wrong = || Error::Content { path: path.to_owned(), what: "revocation list" };
    let mut lists = Vec::new();
    for list in CertificateRevocationListDer::pem_slice_iter(&bytes(path)?) {
        let list = list.map_err(|_| wrong())?;
        lists.push(OwnedCertRevocationList::from_der(&list).map_err(|_| wrong())?.into());
    }
    if lists.is_empty() { Err(wrong()) } else { Ok(lists) }
}

fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
