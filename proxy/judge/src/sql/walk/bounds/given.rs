//! What a statement gives: single values, lists and arrays that do not depend on the rows at hand.

use super::Reckoning;
use crate::sql::walk::{call::constant, names, nodes::any_node};
use pg_query::{Node, NodeEnum, protobuf};

impl Reckoning<'_, '_> {
    /// One value, the same for every row.
    pub(super) fn is_given(&self, node: Option<&Node>) -> bool {
        let Some(node) = node else { return false };
        if !self.step(0) {
            return false;
        }
        match &node.node {
            Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_) | NodeEnum::SqlvalueFunction(_)) => true,
            Some(NodeEnum::TypeCast(cast)) => self.is_given(cast.arg.as_deref()),
            Some(NodeEnum::SubLink(link)) => {
                link.sub_link_type() == protobuf::SubLinkType::ExprSublink
                    && link.subselect.as_deref().is_some_and(|query| self.is_closed(query))
            }
            Some(NodeEnum::AExpr(expression)) if expression.kind() == protobuf::AExprKind::AexprOp => {
                expression.lexpr.as_deref().is_none_or(|left| self.is_given(Some(left)))
                    && self.is_given(expression.rexpr.as_deref())
            }
            Some(NodeEnum::CoalesceExpr(choice)) => choice.args.iter().all(|argument| self.is_given(Some(argument))),
            Some(NodeEnum::FuncCall(call)) => {
                self.is_steady(call) && call.args.iter().all(|argument| self.is_given(Some(argument)))
            }
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => false,
        }
    }

    /// The query refers to nothing around it.
    pub(super) fn is_closed(&self, query: &Node) -> bool {
        self.walker.closed.contains(&std::ptr::from_ref(query).addr())
    }

    /// A function that gives one value, and the same whenever it is asked within a statement.
    fn is_steady(&self, call: &protobuf::FuncCall) -> bool {
        let functions = self.walker.catalog.functions.get(names::split(&call.funcname).1);
        call.over.is_none()
            && functions.is_some_and(|all| all.iter().all(|one| one.volatility != 'v' && !one.returns_set))
    }

    /// How many values the list of an IN has, if all are given.
    pub(super) fn listed(&self, list: Option<&Node>) -> Option<u64> {
        let Some(NodeEnum::List(list)) = list.and_then(|list| list.node.as_ref()) else { return None };
        let given = |item: &Node| match &item.node {
            Some(NodeEnum::RowExpr(row)) => row.args.iter().all(|part| self.is_given(Some(part))),
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => self.is_given(Some(item)),
        };
        list.items.iter().all(given).then_some(list.items.len() as u64)
    }

    /// How many elements an array has at most. What the client gives as a parameter it has counted itself.
    pub(super) fn elements_of(&mut self, array: &Node, depth: usize) -> Option<u64> {
        if !self.step(0) {
            return None;
        }
        if let Some(text) = constant(array) {
            return Some(separated(&text));
        }
        match array.node.as_ref()? {
            NodeEnum::ParamRef(_) => Some(1),
            NodeEnum::TypeCast(cast) => self.elements_of(cast.arg.as_deref()?, depth),
            NodeEnum::AArrayExpr(array) => {
                let mut count = 0u64;
                for element in &array.elements {
                    let one = match &element.node {
                        Some(NodeEnum::AArrayExpr(_)) => self.elements_of(element, depth)?,
                        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
                        None | Some(any_node!()) => self.is_given(Some(element)).then_some(1)?,
                    };
                    count = count.saturating_add(one);
                }
                Some(count)
            }
            NodeEnum::SubLink(link) if link.sub_link_type() == protobuf::SubLinkType::ArraySublink => {
                let query = link.subselect.as_deref().filter(|query| self.is_closed(query))?;
                self.rows_of(query, depth)
            }
            NodeEnum::FuncCall(call) if names::split(&call.funcname).1 == "string_to_array" => {
                self.parts_of(&call.args)
            }
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            any_node!() => None,
        }
    }

    /// How many parts a text can be taken apart into that the statement gives with its separators.
    pub(super) fn parts_of(&self, arguments: &[Node]) -> Option<u64> {
        let (whole, rest) = arguments.split_first()?;
        if !rest.iter().all(|argument| self.is_given(Some(argument))) {
            return None;
        }
        if let Some(text) = constant(whole) {
            return Some(text.len() as u64 + 1);
        }
        match whole.node.as_ref()? {
            NodeEnum::ParamRef(_) => Some(1),
            NodeEnum::TypeCast(cast) => matches!(cast.arg.as_deref()?.node, Some(NodeEnum::ParamRef(_))).then_some(1),
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            any_node!() => None,
        }
    }
}

/// The operator is PostgreSQL's own of that name, as far as the text says.
pub(super) fn is_operator(name: &[Node], wanted: &str) -> bool {
    let (schema, name) = names::split(name);
    name == wanted && matches!(schema, "" | "pg_catalog")
}

/// Elements of an array's text at most.
fn separated(text: &str) -> u64 {
    text.bytes().filter(|byte| *byte == b',').count() as u64 + 1
}
