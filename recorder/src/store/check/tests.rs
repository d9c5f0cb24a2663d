//! A bucket is used only if it creates objects exclusively; what it answers at the start is told with what to do.

use super::*;
use crate::store::place::{Limits, Provider};
use crate::store::s3;
use crate::testing::faulty::{Faulty, Way};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use std::sync::Arc;
use std::time::Duration;

fn opened(store: Arc<dyn ObjectStore>) -> Opened {
    let provider = Provider::S3(s3::File::default().check(&mut Vec::new()));
    let limits = Limits { timeout: Duration::from_secs(1), retries: 0, ca_file: None };
    let bucket = Bucket { provider, name: "audit".into(), prefix: "postern".into(), limits };
    Opened { store, bucket: Some(bucket), lock: None }
}

/// What the first look at a bucket tells whose n-th call fails in this way.
async fn admitted(way: Way, call: u64) -> Result<(), Error> {
    let faulty = Faulty::new(Arc::new(InMemory::new()), move |n| (n == call).then_some(way));
    opened(Arc::new(faulty)).admit().await
}

#[tokio::test]
async fn every_start_proves_the_bucket_anew() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for _ in 0..3 {
        opened(store.clone()).admit().await.unwrap();
    }
    let there = store.get(&layout::marker()).await.unwrap().bytes().await.unwrap();
    assert_eq!(there, layout::MARKER);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_overwrites_is_refused() {
    // whether or not it has the object already
    for call in [2, 1] {
        let faulty = Faulty::new(Arc::new(InMemory::new()), move |n| (n >= call).then_some(Way::Overwriting));
        let error = opened(Arc::new(faulty)).admit().await.unwrap_err();
        assert!(!error.passes() && error.to_string().contains("two recorders would overwrite"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_told_from_what_does_not() {
    for call in 1..=3 {
        let error = admitted(Way::Refused, call).await.unwrap_err();
        assert!(error.passes(), "{error}");
        let error = admitted(Way::Forbidden, call).await.unwrap_err();
        assert!(!error.passes() && error.to_string().contains("s3:PutObject"), "{error}");
    }
    admitted(Way::FoundItself, 1).await.unwrap();
    admitted(Way::Conflict, 1).await.unwrap();
}

#[tokio::test]
async fn the_place_of_something_else_is_refused() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    store.put(&layout::marker(), "{}".into()).await.unwrap();
    let error = opened(store).admit().await.unwrap_err();
    assert!(!error.passes() && error.to_string().contains("s3://audit/postern"), "{error}");
}

#[test]
fn the_remedy_follows_from_what_the_store_says() {
    let bucket = opened(Arc::new(InMemory::new())).bucket.unwrap();
    let judged = |text: &str| {
        let source = object_store::Error::Generic { store: "S3", source: text.to_owned().into() };
        judged(&bucket, archive::Error::store("write", "archive.json")(source))
    };
    let status = |status: &str| judged(&format!("Server returned non-2xx status code: {status}: "));
    for passing in ["500 Internal Server Error", "503 Slow Down", "429 Too Many Requests", "408 Request Timeout"] {
        assert!(status(passing).passes(), "{passing}");
    }
    assert!(status("400 Bad Request").to_string().contains("region"));
    assert!(status("501 Not Implemented").to_string().contains("conditional writes"));
    assert!(judged("Received redirect without LOCATION").to_string().contains("region"));
    assert!(judged("PUT http://169.254.169.254/latest/api/token").to_string().contains("no credentials"));
    assert!(judged("connection refused").passes());
}
