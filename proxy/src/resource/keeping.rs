//! The one thread that keeps catalogs and policies of all resources fresh.

use super::Resource;
use crate::telemetry::Metrics;
use kit::Shutdown;
use std::{collections::BTreeMap, io, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};

/// Keeps every resource's view fresh until shutdown: the work of one thread of the node.
///
/// # Errors
/// The runtime's.
pub fn refresh_all(
    resources: &BTreeMap<String, Arc<Resource>>,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let all: Vec<_> = resources.values().map(|resource| Box::pin(resource.keep_fresh())).collect();
        let policies: Vec<_> = resources.values().map(|resource| Box::pin(resource.keep_policies(metrics))).collect();
        let mut hangup = signal(SignalKind::hangup())?;
        let reload = async {
            while hangup.recv().await.is_some() {
                resources.values().for_each(|resource| resource.reload.notify_one());
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = shutdown.wait() => {}
            () = every(all) => {}
            () = every(policies) => {}
            () = reload => {}
        }
        Ok(())
    })
}

/// Runs futures that never end, side by side.
async fn every(mut all: Vec<std::pin::Pin<Box<impl Future<Output = ()>>>>) {
    std::future::poll_fn(|context| {
        for one in &mut all {
            if one.as_mut().poll(context).is_ready() {
                return std::task::Poll::Ready(());
            }
        }
        std::task::Poll::Pending
    })
    .await;
}
