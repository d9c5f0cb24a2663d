//! INSERT, UPDATE, DELETE, MERGE: what is stored where, and whether a condition bounds it.

use super::{
    Walker,
    call::constant,
    nodes::any_node,
    scope::{Columns, Item, Rows, Value},
};
use crate::sql::facts::Action;
use pg_query::{Node, NodeEnum, protobuf};
use schemas::event::Usage;
use std::rc::Rc;

/// Whole numbers that a BETWEEN may span and still bounds what is written.
const WIDEST: u64 = 1_000;

impl<'a> Walker<'a> {
    /// The relation that a statement writes.
    pub(super) fn target(&mut self, name: Option<&protobuf::RangeVar>, action: Action) -> Item<'a> {
        self.out.writes = true;
        let Some(name) = name else { return Item::rows("", Rows::unknown()) };
        let item = self.relation(name, action);
        if let Columns::Relation(relation) = item.columns
            && relation.has_rules
        {
            self.give_up(format!("{} has rewrite rules", relation.qualified()));
        }
        item
    }

    /// The target is read as well.
    fn reads_of(&self, target: &Item<'a>) -> bool {
        let Columns::Relation(relation) = target.columns else { return false };
        let key = (Some(relation.id), String::new());
        self.out.relations.get(&key).is_some_and(|used| used.actions.contains(&Action::Select))
    }

    /// Notes a column as written: a view's stand for what they show.
    pub(super) fn written(&mut self, target: &Item<'a>, name: &str) {
        let Columns::Relation(relation) = target.columns else { return };
        match relation.column(name) {
            Some(column) => self.use_columns(&column.origins, Usage::Written),
            None => self.give_up(format!("column {name} of {} is not in the catalog", relation.qualified())),
        }
    }

    pub(super) fn all_written(&mut self, target: &Item<'a>) {
        let Columns::Relation(relation) = target.columns else { return };
        for column in relation.columns.iter().filter(|column| !column.generated) {
            self.use_columns(&column.origins, Usage::Written);
        }
    }

    pub(super) fn insert(&mut self, insert: &protobuf::InsertStmt) -> Rows {
        self.with(insert.with_clause.as_ref());
        let target = self.target(insert.relation.as_ref(), Action::Insert);
        if insert.cols.is_empty() {
            self.all_written(&target);
        }
        for column in &insert.cols {
            if let Some(NodeEnum::ResTarget(column)) = &column.node {
                self.written(&target, &column.name);
                let path = self.list(&column.indirection);
                self.store(&path);
            }
        }
        let mut from_itself = false;
        if let Some(query) = insert.select_stmt.as_deref() {
            let reads = self.reads_of(&target);
            let rows = self.subquery(query);
            from_itself = self.reads_of(&target) && !reads;
            let whole = rows.whole();
            self.store(&whole);
        }
        if let Some(conflict) = insert.on_conflict_clause.as_deref() {
            // rows of the table itself conflict, each with itself
            let updates = conflict.action() == protobuf::OnConflictAction::OnconflictUpdate;
            self.out.unbounded_write |= updates && from_itself && !bounds(conflict.where_clause.as_deref(), &target);
            if conflict.infer.as_deref().is_none_or(|infer| infer.index_elems.is_empty()) {
                self.any_conflict(&target, &insert.cols);
            }
            self.on_conflict(conflict, &target);
        }
        self.returning(insert.returning_clause.as_ref(), vec![target.clone()], &target)
    }

    fn on_conflict(&mut self, conflict: &protobuf::OnConflictClause, target: &Item<'a>) {
        let excluded =
            Item { alias: "excluded".to_owned(), schema: String::new(), qualified_only: true, ..target.clone() };
        self.scopes.push(Rc::new(vec![target.clone(), excluded]));
        if let Some(infer) = conflict.infer.as_deref() {
            for element in &infer.index_elems {
                if let Some(NodeEnum::IndexElem(element)) = &element.node {
                    let value = self.index_element(element);
                    self.decide(&value, Usage::Filtered);
                }
            }
            let condition = self.maybe(infer.where_clause.as_deref());
            self.decide(&condition, Usage::Filtered);
        }
        if conflict.action() == protobuf::OnConflictAction::OnconflictUpdate
            && let Columns::Relation(relation) = target.columns
        {
            self.touch(relation, Action::Update);
        }
        self.assignments(&conflict.target_list, target);
        let condition = self.maybe(conflict.where_clause.as_deref());
        self.decide(&condition, Usage::Filtered);
        self.scopes.pop();
    }

    /// Any unique column that is written may decide whether the row is.
    fn any_conflict(&mut self, target: &Item<'a>, columns: &[Node]) {
        let Columns::Relation(relation) = target.columns else { return };
        let named = |name: &str| {
            columns.is_empty()
                || columns
                    .iter()
                    .any(|node| matches!(&node.node, Some(NodeEnum::ResTarget(column)) if column.name == name))
        };
        for column in relation.columns.iter().filter(|column| named(&column.name)) {
            self.use_columns(&column.origins, Usage::Filtered);
        }
    }

    pub(super) fn index_element(&mut self, element: &protobuf::IndexElem) -> Value {
        let mut value = self.maybe(element.expr.as_deref());
        if !element.name.is_empty() {
            match self.unqualified(&element.name) {
                super::scope::Found::Value(column) => value.absorb(column),
                super::scope::Found::Missing => {
                    self.give_up(format!("column {} is not in the catalog", element.name));
                }
            }
        }
        value
    }

    /// SET: what is written, and what is stored there.
    fn assignments(&mut self, targets: &[Node], target: &Item<'a>) {
        let mut shared = Value::default();
        for node in targets {
            let Some(NodeEnum::ResTarget(assignment)) = &node.node else {
                self.give_up("an assignment is not understood");
                continue;
            };
            self.written(target, &assignment.name);
            let path = self.list(&assignment.indirection);
            self.store(&path);
            let value = match assignment.val.as_deref().and_then(|value| value.node.as_ref()) {
                Some(NodeEnum::MultiAssignRef(part)) if part.colno > 1 => shared.clone(),
                Some(NodeEnum::MultiAssignRef(part)) => {
                    shared = self.maybe(part.source.as_deref());
                    shared.clone()
                }
                #[allow(unreachable_patterns, reason = "the other nodes, by name")]
                None | Some(any_node!()) => self.maybe(assignment.val.as_deref()),
            };
            self.store(&value);
        }
    }

    pub(super) fn update(&mut self, update: &protobuf::UpdateStmt) -> Rows {
        self.with(update.with_clause.as_ref());
        let target = self.target(update.relation.as_ref(), Action::Update);
        let mut items = vec![target.clone()];
        for node in &update.from_clause {
            let more = self.items_of(node, &items);
            items.extend(more);
        }
        self.scopes.push(Rc::new(items.clone()));
        self.assignments(&update.target_list, &target);
        let condition = self.maybe(update.where_clause.as_deref());
        self.decide(&condition, Usage::Filtered);
        self.scopes.pop();
        self.out.unbounded_write |= !bounds(update.where_clause.as_deref(), &target);
        self.returning(update.returning_clause.as_ref(), items, &target)
    }

    pub(super) fn delete(&mut self, delete: &protobuf::DeleteStmt) -> Rows {
        self.with(delete.with_clause.as_ref());
        let target = self.target(delete.relation.as_ref(), Action::Delete);
        let mut items = vec![target.clone()];
        for node in &delete.using_clause {
            let more = self.items_of(node, &items);
            items.extend(more);
        }
        self.scopes.push(Rc::new(items.clone()));
        let condition = self.maybe(delete.where_clause.as_deref());
        self.decide(&condition, Usage::Filtered);
        self.scopes.pop();
        self.out.unbounded_write |= !bounds(delete.where_clause.as_deref(), &target);
        self.returning(delete.returning_clause.as_ref(), items, &target)
    }

    pub(super) fn merge(&mut self, merge: &protobuf::MergeStmt) -> Rows {
        self.with(merge.with_clause.as_ref());
        let target = self.target(merge.relation.as_ref(), Action::Select);
        let mut items = merge.source_relation.as_deref().map(|node| self.items_of(node, &[])).unwrap_or_default();
        let few = merge.source_relation.as_deref().is_some_and(is_values);
        items.push(target.clone());
        self.scopes.push(Rc::new(items.clone()));
        let condition = self.maybe(merge.join_condition.as_deref());
        self.decide(&condition, Usage::Joined);
        for node in &merge.merge_when_clauses {
            let Some(NodeEnum::MergeWhenClause(when)) = &node.node else {
                self.give_up("a MERGE clause is not understood");
                continue;
            };
            let condition = self.maybe(when.condition.as_deref());
            self.decide(&condition, Usage::Filtered);
            self.merge_action(when, &target);
            if matches!(when.command_type(), protobuf::CmdType::CmdUpdate | protobuf::CmdType::CmdDelete) {
                let every = when.match_kind() == protobuf::MergeMatchKind::MergeWhenNotMatchedBySource;
                let bounded = (few && !every && joins_target(merge.join_condition.as_deref(), &target))
                    || bounds(when.condition.as_deref(), &target)
                    || (!every && bounds(merge.join_condition.as_deref(), &target));
                self.out.unbounded_write |= !bounded;
            }
        }
        self.scopes.pop();
        self.returning(merge.returning_clause.as_ref(), items, &target)
    }

    fn merge_action(&mut self, when: &protobuf::MergeWhenClause, target: &Item<'a>) {
        let action = match when.command_type() {
            protobuf::CmdType::CmdInsert => Some(Action::Insert),
            protobuf::CmdType::CmdUpdate => Some(Action::Update),
            protobuf::CmdType::CmdDelete => Some(Action::Delete),
            protobuf::CmdType::CmdNothing => None,
            protobuf::CmdType::Undefined
            | protobuf::CmdType::CmdUnknown
            | protobuf::CmdType::CmdSelect
            | protobuf::CmdType::CmdMerge
            | protobuf::CmdType::CmdUtility => {
                self.give_up("a MERGE action is not understood");
                None
            }
        };
        if let (Some(action), Columns::Relation(relation)) = (action, &target.columns) {
            self.touch(relation, action);
        }
        if action == Some(Action::Insert) && when.target_list.is_empty() {
            self.all_written(target);
        }
        self.assignments(&when.target_list, target);
        let values = self.list(&when.values);
        self.store(&values);
    }

    /// RETURNING, with OLD and NEW.
    fn returning(
        &mut self,
        clause: Option<&protobuf::ReturningClause>,
        mut items: Vec<Item<'a>>,
        target: &Item<'a>,
    ) -> Rows {
        let Some(clause) = clause else { return Rows::default() };
        let (mut old, mut new) = ("old".to_owned(), "new".to_owned());
        for option in &clause.options {
            if let Some(NodeEnum::ReturningOption(option)) = &option.node {
                match option.option() {
                    protobuf::ReturningOptionKind::ReturningOptionOld => old.clone_from(&option.value),
                    protobuf::ReturningOptionKind::ReturningOptionNew => new.clone_from(&option.value),
                    protobuf::ReturningOptionKind::Undefined => self.give_up("a RETURNING option is not understood"),
                }
            }
        }
        for alias in [old, new] {
            if !items.iter().any(|item| item.alias == alias) {
                items.push(Item { alias, schema: String::new(), qualified_only: true, ..target.clone() });
            }
        }
        self.scopes.push(Rc::new(items));
        let rows = self.targets(&clause.exprs);
        self.scopes.pop();
        rows
    }
}

/// Whether a condition bounds the rows of the target: a column of it equals something that is given (a constant, a
/// parameter, a single value), or is within a given list or a narrow range.
fn bounds(condition: Option<&Node>, target: &Item<'_>) -> bool {
    use protobuf::{AExprKind, BoolExprType};
    let Some(kind) = condition.and_then(|node| node.node.as_ref()) else { return false };
    match kind {
        NodeEnum::CurrentOfExpr(_) => true,
        NodeEnum::BoolExpr(expression) => match expression.boolop() {
            BoolExprType::AndExpr => expression.args.iter().any(|node| bounds(Some(node), target)),
            BoolExprType::OrExpr => expression.args.iter().all(|node| bounds(Some(node), target)),
            BoolExprType::NotExpr | BoolExprType::Undefined => false,
        },
        NodeEnum::AExpr(expression) => {
            let (left, right) = (expression.lexpr.as_deref(), expression.rexpr.as_deref());
            let equals = super::names::split(&expression.name).1 == "=";
            match expression.kind() {
                AExprKind::AexprOp if equals => {
                    (is_column(left, target) && is_given(right)) || (is_column(right, target) && is_given(left))
                }
                AExprKind::AexprOpAny | AExprKind::AexprIn => equals && is_column(left, target) && is_given(right),
                AExprKind::AexprBetween | AExprKind::AexprBetweenSym => is_column(left, target) && is_narrow(right),
                // another operator, or one that leaves rows rather than picks them
                AExprKind::AexprOp
                | AExprKind::AexprOpAll
                | AExprKind::AexprDistinct
                | AExprKind::AexprNotDistinct
                | AExprKind::AexprNullif
                | AExprKind::AexprLike
                | AExprKind::AexprIlike
                | AExprKind::AexprSimilar
                | AExprKind::AexprNotBetween
                | AExprKind::AexprNotBetweenSym
                | AExprKind::Undefined => false,
            }
        }
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        any_node!() => false,
    }
}

/// A range of whole numbers, given as constants, of at most [`WIDEST`] of them.
fn is_narrow(range: Option<&Node>) -> bool {
    let Some(NodeEnum::List(list)) = range.and_then(|range| range.node.as_ref()) else { return false };
    let [low, high] = list.items.as_slice() else { return false };
    let number = |node| constant(node).and_then(|text| text.trim().parse::<i64>().ok());
    match (number(low), number(high)) {
        (Some(low), Some(high)) => high.abs_diff(low) < WIDEST,
        (None, Some(_) | None) | (Some(_), None) => false,
    }
}

/// Whether a MERGE's condition ties the target to its source by equality of a column.
fn joins_target(condition: Option<&Node>, target: &Item<'_>) -> bool {
    match condition.and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::AExpr(expression)) => {
            let (left, right) = (expression.lexpr.as_deref(), expression.rexpr.as_deref());
            super::names::split(&expression.name).1 == "=" && (is_column(left, target) != is_column(right, target))
        }
        Some(NodeEnum::BoolExpr(expression)) if expression.boolop() == protobuf::BoolExprType::AndExpr => {
            expression.args.iter().any(|node| joins_target(Some(node), target))
        }
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        None | Some(any_node!()) => false,
    }
}

/// A list of constants as a MERGE's source.
fn is_values(node: &Node) -> bool {
    let Some(NodeEnum::RangeSubselect(part)) = &node.node else { return false };
    let query = part.subquery.as_deref().and_then(|query| query.node.as_ref());
    matches!(query, Some(NodeEnum::SelectStmt(select)) if select.from_clause.is_empty() && select.larg.is_none())
}

fn is_column(node: Option<&Node>, target: &Item<'_>) -> bool {
    let Some(NodeEnum::ColumnRef(column)) = node.and_then(|node| node.node.as_ref()) else { return false };
    match super::strings(&column.fields).as_slice() {
        [name] => target.position(name).is_some() || target.is_unknown(),
        [.., item, name] => *item == target.alias && (target.position(name).is_some() || target.is_unknown()),
        [] => false,
    }
}

/// Something of a known number of values: constants and parameters, lists of them, a scalar subquery.
fn is_given(node: Option<&Node>) -> bool {
    let Some(node) = node else { return false };
    if constant(node).is_some() {
        return true;
    }
    match &node.node {
        Some(NodeEnum::ParamRef(_) | NodeEnum::SqlvalueFunction(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => is_given(cast.arg.as_deref()),
        Some(NodeEnum::List(list)) => list.items.iter().all(|item| is_given(Some(item))),
        Some(NodeEnum::AArrayExpr(array)) => array.elements.iter().all(|item| is_given(Some(item))),
        Some(NodeEnum::SubLink(link)) => link.sub_link_type() == protobuf::SubLinkType::ExprSublink,
        Some(NodeEnum::AExpr(expression)) => {
            expression.lexpr.as_deref().is_none_or(|left| is_given(Some(left))) && is_given(expression.rexpr.as_deref())
        }
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        None | Some(any_node!()) => false,
    }
}
