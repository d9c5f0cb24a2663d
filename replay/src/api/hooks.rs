//! Answers by webhook: the endpoint that Slack's interactivity is pointed at, and whoever speaks like it.
//!
//! The signature is the only proof of where an answer comes from; who gave it says the config. From there on it is the
//! review of the API: the same rules, the same record. The messenger waits three seconds at most: what takes longer goes on,
//! and its outcome is sent to the address that came with the answer.

use super::access::Caller;
use super::{Api, audited, body, token};
use crate::hooks::answer::{self, Press, Unread, Wish};
use crate::hooks::{Hook, Refused, SIGNATURE, TIMESTAMP, aside, matter};
use crate::listener::Peer;
use crate::problem::Problem;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use control::{Digest, Subject};
use schemas::Identity;
use schemas::event::Access;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where it is.
pub(super) const PATH: &str = "/api/v1/hooks/slack/{webhook}";

/// Slack gives up after three seconds.
const WITHIN: Duration = Duration::from_millis(2_500);
/// An answer carries the whole message, percent-encoded.
const MAX_BODY_BYTES: usize = 256 << 10;

/// Takes an answer.
pub(super) async fn slack(State(api): State<Api>, Path(name): Path<String>, request: Request) -> Response {
    let response = taken(&api, &name, request).await.unwrap_or_else(IntoResponse::into_response);
    api.0.telemetry.answered(response.status().as_u16());
    response
}

async fn taken(api: &Api, name: &str, request: Request) -> Result<Response, Problem> {
    let hook = api.0.parts.hooks.as_ref().and_then(|hooks| hooks.answering(name));
    let hook = hook.ok_or_else(super::nothing_here)?.clone();
    let deadline = Instant::now() + WITHIN;
    let info = request.extensions().get::<ConnectInfo<Peer>>();
    let peer = info.map_or_else(|| "unknown".to_owned(), |ConnectInfo(Peer(address))| address.to_string());
    let counted = |result| api.0.telemetry.hooks.answered(hook.name(), result);
    let payload = admitted(api, &hook, request, deadline).await.inspect_err(|(result, problem)| {
        counted(result);
        tracing::warn!(webhook = name, peer, reason = problem.text(), "an answer by webhook was refused");
    });
    let _permit = api.0.running.try_acquire().map_err(|_| audited::busy())?;
    let press = answer::read(&payload.map_err(|(_, problem)| problem)?).map_err(|unread| {
        counted("not_understood");
        not_understood(&unread)
    })?;
    let Wish::Answer { about, approve, digest } = press.wish else {
        counted("opened");
        return Ok(StatusCode::OK.into_response());
    };
    let identity = match hook.reviewer(&press.user, press.team.as_deref()) {
        Ok(identity) => identity,
        Err(text) => {
            counted("unknown_user");
            tracing::warn!(webhook = name, peer, user = press.user, "an answer by webhook came from nobody known");
            hook.respond(press.response_url, vec![aside(&text)]);
            return Ok(json(&aside(&text)));
        }
    };
    let caller = Caller::new(api, identity.into())?;
    let answering = Answering { api: api.clone(), hook, caller, peer, press, about, approve, digest };
    let running = tokio::spawn(answering.run());
    match tokio::time::timeout_at(deadline, running).await {
        Ok(Ok(outcome)) => Ok(json(&outcome)),
        Ok(Err(error)) => {
            tracing::error!(webhook = name, %error, "an answer by webhook broke off");
            Ok(json(&aside("The answer broke off. See in the console whether it counts.")))
        }
        Err(_) => {
            Ok(json(&aside("The answer is being recorded. What comes of it follows, and stands in the console.")))
        }
    }
}

/// The payload, if the request is signed, of now, and new.
async fn admitted(
    api: &Api,
    hook: &Hook,
    request: Request,
    deadline: Instant,
) -> Result<String, (&'static str, Problem)> {
    let (parts, body) = request.into_parts();
    let late = || {
        let detail = "It must come within the time in which the messenger waits for an answer.";
        Problem::new(StatusCode::REQUEST_TIMEOUT, "The body did not come in time", detail, "Send it again.")
    };
    let read = body::of_stranger(api, &api.0.answers, (&parts, body), MAX_BODY_BYTES);
    let read = tokio::time::timeout_at(deadline, read).await;
    let body = read.unwrap_or_else(|_| Err(late())).map_err(|problem| ("body", problem))?;
    let (timestamp, signature) = (only(&parts.headers, TIMESTAMP), only(&parts.headers, SIGNATURE));
    let admitted = match hook.keeper() {
        Some(keeper) => keeper.admit(api.0.clock.now_seconds(), timestamp, signature, &body),
        None => Err(Refused::Signature),
    };
    admitted.map_err(|refused| {
        let (result, status) = match refused {
            Refused::Unsigned => ("unsigned", StatusCode::UNAUTHORIZED),
            Refused::Old => ("old", StatusCode::UNAUTHORIZED),
            Refused::Signature => ("signature", StatusCode::UNAUTHORIZED),
            Refused::Replayed => ("replayed", StatusCode::CONFLICT),
            Refused::TooMany => ("too_many", StatusCode::TOO_MANY_REQUESTS),
        };
        let action = "Compare the signing secret and the clocks of both sides; send nothing twice.";
        (result, Problem::new(status, "The answer is not taken", format!("{refused}."), action))
    })?;
    payload(&parts.headers, &body).ok_or_else(|| ("not_understood", not_understood(&Unread::Form)))
}

/// A header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// The only field `payload` of a form.
fn payload(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let kind = only(headers, header::CONTENT_TYPE.as_str())?;
    if kind.split(';').next()?.trim() != token::FORM {
        return None;
    }
    let mut fields = std::str::from_utf8(body).ok()?.split('&').filter_map(|pair| pair.strip_prefix("payload="));
    let payload = token::decoded(fields.next()?)?;
    fields.next().is_none().then_some(payload)
}

fn not_understood(unread: &Unread) -> Problem {
    let detail = format!("{}.", crate::telemetry::chain(unread));
    Problem::request(detail, "Point the interactivity of the app that posts Postern's messages here, and nothing else.")
}

fn json(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// One answer on its way.
struct Answering {
    api: Api,
    hook: Arc<Hook>,
    caller: Caller,
    peer: String,
    press: Press,
    about: Subject,
    approve: bool,
    digest: Digest,
}

impl Answering {
    /// Reviews, records the access, and says what came of it; nothing is told before it is recorded.
    async fn run(self) -> Value {
        let outcome = self.review().await;
        let status = outcome.as_ref().err().map_or(200, Problem::status);
        if let Err(problem) = audited::recorded(&self.api, self.access(&self.caller.identity, status)).await {
            let said = aside(&problem.text());
            self.hook.respond(self.press.response_url, vec![said.clone()]);
            return said;
        }
        let hooks = &self.api.0.telemetry.hooks;
        hooks.answered(self.hook.name(), if outcome.is_ok() { "counted" } else { "refused" });
        let now = self.caller.plane.control.now();
        let matter = matter(&self.caller.plane.control, self.about);
        let mut outcomes = match outcome {
            Ok(()) => Vec::new(),
            Err(problem) => {
                tracing::warn!(
                    webhook = self.hook.name(),
                    user = self.press.user,
                    about = %self.about,
                    reason = problem.text(),
                    "an answer by webhook does not count"
                );
                vec![aside(&problem.text())]
            }
        };
        // buttons that are of no use any more go, whoever pressed them
        if let Some(matter) = matter.filter(|matter| outcomes.is_empty() || !matter.is_open(now)) {
            outcomes.push(self.hook.replacement(&matter, now));
        }
        self.hook.respond(self.press.response_url, outcomes.clone());
        outcomes.into_iter().next().unwrap_or_else(|| aside("It is recorded."))
    }

    async fn review(&self) -> Result<(), Problem> {
        audited::enabled(&self.api, &self.caller.identity)?;
        let matter = matter(&self.caller.plane.control, self.about);
        if self.approve && matter.is_some_and(|matter| !self.hook.shows_all(&matter)) {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "It does not count",
                "The message does not show all of what would be approved.",
                "Approve it in the console or with the command.",
            ));
        }
        let reason = format!("by the webhook {}, as its user {}", self.hook.name(), self.press.user);
        match self.about {
            Subject::Hold(id) => self.caller.answer_hold(&self.api, id, self.approve, reason, self.digest).await,
            Subject::Request(id) => self.caller.answer_request(id, self.approve, reason, self.digest).await,
        }
    }

    fn access(&self, identity: &Identity, status: u16) -> Access {
        let verb = if self.approve { "approve" } else { "deny" };
        Access {
            identity: identity.clone(),
            node: self.api.0.config.node.clone(),
            peer: self.peer.clone(),
            method: "POST".to_owned(),
            path: PATH.replace("{webhook}", self.hook.name()),
            query: Some(format!("user={}&{verb}={}", self.press.user, self.about)),
            status,
        }
    }
}
