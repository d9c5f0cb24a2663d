//! Object Lock: what is written into a bucket can be made to stay, whoever holds the credentials.
//!
//! object_store has no attribute for it, and the headers must be signed. So the retention is added where the request
//! leaves, and the request is signed again, by object_store's own signer ([`AwsAuthorizer`]). Which objects, is known by
//! the [`Kind`] that every put carries.

use super::s3::{LockMode, RetentionRule};
use crate::archive::put::Kind;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use kit::Clock;
use object_store::aws::{AmazonS3, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::signer::Signer as _;
use schemas::chain::from_hexadecimal;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const MODE: HeaderName = HeaderName::from_static("x-amz-object-lock-mode");
const UNTIL: HeaderName = HeaderName::from_static("x-amz-object-lock-retain-until-date");
/// S3 locks no object whose checksum the request does not name.
const ALGORITHM: HeaderName = HeaderName::from_static("x-amz-sdk-checksum-algorithm");
const CONTENT_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Adds retention to the puts that have it.
#[derive(Debug)]
pub(super) struct Retention {
    rule: RetentionRule,
    region: String,
    clock: Clock,
    /// Who signs; known once the store is made that this is a part of.
    credentials: OnceLock<AwsCredentialProvider>,
}

/// A request could not be given its retention; it is not sent.
#[derive(Debug, thiserror::Error)]
#[error("adding the retention of a locked object: {0}")]
struct Unlocked(String);

impl Retention {
    pub(super) fn new(rule: RetentionRule, region: String) -> Self {
        Self { rule, region, clock: Clock::system(), credentials: OnceLock::new() }
    }

    /// Says who signs. Only the first time counts.
    pub(super) fn sign_by(&self, credentials: AwsCredentialProvider) {
        self.credentials.get_or_init(|| credentials);
    }

    /// Adds the retention to a put of an object that has one, and signs it again.
    pub(super) async fn apply(&self, request: &mut HttpRequest) -> Result<(), HttpError> {
        let locked = request.extensions().get::<Kind>().is_some_and(|kind| self.rule.objects.contains(kind));
        if !locked || request.method() != Method::PUT {
            return Ok(());
        }
        let failed = |reason: String| HttpError::new(HttpErrorKind::Unknown, Unlocked(reason));
        let until = retained_until(self.clock.now_seconds(), self.rule.days).map_err(failed)?;
        let until = HeaderValue::from_str(&until).map_err(|error| failed(error.to_string()))?;
        let provider = self.credentials.get().ok_or_else(|| failed("nobody signs".to_owned()))?;
        let credential = provider.get_credential().await.map_err(|error| failed(error.to_string()))?;
        // of the body, as it was signed without the retention
        let stated = request.headers().get(CONTENT_HASH).and_then(|value| value.to_str().ok());
        let hash: Option<[u8; 32]> = stated.and_then(from_hexadecimal);
        let hash = hash.ok_or_else(|| failed("the request does not state its body's hash".to_owned()))?;
        request.headers_mut().insert(MODE, HeaderValue::from_static(self.rule.mode.header()));
        request.headers_mut().insert(UNTIL, until);
        request.headers_mut().insert(ALGORITHM, HeaderValue::from_static("SHA256"));
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(request, Some(&hash))
            .map_err(|error| failed(error.to_string()))
    }
}

fn retained_until(now: i64, days: u32) -> Result<String, String> {
    let seconds = now.saturating_add(i64::from(days) * 86_400);
    let until = OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| error.to_string())?;
    until.format(&Rfc3339).map_err(|error| error.to_string())
}

impl LockMode {
    fn header(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

/// Asks a bucket whether it keeps what is locked: one that ignores the headers would keep nothing, and say nothing.
#[derive(Debug)]
pub(super) struct Examiner {
    store: AmazonS3,
    http: HttpClient,
    retention: Arc<Retention>,
}

/// Why nothing may be locked in a bucket.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It does not lock, or does not say so. In words.
    Refused(String),
    /// It did not answer. In words.
    Unknown(String),
}

impl Examiner {
    pub(super) fn new(store: AmazonS3, http: HttpClient, retention: Arc<Retention>) -> Self {
        Self { store, http, retention }
    }

    /// The signed question. object_store does not tell the bucket's address but in a signed URL, of which nothing else
    /// is used: such a URL is a credential, and headers are not shown.
    async fn question(&self) -> object_store::Result<HttpRequest> {
        let mut url = self.store.signed_url(Method::GET, &Path::default(), Duration::from_secs(1)).await?;
        url.set_query(Some("object-lock="));
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.as_str().parse().map_err(|source| object_store::Error::Generic {
            store: "S3",
            source: Box::<http::uri::InvalidUri>::new(source),
        })?;
        let credential = self.store.credentials().get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.retention.region).try_authorize(&mut request, None)?;
        Ok(request)
    }

    /// Looks for Object Lock in the bucket's settings.
    pub(super) async fn examine(&self) -> Result<(), Unfit> {
        let request = self.question().await.map_err(|error| Unfit::Unknown(error.to_string()))?;
        let answer = self.http.execute(request).await.map_err(|error| Unfit::Unknown(error.to_string()))?;
        let status = answer.status();
        let body = answer.into_body().bytes().await.map_err(|error| Unfit::Unknown(error.to_string()))?;
        match status {
            StatusCode::OK if String::from_utf8_lossy(&body).contains(ENABLED) => Ok(()),
            StatusCode::OK | StatusCode::NOT_FOUND => Err(Unfit::Refused(
                "the bucket has no Object Lock, which it gets when it is made; archive.s3.object_lock needs it"
                    .to_owned(),
            )),
            StatusCode::FORBIDDEN => Err(Unfit::Refused(
                "the credentials do not allow to ask for the bucket's Object Lock: they need \
                 s3:GetBucketObjectLockConfiguration, and s3:PutObjectRetention to use it"
                    .to_owned(),
            )),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(Unfit::Unknown(format!("the store answered with status {status}")))
            }
            status => Err(Unfit::Refused(format!(
                "asked for the bucket's Object Lock, the store answered with status {status}; \
                 archive.s3.object_lock needs a store that has it"
            ))),
        }
    }
}

const ENABLED: &str = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>";

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::StaticCredentialProvider;
    use object_store::aws::AwsCredential;

    fn retention() -> Retention {
        let rule = RetentionRule { mode: LockMode::Compliance, days: 2, objects: vec![Kind::Checkpoints] };
        let mut retention = Retention::new(rule, "eu-central-1".to_owned());
        retention.clock = Clock::fixed(1_790_000_000_000_000);
        let credential =
            AwsCredential { key_id: "AKIA".into(), secret_key: "hunter2".into(), token: Some("session".into()) };
        retention.sign_by(Arc::new(StaticCredentialProvider::new(credential)));
        retention
    }

    fn put(kind: Kind) -> HttpRequest {
        let mut request = HttpRequest::new(HttpRequestBody::from(vec![1, 2, 3]));
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = "https://s3.example/audit/checkpoint/1.json".parse().unwrap();
        let hash = "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81";
        request.headers_mut().insert(CONTENT_HASH, HeaderValue::from_static(hash));
        request.headers_mut().insert("authorization", HeaderValue::from_static("as it was"));
        request.extensions_mut().insert(kind);
        request
    }

    #[tokio::test]
    async fn a_locked_object_is_put_with_its_retention_signed() {
        let mut request = put(Kind::Checkpoints);
        retention().apply(&mut request).await.unwrap();
        let header = |name: &str| request.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header("x-amz-object-lock-mode"), "COMPLIANCE");
        assert_eq!(header("x-amz-object-lock-retain-until-date"), "2026-09-23T14:13:20Z");
        let authorization = header("authorization");
        assert!(authorization.contains("/eu-central-1/s3/aws4_request"), "{authorization}");
        let signed = "x-amz-content-sha256;x-amz-date;x-amz-object-lock-mode;x-amz-object-lock-retain-until-date;";
        assert!(authorization.contains(signed), "{authorization}");
        assert_eq!(header("x-amz-security-token"), "session");
    }

    #[tokio::test]
    async fn others_are_sent_as_they_are() {
        let mut request = put(Kind::Manifests);
        retention().apply(&mut request).await.unwrap();
        assert_eq!(request.headers().get("authorization").unwrap(), "as it was");
        assert!(request.headers().get(MODE).is_none());
    }

    #[tokio::test]
    async fn what_cannot_be_locked_is_not_sent() {
        let mut request = put(Kind::Checkpoints);
        request.headers_mut().insert(CONTENT_HASH, HeaderValue::from_static("UNSIGNED-PAYLOAD"));
        assert!(retention().apply(&mut request).await.is_err());
    }
}
