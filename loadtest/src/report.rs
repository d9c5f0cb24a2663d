//! What came of it: latencies by statement shape, answers compared.

use crate::{capture::Exchange, wire::Frame};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{collections::BTreeMap, fmt, time::Duration};

/// Differences that a report describes; the others are counted only.
const MAX_DIFFERENCES: usize = 10;

/// Characters of a statement or a value that a report shows.
const MAX_SHOWN: usize = 120;

/// Significant digits of the histograms.
const DIGITS: u8 = 3;

/// Latencies, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Statements measured.
    pub count: u64,
    /// Of them, those that failed.
    pub errors: u64,
    /// Half were faster.
    pub p50: u64,
    /// 90 % were faster.
    pub p90: u64,
    /// 99 % were faster.
    pub p99: u64,
    /// 99.9 % were faster.
    pub p999: u64,
    /// The slowest.
    pub max: u64,
}

/// One statement shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shape {
    /// Kind and fingerprint.
    pub shape: String,
    /// How long they took.
    pub latency: Latency,
}

/// One answer that differs from the recorded one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Which exchange, from 0.
    pub exchange: usize,
    /// Its statement, cut.
    pub statement: String,
    /// What was recorded, cut.
    pub recorded: String,
    /// What came, cut.
    pub got: String,
}

/// What came of sending a session again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Seconds from the first frame to the last answer.
    pub seconds: f64,
    /// All statements.
    pub total: Latency,
    /// By shape, slowest p99 first.
    pub shapes: Vec<Shape>,
    /// Exchanges whose answer equals the recorded one.
    pub equal: usize,
    /// Exchanges whose answer does not.
    pub differing: usize,
    /// Exchanges whose rows differ because the recorded ones are masked and the target is not the gate.
    pub masked: usize,
    /// Exchanges left out because the gate denied them and the target is not the gate.
    pub skipped: usize,
    /// The first differences.
    pub differences: Vec<Difference>,
}

impl Report {
    /// The report as JSON.
    ///
    /// # Errors
    /// The serializer's, which does not happen.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<40} {:>8} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "shape", "count", "errors", "p50 us", "p90", "p99", "p99.9", "max"
        )?;
        let total = Shape { shape: "all".to_owned(), latency: self.total.clone() };
        for Shape { shape, latency: l } in self.shapes.iter().chain([&total]) {
            writeln!(
                f,
                "{shape:<40} {:>8} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9}",
                l.count, l.errors, l.p50, l.p90, l.p99, l.p999, l.max
            )?;
        }
        writeln!(
            f,
            "{:.3} s; answers: {} equal, {} differing, {} masked in the recording, {} skipped",
            self.seconds, self.equal, self.differing, self.masked, self.skipped
        )?;
        for d in &self.differences {
            writeln!(f, "exchange {}: {}\n  recorded {}\n  got      {}", d.exchange, d.statement, d.recorded, d.got)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Measured {
    histogram: Option<Histogram<u64>>,
    errors: u64,
}

impl Measured {
    fn add(&mut self, latency: Duration, error: bool) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if self.histogram.is_none() {
            self.histogram = Histogram::new(DIGITS).ok();
        }
        if let Some(histogram) = &mut self.histogram {
            // one that grows by itself takes every value
            histogram.record(micros).ok();
        }
        self.errors += u64::from(error);
    }

    fn latency(&self) -> Latency {
        let Some(h) = &self.histogram else { return Latency::default() };
        Latency {
            count: h.len(),
            errors: self.errors,
            p50: h.value_at_quantile(0.5),
            p90: h.value_at_quantile(0.9),
            p99: h.value_at_quantile(0.99),
            p999: h.value_at_quantile(0.999),
            max: h.max(),
        }
    }
}

/// A report in the making.
pub(crate) struct Gathered {
    direct: bool,
    total: Measured,
    shapes: BTreeMap<String, Measured>,
    equal: usize,
    differing: usize,
    masked: usize,
    pub(crate) skipped: usize,
    differences: Vec<Difference>,
}

impl Gathered {
    pub(crate) fn new(direct: bool) -> Self {
        Self {
            direct,
            total: Measured::default(),
            shapes: BTreeMap::new(),
            equal: 0,
            differing: 0,
            masked: 0,
            skipped: 0,
            differences: Vec::new(),
        }
    }

    pub(crate) fn latency(&mut self, shape: &str, latency: Duration, error: bool) {
        self.total.add(latency, error);
        self.shapes.entry(shape.to_owned()).or_default().add(latency, error);
    }

    pub(crate) fn compare(&mut self, number: usize, exchange: &Exchange, answer: &[Frame]) {
        let (recorded, got) = (essence(&exchange.answer), essence(answer));
        if recorded == got {
            self.equal += 1;
            return;
        }
        let without_rows = |all: &[(u8, Vec<u8>)]| all.iter().filter(|f| f.0 != b'D').cloned().collect::<Vec<_>>();
        let masks = self.direct && exchange.statements.iter().any(|s| s.masked);
        if masks && recorded.len() == got.len() && without_rows(&recorded) == without_rows(&got) {
            self.masked += 1;
            return;
        }
        self.differing += 1;
        if self.differences.len() < MAX_DIFFERENCES {
            let place = recorded.iter().zip(&got).take_while(|(a, b)| a == b).count();
            self.differences.push(Difference {
                exchange: number,
                statement: shown(exchange.text.as_bytes()),
                recorded: recorded.get(place).map_or_else(|| "(nothing more)".to_owned(), describe),
                got: got.get(place).map_or_else(|| "(nothing more)".to_owned(), describe),
            });
        }
    }

    pub(crate) fn report(self, elapsed: Duration) -> Report {
        let shapes = self.shapes.into_iter().map(|(shape, measured)| Shape { shape, latency: measured.latency() });
        let mut shapes: Vec<Shape> = shapes.collect();
        shapes.sort_by_key(|shape| std::cmp::Reverse(shape.latency.p99));
        Report {
            seconds: elapsed.as_secs_f64(),
            total: self.total.latency(),
            shapes,
            equal: self.equal,
            differing: self.differing,
            masked: self.masked,
            skipped: self.skipped,
            differences: self.differences,
        }
    }
}

/// What must be the same: rows, COPY data, tags, the SQLSTATE of errors, the transaction's state. Descriptions name
/// objects by ids that a restored database does not keep; notices and settings are not answers.
fn essence(answer: &[Frame]) -> Vec<(u8, Vec<u8>)> {
    let kept = answer.iter().filter_map(|frame| match frame.kind {
        b'D' | b'C' | b'I' | b's' | b'd' | b'Z' => Some((frame.kind, frame.body.clone())),
        b'E' => Some((b'E', frame.field(b'C').into_bytes())),
        _ => None,
    });
    kept.collect()
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { '.' } else { c }).take(MAX_SHOWN).collect()
}

fn describe(frame: &(u8, Vec<u8>)) -> String {
    format!("{} {}", char::from(frame.0), shown(&frame.1))
}
