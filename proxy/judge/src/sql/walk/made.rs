//! What is made of queries: tables, views, and the parts of a schema.

use super::{Done, Walker, nodes::any_node};
use crate::sql::facts::{Action, Effect};
use pg_query::{NodeEnum, protobuf};
use protobuf::ObjectType;

impl Walker<'_> {
    pub(super) fn create_table_as(&mut self, create: &protobuf::CreateTableAsStmt) -> Done {
        self.created(create.into.as_deref().and_then(|into| into.rel.as_ref()));
        match create.query.as_deref().and_then(|query| query.node.as_ref()) {
            Some(NodeEnum::ExecuteStmt(execute)) => {
                self.out.effects.push(Effect::Execute { name: execute.name.clone() });
                self.give_up("CREATE TABLE AS EXECUTE: what it stores is not known here");
            }
            Some(query) => {
                let rows = self.query(query);
                self.store(&rows.whole());
            }
            None => self.give_up("CREATE TABLE AS without a query"),
        }
        let materialized = create.objtype() == ObjectType::ObjectMatview;
        self.act(if materialized { "CREATE MATERIALIZED VIEW" } else { "CREATE TABLE AS" })
    }

    /// What stands in CREATE SCHEMA belongs to it, in any order.
    pub(super) fn schema_elements(&mut self, schema: &protobuf::CreateSchemaStmt) {
        let mut elements = schema.schema_elts.clone();
        let mut made = Vec::new();
        for name in elements.iter_mut().filter_map(|element| match element.node.as_mut()? {
            NodeEnum::CreateStmt(table) => table.relation.as_mut(),
            NodeEnum::ViewStmt(view) => view.view.as_mut(),
            NodeEnum::CreateSeqStmt(sequence) => sequence.sequence.as_mut(),
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            any_node!() => None,
        }) {
            if name.schemaname.is_empty() {
                name.schemaname.clone_from(&schema.schemaname);
            }
            made.push(name.relname.clone());
        }
        for element in &elements {
            self.nested(Some(element));
        }
        // what names one of them before or after it is made
        for name in made {
            if self.out.relations.contains_key(&(None, name.clone())) {
                self.note(None, name, Action::Create, false);
            }
        }
    }

    pub(super) fn create_view(&mut self, view: &protobuf::ViewStmt) -> Done {
        self.created(view.view.as_ref());
        if let Some(name) = view.view.as_ref().filter(|_| view.replace)
            && let Some(found) = self.catalog.resolve(&name.schemaname, &name.relname, self.search_path)
        {
            // it may be what is defined anew, wherever on the path it stands
            self.touch_named(name, Action::Alter);
            self.note(Some(found.id), found.qualified(), Action::Create, false);
        }
        if let Some(query) = view.query.as_deref().and_then(|query| query.node.as_ref()) {
            let rows = self.query(query);
            self.store(&rows.whole());
        }
        self.act("CREATE VIEW")
    }
}
