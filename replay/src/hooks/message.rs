//! What a webhook is told, in the shape of Slack's messages: a text, and blocks with fields and buttons.
//!
//! It shows what the reviewers' page shows, and no more: values that the gate hid stay hidden. All that others have
//! written stands in plain text or in preformatted blocks, where nothing is a link, a mention or markup. An approval is
//! offered only where the message shows all of what would be approved.

use super::config::{About, Webhook};
use super::matter::Matter;
use crate::moment;
use control::Hold;
use kit::visible;
use serde::Deserialize;
use serde_json::{Value, json};

/// The `action_id` of the button that approves.
pub const APPROVE: &str = "postern_approve";
/// The `action_id` of the button that denies.
pub const DENY: &str = "postern_deny";
/// The `action_id` of the link to the console.
pub const OPEN: &str = "postern_open";

/// Characters of text and values that a message shows; Slack takes some 3,000 in one block. What is longer is cut, the message
/// says so, and it cannot be approved here.
const MAX_SHOWN: usize = 2_800;
/// Characters of one field; Slack takes 2,000.
const MAX_FIELD: usize = 500;
/// Characters of the header; Slack takes 150.
const MAX_HEADER: usize = 140;

/// What the gate shows of a held statement, as far as a message needs it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    text: String,
    runs: Vec<String>,
    values: Vec<ShownValue>,
    kinds: Vec<String>,
    relations: Vec<ShownName>,
    policies: Vec<String>,
    estimated_rows: Option<i64>,
    reason: String,
    in_transaction: bool,
}

#[derive(Debug, Deserialize)]
struct ShownValue {
    shown: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ShownName {
    name: String,
}

/// The message about something as it stands now: with buttons while it waits for an answer, with the outcome then.
pub(super) fn message(webhook: &Webhook, matter: &Matter, now: i64) -> Value {
    let title = title(matter);
    let (facts, body) = content(webhook, matter);
    let mut blocks = vec![json!({"type": "header", "text": plain(&title, MAX_HEADER)})];
    let fields: Vec<Value> = facts.iter().map(|(name, value)| plain(&format!("{name}\n{value}"), MAX_FIELD)).collect();
    // Slack takes ten fields in one section
    blocks.extend(fields.chunks(10).map(|fields| json!({"type": "section", "fields": fields})));
    blocks.extend(body.iter().map(|text| preformatted(text)));
    let said: Vec<String> = matter
        .reviews()
        .iter()
        .map(|one| {
            let verb = if one.approved { "approved" } else { "denied" };
            visible::line(&format!("{verb} by {}: {}", one.reviewer.subject, one.reason))
        })
        .collect();
    if !said.is_empty() {
        blocks.push(json!({"type": "section", "text": plain(&said.join("\n"), MAX_FIELD)}));
    }
    if matter.is_open(now) {
        if !shows_all(webhook, matter) {
            blocks.push(json!({"type": "section", "text": plain(NOT_ALL, MAX_FIELD)}));
        }
        blocks.extend(buttons(webhook, matter));
    } else {
        blocks.push(json!({"type": "section", "text": plain(&format!("It is {}.", matter.label(now)), MAX_FIELD)}));
    }
    let about = matter.about().to_string();
    let seen = format!("{about}, digest {}", matter.digest());
    blocks.push(json!({"type": "context", "elements": [plain(&seen, MAX_FIELD)]}));
    // markup counts in this text, and nobody shows it but notifications
    let text = escaped(&visible::line(&format!("{title} ({about}): {}", matter.label(now))));
    json!({"text": text, "blocks": blocks})
}

/// What takes the place of a message.
pub(super) fn replacement(webhook: &Webhook, matter: &Matter, now: i64) -> Value {
    let mut message = message(webhook, matter, now);
    if let Some(object) = message.as_object_mut() {
        object.insert("replace_original".to_owned(), json!(true));
    }
    message
}

/// What only the one who pressed a button sees.
pub(super) fn aside(text: &str) -> Value {
    json!({"response_type": "ephemeral", "replace_original": false, "text": escaped(text)})
}

/// What stands in the place of a button to approve.
const NOT_ALL: &str =
    "This message does not show all of what would be approved: approve it in the console or with the command.";

fn content(webhook: &Webhook, matter: &Matter) -> (Facts, Vec<String>) {
    let (mut facts, body) = match matter {
        Matter::Hold(hold) => of_hold(webhook, hold),
        Matter::Request(_) => of_request(webhook, matter),
    };
    // one line cannot look like the next fact
    facts.iter_mut().for_each(|(_, value)| *value = visible::line(value));
    (facts, body)
}

/// Whether all of what would be approved is shown: the text, every value, and no fact of it cut.
pub(super) fn shows_all(webhook: &Webhook, matter: &Matter) -> bool {
    let (facts, _) = content(webhook, matter);
    if facts.iter().any(|(name, value)| name.chars().count() + 1 + value.chars().count() > MAX_FIELD) {
        return false;
    }
    let whole = match matter {
        Matter::Hold(hold) => {
            let shown = shown(hold);
            !shown.text.is_empty() && length(&shown) <= MAX_SHOWN
        }
        Matter::Request(request) => visible::lines(&request.asked.reason).chars().count() <= MAX_SHOWN,
    };
    webhook.text && whole
}

fn shown(hold: &Hold) -> Shown {
    // what cannot be read is not shown, and then not approved here
    let mut shown = Shown::deserialize(hold.asked.shown()).unwrap_or_default();
    std::iter::once(&mut shown.text).chain(&mut shown.runs).for_each(|text| *text = visible::lines(text));
    shown
}

fn length(shown: &Shown) -> usize {
    let texts = std::iter::once(&shown.text).chain(&shown.runs);
    texts.map(|text| text.chars().count()).sum::<usize>() + values(shown).chars().count()
}

fn title(matter: &Matter) -> String {
    let (who, resource) = (&matter.requester().subject, matter.resource());
    match matter {
        Matter::Hold(hold) => {
            let kinds = shown(hold).kinds.join(", ");
            let what = if kinds.is_empty() { "a statement" } else { &kinds };
            format!("{who} asks to run {what} on {resource}")
        }
        Matter::Request(request) if matter.kind() == About::BreakGlass => {
            format!("ALERT: {who} broke the glass for {} on {resource}", request.asked.role)
        }
        Matter::Request(request) => format!("{who} asks for {} on {resource}", request.asked.role),
    }
}

type Facts = Vec<(&'static str, String)>;

fn whom(matter: &Matter) -> Facts {
    let requester = matter.requester();
    let mut facts = vec![("From", format!("{} ({})", requester.subject, requester.issuer))];
    if !requester.on_behalf_of.is_empty() {
        facts.push(("Acts for", requester.on_behalf_of.join(", ")));
    }
    facts.extend(requester.task.clone().map(|task| ("Task", task)));
    facts
}

fn of_hold(webhook: &Webhook, hold: &std::sync::Arc<Hold>) -> (Facts, Vec<String>) {
    let shown = shown(hold);
    let asked = &hold.asked;
    let mut facts = whom(&Matter::Hold(hold.clone()));
    facts.push(("Resource", format!("{}, as the role {}", asked.resource, asked.role)));
    facts.push(("Why it waits", format!("{} ({})", shown.reason, shown.policies.join(", "))));
    let relations: Vec<&str> = shown.relations.iter().map(|one| one.name.as_str()).collect();
    facts.push(("Relations", if relations.is_empty() { "none".to_owned() } else { relations.join(", ") }));
    facts.extend(shown.estimated_rows.map(|rows| ("Estimated rows", rows.to_string())));
    if shown.in_transaction {
        facts.push(("Transaction", "open: it keeps its locks while it waits".to_owned()));
    }
    facts.push(("Needs", format!("{} of {}", asked.approvals, asked.reviewers.join(", "))));
    facts.push(("Expires", moment::text(asked.expires)));
    let mut body = Vec::new();
    if webhook.text {
        let mut left = MAX_SHOWN;
        for text in std::iter::once(shown.text.clone()).chain(shown.runs.clone()).chain([values(&shown)]) {
            let cut = cut(&text, left);
            left = left.saturating_sub(text.chars().count());
            body.push(cut);
        }
        body.retain(|text| !text.is_empty());
    }
    (facts, body)
}

fn values(shown: &Shown) -> String {
    let one = |(place, value): (usize, &ShownValue)| {
        format!("${} = {}", place + 1, value.shown.as_deref().map_or_else(|| "NULL".to_owned(), visible::line))
    };
    shown.values.iter().enumerate().map(one).collect::<Vec<_>>().join("\n")
}

fn of_request(webhook: &Webhook, matter: &Matter) -> (Facts, Vec<String>) {
    let Matter::Request(request) = matter else { return (Vec::new(), Vec::new()) };
    let asked = &request.asked;
    let mut facts = whom(matter);
    facts.push(("Resource", format!("{}, in the role {}", asked.resource, asked.role)));
    facts.push(("For", format!("{} minutes", (asked.duration / 60_000_000).max(1))));
    facts.extend(asked.extends.map(|grant| ("Extends", grant.to_string())));
    facts.push(("Needs", format!("{} of {}", asked.approvals, asked.reviewers.join(", "))));
    if matter.kind() == About::BreakGlass {
        facts.push(("Granted", "at once. Approve it afterwards, or deny it, which ends the access".to_owned()));
    } else {
        facts.push(("Expires", moment::text(asked.expires)));
    }
    let body = if webhook.text { vec![cut(&visible::lines(&asked.reason), MAX_SHOWN)] } else { Vec::new() };
    (facts, body)
}

fn buttons(webhook: &Webhook, matter: &Matter) -> Option<Value> {
    let about = matter.about().to_string();
    let button = |action: &str, text: &str, style: &str| json!({"type": "button", "action_id": action, "text": plain(text, MAX_FIELD), "style": style, "value": about});
    let mut elements = Vec::new();
    if webhook.answers.is_some() {
        if shows_all(webhook, matter) {
            elements.push(button(APPROVE, "Approve", "primary"));
        }
        elements.push(button(DENY, "Deny", "danger"));
    }
    // the console has a page for held statements alone
    if let (Some(console), Matter::Hold(_)) = (&webhook.console, matter) {
        let url = format!("{console}/#/holds/{about}");
        elements.push(json!({"type": "button", "action_id": OPEN, "text": plain("Open", MAX_FIELD), "url": url}));
    }
    // the digest of what is shown comes back with the answer
    let block = |elements| json!({"type": "actions", "block_id": matter.digest().to_string(), "elements": elements});
    (!elements.is_empty()).then(|| block(elements))
}

fn plain(text: &str, most: usize) -> Value {
    json!({"type": "plain_text", "text": cut(&visible::lines(text), most), "emoji": false})
}

fn preformatted(text: &str) -> Value {
    let text = json!({"type": "text", "text": text});
    json!({"type": "rich_text", "elements": [{"type": "rich_text_preformatted", "elements": [text]}]})
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

/// Takes Slack's control characters their meaning.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
