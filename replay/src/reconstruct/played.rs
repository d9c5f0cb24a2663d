//! From the archive's summaries and its player to the shapes of the API.

use super::session::{Session, Status};
use super::timeline::{
    Answer, AnswerColumn, ColumnUse, Decision, Hold, Message, Outcome, StatementStep, Step, Timeline, Value,
};
use recorder::frames::Diagnostic;
use recorder::play::{self, Told, What};
use recorder::sessions::{self, SessionSummary};
use schemas::event::{Body, Completed, Event, Usage, Verdict};
use schemas::{SessionId, StatementId};
use std::collections::HashMap;

impl From<SessionSummary> for Session {
    fn from(summary: SessionSummary) -> Self {
        Self {
            id: summary.session,
            status: match summary.status {
                sessions::Status::Open => Status::Open,
                sessions::Status::Closed => Status::Closed,
                sessions::Status::Refused => Status::Refused,
            },
            identity: summary.identity,
            resource: summary.resource,
            database: summary.database,
            role: summary.role,
            node: summary.node,
            peer: summary.peer,
            application: summary.application,
            opened: summary.opened,
            closed: summary.closed,
            reason: summary.reason,
            detail: summary.detail,
            sqlstate: summary.sqlstate,
            statements: summary.statements,
            denied: summary.denied,
            rows: summary.rows,
            bytes_in: summary.bytes_in,
            bytes_out: summary.bytes_out,
            faults: summary.faults.into_iter().map(|fault| fault.detail).collect(),
        }
    }
}

/// Tells a session's events; at most `rows` rows of each result.
pub fn from_play(session: Session, events: &[Event], rows: usize) -> Timeline {
    let mut verdicts: HashMap<u64, &Verdict> = HashMap::new();
    let mut endings: HashMap<u64, &Completed> = HashMap::new();
    for event in events {
        match &event.body {
            Body::Verdict(verdict) => drop(verdicts.insert(verdict.number, verdict)),
            Body::Completed(completed) => drop(endings.insert(completed.number, completed)),
            _ => {}
        }
    }
    let (mut steps, mut notes) = (Vec::new(), Vec::new());
    for entry in play::play(events) {
        match entry.what {
            What::Statement(told) => {
                let (verdict, ending) = (verdicts.get(&told.number), endings.get(&told.number));
                let mut step = statement(session.id, *told, verdict.copied(), ending.copied(), rows);
                (step.time, step.offset_us) = (entry.time, entry.offset);
                steps.push(Step::Statement(Box::new(step)));
            }
            What::Gap(gap) => {
                steps.push(Step::Gap { time: entry.time, offset_us: entry.offset, detail: gap.detail });
            }
            What::Unreadable { reason } => notes.push(format!("Answers are shown only in part: {reason}.")),
            What::Control { text, .. } => notes.push(format!("Control plane: {text}.")),
            What::Opened(_) | What::Refused(_) | What::Access(_) | What::Closed(_) => {}
        }
    }
    Timeline { session, steps, notes }
}

fn statement(
    session: SessionId,
    told: Told,
    verdict: Option<&Verdict>,
    ending: Option<&Completed>,
    rows: usize,
) -> StatementStep {
    let number = told.number;
    let answers =
        if told.columns.is_empty() && told.rows.is_empty() { vec![] } else { vec![answer(&told, verdict, rows)] };
    let notices = told.notices.into_iter().map(message);
    StatementStep {
        id: StatementId { session, number }.to_string(),
        number,
        time: 0,
        offset_us: 0,
        protocol: told.protocol,
        text: told.text,
        prepared: told.prepared,
        portal: String::new(),
        parameters: told.parameters.into_iter().map(value).collect(),
        decision: verdict.map(decision),
        hold: told.held.map(|held| {
            let review = told.reviewed;
            Hold {
                request: held.request,
                reviewers: held.reviewers,
                expires: held.expires,
                approved: review.as_ref().map(|review| review.approved),
                reviewer: review.as_ref().and_then(|review| Some(review.reviewer.as_ref()?.name.clone())),
                reason: review.map(|review| review.reason).unwrap_or_default(),
            }
        }),
        outcome: ending.map(|ending| Outcome {
            outcome: ending.outcome,
            tag: ending.tag.clone(),
            rows: ending.rows,
            bytes: ending.bytes,
            duration_us: ending.duration,
            sqlstate: ending.sqlstate.clone(),
            found: ending.found.clone(),
        }),
        answers,
        messages: notices.chain(told.error.map(message)).collect(),
    }
}

fn answer(told: &Told, verdict: Option<&Verdict>, rows: usize) -> Answer {
    // A result names its columns as the query does: one that is renamed is not found here, and the list of columns
    // beside the result still says that it was masked.
    let columns = verdict.into_iter().flat_map(|verdict| &verdict.columns);
    let masked: Vec<&str> = columns
        .filter(|column| column.masked && column.usage == Usage::Projected)
        .filter_map(|column| column.name.rsplit('.').next())
        .collect();
    let column = |name: &String| AnswerColumn { masked: masked.contains(&name.as_str()), name: name.clone() };
    Answer {
        columns: told.columns.iter().map(column).collect(),
        rows: told.rows.iter().take(rows).map(|row| row.iter().cloned().map(value).collect()).collect(),
        total: told.row_count,
        left_out: told.left_out,
    }
}

fn decision(verdict: &Verdict) -> Decision {
    let column = |column: &schemas::event::Column| ColumnUse {
        name: column.name.clone(),
        usage: Some(column.usage),
        masked: column.masked,
    };
    Decision {
        verdict: verdict.verdict,
        reason: verdict.reason.clone(),
        policies: verdict.policies.clone(),
        policy_version: verdict.policy_version.clone(),
        kind: verdict.kind.clone(),
        read_only: verdict.read_only,
        opaque: verdict.opaque,
        relations: verdict.relations.iter().map(|relation| relation.name.clone()).collect(),
        columns: verdict.columns.iter().map(column).collect(),
        functions: verdict.functions.clone(),
        flags: verdict.flags.clone(),
    }
}

fn value(text: Option<String>) -> Value {
    text.map_or(Value::Null, Value::Text)
}

fn message(said: Diagnostic) -> Message {
    Message {
        severity: said.severity,
        sqlstate: said.code,
        message: said.message,
        detail: said.detail,
        hint: said.hint,
    }
}
