//! What the rules make of facts: denied, masked, allowed, and why.

use super::*;
use crate::{
    mask,
    policy::{Masking, Names, Rules},
    sql::{ColumnUse, CopyFormat, CopyLayout, Placeholders, RelationUse},
};
use std::collections::BTreeMap;

/// customers: id 1, card 2, email 3; a view of it; payments: id 1.
struct Shop;

fn id(relation: u32, attribute: i16) -> ColumnId {
    ColumnId { relation, attribute }
}

fn known() -> BTreeMap<ColumnId, &'static str> {
    BTreeMap::from([
        (id(10, 1), "public.customers.id"),
        (id(10, 2), "public.customers.card"),
        (id(10, 3), "public.customers.email"),
        (id(20, 1), "public.cards.number"),
        (id(30, 1), "public.payments.id"),
        (id(40, 2), "public.customers_eu.card"),
    ])
}

impl Names for Shop {
    fn column(&self, schema: &str, table: &str, column: &str) -> Option<ColumnId> {
        let wanted = format!("{schema}.{table}.{column}");
        known().into_iter().find(|(_, name)| *name == wanted).map(|(id, _)| id)
    }
    fn origins(&self, column: ColumnId) -> BTreeSet<ColumnId> {
        if column == id(20, 1) { [column, id(10, 2)].into() } else { [column].into() }
    }
    fn relatives(&self, column: ColumnId) -> BTreeSet<ColumnId> {
        if column == id(40, 2) { [id(10, 2)].into() } else { BTreeSet::new() }
    }
    fn is_opaque(&self, _: ColumnId) -> bool {
        false
    }
    fn columns(&self) -> Vec<(ColumnId, String)> {
        known().into_iter().map(|(id, name)| (id, name.to_owned())).collect()
    }
}

fn rules() -> Rules {
    let rule = |column: &str, method| Masking {
        columns: vec![column.to_owned()],
        label: Some("pan".to_owned()),
        method,
        unmask_groups: vec!["fraud".to_owned()],
    };
    let mut rules = Rules::default();
    rules.connect_groups = vec!["agents".into(), "fraud".into()];
    rules.masking = vec![rule("public.customers.card", Method::Last4), rule("public.customers.email", Method::Hash)];
    rules
}

fn bound() -> Bound {
    rules().bind(&Shop)
}

fn relation(id: u32, name: &str, action: Action) -> RelationUse {
    RelationUse { id: Some(id), name: name.to_owned(), actions: [action].into(), indirect: false }
}

fn nothing(kind: &str) -> Facts {
    Facts {
        copy: None,
        placeholders: Placeholders::default(),
        text: 0..0,
        kind: kind.to_owned(),
        read_only: false,
        missing: None,
        opaque: None,
        relations: Vec::new(),
        columns: BTreeSet::new(),
        told: BTreeSet::new(),
        stored: BTreeSet::new(),
        probed: BTreeSet::new(),
        functions: BTreeSet::new(),
        hidden_setting: None,
        shadowed: BTreeMap::new(),
        outputs: None,
        effects: Vec::new(),
        unbounded_write: false,
        copies_to_client: false,
        copies_server_side: false,
        fingerprint: String::new(),
        flags: Vec::new(),
    }
}

fn select(column: ColumnId, direct: bool) -> Facts {
    Facts {
        relations: vec![relation(column.relation, "public.t", Action::Select)],
        columns: [ColumnUse { column, usage: Usage::Projected }].into(),
        outputs: Some(vec![Output { name: "c".into(), sources: [column].into(), direct, opaque: false }]),
        ..nothing("SELECT")
    }
}

fn decide(facts: &Facts, bound: &Bound, groups: &[String]) -> Judgement {
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    super::decide(facts, bound, &Subject::of_groups(&groups), &Context::default(), &mut Cache::default())
}

fn judged(facts: &Facts) -> (VerdictKind, String) {
    let judgement = decide(facts, &bound(), &["agents".into()]);
    assert_eq!(judgement.verdict == VerdictKind::Deny, !judgement.reason.is_empty() && !judgement.hint.is_empty());
    (judgement.verdict, judgement.policies[0].clone())
}

fn denied(facts: &Facts, policy: &str) {
    assert_eq!(judged(facts), (VerdictKind::Deny, policy.to_owned()));
}

#[test]
fn projected_columns_are_masked_wherever_they_come_from() {
    assert_eq!(judged(&select(id(30, 1), true)).0, VerdictKind::Allow);
    assert_eq!(judged(&select(id(10, 1), true)).0, VerdictKind::Allow);
    for (column, direct, method) in [
        (id(10, 2), true, Method::Last4),
        (id(10, 3), true, Method::Hash),
        (id(10, 2), false, Method::Redact),
        (id(10, 0), true, Method::Redact),
        (id(20, 1), true, Method::Last4),
        (id(40, 2), true, Method::Last4),
    ] {
        let judgement = decide(&select(column, direct), &bound(), &["agents".into()]);
        assert_eq!(judgement.verdict, VerdictKind::Mask, "{column:?}");
        assert_eq!(judgement.outputs.as_ref().unwrap()[0].method, Some(method), "{column:?}");
        assert!(judgement.protected && judgement.columns.iter().any(|c| c.masked && c.label.as_deref() == Some("pan")));
    }
    let seen = decide(&select(id(10, 2), true), &bound(), &["fraud".into()]);
    assert_eq!((seen.verdict, seen.protected), (VerdictKind::Allow, false));
    assert!(seen.columns.iter().all(|c| !c.masked && c.label.as_deref() == Some("pan")));
}

#[test]
fn a_closed_column_is_nobodys_to_name() {
    let mut rules = rules();
    rules.closed = vec!["public.customers.card".to_owned(), "public.customers.gone".to_owned()];
    assert_eq!(rules.check(), Vec::<String>::new());
    let bound = rules.bind(&Shop);
    assert_eq!(bound.unknown().collect::<Vec<_>>(), ["public.customers.gone"]);
    let used = |column, usage| Facts { columns: [ColumnUse { column, usage }].into(), ..nothing("SELECT") };
    for facts in [
        select(id(10, 2), true),
        select(id(10, 2), false),
        // the whole row, a view of it, a partition
        select(id(10, 0), true),
        select(id(20, 1), true),
        select(id(40, 2), true),
        used(id(10, 2), Usage::Filtered),
        used(id(10, 2), Usage::Joined),
        used(id(10, 2), Usage::Written),
    ] {
        for group in ["agents", "fraud"] {
            let judgement = decide(&facts, &bound, &[group.into()]);
            assert_eq!(judgement.verdict, VerdictKind::Deny, "{group} {facts:?}");
            assert_eq!(judgement.policies[0], "builtin:scope", "{}", judgement.reason);
            assert!(judgement.reason.contains("card"), "{}", judgement.reason);
        }
    }
    // the others are what they were, and what the server says of the table is hidden from everybody
    let email = decide(&select(id(10, 3), true), &bound, &["agents".into()]);
    assert_eq!((email.verdict, email.outputs.unwrap()[0].method), (VerdictKind::Mask, Some(Method::Hash)));
    let clear = decide(&select(id(10, 3), true), &bound, &["fraud".into()]);
    assert_eq!((clear.verdict, clear.protected), (VerdictKind::Allow, true));
    assert_eq!(decide(&select(id(30, 1), true), &bound, &["agents".into()]).verdict, VerdictKind::Allow);
    for wrong in ["customers", "public.customers.card.x", "public..card", "public.customers.*"] {
        rules.closed = vec![wrong.to_owned()];
        assert!(rules.check()[0].contains(wrong), "{wrong}");
    }
}

#[test]
fn a_whole_row_is_named_column_by_column() {
    let names: Vec<_> =
        decide(&select(id(10, 0), true), &bound(), &[]).columns.into_iter().map(|c| (c.name, c.masked)).collect();
    let expected = [("public.customers.card", true), ("public.customers.email", true), ("public.customers.id", false)];
    assert_eq!(names, expected.map(|(name, masked)| (name.to_owned(), masked)));
}

#[test]
fn ways_around_the_answer_are_denied() {
    let base = select(id(10, 2), true);
    denied(&Facts { opaque: Some("DO".into()), ..nothing("DO") }, "builtin:opaque");
    for usage in [Usage::Filtered, Usage::Joined] {
        let columns = [ColumnUse { column: id(10, 2), usage }].into();
        denied(&Facts { columns, ..select(id(10, 1), true) }, "builtin:filter");
    }
    denied(&Facts { stored: [id(10, 2)].into(), ..base.clone() }, "builtin:store");
    let outputs = Some(vec![Output { name: "x".into(), opaque: true, ..Output::default() }]);
    denied(&Facts { outputs, ..base.clone() }, "builtin:lineage");
    let copy = vec![relation(10, "public.customers", Action::CopyOut)];
    denied(&Facts { relations: copy.clone(), copies_to_client: true, ..base.clone() }, "builtin:copy");
    denied(&Facts { relations: copy, copies_to_client: true, ..nothing("COPY") }, "builtin:copy");
    denied(&Facts { copies_server_side: true, ..nothing("COPY") }, "builtin:server-file");
    denied(
        &Facts { relations: vec![relation(10, "public.customers", Action::Alter)], ..nothing("ALTER TABLE") },
        "builtin:definition",
    );
    denied(&nothing("ALTER SCHEMA"), "builtin:definition");
    for name in [
        "pg_catalog.pg_stats",
        "pg_stats",
        "pg_catalog.pg_statistic",
        "public.pg_stat_statements",
        "pg_catalog.pg_largeobject",
    ] {
        denied(&Facts { relations: vec![relation(99, name, Action::Select)], ..nothing("SELECT") }, "builtin:catalog");
    }
    let functions: BTreeSet<String> = ["pg_catalog.pg_sleep".to_owned()].into();
    denied(&Facts { functions, ..select(id(10, 2), false) }, "builtin:function");
    let set = vec![Effect::Set { name: "application_name".into(), value: None, local: false }];
    denied(&Facts { effects: set, ..base.clone() }, "builtin:setting");
    let inner = Box::new(Facts { stored: [id(10, 2)].into(), ..base });
    denied(
        &Facts { effects: vec![Effect::Prepare { name: "p".into(), inner }], ..nothing("PREPARE") },
        "builtin:store",
    );
}

fn lines() -> CopyFormat {
    CopyFormat {
        layout: CopyLayout::Text,
        delimiter: b'\t',
        null: "\\N".into(),
        quote: b'"',
        escape: b'"',
        force_quote: false,
        header: false,
        targets: Vec::new(),
    }
}

#[test]
fn copy_is_masked_where_its_columns_and_layout_are_known() {
    let relations = vec![relation(10, "public.customers", Action::CopyOut)];
    let known = Facts { relations, copies_to_client: true, copy: Some(lines()), ..select(id(10, 2), true) };
    assert_eq!(judged(&known).0, VerdictKind::Mask);
    denied(&Facts { copy: None, ..known.clone() }, "builtin:copy");
    denied(&Facts { outputs: None, ..known }, "builtin:copy");
}

#[test]
fn placeholders_are_not_written_into_masked_columns() {
    let columns = [ColumnUse { column: id(10, 2), usage: Usage::Written }].into();
    let placeholders = Placeholders { stars: true, pseudonym: false };
    let relations = vec![relation(10, "public.customers", Action::Update)];
    let write = Facts { relations, columns, placeholders, ..nothing("UPDATE") };
    let guarded = |facts: &Facts| {
        let mut judgement = decide(facts, &bound(), &["agents".into()]);
        mask::guard::judge([facts].into_iter(), &mut judgement, &bound());
        (judgement.verdict, judgement.policies)
    };
    assert_eq!(guarded(&write), (VerdictKind::Deny, vec!["builtin:placeholder".to_owned()]));
    assert_eq!(guarded(&Facts { placeholders: Placeholders::default(), ..write.clone() }).0, VerdictKind::Allow);
    let columns = [ColumnUse { column: id(10, 1), usage: Usage::Written }].into();
    assert_eq!(guarded(&Facts { columns, ..write }).0, VerdictKind::Allow);
}

#[test]
fn clean_work_goes_on() {
    let written = [ColumnUse { column: id(10, 2), usage: Usage::Written }].into();
    let insert = Facts {
        relations: vec![relation(10, "public.customers", Action::Insert)],
        columns: written,
        ..nothing("INSERT")
    };
    assert_eq!(judged(&insert).0, VerdictKind::Allow);
    let load = Facts {
        relations: vec![relation(10, "public.customers", Action::CopyIn)],
        copies_to_client: true,
        ..nothing("COPY")
    };
    assert_eq!(judged(&load).0, VerdictKind::Allow);
    let copy = Facts {
        relations: vec![relation(30, "public.payments", Action::CopyOut)],
        copies_to_client: true,
        copy: Some(lines()),
        ..nothing("COPY")
    };
    assert_eq!(judged(&copy).0, VerdictKind::Allow);
    assert_eq!(judged(&Facts { opaque: Some("f".into()), ..nothing("SELECT") }).0, VerdictKind::Deny);
    let mut free = Rules::default();
    free.connect_groups = vec!["agents".into()];
    let opaque = Facts { opaque: Some("f".into()), ..nothing("SELECT") };
    assert_eq!(decide(&opaque, &free.bind(&Shop), &["agents".into()]).policies, ["guard:opaque"]);
    free.guardrails_off = vec!["guard:opaque".into()];
    assert_eq!(decide(&opaque, &free.bind(&Shop), &["agents".into()]).verdict, VerdictKind::Allow);
    assert_eq!(decide(&opaque, &free.bind(&Shop), &["others".into()]).policies, ["default:deny"]);
}

#[test]
fn settings_that_change_meaning_stay() {
    let set = |name: &str, value: Option<&str>| Facts {
        effects: vec![Effect::Set { name: name.into(), value: value.map(str::to_owned), local: false }],
        ..nothing("SET")
    };
    for (name, value) in [
        ("role", Some("postgres")),
        ("session_authorization", None),
        ("standard_conforming_strings", Some("off")),
        ("client_encoding", Some("SJIS")),
    ] {
        denied(&set(name, value), "builtin:setting");
    }
    denied(&set("session_replication_role", Some("replica")), "guard:setting");
    for (name, value) in [
        ("search_path", Some("hr")),
        ("client_encoding", Some("UTF8")),
        ("standard_conforming_strings", Some("on")),
        ("datestyle", Some("ISO")),
        ("row_security", Some("off")),
        ("all", None),
    ] {
        assert_eq!(judged(&set(name, value)).0, VerdictKind::Allow, "{name}");
    }
}

#[test]
fn several_meanings_are_judged_by_the_strictest() {
    let bound = bound();
    let one = |facts: &Facts| decide(facts, &bound, &["agents".into()]);
    let merged = merge([one(&select(id(30, 1), true)), one(&select(id(10, 2), true))]);
    assert_eq!(merged.verdict, VerdictKind::Mask);
    assert_eq!(merged.outputs.unwrap()[0].method, Some(Method::Last4));
    let execute = merge([one(&nothing("EXECUTE")), one(&select(id(10, 2), true))]);
    assert_eq!(execute.outputs.unwrap()[0].method, Some(Method::Last4));
    assert_eq!(merge([]).verdict, VerdictKind::Deny);
}

#[test]
fn a_plan_unites_description_and_lineage() {
    let bound = bound();
    let described = |relation, attribute| mask::Column {
        name: "c".into(),
        relation,
        attribute,
        type_id: 25,
        modifier: -1,
        format: 0,
    };
    let judge = |facts: &Facts| decide(facts, &bound, &["agents".into()]);
    let methods = |facts: &Facts, columns: &[mask::Column]| {
        mask::plan(&judge(facts), &bound, columns).map(|plan| plan.methods().collect::<Vec<_>>())
    };
    let card = select(id(10, 2), true);
    assert_eq!(methods(&card, &[described(10, 2)]).unwrap(), [Some(Method::Last4)]);
    assert_eq!(methods(&card, &[described(0, 0)]).unwrap(), [Some(Method::Last4)]);
    // the description knows better than a text that was misread
    assert_eq!(methods(&select(id(30, 1), true), &[described(20, 1)]).unwrap(), [Some(Method::Last4)]);
    assert_eq!(methods(&select(id(30, 1), true), &[described(10, 0)]).unwrap(), [Some(Method::Redact)]);
    let unknown = Facts { outputs: None, ..card.clone() };
    assert_eq!(
        methods(&unknown, &[described(0, 0), described(10, 1), described(77, 1)]).unwrap(),
        [Some(Method::Redact), None, Some(Method::Redact)]
    );
    assert!(matches!(methods(&card, &[]), Err(mask::Error::Columns { described: 0, expected: 1 })));
    assert!(mask::plan(&judge(&select(id(10, 1), true)), &bound, &[described(10, 1)]).unwrap().is_identity());
}

#[test]
fn rules_are_checked_all_at_once_and_have_a_version() {
    let mut wrong = rules();
    wrong.connect_groups.clear();
    wrong.masking[0].columns = vec!["card".into(), "public.customers.email".into()];
    assert_eq!(wrong.check().len(), 3);
    assert!(rules().check().is_empty());
    assert_eq!(rules().version().len(), 16);
    assert_ne!(rules().version(), wrong.version());
    assert_eq!(rules().version(), rules().with_key(&[1; 32]).version());
    let mut missing = rules();
    missing.masking[0].columns.push("public.gone.x".into());
    assert_eq!(missing.bind(&Shop).unknown().collect::<Vec<_>>(), ["public.gone.x"]);
    let connect = |groups: &[&str]| bound().may_connect(&Subject::of_groups(groups), &Context::default());
    assert!(connect(&["agents"]).is_ok());
    assert_eq!(connect(&["others"]).unwrap_err().policy, "builtin:connect");
}

#[test]
fn what_may_read_anything_is_denied_unless_it_is_listed() {
    let call = |function: &str| Facts { functions: [function.to_owned()].into(), ..nothing("SELECT") };
    denied(&call("public.get_card"), "builtin:function");
    denied(&call("public.="), "builtin:function");
    assert_eq!(judged(&call("pg_catalog.pg_get_viewdef")).0, VerdictKind::Allow);
    let mut listed = rules();
    listed.functions = vec!["public.total".into()];
    assert_eq!(decide(&call("public.total"), &listed.bind(&Shop), &["agents".into()]).verdict, VerdictKind::Allow);
    // who sees everything may call anything
    assert_eq!(decide(&call("public.get_card"), &bound(), &["fraud".into()]).verdict, VerdictKind::Allow);
}

#[test]
fn closed_relations_are_out_of_reach_for_all() {
    let mut closed = rules();
    closed.closed = vec!["hr.*".into(), "public.ledger".into()];
    assert!(closed.check().is_empty());
    let bound = closed.bind(&Shop);
    for name in ["hr.salaries", "public.ledger"] {
        let facts = Facts { relations: vec![relation(90, name, Action::Lock)], ..nothing("SELECT") };
        for group in ["agents", "fraud"] {
            assert_eq!(decide(&facts, &bound, &[group.into()]).policies, ["builtin:scope"], "{name} for {group}");
        }
    }
    let other = Facts { relations: vec![relation(91, "hrx.salaries", Action::Select)], ..nothing("SELECT") };
    assert_eq!(decide(&other, &bound, &["agents".into()]).verdict, VerdictKind::Allow);
    closed.closed = vec!["hr".into(), "a.b.c.d".into()];
    assert_eq!(closed.check().len(), 2);
}

#[test]
fn what_the_rules_stand_on_stays() {
    for kind in ["ALTER ROLE", "ALTER SYSTEM", "ALTER DEFAULT PRIVILEGES", "ALTER DOMAIN", "CREATE EXTENSION"] {
        denied(&nothing(kind), "builtin:privilege");
    }
    let of = |kind: &str, relation: RelationUse| Facts { relations: vec![relation], ..nothing(kind) };
    denied(&of("CLUSTER", relation(10, "public.customers", Action::Maintain)), "builtin:definition");
    assert_eq!(judged(&of("VACUUM", relation(10, "public.customers", Action::Maintain))).0, VerdictKind::Allow);
    denied(&of("CLUSTER", relation(30, "public.payments", Action::Maintain)), "guard:maintain");
}

#[test]
fn a_window_of_time_holds_to_its_end_and_concerns_its_group_alone() {
    let fraud = include_str!("../../../../deploy/config/policies/fraud.cedar");
    let instant = "@id(\"late\") forbid (principal in Group::\"late\", action == Action::\"select\", resource)
        when { context.time.now > datetime(\"2026-11-20T17:59:59.500Z\") };";
    let mut rules = rules();
    rules.masking.iter_mut().for_each(|rule| rule.unmask_groups.clear());
    rules.policies = vec![
        crate::policy::Source { name: "fraud.cedar".to_owned(), text: fraud.to_owned() },
        crate::policy::Source { name: "late.cedar".to_owned(), text: instant.to_owned() },
        crate::policy::Source {
            name: "all.cedar".to_owned(),
            text: "permit (principal, action in Action::\"work\", resource);".to_owned(),
        },
    ];
    let bound = rules.bind(&Shop);
    let mut cache = Cache::default();
    let mut verdict = |groups: &[&str], now: i64| {
        let context = Context { now, ..Context::default() };
        let judgement =
            super::decide(&select(id(10, 2), true), &bound, &Subject::of_groups(groups), &context, &mut cache);
        if judgement.verdict == VerdictKind::Deny {
            assert_eq!(judgement.policies, ["late"], "{}", judgement.reason);
        }
        (judgement.verdict, judgement.reads.time)
    };
    // Friday, 2026-11-20, 18:00 UTC
    const END: i64 = 1_795_197_600_000;
    use VerdictKind::{Allow, Deny, Mask};
    for _ in 0..2 {
        assert_eq!(verdict(&["fraud"], END - 1), (Allow, true));
        assert_eq!(verdict(&["fraud"], END), (Mask, true));
        assert_eq!(verdict(&["fraud"], END - 10 * 3_600_000 - 1), (Mask, true));
        assert_eq!(verdict(&["fraud"], END - 10 * 3_600_000), (Allow, true));
        assert_eq!(verdict(&["fraud"], END + 18 * 3_600_000), (Mask, true), "on Saturday");
        // who is in no such group is asked nothing that reads the time
        assert_eq!(verdict(&["agents"], END), (Mask, false));
        // to the millisecond, where a policy reads it
        assert_eq!(verdict(&["agents", "late"], END - 500), (Mask, true));
        assert_eq!(verdict(&["agents", "late"], END - 499), (Deny, true));
    }
}
