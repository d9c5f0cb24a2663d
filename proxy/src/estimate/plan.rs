//! Reads what `EXPLAIN (FORMAT JSON)` answers.

use super::Estimate;
use serde::Deserialize;

/// The planner's largest number that is taken as it is; what is larger counts as this.
const MAX: f64 = 9.0e18;

/// One statement of the answer: a rule may make several of one. Without a plan it is one that has none.
#[derive(Deserialize)]
struct Planned {
    #[serde(rename = "Plan")]
    plan: Option<Node>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(rename = "Node Type")]
    kind: String,
    #[serde(rename = "Plan Rows")]
    rows: f64,
    #[serde(rename = "Total Cost")]
    cost: f64,
    #[serde(rename = "Plans", default)]
    below: Vec<Node>,
}

impl Node {
    /// Rows that come out of it, or that are written within it if these are more.
    fn rows(&self) -> f64 {
        let mut rows = self.rows;
        let mut nodes: Vec<&Self> = vec![self];
        while let Some(node) = nodes.pop() {
            if node.kind == "ModifyTable" {
                rows = rows.max(node.below.iter().map(|below| below.rows).sum());
            }
            nodes.extend(&node.below);
        }
        rows
    }
}

/// Reads one answer; none where it is no plan.
pub(super) fn read(text: &str) -> Option<Estimate> {
    let all: Vec<Planned> = serde_json::from_str(text).ok()?;
    let mut sum: Option<(f64, f64)> = None;
    for planned in all {
        let plan = planned.plan?;
        let (rows, cost) = sum.unwrap_or_default();
        sum = Some((rows + plan.rows(), cost + plan.cost));
    }
    let (rows, cost) = sum?;
    Some(Estimate { rows: whole(rows)?, cost: whole(cost)? })
}

fn whole(value: f64) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "it was made to fit")]
    (value.is_finite() && value >= 0.0).then(|| value.min(MAX).ceil() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_returned_or_written_and_the_whole_cost_are_read() {
        let select = r#"[{"Plan": {"Node Type": "Seq Scan", "Startup Cost": 0.00, "Total Cost": 170.3, "Plan Rows": 9, "Plan Width": 4}}]"#;
        assert_eq!(read(select), Some(Estimate { rows: 9, cost: 171 }));
        let write = r#"[{"Plan": {"Node Type": "ModifyTable", "Total Cost": 5.0, "Plan Rows": 0,
            "Plans": [{"Node Type": "Result", "Total Cost": 4.0, "Plan Rows": 700}]}}]"#;
        assert_eq!(read(write), Some(Estimate { rows: 700, cost: 5 }));
        let within = r#"[{"Plan": {"Node Type": "CTE Scan", "Total Cost": 50.5, "Plan Rows": 10, "Plans": [
            {"Node Type": "ModifyTable", "Total Cost": 40, "Plan Rows": 10, "Plans": [
            {"Node Type": "Seq Scan", "Total Cost": 40, "Plan Rows": 5000}]}]}}]"#;
        assert_eq!(read(within), Some(Estimate { rows: 5000, cost: 51 }));
        let rules = r#"[{"Plan": {"Node Type": "Result", "Total Cost": 1, "Plan Rows": 2}},
            {"Plan": {"Node Type": "Result", "Total Cost": 3, "Plan Rows": 4}}]"#;
        assert_eq!(read(rules), Some(Estimate { rows: 6, cost: 4 }));
        let endless = r#"[{"Plan": {"Node Type": "Result", "Total Cost": 1e300, "Plan Rows": 1e100}}]"#;
        assert_eq!(read(endless), Some(Estimate { rows: 9_000_000_000_000_000_000, cost: 9_000_000_000_000_000_000 }));
    }

    #[test]
    fn what_is_no_plan_is_none() {
        for text in ["", "[]", "{}", "[{}]", r#"["Utility Statement"]"#, r#"[{"Plan": {"Node Type": "Result"}}]"#] {
            assert_eq!(read(text), None, "{text}");
        }
        let negative = r#"[{"Plan": {"Node Type": "Result", "Total Cost": -1, "Plan Rows": 2}}]"#;
        assert_eq!(read(negative), None);
    }
}
