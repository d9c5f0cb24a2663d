//! What a messenger sends when somebody presses a button: Slack's `block_actions`, as a form with a `payload`.

use super::message::{APPROVE, DENY, OPEN};
use control::{Digest, Subject};
use serde::Deserialize;

/// A pressed button.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Press {
    /// Who, by the messenger's id.
    pub(crate) user: String,
    /// The workspace.
    pub(crate) team: Option<String>,
    /// What is asked for by it.
    pub(crate) wish: Wish,
    /// Where the outcome may be sent.
    pub(crate) response_url: Option<String>,
}

/// What a button is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The console was opened: nothing is to be done.
    Nothing,
    /// An answer.
    Answer {
        /// About what.
        about: Subject,
        /// Yes or no.
        approve: bool,
        /// What was shown.
        digest: Digest,
    },
}

/// Why a body is no pressed button of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// It is no form with one payload.
    #[error("the body is not a form with one payload")]
    Form,
    /// The payload is not JSON, or lacks a part.
    #[error("the payload is not understood")]
    Payload(#[source] serde_json::Error),
    /// It is about something else.
    #[error("the payload is not one action of a message of this node: {0}")]
    Other(&'static str),
}

#[derive(Deserialize)]
struct Payload {
    r#type: String,
    user: Named,
    team: Option<Named>,
    #[serde(default)]
    actions: Vec<Action>,
    response_url: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
struct Action {
    action_id: String,
    #[serde(default)]
    block_id: String,
    #[serde(default)]
    value: String,
}

/// Reads a payload, the form's encoding taken away.
pub(crate) fn read(payload: &str) -> Result<Press, Unread> {
    let payload: Payload = serde_json::from_str(payload).map_err(Unread::Payload)?;
    if payload.r#type != "block_actions" {
        return Err(Unread::Other("its type is not block_actions"));
    }
    let [action] = payload.actions.as_slice() else {
        return Err(Unread::Other("it has not exactly one action"));
    };
    let approve = match action.action_id.as_str() {
        APPROVE => Some(true),
        DENY => Some(false),
        OPEN => None,
        _ => return Err(Unread::Other("its action is not known")),
    };
    let wish = match approve {
        None => Wish::Nothing,
        Some(approve) => Wish::Answer {
            about: action.value.parse().map_err(|_| Unread::Other("its value is no id"))?,
            approve,
            digest: action.block_id.parse().map_err(|_| Unread::Other("its block_id is no digest"))?,
        },
    };
    let team = payload.team.map(|team| team.id);
    Ok(Press { user: payload.user.id, team, wish, response_url: payload.response_url })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn payload() -> Value {
        json!({
            "type": "block_actions", "user": {"id": "U1", "username": "olga"}, "team": {"id": "T1", "domain": "x"},
            "response_url": "https://hooks.slack.com/actions/1", "container": {"type": "message"},
            "actions": [{"type": "button", "action_id": APPROVE, "block_id": "ab".repeat(32),
                         "value": "hld_00000000000000000000000000000001", "action_ts": "1"}],
        })
    }

    #[test]
    fn a_pressed_button_is_read() {
        let press = read(&payload().to_string()).unwrap();
        assert_eq!((press.user.as_str(), press.team.as_deref()), ("U1", Some("T1")));
        let about = "hld_00000000000000000000000000000001".parse().unwrap();
        let digest = "ab".repeat(32).parse().unwrap();
        assert_eq!(press.wish, Wish::Answer { about, approve: true, digest });
        let mut denied = payload();
        denied["actions"][0]["action_id"] = json!(DENY);
        assert!(matches!(read(&denied.to_string()).unwrap().wish, Wish::Answer { approve: false, .. }));
        denied["actions"][0] = json!({"action_id": OPEN});
        assert_eq!(read(&denied.to_string()).unwrap().wish, Wish::Nothing);
    }

    #[test]
    fn whatever_else_comes_is_refused() {
        let change = |change: fn(&mut Value)| {
            let mut payload = payload();
            change(&mut payload);
            read(&payload.to_string()).unwrap_err().to_string()
        };
        assert!(change(|p| p["type"] = json!("view_submission")).contains("type"));
        assert!(change(|p| p["actions"] = json!([])).contains("one action"));
        assert!(change(|p| p["actions"] = json!([p["actions"][0], p["actions"][0]])).contains("one action"));
        assert!(change(|p| p["actions"][0]["action_id"] = json!("other")).contains("action is not known"));
        assert!(change(|p| p["actions"][0]["value"] = json!("grt_1")).contains("no id"));
        assert!(change(|p| p["actions"][0]["block_id"] = json!("b1")).contains("no digest"));
        assert!(change(|p| p["user"] = json!(null)).contains("not understood"));
    }
}
