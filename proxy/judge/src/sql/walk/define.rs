//! Definitions, changes and removals of objects, and rights: their relations, and the columns that expressions reach.

use super::{
    Done, Walker,
    names::range_var,
    nodes::any_node,
    object::{named, plain},
    scope::{Found, Item},
};
use crate::sql::facts::{Action, Effect};
use pg_query::{Node, NodeEnum, protobuf};
use protobuf::{ObjectType, RangeVar};
use schemas::event::Usage;
use std::rc::Rc;

impl<'a> Walker<'a> {
    /// One of the statements that `statement` sends here.
    pub(super) fn define(&mut self, kind: &NodeEnum) -> Done {
        self.out.effects.push(Effect::ChangesCatalog);
        let name = match kind {
            NodeEnum::CreateStmt(create) => return self.create_table(create, "CREATE TABLE"),
            NodeEnum::CreateForeignTableStmt(create) => {
                return match &create.base_stmt {
                    Some(base) => self.create_table(base, "CREATE FOREIGN TABLE"),
                    None => self.opaque("CREATE FOREIGN TABLE", "a foreign table without columns"),
                };
            }
            NodeEnum::CreateTableAsStmt(create) => return self.create_table_as(create),
            NodeEnum::ViewStmt(view) => return self.create_view(view),
            NodeEnum::AlterTableStmt(alter) => return self.alter_table(alter),
            NodeEnum::IndexStmt(index) => return self.create_index(index),
            NodeEnum::CreateStatsStmt(part) => return self.create_statistics(part),
            NodeEnum::CreatePolicyStmt(part) => {
                return self.on_table_with("CREATE POLICY", part.table.as_ref(), &[&part.qual, &part.with_check]);
            }
            NodeEnum::AlterPolicyStmt(part) => {
                return self.on_table_with("ALTER POLICY", part.table.as_ref(), &[&part.qual, &part.with_check]);
            }
            NodeEnum::CreateTrigStmt(part) => {
                self.out.functions.insert(named(&part.funcname));
                if let Some(other) = &part.constrrel {
                    self.touch_named(other, Action::Alter);
                }
                return self.on_table_with("CREATE TRIGGER", part.relation.as_ref(), &[&part.when_clause]);
            }
            NodeEnum::RuleStmt(rule) => return self.create_rule(rule),
            NodeEnum::CreateSchemaStmt(schema) => {
                self.schema_elements(schema);
                "CREATE SCHEMA".to_owned()
            }
            NodeEnum::DropStmt(drop) => return self.drop(drop),
            NodeEnum::RenameStmt(part) => {
                self.gone(part.relation.as_ref());
                return self.alter_object(part.rename_type(), part.relation.as_ref(), part.object.as_deref());
            }
            NodeEnum::AlterObjectDependsStmt(p) => {
                return self.alter_object(p.object_type(), p.relation.as_ref(), p.object.as_deref());
            }
            NodeEnum::AlterObjectSchemaStmt(part) => {
                self.gone(part.relation.as_ref());
                return self.alter_object(part.object_type(), part.relation.as_ref(), part.object.as_deref());
            }
            NodeEnum::AlterOwnerStmt(part) => {
                return self.alter_object(part.object_type(), part.relation.as_ref(), part.object.as_deref());
            }
            NodeEnum::CommentStmt(part) => {
                self.object(part.objtype(), part.object.as_deref(), Action::Alter);
                "COMMENT".to_owned()
            }
            NodeEnum::SecLabelStmt(part) => {
                self.object(part.objtype(), part.object.as_deref(), Action::Alter);
                "SECURITY LABEL".to_owned()
            }
            NodeEnum::GrantStmt(grant) => {
                for object in &grant.objects {
                    if let Some(NodeEnum::RangeVar(relation)) = &object.node {
                        self.touch_named(relation, Action::Alter);
                    }
                }
                if grant.is_grant { "GRANT" } else { "REVOKE" }.to_owned()
            }
            NodeEnum::CreateSeqStmt(part) => {
                self.created(part.sequence.as_ref());
                self.owned_by(&part.options);
                "CREATE SEQUENCE".to_owned()
            }
            NodeEnum::AlterSeqStmt(part) => {
                self.owned_by(&part.options);
                return self.on_relation("ALTER SEQUENCE", part.sequence.as_ref(), Action::Alter);
            }
            NodeEnum::AlterExtensionContentsStmt(part) => {
                self.object(part.objtype(), part.object.as_deref(), Action::Alter);
                "ALTER EXTENSION".to_owned()
            }
            NodeEnum::CreateFunctionStmt(part) => return self.create_function(part),
            NodeEnum::CreateDomainStmt(part) => {
                self.created(Some(&range_var(&part.domainname)));
                self.constraints(&part.constraints);
                "CREATE DOMAIN".to_owned()
            }
            NodeEnum::AlterDomainStmt(part) => {
                let value = self.maybe(part.def.as_deref().filter(|node| !is_constraint(node)));
                self.store(&value);
                self.constraints(part.def.as_deref().map(std::slice::from_ref).unwrap_or_default());
                "ALTER DOMAIN".to_owned()
            }
            NodeEnum::CompositeTypeStmt(part) => return self.create_type(part.typevar.as_ref()),
            NodeEnum::CreateEnumStmt(part) => return self.create_type(Some(&range_var(&part.type_name))),
            NodeEnum::CreateRangeStmt(part) => return self.create_type(Some(&range_var(&part.type_name))),
            NodeEnum::CreatePublicationStmt(part) => {
                self.published(&part.pubobjects);
                "CREATE PUBLICATION".to_owned()
            }
            NodeEnum::AlterPublicationStmt(part) => {
                self.published(&part.pubobjects);
                "ALTER PUBLICATION".to_owned()
            }
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            other @ any_node!() => match plain(other) {
                Some(tag) => tag,
                None => {
                    self.unexpected(other, "definitions");
                    "UNKNOWN".to_owned()
                }
            },
        };
        self.act(name)
    }

    /// A type stands in a schema beside the relations, which may be closed.
    fn create_type(&mut self, name: Option<&RangeVar>) -> Done {
        self.created(name);
        self.act("CREATE TYPE")
    }

    /// OWNED BY: the table of the column that a sequence goes with.
    fn owned_by(&mut self, options: &[Node]) {
        for node in options {
            let Some(NodeEnum::DefElem(option)) = &node.node else { continue };
            if option.defname == "owned_by" {
                self.object(ObjectType::ObjectColumn, option.arg.as_deref(), Action::Alter);
            }
        }
    }

    fn create_table(&mut self, create: &protobuf::CreateStmt, kind: &str) -> Done {
        self.created(create.relation.as_ref());
        for node in &create.inh_relations {
            if let Some(NodeEnum::RangeVar(parent)) = &node.node {
                self.touch_named(parent, Action::Alter);
            }
        }
        let columns = create.table_elts.iter().filter_map(column_name);
        let fields = columns.map(|name| super::scope::Field { name, value: Default::default() }).collect();
        let rows = super::scope::Rows { fields, unknown: !create.inh_relations.is_empty() };
        self.scopes.push(Rc::new(vec![Item::rows("", rows)]));
        self.elements(&create.table_elts);
        self.constraints(&create.constraints);
        if let Some(partition) = &create.partspec {
            for element in &partition.part_params {
                if let Some(NodeEnum::PartitionElem(element)) = &element.node {
                    let value = self.maybe(element.expr.as_deref());
                    self.store(&value);
                }
            }
        }
        if let Some(bound) = &create.partbound {
            self.bound(bound);
        }
        self.scopes.pop();
        self.act(kind)
    }

    fn bound(&mut self, bound: &protobuf::PartitionBoundSpec) {
        for list in [&bound.listdatums, &bound.lowerdatums, &bound.upperdatums] {
            for node in list {
                let value = match &node.node {
                    Some(NodeEnum::PartitionRangeDatum(datum)) => self.maybe(datum.value.as_deref()),
                    // MINVALUE and MAXVALUE come as names
                    Some(NodeEnum::ColumnRef(_)) | None => continue,
                    #[allow(unreachable_patterns, reason = "the other nodes, by name")]
                    Some(any_node!()) => self.expression(node),
                };
                self.store(&value);
            }
        }
    }

    fn elements(&mut self, elements: &[Node]) {
        for element in elements {
            match &element.node {
                Some(NodeEnum::ColumnDef(column)) => self.column_definition(column),
                Some(NodeEnum::Constraint(_)) => self.constraints(std::slice::from_ref(element)),
                Some(NodeEnum::TableLikeClause(like)) => {
                    if let Some(relation) = &like.relation {
                        self.touch_named(relation, Action::Select);
                    }
                }
                #[allow(unreachable_patterns, reason = "the other nodes, by name")]
                Some(other @ any_node!()) => {
                    self.unexpected(other, "a table's elements");
                }
                None => {}
            }
        }
    }

    /// A default, a generation expression, USING of a new type: what they reach is stored.
    fn column_definition(&mut self, column: &protobuf::ColumnDef) {
        let value = self.maybe(column.raw_default.as_deref());
        self.store(&value);
        self.constraints(&column.constraints);
    }

    fn constraints(&mut self, constraints: &[Node]) {
        for node in constraints {
            let Some(NodeEnum::Constraint(constraint)) = &node.node else { continue };
            if let Some(table) = &constraint.pktable {
                self.touch_named(table, Action::Alter);
            }
            // a domain's check speaks of VALUE
            let value = super::scope::Rows::one("value", Default::default());
            self.scopes.push(Rc::new(vec![Item::rows("", value)]));
            let outer = self.scopes.len().checked_sub(2).and_then(|at| self.scopes.get(at)).cloned();
            if let (Some(outer), Some(scope)) = (outer, self.scopes.last_mut()) {
                *scope = Rc::new(scope.iter().chain(outer.iter()).cloned().collect());
            }
            let value = self.maybe(constraint.raw_expr.as_deref());
            if matches!(
                constraint.contype(),
                protobuf::ConstrType::ConstrGenerated | protobuf::ConstrType::ConstrDefault
            ) {
                self.store(&value);
            }
            self.decide(&value, Usage::Filtered);
            let condition = self.maybe(constraint.where_clause.as_deref());
            self.decide(&condition, Usage::Filtered);
            self.keys(constraint);
            self.scopes.pop();
        }
    }

    /// The columns of a key, of both sides of a reference, and of an exclusion: whether the rows that there are fit them,
    /// and whether later ones do, tells about their values.
    fn keys(&mut self, constraint: &protobuf::Constraint) {
        for exclusion in &constraint.exclusions {
            let Some(NodeEnum::List(pair)) = &exclusion.node else {
                self.give_up("an exclusion is not understood");
                continue;
            };
            for part in &pair.items {
                if let Some(NodeEnum::IndexElem(element)) = &part.node {
                    let value = self.maybe(element.expr.as_deref());
                    self.decide(&value, Usage::Filtered);
                    self.key_column(&element.name);
                }
            }
        }
        for name in [&constraint.keys, &constraint.including, &constraint.fk_attrs].into_iter().flatten() {
            self.key_column(super::string(name).unwrap_or_default());
        }
        let Some(table) = &constraint.pktable else { return };
        let Some(relation) = self.catalog.resolve(&table.schemaname, &table.relname, self.search_path) else { return };
        for name in constraint.pk_attrs.iter().filter_map(super::string) {
            if let Some(column) = relation.column(name) {
                self.use_columns(&column.origins, Usage::Filtered);
            }
        }
    }

    /// A column of the table around; one that is only now defined holds nothing yet.
    fn key_column(&mut self, name: &str) {
        if let Found::Value(value) = self.unqualified(name) {
            self.decide(&value, Usage::Filtered);
        }
    }

    /// Opens a table as a scope for expressions about it.
    fn with_table<T>(&mut self, table: Option<&RangeVar>, walk: impl FnOnce(&mut Self) -> T) -> T {
        let item = table.map(|name| self.relation(name, Action::Alter));
        let mut items: Vec<_> = item.into_iter().collect();
        for alias in ["old", "new"] {
            let qualified: Vec<_> = items.first().cloned().into_iter().collect();
            for item in qualified {
                items.push(Item { alias: alias.to_owned(), schema: String::new(), qualified_only: true, ..item });
            }
        }
        self.scopes.push(Rc::new(items));
        let result = walk(self);
        self.scopes.pop();
        result
    }

    fn on_table_with(&mut self, kind: &str, table: Option<&RangeVar>, expressions: &[&Option<Box<Node>>]) -> Done {
        self.with_table(table, |walker| {
            for expression in expressions {
                let value = walker.maybe(expression.as_deref());
                walker.decide(&value, Usage::Filtered);
            }
        });
        self.act(kind)
    }

    fn alter_table(&mut self, alter: &protobuf::AlterTableStmt) -> Done {
        self.with_table(alter.relation.as_ref(), |walker| {
            for node in &alter.cmds {
                let Some(NodeEnum::AlterTableCmd(command)) = &node.node else { continue };
                let drops = command.subtype() == protobuf::AlterTableType::AtDropColumn;
                walker.gone(alter.relation.as_ref().filter(|_| drops));
                walker.alter_command(command);
            }
        });
        self.act_on("ALTER", alter.objtype())
    }

    fn alter_command(&mut self, command: &protobuf::AlterTableCmd) {
        let Some(definition) = command.def.as_deref() else { return };
        match &definition.node {
            Some(NodeEnum::ColumnDef(column)) => self.column_definition(column),
            Some(NodeEnum::Constraint(_)) => self.constraints(std::slice::from_ref(definition)),
            Some(NodeEnum::RangeVar(parent)) => {
                self.touch_named(parent, Action::Alter);
            }
            Some(NodeEnum::PartitionCmd(partition)) => {
                if let Some(name) = &partition.name {
                    self.touch_named(name, Action::Alter);
                }
                if let Some(bound) = &partition.bound {
                    self.bound(bound);
                }
            }
            // options, names, numbers
            Some(
                NodeEnum::List(_)
                | NodeEnum::DefElem(_)
                | NodeEnum::TypeName(_)
                | NodeEnum::RoleSpec(_)
                | NodeEnum::ReplicaIdentityStmt(_)
                | NodeEnum::String(_)
                | NodeEnum::Integer(_)
                | NodeEnum::AtalterConstraint(_),
            )
            | None => {}
            // SET DEFAULT, SET EXPRESSION
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            Some(any_node!()) => {
                let value = self.expression(definition);
                self.store(&value);
            }
        }
    }

    fn create_index(&mut self, index: &protobuf::IndexStmt) -> Done {
        self.with_table(index.relation.as_ref(), |walker| {
            for node in index.index_params.iter().chain(&index.index_including_params) {
                if let Some(NodeEnum::IndexElem(element)) = &node.node {
                    let value = walker.index_element(element);
                    walker.decide(&value, Usage::Filtered);
                }
            }
            let condition = walker.maybe(index.where_clause.as_deref());
            walker.decide(&condition, Usage::Filtered);
        });
        self.act("CREATE INDEX")
    }

    fn create_statistics(&mut self, part: &protobuf::CreateStatsStmt) -> Done {
        let table = part.relations.iter().find_map(|node| match &node.node {
            Some(NodeEnum::RangeVar(name)) => Some(name),
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => None,
        });
        self.with_table(table, |walker| {
            for node in &part.exprs {
                let Some(NodeEnum::StatsElem(element)) = &node.node else { continue };
                let mut value = walker.maybe(element.expr.as_deref());
                if let Found::Value(column) = walker.unqualified(&element.name) {
                    value.absorb(column);
                }
                walker.decide(&value, Usage::Filtered);
            }
        });
        self.act("CREATE STATISTICS")
    }

    fn create_rule(&mut self, rule: &protobuf::RuleStmt) -> Done {
        self.with_table(rule.relation.as_ref(), |walker| {
            let condition = walker.maybe(rule.where_clause.as_deref());
            walker.decide(&condition, Usage::Filtered);
            for action in &rule.actions {
                let done = walker.nested(Some(action));
                if let Some(rows) = done.outputs {
                    walker.store(&rows.whole());
                }
            }
        });
        self.opaque("CREATE RULE", "a rule changes what later statements do")
    }

    fn create_function(&mut self, part: &protobuf::CreateFunctionStmt) -> Done {
        self.out.functions.insert(named(&part.funcname));
        self.opaque(
            if part.is_procedure { "CREATE PROCEDURE" } else { "CREATE FUNCTION" },
            "a function's code is not followed",
        )
    }

    fn drop(&mut self, drop: &protobuf::DropStmt) -> Done {
        for object in &drop.objects {
            self.object(drop.remove_type(), Some(object), Action::Drop);
        }
        self.act_on("DROP", drop.remove_type())
    }

    fn alter_object(&mut self, kind: ObjectType, relation: Option<&RangeVar>, object: Option<&Node>) -> Done {
        if let Some(relation) = relation {
            self.touch_named(relation, Action::Alter);
        } else {
            self.object(kind, object, Action::Alter);
        }
        self.act_on("ALTER", kind)
    }

    fn published(&mut self, objects: &[Node]) {
        for object in objects {
            let Some(NodeEnum::PublicationObjSpec(part)) = &object.node else { continue };
            let Some(table) = part.pubtable.as_deref() else { continue };
            self.with_table(table.relation.as_ref(), |walker| {
                let condition = walker.maybe(table.where_clause.as_deref());
                walker.decide(&condition, Usage::Filtered);
                // what is published is on its way to somewhere else
                let names: Vec<&str> = table.columns.iter().filter_map(super::string).collect();
                let item = walker.scopes.last().and_then(|scope| scope.first().cloned());
                for field in item.map(|item| item.all().fields).unwrap_or_default() {
                    if names.is_empty() || names.contains(&field.name.as_str()) {
                        walker.store(&field.value);
                    }
                }
            });
        }
    }
}

fn is_constraint(node: &Node) -> bool {
    matches!(node.node, Some(NodeEnum::Constraint(_)))
}

fn column_name(node: &Node) -> Option<String> {
    if let Some(NodeEnum::ColumnDef(column)) = &node.node { Some(column.colname.clone()) } else { None }
}
