//! Statements whose success or failure answers a question about hidden values.

use super::{Judge, No};
use crate::sql::{ColumnId, Facts};

impl Judge<'_> {
    /// What may fail over hidden values, or against those that are stored.
    pub(super) fn probes(&self, facts: &Facts) -> Option<No> {
        let tells = |column: &&ColumnId| self.hides(**column) && !self.filters.contains(column);
        if let Some(name) = facts.told.iter().find(tells).map(|column| self.name(*column)) {
            return Some(No {
                policy: "builtin:probe",
                reason: format!(
                    "{name} is masked, and something is computed of it that some values do not survive: whether it fails would tell the value"
                ),
                hint: "select the column as it is, or make texts of it: casts, arithmetic and patterns over masked values are refused",
            });
        }
        if let Some(column) = facts.probed.iter().find(|c| self.hides(**c) && !self.filters.contains(c)) {
            return Some(No {
                policy: "builtin:probe",
                reason: format!("whether it succeeds would tell which values {} has", self.name(*column)),
                hint: "write the columns that no unique index or foreign key compares with masked values, or ask the owner \
                       of the data for the right to filter by the column",
            });
        }
        None
    }
}
