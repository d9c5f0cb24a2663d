//! The services beside the gate and the database: the OIDC provider and Apache Kafka.

use super::{Process, free_port, root};
use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

/// The real OIDC provider.
pub struct Issuer {
    pub process: Process,
    pub port: u16,
}

impl Issuer {
    pub fn start(folder: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new(root().join("deploy/services/oidc/oidc"));
        // longer than any test
        command.args(["start", "--port", &port.to_string(), "--lifetime", "3600"]);
        let mut process = Process::start("oidc provider", &mut command, &folder.join("oidc.log"));
        let url = format!("http://127.0.0.1:{port}/.well-known/openid-configuration");
        process.wait_for("answers", || ureq::get(&url).call().is_ok());
        Self { process, port }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An access token, by client credentials: `agent-rs` is an agent, `auditor` an auditor (see provider.mjs).
    pub fn token(&self, client: &str) -> String {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let secret = format!("s3cret-{}", client.trim_start_matches("agent-"));
        let mut response = ureq::post(format!("{}/token", self.url()))
            .header("authorization", format!("Basic {}", BASE64_STANDARD.encode(format!("{client}:{secret}"))))
            .send_form([("grant_type", "client_credentials")])
            .unwrap();
        let answer: serde_json::Value = response.body_mut().read_json().unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Any token, signed with its present keys.
    pub fn sign(&self, algorithm: &str, claims: &serde_json::Value) -> String {
        let body = serde_json::json!({"header": {"alg": algorithm, "typ": "at+jwt"}, "claims": claims});
        self.post("/_sign", &body)["token"].as_str().unwrap().to_owned()
    }

    /// What only a test may do: see provider.mjs.
    pub fn post(&self, path: &str, body: &serde_json::Value) -> serde_json::Value {
        let mut response = ureq::post(format!("{}{path}", self.url())).send_json(body).unwrap();
        response.body_mut().read_json().unwrap()
    }

    /// The issuer as a config names it.
    pub fn section(&self) -> String {
        format!(
            "[[issuers]]\nissuer = \"{}\"\naudiences = [\"postern\"]\nalgorithms = [\"RS256\", \"ES256\"]\n",
            self.url()
        )
    }
}

/// A real Apache Kafka broker.
pub struct Kafka {
    process: Option<Process>,
    pub port: u16,
    /// The port by which clients are told to come: its own, or one of something in front of it.
    pub advertised: u16,
    controller: u16,
    folder: PathBuf,
}

impl Kafka {
    pub fn start(folder: &Path) -> Self {
        let mut kafka = Self::configure(folder);
        kafka.resume();
        kafka
    }

    /// One that does not run yet.
    pub fn configure(folder: &Path) -> Self {
        let port = free_port();
        Self { process: None, port, advertised: port, controller: free_port(), folder: folder.to_owned() }
    }

    /// Starts it on the same data and waits until it takes connections.
    pub fn resume(&mut self) {
        self.launch();
        self.wait();
    }

    pub fn launch(&mut self) {
        let mut command = Command::new(root().join("deploy/services/kafka"));
        command.args(["start", "--port", &self.port.to_string(), "--controller-port", &self.controller.to_string()]);
        command.args(["--advertised-port", &self.advertised.to_string()]);
        command.arg("--dir").arg(self.folder.join("kafka"));
        self.process = Some(Process::start("kafka", &mut command, &self.folder.join("kafka.log")));
    }

    pub fn wait(&mut self) {
        let port = self.port;
        let process = self.process.as_mut().expect("it was launched");
        process.wait_for("takes connections", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    pub fn signal(&self, signal: &str) {
        self.process.as_ref().expect("it was launched").signal(signal);
    }

    /// Changes how it keeps a topic, such as `retention.ms=-1`.
    pub fn keep(&self, topic: &str, set: &str) {
        let mut command = Command::new(root().join("deploy/services/kafka"));
        command.args(["alter", "--port", &self.port.to_string(), "--topic", topic, "--set", set]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }
}
