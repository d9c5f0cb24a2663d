//! What sets a setting: SET and its kin, and `set_config`.
//!
//! Names of later statements are read under the search path, so that it must be known. A call of `set_config` may run
//! never, once, or for every row: it counts for `search_path` only as the single target of a SELECT without any other
//! clause, with constants. Wherever else it stands the statement is denied ([`Facts::hidden_setting`]). Other settings
//! change no meaning, but what is defined now and runs later may set none of them.
//!
//! [`Facts::hidden_setting`]: crate::sql::Facts::hidden_setting

use super::{Done, Walker, call::constant, names, nodes::any_node, statement::text};
use crate::sql::{facts::Effect, search_path};
use pg_query::{Node, NodeEnum, protobuf};

const SEARCH_PATH: &str = "search_path";

/// What pg_dump sets `restrict_nonsystem_relation_kind` to, whose name it takes from pg_settings.
const PG_DUMP_RESTRICTS: &str = "view, foreign-table";

/// That setting.
const RESTRICTED: &str = "restrict_nonsystem_relation_kind";

/// What a statement does with the calls of `set_config` in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetsBy {
    /// It is nothing but one call: `SELECT set_config(...)`. It runs exactly once.
    Itself,
    /// What pg_dump sends: `SELECT set_config(name, ...) FROM pg_settings WHERE name = '...'`.
    PgDump,
    /// Any other statement.
    Others,
}

impl SetsBy {
    /// What a statement at the top of a message is.
    pub(super) fn of(statement: &NodeEnum) -> Self {
        let NodeEnum::SelectStmt(select) = statement else { return Self::Others };
        let one = matches!(select.target_list.as_slice(), [one] if call_in(one).is_some_and(is_plain));
        let operation = !matches!(select.op(), protobuf::SetOperation::Undefined | protobuf::SetOperation::SetopNone);
        let clauses = select.with_clause.is_some()
            || select.into_clause.is_some()
            || select.having_clause.is_some()
            || select.limit_count.is_some()
            || select.limit_offset.is_some()
            || select.larg.is_some()
            || select.rarg.is_some();
        let lists = [
            &select.distinct_clause,
            &select.group_clause,
            &select.window_clause,
            &select.values_lists,
            &select.sort_clause,
            &select.locking_clause,
        ];
        if !one || operation || clauses || lists.iter().any(|list| !list.is_empty()) {
            return Self::Others;
        }
        match (select.from_clause.as_slice(), select.where_clause.as_deref()) {
            ([], None) => Self::Itself,
            ([from], Some(condition)) if is_pg_settings(from) && picks_restricted(condition) => Self::PgDump,
            _ => Self::Others, // no node: what a SELECT is made of
        }
    }
}

/// Why something that is defined now would set a setting when it runs, if it would.
pub(super) fn defined(effects: &[Effect]) -> Option<String> {
    let sets = effects.iter().any(|effect| matches!(effect, Effect::Set { .. }));
    sets.then(|| "set_config in a definition runs later, unseen".to_owned())
}

impl Walker<'_> {
    /// Something may be set, and it cannot be known what: the first reason stands.
    pub(super) fn hide_setting(&mut self, reason: impl Into<String>) {
        self.out.hidden_setting.get_or_insert_with(|| reason.into());
    }

    /// SET, RESET.
    pub(super) fn set(&mut self, part: &protobuf::VariableSetStmt) -> Done {
        use protobuf::VariableSetKind as Kind;
        let name = part.name.to_ascii_lowercase();
        let (kind, name, value) = match part.kind() {
            Kind::VarSetValue if name == SEARCH_PATH => {
                let names: Option<Vec<String>> = part.args.iter().map(listed).collect();
                if names.is_none() {
                    self.hide_setting("search_path takes names and strings");
                }
                ("SET", name, names.map(|names| search_path::list(names.iter().map(String::as_str))))
            }
            Kind::VarSetValue => {
                let texts: Option<Vec<String>> = part.args.iter().map(text).collect();
                ("SET", name, texts.map(|texts| texts.join(", ")))
            }
            Kind::VarSetDefault => ("SET", name, None),
            Kind::VarSetCurrent => {
                if name == SEARCH_PATH {
                    self.hide_setting("search_path FROM CURRENT depends on what was set before");
                }
                ("SET", name, None)
            }
            Kind::VarSetMulti => ("SET", name, None),
            Kind::VarReset => ("RESET", name, None),
            Kind::VarResetAll => ("RESET", "all".to_owned(), None),
            Kind::Undefined => return self.opaque("SET", "a SET is not understood"),
        };
        self.effect(kind, Effect::Set { name, value, local: part.is_local })
    }

    /// `set_config` and `current_setting` with a constant name; false for any other call.
    pub(super) fn setting(&mut self, schema: &str, name: &str, call: &protobuf::FuncCall) -> bool {
        let builtin = self.is_surely_builtin(schema);
        match name {
            "current_setting" if builtin => {
                let setting = call.args.first().and_then(constant);
                setting.is_some_and(|setting| !setting.contains('.'))
            }
            "set_config" if builtin => self.set_config(call),
            "set_config" => {
                // which function it is depends on where the search path lists pg_catalog
                self.hide_setting("write pg_catalog.set_config while search_path lists pg_catalog");
                false
            }
            _ => false, // no node: a function's name
        }
    }

    /// An unqualified name that PostgreSQL itself has cannot mean a function of the database's own.
    fn is_surely_builtin(&self, schema: &str) -> bool {
        let listed = self.search_path.iter().position(|schema| schema == "pg_catalog");
        schema == "pg_catalog" || (schema.is_empty() && listed.is_none_or(|place| place == 0))
    }

    fn set_config(&mut self, call: &protobuf::FuncCall) -> bool {
        let [name, value, local] = call.args.as_slice() else {
            self.hide_setting("set_config takes three constants");
            return false;
        };
        let Some(setting) = literal(name) else {
            // pg_dump, where a server has the setting
            if self.sets_by == SetsBy::PgDump && constant(value).as_deref() == Some(PG_DUMP_RESTRICTS) {
                self.sets(RESTRICTED, Some(PG_DUMP_RESTRICTS.to_owned()), false);
                return true;
            }
            self.hide_setting("the name that set_config is given is not a constant");
            return false;
        };
        let setting = setting.to_ascii_lowercase();
        if setting == SEARCH_PATH {
            return self.set_search_path(call);
        }
        let local = !matches!(constant(local).as_deref(), Some("f" | "false"));
        let known = constant(value);
        self.out.functions.insert("pg_catalog.set_config".to_owned());
        if known.is_none() {
            // the value comes from elsewhere: no policy takes it to be harmless
            for argument in &call.args {
                let value = self.expression(argument);
                self.store(&value);
            }
        }
        self.sets(&setting, known, local);
        true
    }

    fn set_search_path(&mut self, call: &protobuf::FuncCall) -> bool {
        let [_, value, local] = call.args.as_slice() else { return false };
        let local = match constant_truth(local) {
            Some(local) if self.sets_by == SetsBy::Itself => local,
            Some(true | false) => {
                self.hide_setting("set_config of search_path must be the whole of a SELECT");
                return false;
            }
            None => {
                self.hide_setting("set_config of search_path must be given true or false");
                return false;
            }
        };
        // beyond ASCII, folding depends on the database's encoding
        let names = literal(value).filter(|text| text.is_ascii()).and_then(search_path::split);
        let Some(names) = names else {
            self.hide_setting("set_config of search_path must be given a constant list of names in ASCII");
            return false;
        };
        self.out.functions.insert("pg_catalog.set_config".to_owned());
        self.sets(SEARCH_PATH, Some(search_path::list(names.iter().map(String::as_str))), local);
        true
    }

    fn sets(&mut self, name: &str, value: Option<String>, local: bool) {
        self.out.writes = true;
        self.out.effects.push(Effect::Set { name: name.to_owned(), value, local });
    }
}

/// One name of `SET search_path`: a string or identifier as it is; a number is folded as text is.
fn listed(node: &Node) -> Option<String> {
    use protobuf::a_const::Val;
    let Some(NodeEnum::AConst(constant)) = &node.node else { return None };
    match constant.val.as_ref()? {
        Val::Sval(text) => search_path::split(&search_path::list([text.sval.as_str()]))?.pop(),
        Val::Ival(number) => Some(number.ival.to_string()),
        Val::Fval(number) => Some(number.fval.to_ascii_lowercase()),
        Val::Boolval(_) | Val::Bsval(_) => None,
    }
}

/// A string that no cast changes.
fn literal(node: &Node) -> Option<&str> {
    use protobuf::a_const::Val;
    let Some(NodeEnum::AConst(constant)) = &node.node else { return None };
    if let Some(Val::Sval(text)) = &constant.val { Some(&text.sval) } else { None }
}

/// `true` and `false`, also as strings; PostgreSQL takes more of those.
fn constant_truth(node: &Node) -> Option<bool> {
    use protobuf::a_const::Val;
    if let Some(NodeEnum::AConst(constant)) = &node.node
        && let Some(Val::Boolval(truth)) = &constant.val
    {
        return Some(truth.boolval);
    }
    match literal(node)? {
        "true" | "t" => Some(true),
        "false" | "f" => Some(false),
        _ => None, // no node: a word
    }
}

/// The call that a target consists of.
fn call_in(target: &Node) -> Option<&protobuf::FuncCall> {
    let Some(NodeEnum::ResTarget(target)) = &target.node else { return None };
    match target.val.as_deref()?.node.as_ref()? {
        NodeEnum::FuncCall(call) => Some(call),
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        any_node!() => None,
    }
}

/// A call with arguments alone.
fn is_plain(call: &protobuf::FuncCall) -> bool {
    names::split(&call.funcname).1 == "set_config"
        && call.agg_filter.is_none()
        && call.agg_order.is_empty()
        && call.over.is_none()
        && !(call.agg_within_group || call.agg_star || call.agg_distinct || call.func_variadic)
}

fn is_pg_settings(from: &Node) -> bool {
    let Some(NodeEnum::RangeVar(name)) = &from.node else { return false };
    name.relname == "pg_settings" && matches!(name.schemaname.as_str(), "" | "pg_catalog") && name.alias.is_none()
}

/// `name = 'restrict_nonsystem_relation_kind'`.
fn picks_restricted(condition: &Node) -> bool {
    let Some(NodeEnum::AExpr(equal)) = &condition.node else { return false };
    let column = match equal.lexpr.as_deref().and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::ColumnRef(column)) => names::split(&column.fields) == ("", "name"),
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        None | Some(any_node!()) => false,
    };
    column
        && equal.kind() == protobuf::AExprKind::AexprOp
        && names::split(&equal.name) == ("", "=")
        && equal.rexpr.as_deref().and_then(literal) == Some(RESTRICTED)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{catalog, facts_of};
    use crate::sql::{Catalog, Context, Facts, Limits, analyze, facts::Effect};

    fn one(text: &str) -> Facts {
        facts_of(&catalog(), text).remove(0)
    }

    fn set(name: &str, value: Option<&str>, local: bool) -> Vec<Effect> {
        vec![Effect::Set { name: name.to_owned(), value: value.map(str::to_owned), local }]
    }

    #[test]
    fn a_setting_by_function_is_a_setting() {
        assert_eq!(one("SELECT set_config('Role', 'x', false)").effects, set("role", Some("x"), false));
        assert_eq!(one("SELECT set_config('jit', $1, false)").effects, set("jit", None, false));
        assert_eq!(
            one("SELECT current_setting('jit'), set_config('jit', 'off', true)").effects,
            set("jit", Some("off"), true)
        );
        assert!(one("SELECT set_config(note, 'on', false) FROM u").hidden_setting.is_some());
    }

    #[test]
    fn the_path_by_set_is_its_list_of_names() {
        for (text, value) in [
            ("SET search_path = Hr, public", Some("hr, public")),
            ("SET search_path TO 'PUBLIC', \"Hr\"", Some("\"PUBLIC\", \"Hr\"")),
            ("SET search_path = 'a,b', public", Some("\"a,b\", public")),
            ("SET search_path = ''", Some("\"\"")),
            ("SET SCHEMA 'A,b'", Some("\"A,b\"")),
            ("SET search_path TO \"$user\", public", Some("\"$user\", public")),
            ("SET search_path = 1", Some("\"1\"")),
            ("SET search_path TO DEFAULT", None),
            ("RESET search_path", None),
        ] {
            let facts = one(text);
            assert_eq!(facts.effects, set("search_path", value, false), "{text}");
            assert_eq!(facts.hidden_setting, None, "{text}");
        }
        assert_eq!(one("SET LOCAL search_path = hr").effects, set("search_path", Some("hr"), true));
        assert_eq!(one("SET LOCAL SCHEMA 'Hr'").effects, set("search_path", Some("\"Hr\""), true));
        assert!(one("SET search_path FROM CURRENT").hidden_setting.is_some());
        assert!(one("DISCARD PLANS").effects.is_empty());
        assert_eq!(one("DISCARD ALL").effects, vec![Effect::Discard]);
    }

    #[test]
    fn the_path_by_function_is_set_by_a_select_of_nothing_else() {
        for (text, value, local) in [
            ("SELECT set_config('Search_Path', 'Hr, \"A,b\"', 'f')", "hr, \"A,b\"", false),
            ("SELECT pg_catalog.set_config('search_path', '', false);", "", false),
            ("SELECT set_config('search_path', 'hr', true) AS path", "hr", true),
        ] {
            let facts = one(text);
            assert_eq!(facts.effects, set("search_path", Some(value), local), "{text}");
            assert_eq!(facts.hidden_setting, None, "{text}");
        }
        let call = "set_config('search_path', 'hr', false)";
        for text in [
            "SELECT {} WHERE false",
            "SELECT {} FROM u",
            "SELECT {} LIMIT 0",
            "SELECT {} ORDER BY 1",
            "SELECT {} GROUP BY 1",
            "SELECT DISTINCT {}",
            "SELECT {} UNION SELECT 'x'",
            "SELECT {}, {}",
            "SELECT {} || ''",
            "SELECT ({}, 1)",
            "SELECT CASE WHEN false THEN {} END",
            "SELECT (SELECT {})",
            "SELECT 1 WHERE EXISTS (SELECT {})",
            "WITH w AS (SELECT {}) SELECT 1",
            "WITH w AS (SELECT 1) SELECT {}",
            "SELECT {} INTO n",
            "VALUES ({})",
            "SELECT * FROM {}",
            "INSERT INTO u (note) VALUES ({})",
            "UPDATE u SET note = {}",
            "COPY (SELECT {}) TO STDOUT",
            "EXPLAIN ANALYZE SELECT {}",
            "PREPARE p AS SELECT {}",
            "DECLARE c CURSOR FOR SELECT {}",
            "CREATE VIEW w AS SELECT {}",
            "CREATE MATERIALIZED VIEW w AS SELECT {}",
            "CREATE TABLE n AS SELECT {}",
            "CREATE TABLE n (a text DEFAULT {})",
            "CREATE TABLE n (a text CHECK ({} IS NOT NULL))",
            "ALTER TABLE u ALTER note SET DEFAULT {}",
            "CREATE DOMAIN d AS text CHECK ({} IS NOT NULL)",
            "CREATE SCHEMA s CREATE VIEW w AS SELECT {}",
            "CREATE RULE r AS ON INSERT TO u DO ALSO SELECT {}",
            "CREATE INDEX ON u (({}))",
            "CREATE POLICY p ON u USING ({} IS NOT NULL)",
            "EXECUTE p({})",
            "CALL p({})",
        ] {
            let text = text.replace("{}", call);
            assert!(one(&text).hidden_setting.is_some(), "{text}");
        }
        for arguments in [
            "'search_path', $1, false",
            "'search_path', NULL, false",
            "'search_path', 'hr'::text, false",
            "'search_path', 'a b', false",
            "'search_path', 'h\u{e9}', false",
            "'search_path', 'hr', 'on'",
            "'search_path', 'hr', 1::bool",
            "'search_path', 'hr'",
            "'search_pathX'::varchar(11), 'hr', false",
            "'search_path' || '', 'hr', false",
            "setting_name => 'search_path', new_value => 'hr', is_local => false",
            "$1, 'hr', false",
        ] {
            let text = format!("SELECT set_config({arguments})");
            assert!(one(&text).hidden_setting.is_some(), "{text}");
        }
    }

    #[test]
    fn no_definition_sets_anything() {
        for text in [
            "CREATE VIEW w AS SELECT set_config('statement_timeout', '0', false)",
            "CREATE TABLE n (a text DEFAULT set_config('statement_timeout', '0', false))",
        ] {
            assert!(one(text).hidden_setting.is_some(), "{text}");
        }
    }

    #[test]
    fn what_pg_dump_takes_from_pg_settings_is_one_setting() {
        let by = |condition: &str| {
            one(&format!("SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings {condition}"))
        };
        assert_eq!(by("WHERE name = 'restrict_nonsystem_relation_kind'").hidden_setting, None);
        for condition in ["WHERE name = 'search_path'", "", "WHERE name <> 'restrict_nonsystem_relation_kind'"] {
            assert!(by(condition).hidden_setting.is_some(), "{condition}");
        }
    }

    #[test]
    fn a_function_of_that_name_may_be_another_where_the_path_lists_pg_catalog() {
        let catalog = Catalog::empty();
        for (path, hidden) in [(["zz", "pg_catalog"], true), (["pg_catalog", "zz"], false)] {
            let path = path.map(str::to_owned);
            let context = Context { catalog: &catalog, search_path: &path, limits: Limits::default(), tripwire: false };
            let facts = |text: &str| analyze(text, &context).unwrap().remove(0);
            assert_eq!(facts("SELECT set_config('search_path', 'hr', false)").hidden_setting.is_some(), hidden);
            assert_eq!(facts("SELECT pg_catalog.set_config('search_path', 'hr', false)").hidden_setting, None);
            assert_eq!(facts("SELECT current_setting('x')").opaque.is_some() || hidden, hidden);
            assert_eq!(facts("SELECT current_setting('x')").functions.is_empty(), !hidden);
        }
    }
}
