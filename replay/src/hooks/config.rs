//! Settings of webhooks: each `[[webhooks]]` of the configuration file, and what it is parsed to.

use schemas::{Identity, IdentityKind};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// One entry of `[[webhooks]]`: who is told of what waits for an answer. None of it can change while running.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name: in logs, in the record, and in the address to which answers come. The same on every node.
    pub name: String,
    /// Where messages go. Plain http only for loopback hosts. _Default:_ none; then `url_file` has it.
    pub url: Option<String>,
    /// The file with the address, where the address itself is a secret, as those of Slack's incoming webhooks are.
    /// _Default:_ none.
    pub url_file: Option<PathBuf>,
    /// The file with the secret that signs each message, as Slack signs its own; at least 16 bytes.
    pub secret_file: PathBuf,
    /// The file with a bearer token for the receiver, as Slack's `chat.postMessage` asks for. _Default:_ none.
    pub token_file: Option<PathBuf>,
    /// The `channel` that a message names, as Slack's `chat.postMessage` asks for. _Default:_ none.
    pub channel: Option<String>,
    /// Authorities that vouch for the receiver, PEM. _Default:_ none; those of Mozilla's list.
    pub ca_file: Option<PathBuf>,
    /// What it is told of: `hold` (held statements), `request` (access requests that wait for reviewers), `break_glass`
    /// (access that somebody took in an emergency). _Default:_ all three.
    #[serde(default = "everything")]
    pub about: Vec<About>,
    /// Only what is about one of these resources. _Default:_ none: all.
    #[serde(default)]
    pub resources: Vec<String>,
    /// Only what members of one of these groups answer. _Default:_ none: all.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Messages have the statement's text, its bound values as reviewers see them, and the reason of a request. Without it
    /// they say who, where and what kind, and an approval is given elsewhere. _Default:_ true.
    #[serde(default = "yes")]
    pub text: bool,
    /// Seconds that the receiver has for its answer, 1 to 60. _Default:_ 10.
    #[serde(default = "ten")]
    pub timeout_seconds: u64,
    /// Hours for which a message is tried, 1 to 168; never longer than it waits for an answer. _Default:_ 24.
    #[serde(default = "day")]
    pub give_up_hours: u64,
    /// Answers by buttons. _Default:_ none: messages have no buttons.
    pub answers: Option<AnswersFile>,
}

/// How answers come back: Slack's interactivity, or another's in the same shape.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswersFile {
    /// The file with the secret that signs answers: at Slack the app's signing secret. At least 16 bytes. Whoever has it can
    /// answer in the name of every reviewer below.
    pub signing_secret_file: PathBuf,
    /// The only workspace from which answers count, `T...`. _Default:_ none: any that the secret vouches for.
    pub team: Option<String>,
    /// What the address begins with to which outcomes are sent (`response_url`); others are not used.
    /// _Default:_ `https://hooks.slack.com/`.
    #[serde(default = "slack")]
    pub response_url: String,
    /// Who is who. Somebody else's answer is refused.
    pub reviewers: Vec<ReviewerFile>,
}

/// One person who may answer by this webhook.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewerFile {
    /// The user's id in the messenger, `U...` at Slack.
    pub user: String,
    /// The subject, exactly as the person's tokens state it: it tells requester and reviewer apart.
    pub subject: String,
    /// The issuer of those tokens.
    pub issuer: String,
    /// The groups, among them those that may answer.
    pub groups: Vec<String>,
    /// The name for people to read. _Default:_ the subject.
    pub name: Option<String>,
}

/// A kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A held statement.
    Hold,
    /// An access request that waits for reviewers.
    Request,
    /// Access that somebody took in an emergency.
    BreakGlass,
}

/// The parsed settings of one webhook.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// See [`File::name`].
    pub name: String,
    /// See [`File::url`] and [`File::url_file`].
    pub place: Place,
    /// See [`File::secret_file`].
    pub secret_file: PathBuf,
    /// See [`File::token_file`].
    pub token_file: Option<PathBuf>,
    /// See [`File::channel`].
    pub channel: Option<String>,
    /// See [`File::ca_file`].
    pub ca_file: Option<PathBuf>,
    /// See [`File::about`].
    pub about: BTreeSet<About>,
    /// See [`File::resources`].
    pub resources: Vec<String>,
    /// See [`File::groups`].
    pub groups: Vec<String>,
    /// See [`File::text`].
    pub text: bool,
    /// See [`File::timeout_seconds`].
    pub timeout: Duration,
    /// See [`File::give_up_hours`].
    pub give_up: Duration,
    /// See [`File::answers`].
    pub answers: Option<Answers>,
    /// Where reviewers find the console, without a slash at its end.
    pub console: Option<String>,
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// To this address.
    Url(String),
    /// To the address in this file.
    File(PathBuf),
}

/// See [`AnswersFile`].
#[derive(Debug, Clone)]
pub struct Answers {
    /// See [`AnswersFile::signing_secret_file`].
    pub signing_secret_file: PathBuf,
    /// See [`AnswersFile::team`].
    pub team: Option<String>,
    /// See [`AnswersFile::response_url`].
    pub response_url: String,
    /// By the user's id in the messenger: who it is.
    pub reviewers: Vec<(String, Identity)>,
}

/// Each has tasks and threads of its own.
const MAX_WEBHOOKS: usize = 16;
/// It stands in addresses and in each record of a message.
const MAX_NAME_BYTES: usize = 64;

fn everything() -> Vec<About> {
    vec![About::Hold, About::Request, About::BreakGlass]
}

const fn yes() -> bool {
    true
}

const fn ten() -> u64 {
    10
}

const fn day() -> u64 {
    24
}

fn slack() -> String {
    "https://hooks.slack.com/".to_owned()
}

/// Parses the sections. `console` is where reviewers find the console.
///
/// # Errors
/// Every problem at once, each naming its section.
pub fn check(files: Vec<File>, console: Option<&str>) -> Result<Vec<Webhook>, Vec<String>> {
    let (mut problems, mut names) = (Vec::new(), BTreeSet::new());
    if files.len() > MAX_WEBHOOKS {
        problems.push(format!("webhooks: there are more than {MAX_WEBHOOKS}"));
    }
    let mut webhooks = Vec::new();
    for file in files {
        let name = file.name.clone();
        if !names.insert(name.clone()) {
            problems.push(format!("webhooks {name:?}: there are two of this name"));
        }
        match file.check(console) {
            Ok(webhook) => webhooks.push(webhook),
            Err(wrong) => problems.extend(wrong.into_iter().map(|text| format!("webhooks {name:?}: {text}"))),
        }
    }
    if problems.is_empty() { Ok(webhooks) } else { Err(problems) }
}

impl File {
    fn check(self, console: Option<&str>) -> Result<Webhook, Vec<String>> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, text: &str| {
            if !holds {
                problems.push(text.to_owned());
            }
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let named = (1..=MAX_NAME_BYTES).contains(&self.name.len()) && self.name.chars().all(is_name);
        require(named, "name: must be 1 to 64 letters, digits, `.`, `_`, `-`");
        require(!self.about.is_empty(), "about: must name hold, request or break_glass");
        require((1..=60).contains(&self.timeout_seconds), "timeout_seconds: must be 1 to 60");
        require((1..=168).contains(&self.give_up_hours), "give_up_hours: must be 1 to 168");
        let place = match (self.url, self.url_file) {
            (Some(url), None) => match check_url(&url) {
                Ok(()) => Some(Place::Url(url)),
                Err(reason) => {
                    require(false, &format!("url: {reason}"));
                    None
                }
            },
            (None, Some(path)) => Some(Place::File(path)),
            (Some(_), Some(_)) | (None, None) => {
                require(false, "either url or url_file says where messages go");
                None
            }
        };
        let answers = self.answers.map(AnswersFile::check).transpose().unwrap_or_else(|wrong| {
            wrong.iter().for_each(|text| require(false, &format!("answers.{text}")));
            None
        });
        match place {
            Some(place) if problems.is_empty() => Ok(Webhook {
                name: self.name,
                place,
                secret_file: self.secret_file,
                token_file: self.token_file,
                channel: self.channel,
                ca_file: self.ca_file,
                about: self.about.into_iter().collect(),
                resources: self.resources,
                groups: self.groups,
                text: self.text,
                timeout: Duration::from_secs(self.timeout_seconds),
                give_up: Duration::from_secs(self.give_up_hours * 3600),
                answers,
                console: console.map(|url| url.trim_end_matches('/').to_owned()),
            }),
            _ => Err(problems),
        }
    }
}

impl AnswersFile {
    fn check(self) -> Result<Answers, Vec<String>> {
        let (mut problems, mut reviewers) = (Vec::new(), Vec::<(String, Identity)>::new());
        if let Err(reason) = check_url(&self.response_url) {
            problems.push(format!("response_url: {reason}"));
        } else if !self.response_url.ends_with('/') {
            problems.push("response_url: must end with a slash, so that no other host begins with it".to_owned());
        }
        if self.reviewers.is_empty() {
            problems.push("reviewers: nobody is named, so that nobody could answer".to_owned());
        }
        for one in self.reviewers {
            let user = one.user;
            if [&user, &one.subject, &one.issuer].iter().any(|text| text.trim().is_empty()) || one.groups.is_empty() {
                problems.push(format!("reviewers {user:?}: user, subject, issuer and groups must be there"));
            }
            if reviewers.iter().any(|(known, _)| *known == user) {
                problems.push(format!("reviewers {user:?}: there are two of this user"));
            }
            let groups = one.groups;
            if groups.iter().any(|group| group.starts_with(control::access::ROLE_PREFIX)) {
                problems.push(format!("reviewers {user:?}: groups that begin with role: come from grants alone"));
            }
            let identity = Identity {
                kind: IdentityKind::Human,
                name: one.name.unwrap_or_else(|| one.subject.clone()),
                subject: one.subject,
                issuer: one.issuer,
                groups,
                on_behalf_of: Vec::new(),
                task: None,
            };
            reviewers.push((user, identity));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let Self { signing_secret_file, team, response_url, .. } = self;
        Ok(Answers { signing_secret_file, team, response_url, reviewers })
    }
}

/// Accepts https, and http to this machine: what waits is nobody's on an open line.
pub(super) fn check_url(text: &str) -> Result<(), String> {
    use axum::http::Uri;
    // the text may be a secret: it is not repeated
    let uri: Uri = text.parse().map_err(|_| "is not a URL".to_owned())?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("must have a host, and no user name".to_owned());
    }
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if loopback => Ok(()),
        Some("http") => Err("is plain http, which is accepted for loopback hosts only".to_owned()),
        _ => Err("is not an https URL".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(more: &str) -> File {
        let text = format!(r#"{{"name": "ops", "secret_file": "/s", {more}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_defaults_hold() {
        let hooks = check(vec![file(r#""url": "https://example.com/x""#)], Some("https://c.example/")).unwrap();
        let hook = &hooks[0];
        assert_eq!((hook.about.len(), hook.text, hook.timeout), (3, true, Duration::from_secs(10)));
        assert_eq!((hook.console.as_deref(), hook.answers.is_none()), (Some("https://c.example"), true));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let answers = r#""answers": {"signing_secret_file": "/a", "response_url": "https://hooks.slack.com",
            "reviewers": [{"user": "U1", "subject": "", "issuer": "i", "groups": ["role:x"]}]}"#;
        let files = vec![
            file(&format!(r#""url": "http://example.com/x", "timeout_seconds": 0, {answers}"#)),
            file(r#""url": "https://user@example.com/", "url_file": "/u""#),
        ];
        let told = check(files, None).unwrap_err().join("\n");
        for part in [
            "plain http",
            "timeout_seconds",
            "two of this name",
            "either url or url_file",
            "answers.response_url",
            "user, subject, issuer",
            "role: come from grants",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }

    #[test]
    fn addresses_are_https_or_this_machines() {
        for (url, good) in [
            ("https://hooks.slack.com/services/x", true),
            ("http://127.0.0.1:99/x", true),
            ("http://localhost/x", true),
            ("http://10.0.0.1/x", false),
            ("http://127.0.0.1.example/", false),
            ("https://u@example.com/", false),
            ("ftp://example.com/", false),
            ("/path", false),
        ] {
            assert_eq!(check_url(url).is_ok(), good, "{url}");
        }
        assert!(!check_url("secret text").unwrap_err().contains("secret"));
    }
}
