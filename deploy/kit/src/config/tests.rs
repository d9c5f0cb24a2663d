use super::*;
use serde::Deserialize;

#[derive(Debug, Deserialize, PartialEq, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    node: Node,
    development_issuer: Issuer,
    resources: Vec<Resource>,
    log: Log,
}

#[derive(Debug, Deserialize, PartialEq, Default)]
#[serde(deny_unknown_fields, default)]
struct Node {
    name: String,
    data_dir: Option<PathBuf>,
    port: u16,
}

#[derive(Debug, Deserialize, PartialEq, Default)]
#[serde(deny_unknown_fields, default)]
struct Issuer {
    enabled: bool,
    key_file: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Resource {
    name: String,
    #[serde(default)]
    port: u16,
}

#[derive(Debug, Deserialize, PartialEq, Default)]
#[serde(deny_unknown_fields, default)]
struct Log {
    spool: Spool,
    groups: Vec<String>,
}

#[derive(Debug, Deserialize, PartialEq, Default)]
#[serde(deny_unknown_fields, default)]
struct Spool {
    max_bytes: u64,
}

fn problems(text: &str) -> String {
    parse::<File>(text, "p.toml").unwrap_err().to_string()
}

fn with(text: &str, environment: &[(&str, &str)], overrides: &[&str]) -> Result<File, Problems> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
    let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().unwrap()).collect();
    load_from(Some(file.path()), "POSTERN", environment, &overrides)
}

#[test]
fn a_misspelt_key_is_named_with_its_place_and_the_nearest() {
    assert_eq!(
        problems("[node]\nname = 'a'\ndata_dri = '/x'\n"),
        "p.toml:3: unknown key `data_dri` in [node]; did you mean `data_dir`?"
    );
    assert_eq!(problems("[nodes]\n"), "p.toml:1: unknown key `nodes` at the top; did you mean `node`?");
    assert_eq!(
        problems("[log.spool]\nmax = 1\nqqq = 2\n"),
        "p.toml:2: unknown key `max` in [log.spool]; did you mean `max_bytes`?\n\
         p.toml:3: unknown key `qqq` in [log.spool]; there is only `max_bytes`"
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let text = "[node]\nport = 70000\nnam = 'x'\n[[resources]]\nname = 'a'\nport = 'b'\n[[resources]]\nname = 'c'\nhost = 1\n[log]\ngroups = 3\n";
    let told = problems(text);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 5, "{told}");
    for expected in [
        "p.toml:2: `node.port`: ",
        "p.toml:3: unknown key `nam`",
        "p.toml:6: `resources[1].port`: ",
        "p.toml:9: unknown key `host` in [resources[2]]",
        "p.toml:11: `log.groups`: ",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected} in {told}");
    }
}

#[test]
fn what_is_missing_and_what_is_not_toml_is_told() {
    assert!(problems("[[resources]]\nport = 1\n").contains("missing field `name`"));
    assert!(problems("[node\n").starts_with("p.toml:1: "));
    let error = load_from::<File>(Some(Path::new("/nowhere/p.toml")), "POSTERN", [], &[]).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/p.toml: the config file cannot be read"), "{error}");
}

#[test]
fn the_command_line_beats_the_environment_beats_the_file() {
    let text = "[node]\nname = 'file'\nport = 1\n";
    let file =
        with(text, &[("POSTERN_NODE_NAME", "environment"), ("POSTERN_NODE_PORT", "2")], &["node.port=3"]).unwrap();
    assert_eq!((file.node.name.as_str(), file.node.port), ("environment", 3));
}

#[test]
fn names_with_underscores_and_nested_sections_are_found() {
    let environment = [
        ("POSTERN_DEVELOPMENT_ISSUER_ENABLED", "true"),
        ("POSTERN_DEVELOPMENT_ISSUER_KEY_FILE", "/run/key"),
        ("POSTERN_LOG_SPOOL_MAX_BYTES", "4096"),
        ("POSTERN_LOG_GROUPS", "['a', 'b']"),
        ("POSTERN_NODE_NAME", "7"), // looks like a number, is a name
        ("POSTERN_CACHE", "/somewhere"),
        ("POSTERN_NODE_SERVICE_HOST", "10.0.0.1"), // these three are Kubernetes'
        ("POSTERN_NODE_PORT_6432_TCP_PROTO", "tcp"),
        ("POSTERN_LOG_PORT", "tcp://10.0.0.1:6432"),
        ("PATH", "/bin"),
    ];
    let file = with("", &environment, &[]).unwrap();
    assert_eq!(file.development_issuer, Issuer { enabled: true, key_file: "/run/key".to_owned() });
    assert_eq!(file.log, Log { spool: Spool { max_bytes: 4096 }, groups: vec!["a".to_owned(), "b".to_owned()] });
    assert_eq!(file.node.name, "7");
}

#[test]
fn mistakes_outside_the_file_are_told_by_their_own_place() {
    let environment = [("POSTERN_NODE_DATADIR", "/x"), ("POSTERN_NODE_PORT", "many")];
    let told = with("", &environment, &["node.nmae=x", "resources.name=y"]).unwrap_err().to_string();
    assert!(told.contains("POSTERN_NODE_DATADIR: no such key; did you mean POSTERN_NODE_DATA_DIR?"), "{told}");
    assert!(told.contains("POSTERN_NODE_PORT: `node.port`: "), "{told}");
    assert!(told.contains("--set node.nmae: unknown key `nmae` in [node]; did you mean `name`?"), "{told}");
    assert!(told.contains("--set resources.name: "), "{told}");
}

#[test]
fn the_types_tell_their_keys() {
    assert_eq!(known_keys::<File>(&[]).unwrap(), ["node", "development_issuer", "resources", "log"]);
    assert_eq!(known_keys::<File>(&["log", "spool"]).unwrap(), ["max_bytes"]);
    assert_eq!(known_keys::<File>(&["node", "name"]), None);
}

#[test]
fn the_number_of_problems_is_capped() {
    let text: String = (0..200).map(|n| format!("key{n} = 1\n")).collect();
    assert_eq!(parse::<File>(&text, "p.toml").unwrap_err().0.len(), MAX_PROBLEMS);
}
