//! sqlparser as a second opinion: where it reads a text differently, an auditor should look. It never permits anything.

use super::parse::Statement;
use sqlparser::{dialect::PostgreSqlDialect, parser::Parser};

/// Longest text that is given to it: it overflows its stack on long chains.
const LONGEST: usize = 32 << 10;

/// Deepest nesting of a text that it reads: each level takes about 20 KiB of the stack that the analysis runs on.
const DEEPEST: usize = 24;

/// The flag that is raised.
const FLAG: &str = "tripwire:parsers_differ";

/// Compares number and kinds of statements. A text that sqlparser refuses or that is too long raises nothing: it refuses
/// a tenth of what PostgreSQL accepts.
pub(super) fn compare(text: &str, statements: &[Statement]) -> Option<&'static str> {
    if text.len() > LONGEST {
        return None;
    }
    let parser = Parser::new(&PostgreSqlDialect {}).with_recursion_limit(DEEPEST);
    let others = parser.try_with_sql(text).and_then(|mut parser| parser.parse_statements()).ok()?;
    let same = others.len() == statements.len()
        && others.iter().zip(statements).all(|(other, statement)| same_kind(other, statement));
    (!same).then_some(FLAG)
}

/// Compares what both name with certainty: queries and writes.
fn same_kind(other: &sqlparser::ast::Statement, statement: &Statement) -> bool {
    use pg_query::NodeEnum;
    use sqlparser::ast::Statement as Other;
    match &statement.node {
        NodeEnum::SelectStmt(_) => matches!(other, Other::Query(_)),
        NodeEnum::InsertStmt(_) => matches!(other, Other::Insert { .. } | Other::Query(_)),
        NodeEnum::UpdateStmt(_) => matches!(other, Other::Update { .. } | Other::Query(_)),
        NodeEnum::DeleteStmt(_) => matches!(other, Other::Delete { .. } | Other::Query(_)),
        NodeEnum::CopyStmt(_) => matches!(other, Other::Copy { .. }),
        _ => !matches!(other, Other::Query(_) | Other::Delete { .. }) || is_query_like(&statement.node),
    }
}

fn is_query_like(node: &pg_query::NodeEnum) -> bool {
    use pg_query::NodeEnum;
    matches!(node, NodeEnum::CreateTableAsStmt(_) | NodeEnum::MergeStmt(_))
}
