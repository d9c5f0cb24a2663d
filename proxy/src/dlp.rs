//! An external provider of data loss prevention, over HTTP in the shape of Presidio's analyzer: rows of its columns wait
//! for its answers, in order.
//!
//! ```text
//! rows --questions--> queue (bounded) --> workers: POST {text: [...], language, ...} --> spans --> rows, masked
//! ```
//!
//! [`crate::answer`] stops at a row that must be asked about, [`crate::exchange`] waits and lets it go on. Nothing else
//! waits: statements without such columns never come here. Where there is no answer in time, values are hidden whole, or,
//! with `on_failure = "open"`, shown as the detectors leave them.

use crate::{
    conversation::{Conversation, End},
    frames,
    resource::Resource,
};
use judge::mask::external::{self, Answer};
use serde::Deserialize;
use std::{
    collections::VecDeque,
    future::Future,
    io,
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::oneshot;

/// Bytes of text that one request has at most, if it has more than one text.
const MAX_BATCH_BYTES: usize = 256 << 10;

/// Largest answer of the provider.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// `[resources.dlp]`: an external provider, and the columns that it is asked about.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where texts are posted to, such as `http://127.0.0.1:5002/analyze`.
    pub url: String,
    /// The columns, each as `schema.table.column`, of text or JSON.
    pub columns: Vec<String>,
    /// The language of the texts. _Default:_ `en`.
    #[serde(default = "english")]
    pub language: String,
    /// Entities that are looked for. _Default:_ all that the provider knows.
    #[serde(default)]
    pub entities: Vec<String>,
    /// Least score of what is hidden, 0 to 1. _Default:_ 0.4.
    #[serde(default = "score")]
    pub score_threshold: f64,
    /// Milliseconds that rows wait for an answer, 1 to 60000. _Default:_ 2000.
    #[serde(default = "timeout")]
    pub timeout_milliseconds: u64,
    /// Requests at once, 1 to 64. _Default:_ 4.
    #[serde(default = "workers")]
    pub workers: usize,
    /// Requests that may wait; beyond them there is no answer. _Default:_ 64.
    #[serde(default = "queue")]
    pub queue: usize,
    /// Texts in one request. _Default:_ 64.
    #[serde(default = "batch")]
    pub batch: usize,
    /// What becomes of values without an answer: `closed` hides them, `open` leaves them to the detectors. _Default:_ `closed`.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// What becomes of values without an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// They are hidden.
    #[default]
    Closed,
    /// Only the detectors hold.
    Open,
}

fn english() -> String {
    "en".to_owned()
}

const fn score() -> f64 {
    0.4
}

const fn timeout() -> u64 {
    2000
}

const fn workers() -> usize {
    4
}

const fn queue() -> usize {
    64
}

const fn batch() -> usize {
    64
}

impl File {
    /// Everything that is wrong with it.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let known = self.url.starts_with("http://") || self.url.starts_with("https://");
        for (fine, problem) in [
            (known, "dlp.url must begin with http:// or https://"),
            (!self.columns.is_empty(), "dlp.columns is empty"),
            ((0.0..=1.0).contains(&self.score_threshold), "dlp.score_threshold must be 0 to 1"),
            ((1..=60_000).contains(&self.timeout_milliseconds), "dlp.timeout_milliseconds must be 1 to 60000"),
            ((1..=64).contains(&self.workers), "dlp.workers must be 1 to 64"),
            ((1..=10_000).contains(&self.queue), "dlp.queue must be 1 to 10000"),
            ((1..=1000).contains(&self.batch), "dlp.batch must be 1 to 1000"),
        ] {
            if !fine {
                problems.push(problem.to_owned());
            }
        }
        problems
    }
}

struct Job {
    texts: Vec<String>,
    reply: oneshot::Sender<Vec<Answer>>,
}

/// A provider, with the threads that ask it.
#[derive(Debug)]
pub struct Provider {
    jobs: mpsc::SyncSender<Job>,
    batch: usize,
    timeout: Duration,
    failed: Answer,
}

impl Provider {
    /// Starts the threads; they end when the provider is dropped.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn start(file: &File) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::sync_channel::<Job>(file.queue);
        let waiting = Arc::new(Mutex::new(waiting));
        let timeout = Duration::from_millis(file.timeout_milliseconds);
        for number in 0..file.workers {
            let (asked, waiting) = (file.clone(), waiting.clone());
            std::thread::Builder::new().name(format!("dlp-{number}")).spawn(move || work(&asked, &waiting, timeout))?;
        }
        let failed = if file.on_failure == OnFailure::Open { Answer::Unknown } else { Answer::Hide };
        Ok(Self { jobs, batch: file.batch, timeout, failed })
    }

    fn ask(&self, texts: Vec<String>) -> Option<oneshot::Receiver<Vec<Answer>>> {
        let (reply, receiver) = oneshot::channel();
        self.jobs.try_send(Job { texts, reply }).ok().map(|()| receiver)
    }
}

fn work(file: &File, waiting: &Mutex<mpsc::Receiver<Job>>, timeout: Duration) {
    let config = ureq::Agent::config_builder()
        .max_redirects(0)
        .timeout_global(Some(timeout))
        // where data goes is in the configuration alone
        .proxy(None)
        .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")))
        .build();
    let agent: ureq::Agent = config.into();
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        if job.reply.is_closed() {
            continue;
        }
        match request(file, &agent, &job.texts) {
            // a session that is gone needs no answer
            Ok(answers) => drop(job.reply.send(answers)),
            Err(reason) => {
                tracing::warn!(url = %file.url, %reason, "the provider of data loss prevention has no answer")
            }
        }
    }
}

impl Resource {
    /// Starts the threads that ask the resource's provider of data loss prevention, if it has one.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn with_provider(mut self, config: &crate::config::ResourceConfig) -> io::Result<Self> {
        self.provider = config.dlp.as_ref().map(Provider::start).transpose()?.map(Arc::new);
        Ok(self)
    }
}

fn request(file: &File, agent: &ureq::Agent, texts: &[String]) -> Result<Vec<Answer>, String> {
    let mut body = serde_json::json!({
        "text": texts, "language": file.language, "score_threshold": file.score_threshold,
    });
    if let (false, Some(object)) = (file.entities.is_empty(), body.as_object_mut()) {
        object.insert("entities".to_owned(), serde_json::json!(file.entities));
    }
    let mut response = agent.post(&file.url).send_json(&body).map_err(|error| error.to_string())?;
    let found: Vec<Vec<Finding>> =
        response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_json().map_err(|error| error.to_string())?;
    if found.len() != texts.len() {
        return Err(format!("{} answers for {} texts", found.len(), texts.len()));
    }
    texts.iter().zip(&found).map(|(text, found)| spans(text, found).map(Answer::Spans)).collect()
}

/// What a provider found: from and up to a character, counted from 0.
#[derive(Debug, Deserialize)]
struct Finding {
    start: usize,
    end: usize,
}

/// Characters become bytes.
fn spans(text: &str, found: &[Finding]) -> Result<Vec<Range<usize>>, String> {
    let place = |character: usize| {
        let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        places.nth(character).ok_or_else(|| "a span beyond its text".to_owned())
    };
    let mut spans = Vec::with_capacity(found.len());
    for finding in found {
        let (start, end) = (place(finding.start)?, place(finding.end)?);
        if start > end {
            return Err("a span that ends before it begins".to_owned());
        }
        spans.push(start..end);
    }
    Ok(spans)
}

/// What a session asked and was told.
#[derive(Default)]
pub struct Asking {
    pub(crate) answers: VecDeque<Answer>,
    waiting: Option<Waiting>,
}

struct Waiting {
    answers: oneshot::Receiver<Vec<Answer>>,
    deadline: Pin<Box<tokio::time::Sleep>>,
    expected: usize,
    failed: Answer,
}

impl Conversation {
    /// Rows wait for an answer: the server is not read.
    pub fn waits_for_provider(&self) -> bool {
        self.asking.waiting.is_some()
    }

    /// Takes the answer that rows wait for.
    pub fn poll_provider(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(waiting) = self.asking.waiting.as_mut() else { return Poll::Ready(()) };
        let answers = match Pin::new(&mut waiting.answers).poll(context) {
            Poll::Ready(Ok(answers)) => answers,
            Poll::Ready(Err(_)) => vec![waiting.failed.clone(); waiting.expected],
            Poll::Pending => match waiting.deadline.as_mut().poll(context) {
                Poll::Ready(()) => vec![waiting.failed.clone(); waiting.expected],
                Poll::Pending => return Poll::Pending,
            },
        };
        self.asking.answers.extend(answers);
        self.asking.waiting = None;
        Poll::Ready(())
    }

    /// Whether the row that `unread` begins with must wait. Asks about it and the whole rows behind it.
    ///
    /// # Errors
    /// [`End`] for a row that does not fit its description.
    pub(crate) fn must_ask(&mut self, unread: &[u8]) -> Result<bool, End> {
        if self.decider.resource().provider.is_none() || !self.asking.answers.is_empty() {
            return Ok(false);
        }
        let Some(provider) = self.decider.resource().provider.clone() else { return Ok(false) };
        let Some(running) = self.flight.running() else { return Ok(false) };
        let Some(plan) = crate::mask::plan_of(running).filter(|plan| plan.asks()) else { return Ok(false) };
        let (mut texts, mut at, mut bytes) = (Vec::new(), 0, 0);
        while texts.len() < provider.batch && bytes < MAX_BATCH_BYTES {
            let rest = unread.get(at..).unwrap_or_default();
            let Some(head) = frames::head(rest)?.filter(|head| head.kind == b'D') else { break };
            let Some(frame) = rest.get(frames::HEAD..head.total) else { break };
            let malformed = |_| End::desynchronized("a row does not fit its description");
            external::questions(&plan, frame, &mut texts).map_err(malformed)?;
            at += head.total;
            bytes += head.total;
        }
        if texts.is_empty() {
            return Ok(false);
        }
        let expected = texts.len();
        let Some(answers) = provider.ask(texts) else {
            tracing::warn!("the queue of the provider of data loss prevention is full");
            self.asking.answers.extend(std::iter::repeat_n(provider.failed.clone(), expected));
            return Ok(false);
        };
        let deadline = Box::pin(tokio::time::sleep(provider.timeout));
        self.asking.waiting = Some(Waiting { answers, deadline, expected, failed: provider.failed.clone() });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_become_bytes() {
        let finding = |start, end| Finding { start, end };
        assert_eq!(spans("äb€ 12", &[finding(1, 3), finding(4, 6)]), Ok(vec![2..6, 7..9]));
        assert!(spans("ab", &[finding(1, 4)]).is_err());
        assert!(spans("ab", &[finding(2, 1)]).is_err());
    }
}
