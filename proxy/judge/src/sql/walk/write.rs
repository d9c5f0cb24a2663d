//! INSERT, UPDATE, DELETE, MERGE: what is stored where. Whether a condition bounds it, `bounds` says.

use super::{
    Walker,
    nodes::any_node,
    scope::{Columns, Item, Rows, Value},
};
use crate::sql::{
    catalog::{Column, Kind, Relation},
    facts::{Action, ColumnId},
};
use pg_query::{Node, NodeEnum, protobuf};
use schemas::event::Usage;
use std::rc::Rc;

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

    /// Notes a column as written, by a new row or by a change of one that is there (`updates`): a view's stand for what
    /// they show.
    pub(super) fn written(&mut self, target: &Item<'a>, name: &str, updates: bool) {
        let Columns::Relation(relation) = target.columns else { return };
        match relation.column(name) {
            Some(column) => self.writes(relation, column, updates),
            None => self.lacks(format!("column {name} of {}", relation.qualified())),
        }
    }

    fn writes(&mut self, relation: &'a Relation, column: &'a Column, updates: bool) {
        self.use_columns(&column.origins, Usage::Written);
        let own = |origin: &&ColumnId| relation.kind == Kind::View || origin.relation == relation.id;
        for origin in column.origins.iter().filter(own) {
            let told = self.catalog.told_by(*origin, updates);
            self.spend(told.len() + relation.descendants.len());
            self.out.probed.extend(told);
        }
    }

    pub(super) fn all_written(&mut self, target: &Item<'a>) {
        let Columns::Relation(relation) = target.columns else { return };
        for column in relation.columns.iter().filter(|column| !column.generated) {
            self.writes(relation, column, false);
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
                self.written(&target, &column.name, false);
                let path = self.list(&column.indirection);
                self.store(&path);
            }
        }
        if let Some(query) = insert.select_stmt.as_deref() {
            let rows = self.subquery(query);
            let whole = rows.whole();
            self.store(&whole);
        }
        if let Some(conflict) = insert.on_conflict_clause.as_deref() {
            let updates = conflict.action() == protobuf::OnConflictAction::OnconflictUpdate;
            self.out.unbounded_write |= updates && !self.bounds_upsert(insert, conflict);
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
        self.assignments(&conflict.target_list, target, true);
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
                super::scope::Found::Missing => self.lacks(format!("column {}", element.name)),
            }
        }
        value
    }

    /// SET: what is written, and what is stored there.
    fn assignments(&mut self, targets: &[Node], target: &Item<'a>, updates: bool) {
        let mut shared = Value::default();
        for node in targets {
            let Some(NodeEnum::ResTarget(assignment)) = &node.node else {
                self.give_up("an assignment is not understood");
                continue;
            };
            self.written(target, &assignment.name, updates);
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
        self.assignments(&update.target_list, &target, true);
        let condition = self.maybe(update.where_clause.as_deref());
        self.decide(&condition, Usage::Filtered);
        self.scopes.pop();
        self.out.unbounded_write |= !self.bounds_update(update);
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
        self.out.unbounded_write |= !self.bounds_delete(delete);
        self.returning(delete.returning_clause.as_ref(), items, &target)
    }

    pub(super) fn merge(&mut self, merge: &protobuf::MergeStmt) -> Rows {
        self.with(merge.with_clause.as_ref());
        let target = self.target(merge.relation.as_ref(), Action::Select);
        let mut items = merge.source_relation.as_deref().map(|node| self.items_of(node, &[])).unwrap_or_default();
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
                self.out.unbounded_write |= !self.bounds_merge(merge, when);
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
        self.assignments(&when.target_list, target, action == Some(Action::Update));
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
