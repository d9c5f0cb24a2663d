//! Applies a masking plan to what the server answers: the only way by which a row, an error or a notice of a statement
//! that touches protected data reaches the client (AUD-2, MSK-1).
//!
//! The plan comes from [`judge::mask`]: the origin that RowDescription states, united with the lineage from the text.
//! A row that does not fit its description ends the session: what cannot be walked cannot be masked.

use crate::{conversation::End, decide::Decision, flight::Running, frames::backend::Field};
use judge::mask::{self, Column, Plan, external::Answer};
use schemas::event::{CloseReason, Found};
use std::{collections::VecDeque, rc::Rc};

/// Makes the plan for rows of this description.
///
/// # Errors
/// [`End`] where the description does not fit what was decided.
pub fn plan(decision: &Decision, fields: &[Field], formats: Option<&[i16]>) -> Result<Plan, End> {
    let columns: Vec<Column> = fields
        .iter()
        .enumerate()
        .map(|(index, field)| Column {
            name: field.name.clone(),
            relation: field.relation,
            attribute: field.attribute,
            type_id: field.type_id,
            modifier: field.modifier,
            format: formats.map_or(field.format, |formats| format_of(formats, index)),
        })
        .collect();
    decision.plan(&columns).map_err(|text| End::new(CloseReason::InternalError, "42501", text))
}

/// The plan for an answer without rows.
pub fn plan_of_nothing() -> Plan {
    Plan::empty()
}

fn format_of(formats: &[i16], index: usize) -> i16 {
    match formats {
        [] => 0,
        [all] => *all,
        each => each.get(index).copied().unwrap_or(0),
    }
}

pub(crate) fn plan_of(running: &Running) -> Option<Rc<Plan>> {
    running.plan.clone().or_else(|| running.portal.as_ref().and_then(|portal| portal.plan.borrow().clone()))
}

/// Whether the rows of a running statement may pass as they are.
///
/// # Errors
/// [`End`] where rows of a masked statement come without a description.
pub fn nothing_hidden(running: &mut Running) -> Result<bool, End> {
    if running.plan.is_none() {
        if !running.decision.walks() {
            return Ok(true);
        }
        running.plan = plan_of(running);
    }
    match &running.plan {
        Some(plan) => Ok(plan.is_identity()),
        None => Err(End::desynchronized("rows of a masked statement came without their description")),
    }
}

/// Masks one row into `out`, as a whole DataRow frame.
///
/// # Errors
/// [`End`] for a row that does not fit its description; `out` is then as it was.
pub fn row(running: &mut Running, body: &[u8], answers: &mut VecDeque<Answer>, out: &mut Vec<u8>) -> Result<(), End> {
    let plan = plan_of(running)
        .ok_or_else(|| End::desynchronized("rows of a masked statement came without their description"))?;
    let before = out.len();
    out.extend_from_slice(&[b'D', 0, 0, 0, 0]);
    if mask::external::answered(&plan, body, answers, &mut running.findings, out).is_err() {
        out.truncate(before);
        return Err(End::desynchronized("a row does not fit its description"));
    }
    let length = u32::try_from(out.len() - before - 1).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(place) = out.get_mut(before + 1..before + 5) {
        place.copy_from_slice(&length);
    }
    Ok(())
}

/// What detectors found in a statement's answer, for its record.
pub fn found(running: &Running) -> Vec<Found> {
    let mut found = running.copying.found();
    if !running.findings.is_empty() {
        found.extend(running.findings.told(plan_of(running).as_deref()));
    }
    found
}

/// An error or notice of a statement that touches protected data, without what could quote it.
pub fn report(fields: &[(u8, String)]) -> Vec<(u8, String)> {
    mask::scrub_report(fields)
}
