//! Webhooks: who is told of what waits for an answer, and how an answer comes back.
//!
//! ```text
//! control topic -> deliver (one task for each webhook) -> message -> sign -> send -> receiver
//! receiver -> /api/v1/hooks/slack/<name> -> sign (verified) -> answer -> who is who -> the same review as the API's
//! ```
//!
//! It runs where the API runs: an answer needs the API, and what is to be told follows from the control topic alone, so
//! that no gate has to wait for a receiver, and any node with an API can take over from another.

pub(crate) mod answer;
pub mod config;
mod deliver;
pub(crate) mod matter;
mod message;
mod send;
mod sign;
pub mod telemetry;

pub use config::{File, Webhook, check};
pub use message::{APPROVE, DENY, OPEN};
pub use send::{ATTEMPT, DELIVERY, OpenError};
pub use sign::{Gatekeeper, Key, Refused, SIGNATURE, TIMESTAMP};
pub use telemetry::Telemetry;

use control::{Control, Subject};
use deliver::Courier;
use kit::Shutdown;
use matter::Matter;
use schemas::Identity;
use send::Sender;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The webhooks of a node, their secrets read.
#[derive(Debug, Default)]
pub struct Hooks(BTreeMap<String, Arc<Hook>>);

/// One webhook.
#[derive(Debug)]
pub(crate) struct Hook {
    webhook: Arc<Webhook>,
    sender: Sender,
    /// None where answers are not taken.
    keeper: Option<Gatekeeper>,
    responding: Arc<Semaphore>,
}

/// Outcomes of one webhook that are sent at once; further ones are not sent.
const MAX_RESPONDING: usize = 16;
/// Attempts to send an outcome: without it the buttons stay, and say what became of it when they are pressed.
const RESPONSES: u32 = 3;
/// Between two of them.
const RESPONSE_WAIT: Duration = Duration::from_secs(1);

impl Hooks {
    /// Reads the secrets.
    ///
    /// # Errors
    /// [`OpenError`]: the first that cannot be used.
    pub fn open(webhooks: Vec<Webhook>) -> Result<Self, OpenError> {
        let open = |webhook: Webhook| {
            let sender = Sender::open(&webhook)?;
            let answers = webhook.answers.as_ref();
            let key = answers.map(|answers| send::key(&webhook.name, &answers.signing_secret_file)).transpose()?;
            let (name, keeper) = (webhook.name.clone(), key.map(Gatekeeper::new));
            let responding = Arc::new(Semaphore::new(MAX_RESPONDING));
            Ok((name, Arc::new(Hook { webhook: Arc::new(webhook), sender, keeper, responding })))
        };
        webhooks.into_iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells each of them, on tasks of their own on the runtime that it is called on, until the shutdown.
    pub fn spawn(&self, control: &Control, telemetry: &Telemetry, shutdown: &Shutdown) {
        for hook in self.0.values() {
            let courier = Courier {
                webhook: hook.webhook.clone(),
                sender: hook.sender.clone(),
                control: control.clone(),
                telemetry: telemetry.clone(),
                random: RandomState::new(),
            };
            drop(tokio::spawn(courier.run(shutdown.clone())));
        }
    }

    /// Names of all, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The one of this name, if it takes answers.
    pub(crate) fn answering(&self, name: &str) -> Option<&Arc<Hook>> {
        self.0.get(name).filter(|hook| hook.keeper.is_some())
    }
}

impl Hook {
    pub(crate) fn name(&self) -> &str {
        &self.webhook.name
    }

    /// What verifies what comes; none where answers are not taken.
    pub(crate) fn keeper(&self) -> Option<&Gatekeeper> {
        self.keeper.as_ref()
    }

    /// Who a user of the messenger is; the reason why nobody, for that user to read.
    pub(crate) fn reviewer(&self, user: &str, team: Option<&str>) -> Result<Identity, String> {
        let known = self.webhook.answers.as_ref().into_iter();
        if known.clone().any(|answers| answers.team.as_deref().is_some_and(|wanted| team != Some(wanted))) {
            return Err("Answers from this workspace are not taken. Nothing was changed.".to_owned());
        }
        let mut reviewers = known.flat_map(|answers| &answers.reviewers);
        let found = reviewers.find(|(known, _)| known == user).map(|(_, identity)| identity.clone());
        found.ok_or_else(|| {
            let name = self.name();
            format!(
                "Postern does not know who you are: {user} is no reviewer of the webhook {name}. Nothing was changed."
            )
        })
    }

    /// Why this cannot be approved by this webhook: its messages do not show all of it.
    pub(crate) fn shows_all(&self, matter: &Matter) -> bool {
        message::shows_all(&self.webhook, matter)
    }

    /// What takes the place of the message about it.
    pub(crate) fn replacement(&self, matter: &Matter, now: i64) -> Value {
        message::replacement(&self.webhook, matter, now)
    }

    /// Sends outcomes to the address that came with an answer, in the background, as far as it is one of the messenger's.
    pub(crate) fn respond(&self, url: Option<String>, outcomes: Vec<Value>) {
        let answers = self.webhook.answers.as_ref();
        let Some(url) = url.filter(|url| answers.is_some_and(|known| url.starts_with(&known.response_url))) else {
            return;
        };
        let webhook = self.name().to_owned();
        let Ok(permit) = self.responding.clone().try_acquire_owned() else {
            tracing::warn!(webhook, "too many outcomes at once, one is not sent");
            return;
        };
        let sender = self.sender.clone();
        drop(tokio::spawn(async move {
            for outcome in outcomes {
                let body = outcome.to_string().into_bytes();
                for attempt in 1..=RESPONSES {
                    let Err(failure) = sender.respond(url.clone(), body.clone()).await else { break };
                    tracing::warn!(webhook, attempt, reason = failure.reason, "an outcome was not taken");
                    if failure.retry == send::Retry::Never {
                        break;
                    }
                    tokio::time::sleep(RESPONSE_WAIT).await;
                }
            }
            drop(permit);
        }));
    }
}

/// What only the one who pressed a button sees.
pub(crate) fn aside(text: &str) -> Value {
    message::aside(text)
}

/// Something that waits, or waited, by its id.
pub(crate) fn matter(control: &Control, about: Subject) -> Option<Matter> {
    Matter::of(&control.state(), about)
}
