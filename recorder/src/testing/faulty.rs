//! A store that fails as object stores do: at the calls that a test names, in the way that it names.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nobody listens, or no answer comes, and nothing was done.
    Refused,
    /// 403: the credentials were changed.
    Forbidden,
    /// It was done, and the answer was lost.
    LostAnswer,
    /// It was done, the answer was lost, and the client asked again: what must not exist does.
    FoundItself,
    /// 409: another put of this name is under way, and comes to nothing.
    Conflict,
    /// Half of the answer comes: of a body, or of the pages of a list.
    Cut,
    /// No answer ever comes, and nobody limits the wait.
    Hanging,
    /// What is to be created only where there is none is put in any case.
    Overwriting,
}

/// The ways in which a store that does what it should may fail.
pub(crate) const WAYS: [Way; 6] =
    [Way::Refused, Way::Forbidden, Way::LostAnswer, Way::FoundItself, Way::Conflict, Way::Cut];

type Plan = Box<dyn FnMut(u64) -> Option<Way> + Send>;

/// A store over another one.
#[derive(Clone)]
pub(crate) struct Faulty {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Mutex<Plan>>,
    calls: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Faulty {
    /// `plan` says how the n-th call fails, from 1.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, plan: impl FnMut(u64) -> Option<Way> + Send + 'static) -> Self {
        Self { inner, plan: Arc::new(Mutex::new(Box::new(plan))), calls: Arc::default(), failed: Arc::default() }
    }

    /// Calls that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::SeqCst)
    }

    async fn hang(&self, way: Way) {
        if way == Way::Hanging {
            std::future::pending::<()>().await;
        }
    }

    fn next(&self) -> Option<Way> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let way = (self.plan.lock().unwrap())(call);
        self.failed.fetch_add(u64::from(way.is_some()), Ordering::SeqCst);
        way
    }
}

fn error(way: Way, path: &str) -> Error {
    let (path, source) = (path.to_owned(), format!("{way:?}").into());
    match way {
        Way::Forbidden => Error::PermissionDenied { path, source },
        Way::FoundItself | Way::Conflict => Error::AlreadyExists { path, source },
        _ => Error::Generic { store: "faulty", source },
    }
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let Some(way) = self.next() else { return self.inner.put_opts(path, payload, options).await };
        if way == Way::Overwriting {
            return self.inner.put_opts(path, payload, PutOptions { mode: PutMode::Overwrite, ..options }).await;
        }
        self.hang(way).await;
        // a client repeats what may be repeated without telling, and only a creation can find itself or another
        let way = match (way, &options.mode) {
            (Way::FoundItself | Way::Conflict, PutMode::Overwrite) => Way::LostAnswer,
            (way, _) => way,
        };
        if matches!(way, Way::LostAnswer | Way::FoundItself | Way::Cut) {
            self.inner.put_opts(path, payload, options).await?;
        }
        Err(error(way, path.as_ref()))
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let way = self.next();
        if let Some(way) = way {
            self.hang(way).await;
        }
        match way {
            None => self.inner.get_opts(path, options).await,
            Some(Way::Cut) => {
                let found = self.inner.get_opts(path, options).await?;
                let parts: Vec<Bytes> = match found.payload {
                    GetResultPayload::Stream(stream) => stream.map(|part| part.unwrap()).collect().await,
                    GetResultPayload::File(..) => unreachable!("tests keep it in memory"),
                };
                let half = parts.concat().len() / 2;
                let parts = vec![Ok(Bytes::from(parts.concat()).slice(..half)), Err(error(Way::Cut, path.as_ref()))];
                Ok(GetResult { payload: GetResultPayload::Stream(stream::iter(parts).boxed()), ..found })
            }
            Some(way @ Way::Forbidden) => Err(error(way, path.as_ref())),
            Some(_) => Err(error(Way::Refused, path.as_ref())),
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let place = prefix.map(ToString::to_string).unwrap_or_default();
        match self.next() {
            None => self.inner.list(prefix),
            Some(Way::Cut) => {
                self.inner.list(prefix).take(1).chain(stream::iter([Err(error(Way::Cut, &place))])).boxed()
            }
            Some(Way::Forbidden) => stream::iter([Err(error(Way::Forbidden, &place))]).boxed(),
            Some(Way::Hanging) => stream::pending().boxed(),
            Some(_) => stream::iter([Err(error(Way::Refused, &place))]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let place = prefix.map(ToString::to_string).unwrap_or_default();
        let way = self.next();
        if let Some(way) = way {
            self.hang(way).await;
        }
        match way {
            None => self.inner.list_with_delimiter(prefix).await,
            Some(Way::Forbidden) => Err(error(Way::Forbidden, &place)),
            Some(_) => Err(error(Way::Refused, &place)),
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
