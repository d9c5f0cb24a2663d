//! What webhooks were told: for operators, who must know what nobody got.

use super::Caller;
use crate::api::parameters::{Fields, limit};
use crate::api::{Api, answer};
use crate::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use control::{Notice, Told};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListFields {
    delivered: Option<bool>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct List {
    webhooks: Vec<String>,
    messages: Vec<MessageView>,
}

/// One message to one webhook, as the API shows it.
#[derive(Serialize)]
struct MessageView {
    webhook: String,
    about: String,
    state: Told,
    open: bool,
    attempts: u32,
    reason: Option<String>,
    node: String,
    #[serde(serialize_with = "crate::moment::serialize")]
    time: i64,
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Fields(asked): Fields<ListFields>,
) -> Result<Response, Problem> {
    caller.operator()?;
    let limit = limit(&api, asked.limit)?;
    let (state, now) = (caller.plane.control.state(), caller.plane.control.now());
    let view = |notice: &Arc<Notice>| MessageView {
        webhook: notice.telling.webhook.clone(),
        about: notice.telling.about.to_string(),
        state: notice.telling.told,
        open: state.is_open(notice.telling.about, now) == Some(true),
        attempts: notice.telling.attempts,
        reason: notice.telling.reason.clone(),
        node: notice.node.clone(),
        time: notice.time,
    };
    let wanted = |notice: &&Arc<Notice>| {
        asked.delivered.is_none_or(|delivered| (notice.telling.told == Told::Delivered) == delivered)
    };
    let messages = state.notices().rev().filter(wanted).take(limit).map(view).collect();
    let webhooks = api.0.parts.hooks.iter().flat_map(|hooks| hooks.names()).map(str::to_owned).collect();
    answer::json(&api, &List { webhooks, messages })
}
