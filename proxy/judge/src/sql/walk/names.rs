//! Names of objects in the text, and the names that PostgreSQL gives to output columns without one.

use super::nodes::any_node;
use pg_query::{Node, NodeEnum, protobuf, protobuf::SubLinkType};

/// Schema and name of a possibly qualified name; the catalog's (database's) name is left out.
pub(super) fn split(names: &[Node]) -> (&str, &str) {
    let mut parts = names.iter().rev().filter_map(super::string);
    let name = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), name)
}

/// `schema.name`, or the name alone.
pub(super) fn qualified(schema: &str, name: &str) -> String {
    if schema.is_empty() { name.to_owned() } else { format!("{schema}.{name}") }
}

/// A name that is written as a list of strings, as a relation's.
pub(super) fn range_var(names: &[Node]) -> protobuf::RangeVar {
    let (schema, name) = split(names);
    protobuf::RangeVar { schemaname: schema.to_owned(), relname: name.to_owned(), inh: true, ..Default::default() }
}

/// The name of an output column: as PostgreSQL's FigureColname.
pub(super) fn of_target(target: &protobuf::ResTarget) -> String {
    if !target.name.is_empty() {
        return target.name.clone();
    }
    target.val.as_deref().and_then(figure).map_or_else(|| "?column?".to_owned(), |(name, _)| name)
}

/// The name that an expression suggests, and whether it is a strong suggestion.
fn figure(node: &Node) -> Option<(String, bool)> {
    let strong = |name: &str| Some((name.to_owned(), true));
    let boxed = |node: &Option<Box<Node>>| node.as_deref().and_then(figure);
    match node.node.as_ref()? {
        NodeEnum::ColumnRef(column) => column.fields.iter().rev().find_map(super::string).and_then(strong),
        NodeEnum::AIndirection(path) => {
            path.indirection.iter().rev().find_map(super::string).and_then(strong).or_else(|| boxed(&path.arg))
        }
        NodeEnum::FuncCall(call) => strong(split(&call.funcname).1),
        NodeEnum::AExpr(expression) if expression.kind() == protobuf::AExprKind::AexprNullif => strong("nullif"),
        NodeEnum::TypeCast(cast) => match boxed(&cast.arg) {
            Some((name, true)) => Some((name, true)),
            weak @ (Some((_, false)) | None) => {
                cast.type_name.as_ref().map(|name| (split(&name.names).1.to_owned(), false)).or(weak)
            }
        },
        NodeEnum::CollateClause(clause) => boxed(&clause.arg),
        NodeEnum::GroupingFunc(_) => strong("grouping"),
        NodeEnum::MergeSupportFunc(_) => strong("merge_action"),
        NodeEnum::SubLink(link) => match link.sub_link_type() {
            SubLinkType::ExistsSublink => strong("exists"),
            SubLinkType::ArraySublink => strong("array"),
            SubLinkType::ExprSublink => match link.subselect.as_ref()?.node.as_ref()? {
                NodeEnum::SelectStmt(select) => match select.target_list.first()?.node.as_ref()? {
                    NodeEnum::ResTarget(target) if !target.name.is_empty() => strong(&target.name),
                    NodeEnum::ResTarget(target) => boxed(&target.val),
                    #[allow(unreachable_patterns, reason = "the other nodes, by name")]
                    any_node!() => None,
                },
                #[allow(unreachable_patterns, reason = "the other nodes, by name")]
                any_node!() => None,
            },
            // as PostgreSQL: no name of their own
            SubLinkType::AllSublink
            | SubLinkType::AnySublink
            | SubLinkType::RowcompareSublink
            | SubLinkType::MultiexprSublink
            | SubLinkType::CteSublink
            | SubLinkType::Undefined => None,
        },
        NodeEnum::CaseExpr(case) => match boxed(&case.defresult) {
            Some((name, true)) => Some((name, true)),
            Some((_, false)) | None => Some(("case".to_owned(), false)),
        },
        NodeEnum::AArrayExpr(_) => strong("array"),
        NodeEnum::RowExpr(_) => strong("row"),
        NodeEnum::CoalesceExpr(_) => strong("coalesce"),
        NodeEnum::MinMaxExpr(choice) => {
            strong(if choice.op() == protobuf::MinMaxOp::IsGreatest { "greatest" } else { "least" })
        }
        NodeEnum::XmlSerialize(_) => strong("xmlserialize"),
        NodeEnum::XmlExpr(xml) => {
            let name = xml.op().as_str_name().trim_start_matches("IS_").to_ascii_lowercase();
            strong(&name)
        }
        NodeEnum::SqlvalueFunction(function) => {
            let name = function.op().as_str_name().trim_start_matches("SVFOP_").trim_end_matches("_N");
            strong(&name.to_ascii_lowercase())
        }
        NodeEnum::JsonParseExpr(_) => strong("json"),
        NodeEnum::JsonScalarExpr(_) => strong("json_scalar"),
        NodeEnum::JsonSerializeExpr(_) => strong("json_serialize"),
        NodeEnum::JsonObjectConstructor(_) => strong("json_object"),
        NodeEnum::JsonArrayConstructor(_) | NodeEnum::JsonArrayQueryConstructor(_) => strong("json_array"),
        NodeEnum::JsonObjectAgg(_) => strong("json_objectagg"),
        NodeEnum::JsonArrayAgg(_) => strong("json_arrayagg"),
        NodeEnum::JsonFuncExpr(function) => {
            strong(&function.op().as_str_name().trim_end_matches("_OP").to_ascii_lowercase())
        }
        // a name only: the client's RowDescription says what it is
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        any_node!() => None,
    }
}

/// What a node is called. Its text as a whole would be as long as the statement, and as deep.
pub(super) fn of_node(node: &NodeEnum) -> String {
    struct Word(String);
    impl std::fmt::Write for Word {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            let word = text.find(|c: char| !c.is_ascii_alphanumeric()).and_then(|end| text.get(..end));
            self.0.push_str(word.unwrap_or(text));
            // an error ends the writing: the first word is all that is wanted
            if word.is_some() { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let mut word = Word(String::new());
    let whole = std::fmt::write(&mut word, format_args!("{node:?}"));
    if whole.is_err() || !word.0.is_empty() { word.0 } else { "a node".to_owned() }
}
