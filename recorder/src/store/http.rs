//! How object stores are spoken to: hyper, with this project's TLS in the place of a second one.
//!
//! What an error of a store says reaches logs, so only its code and message are kept: the rest of S3's answer repeats
//! the request that it was asked to sign, session token and all. What was sent and got no answer may have been done; it
//! is told as interrupted, so that only what may be repeated is repeated here, and the rest by who knows how
//! ([`crate::archive::put`]).

use super::Error;
use super::lock::Retention;
use super::place::Limits;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, RetryConfig};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

type TcpConnector = hyper_util::client::legacy::connect::HttpConnector;

/// Makes the clients of one bucket: one for its objects, and one for where its credentials come from.
#[derive(Debug)]
pub(super) struct Connector {
    tls: ClientConfig,
    timeout: Duration,
    retention: Option<Arc<Retention>>,
}

impl Connector {
    pub(super) fn new(limits: &Limits, retention: Option<Arc<Retention>>) -> Result<Self, Error> {
        let roots = match &limits.ca_file {
            Some(path) => authorities(path)?,
            None => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has suites for the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls, timeout: limits.timeout, retention })
    }

    /// A client, over TLS alone unless `plain`.
    pub(super) fn client(&self, plain: bool, connect: Duration) -> HttpClient {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect));
        let builder = HttpsConnectorBuilder::new().with_tls_config(self.tls.clone());
        let https = match plain {
            true => builder.https_or_http().enable_http1().wrap_connector(tcp),
            false => builder.https_only().enable_http1().wrap_connector(tcp),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(https);
        HttpClient::new(Service { client, timeout: self.timeout, retention: self.retention.clone() })
    }
}

/// Connections that nothing is asked on are closed before the stores close them, after some 20 seconds or more.
const IDLE: Duration = Duration::from_secs(15);

/// As many as a verification reads from at once, and some.
const IDLE_CONNECTIONS: usize = 16;

/// Longest wait for a connection and TLS, within the limit of the request.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let refused = |reason: String| Error::Authorities { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| refused(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() { Err(refused("there is no certificate in it".to_owned())) } else { Ok(roots) }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // where an instance gets its credentials is plain HTTP, and answers at once or never
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let of_metadata = options.get_config_value(&ClientConfigKey::ConnectTimeout).as_deref() == Some("1s");
        Ok(self.client(plain, if of_metadata { Duration::from_secs(1) } else { CONNECT }))
    }
}

/// How often and how long a request is made again before its failure is told.
pub(super) fn retries(limits: &Limits) -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: LONGEST_PAUSE, base: 2.0 };
    let tries = u32::try_from(limits.retries).unwrap_or(u32::MAX).saturating_add(1);
    let retry_timeout = limits.timeout.saturating_mul(tries).min(LONGEST);
    RetryConfig { backoff, max_retries: limits.retries, retry_timeout }
}

/// What is signed is sent again as it is, and holds for minutes.
const LONGEST: Duration = Duration::from_secs(120);

const FIRST_PAUSE: Duration = Duration::from_millis(100);

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Service {
    client: Client<HttpsConnector<TcpConnector>, HttpRequestBody>,
    timeout: Duration,
    retention: Option<Arc<Retention>>,
}

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(retention) = &self.retention {
            retention.apply(&mut request).await?;
        }
        let body = u64::try_from(request.body().content_length()).unwrap_or(u64::MAX);
        let limit = self.timeout.saturating_add(Duration::from_secs(body / SLOWEST_BYTES_A_SECOND));
        let overdue = move || HttpError::new(HttpErrorKind::Timeout, Failed::overdue(limit));
        let asked = tokio::time::timeout(limit, self.client.request(request)).await;
        let (parts, body) = asked.map_err(|_| overdue())?.map_err(|error| unanswered(&error))?.into_parts();
        if parts.status.is_client_error() || parts.status.is_server_error() {
            let read = tokio::time::timeout(self.timeout, Limited::new(body, MAX_ERROR_BYTES).collect()).await;
            let bytes = read.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
            return Ok(HttpResponse::from_parts(parts, told(&bytes).into()));
        }
        Ok(HttpResponse::from_parts(parts, patient(body, self.timeout)))
    }
}

/// A slower network than this cannot keep an archive; large objects get their time.
const SLOWEST_BYTES_A_SECOND: u64 = 1 << 20;

/// Error documents are a page.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// A body of which every part must come within the limit.
fn patient(body: Incoming, limit: Duration) -> HttpResponseBody {
    let frames = try_unfold(body, move |mut body| async move {
        match tokio::time::timeout(limit, body.frame()).await {
            Err(_) => Err(HttpError::new(HttpErrorKind::Timeout, Failed::overdue(limit))),
            Ok(None) => Ok(None),
            Ok(Some(Ok(frame))) => Ok(Some((frame, body))),
            Ok(Some(Err(error))) => Err(HttpError::new(HttpErrorKind::Interrupted, Failed::of(&error))),
        }
    });
    HttpResponseBody::new(StreamBody::new(frames))
}

/// What failed, in words: the library's own errors show their kind alone, and their causes only to who walks them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl Failed {
    fn of(error: &dyn std::error::Error) -> Self {
        Self(crate::verify::chain_of(error))
    }

    fn overdue(limit: Duration) -> Self {
        Self(format!("no answer within {} s", limit.as_secs()))
    }
}

fn unanswered(error: &legacy::Error) -> HttpError {
    let mut cause = std::error::Error::source(error);
    let mut unsent = false;
    while let Some(inner) = cause {
        unsent |= inner.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        cause = inner.source();
    }
    let kind = match (error.is_connect(), unsent) {
        (true, _) => HttpErrorKind::Connect,
        (false, true) => HttpErrorKind::Request,
        (false, false) => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, Failed::of(error))
}

/// What of an error document may be logged: `<Code>` and `<Message>`.
fn told(body: &Bytes) -> String {
    let text = String::from_utf8_lossy(body);
    let part = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        let (value, _) = rest.split_once(&format!("</{tag}>"))?;
        let plain = value.chars().map(|c| if c.is_control() { ' ' } else { c });
        Some(plain.take(MAX_TOLD_CHARS).collect::<String>())
    };
    match (part("Code"), part("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        (None, _) if body.is_empty() => "the answer says no more".to_owned(),
        (None, _) => format!("the answer is no error document of an object store ({} bytes)", body.len()),
    }
}

const MAX_TOLD_CHARS: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_without_what_was_signed() {
        let document = "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>The request signature \
            we calculated\ndoes not match</Message><CanonicalRequest>x-amz-security-token:hunter2</CanonicalRequest></Error>";
        let text = told(&Bytes::from(document));
        assert_eq!(text, "SignatureDoesNotMatch: The request signature we calculated does not match");
        assert_eq!(told(&Bytes::from("hunter2")), "the answer is no error document of an object store (7 bytes)");
        assert_eq!(told(&Bytes::new()), "the answer says no more");
    }

    #[test]
    fn a_file_without_authorities_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(authorities(&path).is_err());
        std::fs::write(&path, "nothing\n").unwrap();
        assert!(authorities(&path).unwrap_err().to_string().contains("no certificate in it"));
    }
}
