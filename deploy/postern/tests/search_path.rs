//! MSK-1 attacked through the search path: the gate is led to believe that a name means a table without secrets, while the
//! server comes to another. Whatever the transaction did to the path, no protected value comes back.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use support::{Postern, Postgres, folder};

/// Ways to a path that is not the one that was set last: each ends where `customers` means `public.customers` again.
const DETOURS: &[(&str, &[&str])] = &[
    ("COMMIT of a failed transaction", &["begin", "set search_path = decoy", "select 1 / 0", "commit"]),
    ("ROLLBACK", &["begin", "set search_path = decoy", "rollback"]),
    ("one message", &["begin; set search_path = decoy; rollback"]),
    ("savepoint", &["begin", "savepoint a", "set search_path = decoy", "rollback to a", "commit"]),
    ("SET LOCAL", &["begin", "set local search_path = decoy", "commit"]),
    ("error in the message of the SET", &["set search_path = decoy; select 1 / 0"]),
    ("set_config, local", &["begin", "select set_config('search_path', 'decoy', true)", "commit"]),
    ("RESET", &["set search_path = decoy", "reset search_path"]),
    ("DISCARD ALL", &["set search_path = decoy", "discard all"]),
    ("none: the control case", &["select 1"]),
];

#[test]
fn no_detour_of_the_search_path_shows_a_protected_value() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql("create schema decoy; create table decoy.customers (id int, name text, card_number text)");
    postgres.sql("insert into decoy.customers values (1, 'decoy', 'decoy')");
    let postern = Postern::configure(folder.path(), "gate", &postgres, "");
    let _process = postern.start("up");
    let token = postern.token("attacker", "agents");
    for (name, detour) in DETOURS {
        let probe = "select 'seen ' || count(*) from (select id, card_number || '' from customers) c; \
                     select card_number || '' from customers; select card_number from customers";
        let mut arguments = vec!["-At"];
        for statement in detour.iter().chain([&probe]) {
            arguments.extend(["-c", statement]);
        }
        let output = postern.psql(&token, &arguments);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains("4929"), "{name}: {text}");
        assert!(text.contains("****") || text.contains("denied"), "{name}: the probe did not reach the table: {text}");
    }
}

/// What the database's owner adds meanwhile can be used at once, masked by the rules that name it; what does not exist is
/// named, as PostgreSQL would.
#[test]
fn a_column_that_came_later_is_known_and_one_that_does_not_exist_is_named() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let postern = Postern::configure(folder.path(), "gate", &postgres, "");
    let _process = postern.start("up");
    let token = postern.token("agent", "agents");
    let refused = postern.refused(&token, "select nickname from customers where id = 1");
    assert!(refused.contains("42703") && refused.contains("column nickname is not in the catalog"), "{refused}");
    let refused = postern.refused(&token, "select no_such(1)");
    assert!(refused.contains("42883") && refused.contains("function no_such is not in the catalog"), "{refused}");
    postgres.sql("alter table customers add column nickname text default 'Al'");
    assert_eq!(postern.sql(&token, "select nickname, card_number from customers where id = 1"), "Al|****7919");
    assert_eq!(postern.sql(&token, "select c.nickname from (select * from customers) c where id = 1"), "Al");
}
