//! The console in Chromium, against a server on a real socket: `tests/console/console.mjs` says what must hold.
//!
//! Needs node, npm (once, for playwright-core) and Chromium (`CHROMIUM`, by default /usr/bin/chromium).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where something is not as it should be"
)]

#[path = "../examples/sample/mod.rs"]
mod sample;

use kit::{Shutdown, metrics::Registry};
use replay::memory::Ledger;
use replay::{Parts, Server, config::File, telemetry::Telemetry};
use schemas::Body;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(done.status.success(), "{command:?}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_auditor_searches_reads_and_plays_and_hostile_text_stays_text() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console");
    if !folder.join("node_modules/playwright-core").exists() {
        run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder));
    }
    let config = File { listen: "127.0.0.1:0".to_owned(), ..File::default() }.check("console-1").unwrap();
    let server = Server::bind(config).unwrap();
    let (address, ledger, shutdown) = (server.address(), Arc::new(Ledger::default()), Shutdown::new());
    let parts = Parts {
        archive: Arc::new(sample::shelf()),
        search: Arc::new(sample::oracle()),
        authenticate: Arc::new(sample::doorman()),
        record: ledger.clone(),
        verifier: None,
        exchanger: None,
        plane: None,
        hooks: None,
    };
    let serving = tokio::spawn(server.serve(parts, Telemetry::new(&Registry::new()), shutdown.clone()));
    let driven = tokio::task::spawn_blocking(move || {
        run(Command::new("node")
            .arg("console.mjs")
            .arg(format!("http://{address}"))
            .arg(sample::AUDITOR)
            .current_dir(folder));
    });
    driven.await.unwrap();
    shutdown.trigger();
    serving.await.unwrap().unwrap();
    let events = ledger.events();
    let from_here = |event: &schemas::Event| matches!(&event.body, Body::Access(a) if a.peer.starts_with("127.0.0.1:"));
    assert!(events.len() > 10 && events.iter().all(from_here), "each request is recorded with its peer");
}
