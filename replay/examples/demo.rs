//! Serves the console over sample sessions: `cargo run -p replay --example demo [address]`.
//!
//! Prints the address and the auditor's token; ends when its standard input ends.
#![allow(clippy::unwrap_used, reason = "a demonstration ends at the first failure")]

mod sample;

use kit::{Shutdown, metrics::Registry};
use replay::{Parts, Server, config, memory::Ledger, telemetry::Telemetry};
use std::io::Read as _;
use std::sync::Arc;

fn main() {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let config = config::File { listen, ..config::File::default() }.check("demo").unwrap();
    let shutdown = Shutdown::new();
    let told = shutdown.clone();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap_or_default();
        told.trigger();
    });
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let server = Server::bind(config).unwrap();
        println!("http://{} {}", server.address(), sample::AUDITOR);
        let parts = Parts {
            archive: Arc::new(sample::shelf()),
            search: Arc::new(sample::oracle()),
            authenticate: Arc::new(sample::doorman()),
            record: Arc::new(Ledger::default()),
            verifier: None,
            exchanger: None,
            plane: None,
            hooks: None,
        };
        server.serve(parts, Telemetry::new(&Registry::new()), shutdown).await.unwrap();
    });
}
