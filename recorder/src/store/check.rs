//! What a bucket must do before anything is put into it.
//!
//! A commit is exclusive because an object is created only where none has its name ([`PutMode::Create`]:
//! `If-None-Match: *` of S3). Stores that speak like S3 and ignore it would let two recorders overwrite each other; so an
//! object is created twice at each start, and the second time must be refused. It is [`layout::marker`], with bytes that
//! are always the same: nothing needs to be deleted, which a recorder of evidence should not be allowed to.

use super::Opened;
use super::lock::Unfit;
use super::place::Bucket;
use crate::archive::put::{self, Created};
use crate::archive::{self, layout};
use futures_util::StreamExt;
use object_store::{ObjectStore, PutMode};

/// Why a bucket is not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It will not do; the same start would fail again.
    #[error("the archive {place} cannot be used: {remedy}")]
    Refused {
        /// The bucket.
        place: String,
        /// What is wrong and what to do about it.
        remedy: String,
        /// What the store said, where it said something.
        #[source]
        source: Option<archive::Error>,
    },
    /// It does not answer. It is asked again.
    #[error("the archive {place} cannot be reached")]
    Unreachable {
        /// The bucket.
        place: String,
        /// What happened.
        #[source]
        source: archive::Error,
    },
    /// Its settings cannot be asked for. It is asked again.
    #[error("the archive {place} cannot be asked for its Object Lock: {reason}")]
    Unexamined {
        /// The bucket.
        place: String,
        /// What happened.
        reason: String,
    },
}

impl Error {
    /// Whether asking again can help.
    pub fn passes(&self) -> bool {
        match self {
            Self::Refused { .. } => false,
            Self::Unreachable { .. } | Self::Unexamined { .. } => true,
        }
    }
}

impl Opened {
    /// Proves that the place can be used. A folder can.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn admit(&self) -> Result<(), Error> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        self.create_twice(bucket).await?;
        let folder = layout::manifests();
        if let Some(Err(source)) = self.store.list(Some(&folder)).next().await {
            return Err(judged(bucket, archive::Error::store("list", &folder)(source)));
        }
        let Some(examiner) = &self.lock else { return Ok(()) };
        let place = bucket.to_string();
        examiner.examine().await.map_err(|unfit| match unfit {
            Unfit::Refused(remedy) => Error::Refused { place, remedy, source: None },
            Unfit::Unknown(reason) => Error::Unexamined { place, reason },
        })
    }

    async fn create_twice(&self, bucket: &Bucket) -> Result<(), Error> {
        let refused =
            |remedy: &str| Error::Refused { place: bucket.to_string(), remedy: remedy.to_owned(), source: None };
        let (path, bytes) = (layout::marker(), bytes::Bytes::from_static(layout::MARKER));
        match put::create(&*self.store, &path, &bytes).await {
            Ok(Created::Done) => {}
            Ok(Created::Taken) => {
                return Err(refused(
                    "its archive.json is not one of this version; give the archive a prefix of its own in archive.url",
                ));
            }
            Err(source) => return Err(judged(bucket, source)),
        }
        match self.store.put_opts(&path, bytes.into(), put::options(&path, PutMode::Create)).await {
            Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(source) => Err(judged(bucket, archive::Error::store("write", &path)(source))),
            Ok(_) => Err(refused(
                "the store overwrites an object that is to be created only where there is none (If-None-Match), so that \
                 two recorders would overwrite each other's commits; use a store that supports conditional writes",
            )),
        }
    }
}

/// Tells what a start cannot mend from what passes.
fn judged(bucket: &Bucket, error: archive::Error) -> Error {
    let place = bucket.to_string();
    match remedy(bucket, &error) {
        Some(remedy) => Error::Refused { place, remedy, source: Some(error) },
        None => Error::Unreachable { place, source: error },
    }
}

fn remedy(bucket: &Bucket, error: &archive::Error) -> Option<String> {
    let archive::Error::Store { source, .. } = error else {
        return Some("it does not do what a store does".to_owned());
    };
    let text = crate::verify::chain_of(source);
    let is_status = |class: &str| text.contains(&format!("non-2xx status code: {class}"));
    match source {
        object_store::Error::NotFound { .. } => Some(format!(
            "there is no bucket {}; make it, or mend archive.url and the section of its provider",
            bucket.name
        )),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => Some(
            "the store refuses these credentials: they must be right, and allow to read, put and list objects under the \
             prefix (of S3: s3:GetObject, s3:PutObject, s3:ListBucket)"
                .to_owned(),
        ),
        _ if text.contains("169.254.") => Some(
            "no credentials were found: set archive.s3.access_key_id and archive.s3.secret_access_key_file, or the AWS_ \
             variables of the environment, or give the machine a role"
                .to_owned(),
        ),
        object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. } => {
            Some("the store does not support conditional writes (If-None-Match), which commits need".to_owned())
        }
        _ if is_status("501") => {
            Some("the store does not support conditional writes (If-None-Match), which commits need".to_owned())
        }
        _ if is_status("408") || is_status("429") => None,
        _ if is_status("4") || text.contains("redirect") => {
            Some("the store refuses the request: mind region, endpoint and path_style in [archive.s3]".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
