//! Settings of the API: section `[api]` of the configuration file, and what it is parsed to.

use serde::Deserialize;
use std::{net::SocketAddr, time::Duration};

/// Section `[api]`. None of it can change while running.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Address and port of the API and the console. It speaks plain HTTP: beyond this machine, put a proxy that ends
    /// TLS in front of it. _Default:_ `127.0.0.1:8080`.
    pub listen: String,
    /// The group whose members may read the record; each use is itself recorded. _Default:_ `auditor`.
    pub auditor_group: String,
    /// Sessions, events or hits in one answer where the request does not say. _Default:_ 50.
    pub page_default: usize,
    /// Most sessions, events or hits in one answer. _Default:_ 500.
    pub page_limit: usize,
    /// Longest query string, in bytes. _Default:_ 4096.
    pub query_limit_bytes: usize,
    /// Largest answer, in bytes; raise it to fetch larger sessions in one piece. _Default:_ 67108864 (64 MiB).
    pub answer_limit_bytes: usize,
    /// Rows of each result that a timeline shows; the frames have all. _Default:_ 50, which is also the most.
    pub rows_limit: usize,
    /// Requests of which the answer is being made at one time; more are refused. _Default:_ 64.
    pub concurrent_requests: usize,
    /// Of these, requests of one identity: who sends slowly or asks for much keeps nobody else out. _Default:_ 16.
    pub requests_per_identity: usize,
    /// Open connections; more wait to be accepted. _Default:_ 1024.
    pub connections: usize,
    /// Open connections from one address; more are closed at once. A proxy that ends TLS in front of the API is one address:
    /// raise it where that keeps more. _Default:_ 256.
    pub connections_per_address: usize,
    /// Bodies of clients that have not shown who they are, read at once of one address, for the token endpoint and for the answers of
    /// webhooks each; more are refused. Behind a proxy all of them are one address: raise it where that refuses some. At most 256,
    /// which is also the limit of all addresses. _Default:_ 64.
    pub strangers_per_address: usize,
    /// Milliseconds in which a request's head must have come, and then its body; an idle connection is closed after it.
    /// _Default:_ 10000.
    pub receive_ms: u64,
    /// Milliseconds after which a request is given up. _Default:_ 30000.
    pub timeout_ms: u64,
    /// Milliseconds that running requests have at shutdown. _Default:_ 10000.
    pub drain_ms: u64,
}

impl Default for File {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            auditor_group: "auditor".to_owned(),
            page_default: 50,
            page_limit: 500,
            query_limit_bytes: 4096,
            answer_limit_bytes: 64 << 20,
            rows_limit: recorder::play::ROWS,
            concurrent_requests: 64,
            requests_per_identity: 16,
            connections: 1024,
            connections_per_address: 256,
            strangers_per_address: 64,
            receive_ms: 10_000,
            timeout_ms: 30_000,
            drain_ms: 10_000,
        }
    }
}

/// The parsed settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This node's name, as each record of an access states it.
    pub node: String,
    /// See [`File::listen`].
    pub listen: SocketAddr,
    /// See [`File::auditor_group`].
    pub auditor_group: String,
    /// See [`File::connections`].
    pub connections: usize,
    /// See [`File::connections_per_address`].
    pub connections_per_address: usize,
    /// See [`File::drain_ms`].
    pub drain: Duration,
    /// What one request may ask for.
    pub limits: Limits,
}

/// What one request may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// See [`File::page_default`].
    pub page_default: usize,
    /// See [`File::page_limit`].
    pub page: usize,
    /// See [`File::query_limit_bytes`].
    pub query_bytes: usize,
    /// See [`File::answer_limit_bytes`].
    pub answer_bytes: usize,
    /// See [`File::rows_limit`].
    pub rows: usize,
    /// See [`File::concurrent_requests`].
    pub concurrent_requests: usize,
    /// See [`File::requests_per_identity`].
    pub requests_per_identity: usize,
    /// See [`File::strangers_per_address`].
    pub strangers_per_address: usize,
    /// See [`File::receive_ms`].
    pub receive: Duration,
    /// See [`File::timeout_ms`].
    pub timeout: Duration,
}

/// A page beyond this is held in memory whole, for little use.
const MAX_PAGE: usize = 10_000;

impl File {
    /// Parses the section for the node of that name.
    ///
    /// # Errors
    /// Every problem at once, each naming its key.
    pub fn check(self, node: &str) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        let listen = self.listen.parse::<SocketAddr>();
        let mut require = |holds: bool, text: &str| {
            if !holds {
                problems.push(text.to_owned());
            }
        };
        require(listen.is_ok(), "api.listen: must be an IP address and a port, such as 127.0.0.1:8080");
        require(!self.auditor_group.trim().is_empty(), "api.auditor_group: must not be empty");
        require((1..=MAX_PAGE).contains(&self.page_limit), "api.page_limit: must be 1 to 10000");
        require((1..=self.page_limit).contains(&self.page_default), "api.page_default: must be 1 to page_limit");
        require((256..=60_000).contains(&self.query_limit_bytes), "api.query_limit_bytes: must be 256 to 60000");
        require(self.answer_limit_bytes >= 1 << 20, "api.answer_limit_bytes: must be at least 1048576 (1 MiB)");
        require((1..=recorder::play::ROWS).contains(&self.rows_limit), "api.rows_limit: must be 1 to 50");
        require((1..=10_000).contains(&self.concurrent_requests), "api.concurrent_requests: must be 1 to 10000");
        require((1..=100_000).contains(&self.connections), "api.connections: must be 1 to 100000");
        require((1..=10_000).contains(&self.requests_per_identity), "api.requests_per_identity: must be 1 to 10000");
        require(
            (1..=100_000).contains(&self.connections_per_address),
            "api.connections_per_address: must be 1 to 100000",
        );
        require((1..=256).contains(&self.strangers_per_address), "api.strangers_per_address: must be 1 to 256");
        require((100..=600_000).contains(&self.receive_ms), "api.receive_ms: must be 100 to 600000");
        require((100..=600_000).contains(&self.timeout_ms), "api.timeout_ms: must be 100 to 600000");
        require(self.drain_ms <= 600_000, "api.drain_ms: must be at most 600000");
        match listen {
            Ok(listen) if problems.is_empty() => Ok(Config {
                node: node.to_owned(),
                listen,
                auditor_group: self.auditor_group,
                connections: self.connections,
                connections_per_address: self.connections_per_address,
                drain: Duration::from_millis(self.drain_ms),
                limits: Limits {
                    page_default: self.page_default,
                    page: self.page_limit,
                    query_bytes: self.query_limit_bytes,
                    answer_bytes: self.answer_limit_bytes,
                    rows: self.rows_limit,
                    concurrent_requests: self.concurrent_requests,
                    requests_per_identity: self.requests_per_identity,
                    strangers_per_address: self.strangers_per_address,
                    receive: Duration::from_millis(self.receive_ms),
                    timeout: Duration::from_millis(self.timeout_ms),
                },
            }),
            _ => Err(problems),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold() {
        let config = File::default().check("gate-1").unwrap();
        assert_eq!((config.listen.to_string().as_str(), config.node.as_str()), ("127.0.0.1:8080", "gate-1"));
        assert_eq!(config.limits.timeout, Duration::from_secs(30));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let file = File { listen: "localhost".to_owned(), page_limit: 0, timeout_ms: 1, ..File::default() };
        let problems = file.check("gate-1").unwrap_err();
        let keys: Vec<_> = problems.iter().filter_map(|p| p.split(':').next()).collect();
        assert_eq!(keys, ["api.listen", "api.page_limit", "api.page_default", "api.timeout_ms"]);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(serde_json::from_str::<File>(r#"{"listne": "127.0.0.1:1"}"#).is_err());
    }
}
