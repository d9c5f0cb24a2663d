//! The policies that ship do what their table tests say, and the command says what is wrong with others.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

use std::process::{Command, Output};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/policies");

fn postern(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postern")).arg("policy").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_policies_that_ship_pass_their_tests() {
    let output = postern(&["test", SHIPPED]);
    assert!(output.status.success(), "{}", said(&output));
    let count: usize = said(&output).split(' ').next().unwrap().parse().unwrap();
    assert!(count >= 40, "{count}");
    for name in ["analyst", "billing", "migration", "fraud"] {
        let output = postern(&["validate", &format!("{SHIPPED}/{name}.cedar")]);
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn a_test_that_does_not_hold_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.test.toml");
    let text = "connect_groups = ['a']\n[tables]\n'public.t' = ['c']\n[[test]]\ngroups = ['a']\n\
                sql = 'DROP TABLE t'\nverdict = 'allow'\n";
    std::fs::write(&path, text).unwrap();
    let output = postern(&["test", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(5));
    assert!(said(&output).contains("DROP TABLE t: deny, not allow"), "{}", said(&output));
}

#[test]
fn problems_of_policies_have_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.cedar");
    for (text, place, what) in [
        ("permit (principal, action, resource)\nwhen { resource.nme == \"x\" };", "p.cedar:2:", "nme"),
        ("permit (principal, action == Action::\"selct\", resource);", "p.cedar:1:", "selct"),
        ("permit (principal, action,\n resource", "p.cedar:2:", ""),
        ("@id(\"guard:mine\") permit (principal, action, resource);", "p.cedar", "the gate's own"),
        ("@id(\"x\") @hold(\"y\") forbid (principal, action, resource);", "p.cedar", "context.approved"),
        (
            "@id(\"x\") permit (principal, action, resource); @id(\"x\") forbid (principal, action, resource);",
            "p.cedar",
            "another",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let output = postern(&["validate", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(5), "{text}");
        assert!(said(&output).contains(place) && said(&output).contains(what), "{text}: {}", said(&output));
    }
}

#[test]
fn an_explanation_names_who_decided() {
    let tables = format!("{SHIPPED}/billing.test.toml");
    let sql = "UPDATE invoices SET status = 'x'";
    let output = postern(&["-o", "json", "explain", sql, "--tables", &tables, "--group", "billing"]);
    assert!(output.status.success(), "{}", said(&output));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((value["verdict"].as_str(), value["policies"][0].as_str()), (Some("hold"), Some("guard:unbounded")));
    let questions = value["statements"][0]["questions"].as_array().unwrap();
    let update = questions.iter().find(|question| question["action"] == "update").unwrap();
    assert_eq!((update["object"].as_str(), update["answer"].as_str()), (Some("public.invoices"), Some("denied")));
    let text = said(&postern(&["explain", "SELECT email FROM customers", "--tables", &tables, "--group", "billing"]));
    assert!(text.contains("read_clear") && text.contains("masked: public.customers.email"), "{text}");
}
