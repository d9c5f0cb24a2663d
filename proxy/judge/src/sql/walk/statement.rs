//! Every kind of statement that PostgreSQL has: what runs queries and what acts on the session; `define` has the rest.

use super::{
    Done, Walker,
    call::constant,
    names,
    nodes::{analyzed, any_node, expressions, parts},
    scope::{Columns, Field, Item, Rows, Value},
    settings,
};
use crate::sql::facts::{Action, EXPLAIN_RUNS, Effect, Facts};
use pg_query::{Node, NodeEnum, protobuf};
use schemas::event::Usage;
use std::rc::Rc;

/// The strongest lock that reading and writing rows takes; one beyond it stops others.
const ROW_EXCLUSIVE: i32 = 3;

/// Statements that define, change or remove objects and rights: `define.rs`.
macro_rules! definitions {
    () => {
        NodeEnum::CreateSchemaStmt(_)
            | NodeEnum::AlterTableStmt(_)
            | NodeEnum::AlterCollationStmt(_)
            | NodeEnum::AlterDomainStmt(_)
            | NodeEnum::GrantStmt(_)
            | NodeEnum::GrantRoleStmt(_)
            | NodeEnum::AlterDefaultPrivilegesStmt(_)
            | NodeEnum::CreateStmt(_)
            | NodeEnum::CreateTableSpaceStmt(_)
            | NodeEnum::DropTableSpaceStmt(_)
            | NodeEnum::AlterTableSpaceOptionsStmt(_)
            | NodeEnum::AlterTableMoveAllStmt(_)
            | NodeEnum::CreateExtensionStmt(_)
            | NodeEnum::AlterExtensionStmt(_)
            | NodeEnum::AlterExtensionContentsStmt(_)
            | NodeEnum::CreateFdwStmt(_)
            | NodeEnum::AlterFdwStmt(_)
            | NodeEnum::CreateForeignServerStmt(_)
            | NodeEnum::AlterForeignServerStmt(_)
            | NodeEnum::CreateForeignTableStmt(_)
            | NodeEnum::CreateUserMappingStmt(_)
            | NodeEnum::AlterUserMappingStmt(_)
            | NodeEnum::DropUserMappingStmt(_)
            | NodeEnum::ImportForeignSchemaStmt(_)
            | NodeEnum::CreatePolicyStmt(_)
            | NodeEnum::AlterPolicyStmt(_)
            | NodeEnum::CreateAmStmt(_)
            | NodeEnum::CreateTrigStmt(_)
            | NodeEnum::CreateEventTrigStmt(_)
            | NodeEnum::AlterEventTrigStmt(_)
            | NodeEnum::CreatePlangStmt(_)
            | NodeEnum::CreateRoleStmt(_)
            | NodeEnum::AlterRoleStmt(_)
            | NodeEnum::AlterRoleSetStmt(_)
            | NodeEnum::DropRoleStmt(_)
            | NodeEnum::CreateSeqStmt(_)
            | NodeEnum::AlterSeqStmt(_)
            | NodeEnum::DefineStmt(_)
            | NodeEnum::CreateDomainStmt(_)
            | NodeEnum::CreateOpClassStmt(_)
            | NodeEnum::CreateOpFamilyStmt(_)
            | NodeEnum::AlterOpFamilyStmt(_)
            | NodeEnum::DropStmt(_)
            | NodeEnum::CommentStmt(_)
            | NodeEnum::SecLabelStmt(_)
            | NodeEnum::IndexStmt(_)
            | NodeEnum::CreateStatsStmt(_)
            | NodeEnum::AlterStatsStmt(_)
            | NodeEnum::CreateFunctionStmt(_)
            | NodeEnum::AlterFunctionStmt(_)
            | NodeEnum::RenameStmt(_)
            | NodeEnum::AlterObjectDependsStmt(_)
            | NodeEnum::AlterObjectSchemaStmt(_)
            | NodeEnum::AlterOwnerStmt(_)
            | NodeEnum::AlterOperatorStmt(_)
            | NodeEnum::AlterTypeStmt(_)
            | NodeEnum::RuleStmt(_)
            | NodeEnum::CompositeTypeStmt(_)
            | NodeEnum::CreateEnumStmt(_)
            | NodeEnum::CreateRangeStmt(_)
            | NodeEnum::AlterEnumStmt(_)
            | NodeEnum::ViewStmt(_)
            | NodeEnum::CreatedbStmt(_)
            | NodeEnum::AlterDatabaseStmt(_)
            | NodeEnum::AlterDatabaseRefreshCollStmt(_)
            | NodeEnum::AlterDatabaseSetStmt(_)
            | NodeEnum::DropdbStmt(_)
            | NodeEnum::AlterSystemStmt(_)
            | NodeEnum::CreateTableAsStmt(_)
            | NodeEnum::CreateConversionStmt(_)
            | NodeEnum::CreateCastStmt(_)
            | NodeEnum::CreateTransformStmt(_)
            | NodeEnum::DropOwnedStmt(_)
            | NodeEnum::ReassignOwnedStmt(_)
            | NodeEnum::AlterTsdictionaryStmt(_)
            | NodeEnum::AlterTsconfigurationStmt(_)
            | NodeEnum::CreatePublicationStmt(_)
            | NodeEnum::AlterPublicationStmt(_)
            | NodeEnum::CreateSubscriptionStmt(_)
            | NodeEnum::AlterSubscriptionStmt(_)
            | NodeEnum::DropSubscriptionStmt(_)
    };
}

impl<'a> Walker<'a> {
    /// A statement at the top of a message, or within EXPLAIN, PREPARE, CREATE SCHEMA, CREATE RULE.
    pub(super) fn any_statement(&mut self, kind: &NodeEnum) -> Done {
        match kind {
            NodeEnum::SelectStmt(select) => {
                let rows = self.query(kind);
                let into = select.into_clause.is_some();
                Done { kind: if into { "SELECT INTO" } else { "SELECT" }.to_owned(), outputs: (!into).then_some(rows) }
            }
            NodeEnum::InsertStmt(insert) => self.write(kind, "INSERT", insert.returning_clause.is_some()),
            NodeEnum::UpdateStmt(update) => self.write(kind, "UPDATE", update.returning_clause.is_some()),
            NodeEnum::DeleteStmt(delete) => self.write(kind, "DELETE", delete.returning_clause.is_some()),
            NodeEnum::MergeStmt(merge) => self.write(kind, "MERGE", merge.returning_clause.is_some()),
            NodeEnum::RawStmt(raw) => self.nested(raw.stmt.as_deref()),
            NodeEnum::CopyStmt(copy) => self.copy(copy),
            NodeEnum::ExplainStmt(explain) => self.explain(explain),
            NodeEnum::PrepareStmt(prepare) => {
                let inner = Box::new(self.apart(prepare.query.as_deref()));
                self.effect("PREPARE", Effect::Prepare { name: prepare.name.clone(), inner })
            }
            NodeEnum::ExecuteStmt(execute) => {
                let values = self.list(&execute.params);
                self.store(&values);
                self.effect("EXECUTE", Effect::Execute { name: execute.name.clone() })
            }
            NodeEnum::DeallocateStmt(part) => {
                let name = (!part.name.is_empty()).then(|| part.name.clone());
                self.effect("DEALLOCATE", Effect::Deallocate { name })
            }
            NodeEnum::DeclareCursorStmt(declare) => {
                let inner = Box::new(self.apart(declare.query.as_deref()));
                self.effect("DECLARE CURSOR", Effect::Declare { name: declare.portalname.clone(), inner })
            }
            NodeEnum::FetchStmt(fetch) => {
                let kind = if fetch.ismove { "MOVE" } else { "FETCH" };
                self.effect(kind, Effect::Fetch { name: fetch.portalname.clone() })
            }
            NodeEnum::ClosePortalStmt(close) => {
                let name = (!close.portalname.is_empty()).then(|| close.portalname.clone());
                self.effect("CLOSE CURSOR", Effect::Close { name })
            }
            NodeEnum::TransactionStmt(part) => self.transaction(part),
            NodeEnum::VariableSetStmt(part) => self.set(part),
            NodeEnum::VariableShowStmt(show) => {
                Done { kind: "SHOW".to_owned(), outputs: Some(Rows::one(&show.name, Value::default())) }
            }
            NodeEnum::DiscardStmt(part) => {
                let what = part.target().as_str_name().trim_start_matches("DISCARD_");
                let kind = format!("DISCARD {what}");
                match part.target() {
                    protobuf::DiscardMode::DiscardTemp => self.effect(kind, Effect::ChangesCatalog),
                    protobuf::DiscardMode::DiscardPlans | protobuf::DiscardMode::DiscardSequences => self.act(kind),
                    protobuf::DiscardMode::DiscardAll | protobuf::DiscardMode::Undefined => {
                        self.effect(kind, Effect::Discard)
                    }
                }
            }
            NodeEnum::NotifyStmt(_) => self.effect("NOTIFY", Effect::Notify),
            NodeEnum::ListenStmt(_) => self.effect("LISTEN", Effect::Notify),
            NodeEnum::UnlistenStmt(_) => self.effect("UNLISTEN", Effect::Notify),
            NodeEnum::ConstraintsSetStmt(_) => self.act("SET CONSTRAINTS"),
            NodeEnum::LockStmt(lock) => {
                let kind = if lock.mode > ROW_EXCLUSIVE { "LOCK TABLE EXCLUSIVE" } else { "LOCK TABLE" };
                self.on_relations(kind, &lock.relations, Action::Lock)
            }
            NodeEnum::TruncateStmt(part) => {
                self.out.unbounded_write = true;
                self.on_relations("TRUNCATE TABLE", &part.relations, Action::Truncate)
            }
            NodeEnum::DoStmt(_) => self.opaque("DO", "a DO block's code is not followed"),
            NodeEnum::CallStmt(call) => {
                if let Some(call) = call.funccall.as_deref() {
                    self.call(call);
                }
                self.opaque("CALL", "a procedure's code is not followed")
            }
            NodeEnum::LoadStmt(_) => self.opaque("LOAD", "a library's code is not followed"),
            NodeEnum::CheckPointStmt(_) => self.act("CHECKPOINT"),
            NodeEnum::VacuumStmt(part) => {
                let kind = match (part.is_vacuumcmd, part.options.iter().any(|option| turned_on(option, "full"))) {
                    (true, true) => "VACUUM FULL",
                    (true, false) => "VACUUM",
                    (false, _) => "ANALYZE",
                };
                self.on_relations(kind, &part.rels, Action::Maintain)
            }
            NodeEnum::ClusterStmt(part) => self.on_relation("CLUSTER", part.relation.as_ref(), Action::Maintain),
            NodeEnum::ReindexStmt(part) => self.on_relation("REINDEX", part.relation.as_ref(), Action::Maintain),
            NodeEnum::RefreshMatViewStmt(part) => {
                let action = if part.skip_data { Action::Truncate } else { Action::Maintain };
                self.on_relation("REFRESH MATERIALIZED VIEW", part.relation.as_ref(), action)
            }
            NodeEnum::ReturnStmt(_) | NodeEnum::PlassignStmt(_) => {
                self.opaque("UNKNOWN", "a part of a function's body stands as a statement")
            }
            definitions!() => {
                let done = self.define(kind);
                // a default, a check, a view: it runs later, and nobody sees it
                if let Some(reason) = settings::defined(&self.out.effects) {
                    self.hide_setting(reason);
                }
                done
            }
            analyzed!() | parts!() | expressions!() => {
                self.unexpected(kind, "the place of a statement");
                Done::silent("UNKNOWN")
            }
        }
    }

    pub(super) fn nested(&mut self, node: Option<&Node>) -> Done {
        match node.and_then(|node| node.node.as_ref()) {
            Some(kind) => self.any_statement(kind),
            None => self.opaque("UNKNOWN", "an empty statement"),
        }
    }

    fn write(&mut self, kind: &NodeEnum, name: &str, returns: bool) -> Done {
        let rows = self.query(kind);
        Done { kind: name.to_owned(), outputs: returns.then_some(rows) }
    }

    pub(super) fn opaque(&mut self, kind: &str, reason: &str) -> Done {
        self.out.writes = true;
        self.give_up(reason);
        Done::silent(kind)
    }

    pub(super) fn act(&mut self, kind: impl Into<String>) -> Done {
        self.out.writes = true;
        Done::silent(kind)
    }

    pub(super) fn effect(&mut self, kind: impl Into<String>, effect: Effect) -> Done {
        self.out.effects.push(effect);
        self.act(kind)
    }

    pub(super) fn on_relation(
        &mut self,
        kind: impl Into<String>,
        relation: Option<&protobuf::RangeVar>,
        action: Action,
    ) -> Done {
        if let Some(relation) = relation {
            self.touch_named(relation, action);
        }
        self.act(kind)
    }

    fn on_relations(&mut self, kind: &str, relations: &[Node], action: Action) -> Done {
        for node in relations {
            match &node.node {
                Some(NodeEnum::RangeVar(name)) => {
                    self.touch_named(name, action);
                }
                Some(NodeEnum::VacuumRelation(part)) => {
                    if let Some(name) = &part.relation {
                        self.touch_named(name, action);
                    }
                }
                #[allow(unreachable_patterns, reason = "the other nodes, by name")]
                Some(other @ any_node!()) => {
                    self.unexpected(other, "a list of relations");
                }
                None => {}
            }
        }
        self.act(kind)
    }

    /// A statement that runs later: its own facts. What it touches counts for this one as well.
    fn apart(&mut self, node: Option<&Node>) -> Facts {
        let mut inner = Walker::new(self.catalog, self.search_path);
        inner.budget = self.budget;
        let done = inner.nested(node);
        self.budget = inner.budget;
        let facts = inner.finish(done);
        for relation in &facts.relations {
            for &action in &relation.actions {
                self.note(relation.id, relation.name.clone(), action, relation.indirect);
            }
        }
        self.out.columns.extend(facts.columns.iter().cloned());
        self.out.functions.extend(facts.functions.iter().cloned());
        self.out.stored.extend(facts.stored.iter().copied());
        self.out.told.extend(facts.told.iter().copied());
        self.out.probed.extend(facts.probed.iter().copied());
        self.out.flags.extend(facts.flags.iter().cloned());
        self.out.shadowed.extend(facts.shadowed.iter().map(|(id, name)| (*id, name.clone())));
        self.out.unbounded_write |= facts.unbounded_write;
        if let Some(reason) = &facts.hidden_setting {
            self.hide_setting(reason.clone());
        }
        if let Some(reason) = &facts.opaque {
            self.give_up(reason.clone());
        }
        facts
    }

    fn explain(&mut self, explain: &protobuf::ExplainStmt) -> Done {
        let runs = explain.options.iter().any(|option| turned_on(option, "analyze"));
        let facts = self.apart(explain.query.as_deref());
        self.out.writes |= runs && !facts.read_only;
        // planning evaluates functions that are called immutable
        self.out.calls |= !facts.functions.is_empty();
        if runs {
            self.out.flags.insert(EXPLAIN_RUNS.to_owned());
            // it says how large rows were and how long they took
            let computed = facts.outputs.iter().flatten().filter(|output| !output.direct);
            self.out.told.extend(computed.flat_map(|output| output.sources.iter().copied()));
        } else {
            self.out.unbounded_write = false;
            self.out.probed.clear();
        }
        self.out.copies_server_side |= facts.copies_server_side;
        self.out.effects.extend(facts.effects.into_iter().filter(|_| runs));
        Done { kind: "EXPLAIN".to_owned(), outputs: Some(Rows::one("QUERY PLAN", Value::default())) }
    }

    fn transaction(&mut self, part: &protobuf::TransactionStmt) -> Done {
        use protobuf::TransactionStmtKind as Kind;
        let chain = part.chain;
        let (kind, effect) = match part.kind() {
            Kind::TransStmtBegin | Kind::TransStmtStart => {
                self.out.effects.push(Effect::Begin);
                return Done::silent("BEGIN");
            }
            Kind::TransStmtCommit => ("COMMIT", Effect::Commit { chain }),
            Kind::TransStmtRollback => ("ROLLBACK", Effect::Rollback { chain }),
            Kind::TransStmtSavepoint => ("SAVEPOINT", Effect::Savepoint),
            Kind::TransStmtRelease => ("RELEASE", Effect::Savepoint),
            Kind::TransStmtRollbackTo => ("ROLLBACK", Effect::Savepoint),
            Kind::TransStmtPrepare => ("PREPARE TRANSACTION", Effect::Commit { chain: false }),
            Kind::TransStmtCommitPrepared => return self.act("COMMIT PREPARED"),
            Kind::TransStmtRollbackPrepared => return self.act("ROLLBACK PREPARED"),
            Kind::Undefined => return self.opaque("UNKNOWN", "a transaction statement is not understood"),
        };
        self.effect(kind, effect)
    }

    fn copy(&mut self, copy: &protobuf::CopyStmt) -> Done {
        if copy.is_program || !copy.filename.is_empty() {
            self.out.copies_server_side = true;
            self.out.writes = true;
        } else {
            self.out.copies_to_client = true;
        }
        let kind = "COPY".to_owned();
        if let Some(query) = copy.query.as_deref() {
            let rows = match &query.node {
                Some(inner) => self.query(inner),
                None => Rows::unknown(),
            };
            self.note_copy(copy, None);
            return Done { kind, outputs: Some(rows) };
        }
        let Some(name) = &copy.relation else { return self.opaque("COPY", "a COPY without a relation") };
        let columns = super::strings(&copy.attlist);
        if copy.is_from {
            let target = self.target(Some(name), Action::CopyIn);
            self.note_copy(copy, Some((&target, &columns)));
            if columns.is_empty() {
                self.all_written(&target);
            }
            for column in &columns {
                self.written(&target, column, false);
            }
            self.scopes.push(Rc::new(vec![target]));
            let condition = self.maybe(copy.where_clause.as_deref());
            self.decide(&condition, Usage::Filtered);
            self.scopes.pop();
            return Done::silent(kind);
        }
        let item = self.relation(name, Action::CopyOut);
        self.note_copy(copy, None);
        Done { kind, outputs: Some(self.copied(&item, columns)) }
    }

    /// The columns that COPY ... TO sends. Generated ones only where they are named.
    fn copied(&mut self, item: &Item<'a>, columns: Vec<String>) -> Rows {
        let mut rows = Rows { fields: Vec::new(), unknown: item.is_unknown() };
        if columns.is_empty() {
            rows = item.all();
            if let Columns::Relation(relation) = item.columns {
                let generated = |name: &str| relation.column(name).is_some_and(|column| column.generated);
                rows.fields.retain(|field| !generated(&field.name));
            }
        }
        for name in columns {
            let value = item.find(&name).unwrap_or_else(Value::opaque);
            rows.fields.push(Field { name, value });
        }
        if rows.unknown && rows.fields.is_empty() {
            rows.fields.push(Field { name: "*".to_owned(), value: Value::opaque() });
        }
        rows
    }
}

/// An option that is named so, and not turned off again.
fn turned_on(node: &Node, name: &str) -> bool {
    match &node.node {
        Some(NodeEnum::DefElem(option)) if option.defname.eq_ignore_ascii_case(name) => {
            !matches!(option.arg.as_deref().and_then(text).as_deref(), Some("false" | "off" | "0"))
        }
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        None | Some(any_node!()) => false,
    }
}

/// The text of an option's or setting's value.
pub(super) fn text(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::String(text) => Some(text.sval.clone()),
        NodeEnum::Integer(number) => Some(number.ival.to_string()),
        NodeEnum::Float(number) => Some(number.fval.clone()),
        NodeEnum::Boolean(truth) => Some(truth.boolval.to_string()),
        NodeEnum::TypeName(name) => Some(names::split(&name.names).1.to_owned()),
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        any_node!() => constant(node),
    }
}
