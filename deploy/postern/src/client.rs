//! Asks the API of a running node, as the holder of a token.

use crate::arguments::{At, Global};
use crate::config;
use crate::failure::Failure;
use anyhow::{Context as _, anyhow};
use kit::Secret;
use serde_json::Value;
use std::time::Duration;
use ureq::Agent;

/// A node's API.
pub struct Client {
    agent: Agent,
    base: String,
    token: Secret<String>,
}

/// Longest time of one request.
const TIMEOUT: Duration = Duration::from_secs(40);

impl Client {
    /// The API that the command line names, or that of the config.
    pub fn new(global: &Global, at: &At) -> Result<Self, Failure> {
        let token = at.token.clone().filter(|token| !token.is_empty());
        let token = token.context("this needs a token of yours: --token, or POSTERN_TOKEN in the environment")?;
        let base = match &at.api {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", config::load(global)?.api.listen),
        };
        let agent = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .proxy(None)
            .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: agent.into(), base, token: Secret::new(token) })
    }

    /// GET.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("authorization", &self.bearer());
        self.read(request.call())
    }

    /// POST with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.agent.post(format!("{}{path}", self.base)).header("authorization", &self.bearer());
        let request = request.header("content-type", "application/json");
        self.read(request.send(body.to_string()))
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token.expose())
    }

    fn read(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, Failure> {
        let mut answer = answer.with_context(|| format!("asking the API at {}", self.base))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().context("reading the API's answer")?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if (200..300).contains(&status) {
            return Ok(value);
        }
        let said = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let told = format!("{} ({status}): {} {}", said("title"), said("detail"), said("action"));
        match status {
            404 => Err(Failure::NotFound(told)),
            _ => Err(anyhow!(told).into()),
        }
    }
}
