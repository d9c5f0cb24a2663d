//! What detectors found and hid: which one, in which column of the answer, in how many values; never a value.

use super::{
    Plan,
    detect::{self, Detector},
};
use schemas::event::Found;
use std::ops::Range;

/// Entries that a record keeps; what more columns have is counted under a name of its own.
pub const MAX_FOUND: usize = 64;

/// The name of an external provider where detectors have theirs.
pub const PROVIDER: &str = "provider";

/// Stands for the columns beyond [`MAX_FOUND`] entries.
const OTHERS: &str = "(others)";

/// Where something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A column of the answer, by its number from 0.
    Column(usize),
    /// An error or a notice.
    Report,
}

/// Who found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finder {
    Detector(Detector),
    Provider,
}

/// The counts of one statement. Takes no memory until something is found.
#[derive(Debug, Default)]
pub struct Findings {
    counts: Vec<(Place, Finder, u64)>,
}

/// What searching one value needs and says.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Spans of what is found in it.
    pub spans: Vec<Range<usize>>,
    /// By which detectors.
    pub found: detect::Set,
    /// A provider named some of them.
    pub provider: bool,
}

impl Search {
    /// Notes what was found in a value, and begins anew.
    pub(super) fn note(&mut self, column: usize, findings: &mut Findings) {
        if !self.found.is_empty() || self.provider {
            findings.add(Place::Column(column), self.found);
            if self.provider {
                findings.count(Place::Column(column), Finder::Provider);
            }
            (self.found, self.provider) = (detect::Set::default(), false);
        }
    }
}

impl Findings {
    /// Nothing was found.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Counts a value in which these detectors found something.
    pub fn add(&mut self, place: Place, found: detect::Set) {
        for detector in found.iter() {
            self.count(place, Finder::Detector(detector));
        }
    }

    fn count(&mut self, place: Place, finder: Finder) {
        *self.slot(place, finder) += 1;
    }

    fn slot(&mut self, place: Place, finder: Finder) -> &mut u64 {
        let known = self.counts.iter().position(|(at, by, _)| *at == place && *by == finder);
        let slot = known.unwrap_or_else(|| {
            self.counts.push((place, finder, 0));
            self.counts.len() - 1
        });
        // the place of one that was found or pushed above
        self.counts.get_mut(slot).map(|(_, _, values)| values).expect("a slot that is there")
    }

    /// What the record says of them. Columns have the names that the plan knows them by.
    pub fn told(&self, plan: Option<&Plan>) -> Vec<Found> {
        let mut told: Vec<Found> = Vec::new();
        for (place, finder, values) in &self.counts {
            let detector = match finder {
                Finder::Detector(detector) => detector.word(),
                Finder::Provider => PROVIDER,
            };
            let mut column = match place {
                Place::Column(number) => name(plan, *number),
                Place::Report => "(report)".to_owned(),
            };
            if told.len() >= MAX_FOUND {
                OTHERS.clone_into(&mut column);
            }
            match told.iter_mut().find(|found| found.detector == detector && found.column == column) {
                Some(found) => found.values += values,
                None => told.push(Found { detector: detector.to_owned(), column, values: *values }),
            }
        }
        told
    }
}

/// A column's name is the client's own choice: what looks like a value in it is hidden too.
fn name(plan: Option<&Plan>, number: usize) -> String {
    let name = plan.and_then(|plan| plan.names.get(number)).filter(|name| !name.is_empty());
    let Some(name) = name else { return format!("column{}", number + 1) };
    let all = Detector::ALL.into_iter().collect();
    detect::clean(all, name).map_or_else(|| name.clone(), |(clean, _)| clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_by_column_and_detector_and_stay_few() {
        let mut findings = Findings::default();
        assert!(findings.told(None).is_empty());
        for _ in 0..3 {
            findings.add(Place::Column(1), detect::Set::default().with(Detector::Pan).with(Detector::Secret));
        }
        findings.add(Place::Report, detect::Set::default().with(Detector::Ssn));
        let told: Vec<_> = findings.told(None).into_iter().map(|f| (f.detector, f.column, f.values)).collect();
        let expected = [("pan", "column2", 3), ("secret", "column2", 3), ("ssn", "(report)", 1)];
        assert_eq!(told, expected.map(|(detector, column, values)| (detector.to_owned(), column.to_owned(), values)));

        let mut many = Findings::default();
        for column in 0..1600 {
            many.add(Place::Column(column), Detector::ALL.into_iter().collect());
        }
        let told = many.told(None);
        assert!(told.len() <= MAX_FOUND + Detector::ALL.len());
        assert_eq!(told.iter().map(|found| found.values).sum::<u64>(), 1600 * 7);
    }
}
