//! Tools that look at a database work under a policy that hides columns and closes a schema: what psql's `\d` family,
//! SQLAlchemy's reflection, Django's introspection and JDBC's metadata print through the gate is, byte for byte, what they
//! print at the database itself. No value of what is hidden or closed is in it (MSK-1).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use std::process::Command;
use support::{Postern, Postgres, cache, folder, root};

struct Gate {
    postern: Postern,
    postgres: Postgres,
    token: String,
    _process: support::Process,
    _folder: tempfile::TempDir,
}

fn gate() -> Gate {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let objects = std::fs::read_to_string(root().join("deploy/postern/tests/clients/tools.sql")).unwrap();
    postgres.sql(&objects);
    let postern = Postern::configure(folder.path(), "gate", &postgres, "");
    postern.log_in_as_an_ordinary_role(&postgres);
    postern.change("connect_groups = [\"agents\"]", "connect_groups = [\"agents\"]\nclosed = [\"hr.*\"]");
    let process = postern.start("up");
    let token = postern.token("billing-bot", "agents");
    let refused = postern.refused(&token, "select * from hr.salaries");
    assert!(refused.contains("42501"), "{refused}");
    Gate { postern, postgres, token, _process: process, _folder: folder }
}

impl Gate {
    /// What a tool prints through the gate, if it succeeds, and what it prints at the database.
    fn both(&self, command: impl Fn() -> Command) -> (Result<String, String>, String) {
        let run = |environment: Vec<(String, String)>| {
            let output = command().envs(environment).output().expect("deploy/test installs the tools");
            let (said, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
            if output.status.success() && !error.contains("ERROR") { Ok(said) } else { Err(error.into_owned()) }
        };
        let mut direct = self.postern.environment(&self.postgres.password);
        for (name, value) in &mut direct {
            match name.as_str() {
                "PGPORT" => *value = self.postgres.port.to_string(),
                "PGUSER" => *value = "gate".to_owned(),
                "PGSSLMODE" => *value = "disable".to_owned(),
                _ => {}
            }
        }
        (run(self.postern.environment(&self.token)), run(direct).unwrap())
    }

    /// Both must be the same, and none may hold a hidden value.
    fn same(&self, name: &str, command: impl Fn() -> Command) -> String {
        let (through, direct) = self.both(command);
        let through = through.unwrap_or_else(|text| panic!("{name}: {text}"));
        if through != direct {
            let differs = through.lines().zip(direct.lines()).find(|(a, b)| a != b);
            panic!("{name} differs through the gate; the first line that does: {differs:#?}");
        }
        for hidden in SECRETS {
            assert!(!through.contains(hidden), "{name} shows {hidden}");
        }
        through
    }
}

/// What every hidden or closed value has in it.
const SECRETS: [&str; 4] = ["4929", "private.example", "-45-6", "987654"];

/// The commands of psql that look at the database, and a word that each prints.
const PSQL: &[(&str, &str)] = &[
    ("\\d", "customers"),
    ("\\d+", "order_counts"),
    ("\\d customers", "card_number"),
    ("\\d+ customers", "customers_regions"),
    ("\\d payments", "all_payments"),
    ("\\d+ orders", "orders_touched"),
    ("\\d+ order_lines", "no_notes"),
    ("\\d+ readings", "readings_2025"),
    ("\\d readings_2025", "Partition of"),
    ("\\d+ people", "View definition"),
    ("\\d+ order_counts", "View definition"),
    ("\\d orders_state", "lower"),
    ("\\d order_numbers", "Start"),
    ("\\d place", "street"),
    ("\\d+ hr.salaries", "full_name"),
    ("\\d pg_class", "relname"),
    ("\\da", "product"),
    ("\\dA+", "btree"),
    ("\\dAc btree", "int4"),
    ("\\dAf btree", "integer_ops"),
    ("\\dAo btree integer_ops", "integer_ops"),
    ("\\dAp btree integer_ops", "btint4cmp"),
    ("\\db", "pg_default"),
    ("\\dcS", "utf8"),
    ("\\dC", "integer"),
    ("\\dd", ""),
    ("\\dD", "cents"),
    ("\\ddp", "reporting"),
    ("\\dE", ""),
    ("\\des+", "elsewhere"),
    ("\\det+", ""),
    ("\\dew+", "nowhere"),
    ("\\df", "order_total"),
    ("\\df+ order_total", "order_total"),
    ("\\dft", "touched"),
    ("\\dF+", "english"),
    ("\\dFd+ english_stem", "snowball"),
    ("\\dFp+", "default"),
    ("\\dFt+", "simple"),
    ("\\dg+", "reporting"),
    ("\\di+", "orders_state"),
    ("\\dl", ""),
    ("\\dL+", "plpgsql"),
    ("\\dm+", "order_counts"),
    ("\\dn+", "hr"),
    ("\\do", ""),
    ("\\doS <", "numeric"),
    ("\\dO", ""),
    ("\\dp", "all_payments"),
    ("\\dP+", "readings"),
    ("\\drds", ""),
    ("\\dRp+", "everything"),
    ("\\ds+", "order_numbers"),
    ("\\dt *.*", "pg_class"),
    ("\\dt+", "payments"),
    ("\\dT+", "mood"),
    ("\\du+", "reporting"),
    ("\\dv+", "people"),
    ("\\dx+", "plpgsql"),
    ("\\dX", "customers_regions"),
    ("\\dy", ""),
    ("\\l", "shop"),
    ("\\l+", "shop"),
    ("\\sf order_total", "sum"),
    ("\\sv people", "email"),
    ("\\z", "reporting"),
    ("\\encoding", "UTF8"),
    ("\\echo :SERVER_VERSION_NUM", "0"),
];

#[test]
fn psql_describes_every_kind_of_object() {
    let gate = gate();
    let mut denied = Vec::new();
    for (command, word) in PSQL {
        let psql = || {
            let mut psql = Command::new("psql");
            psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-c", command]);
            psql
        };
        match gate.both(psql) {
            (Ok(through), direct) => {
                assert_eq!(through, direct, "{command} differs");
                assert!(!SECRETS.iter().any(|secret| through.contains(secret)), "{command}: {through}");
                assert!(through.contains(word), "{command} does not print {word}: {through}");
            }
            (Err(text), _) => denied.push(format!("{command}: {text}")),
        }
    }
    let mappings = gate.postern.psql(&gate.token, &["-c", "\\deu"]);
    assert!(String::from_utf8_lossy(&mappings.stderr).contains("it may hold credentials"), "\\deu shows user mappings");
    assert!(denied.is_empty(), "{} of {}:\n{}", denied.len(), PSQL.len(), denied.join("\n"));
}

/// What tools may not be given with their metadata, and what newer versions than the installed one can say.
const HIDDEN: &[&str] = &[
    "select most_common_vals, histogram_bounds from pg_stats where tablename = 'customers'",
    "select stavalues1 from pg_statistic",
    "select query from pg_stat_activity",
    "select (information_schema._pg_expandarray(array[card_number])).x from customers where id = 1",
    "select k.x from customers, information_schema._pg_expandarray(array[card_number]) k where id = 1",
    "select any_value(card_number) from customers",
    "select array_sort(array_agg(card_number)) from customers",
    "select casefold(card_number), crc32(card_number::bytea) from customers",
    "select message from customers, pg_input_error_info(card_number, 'int4') where id = 1",
    "select x from customers, json_table(to_jsonb(card_number), '$' columns (x text path '$')) where id = 1",
    "update customers set region = 'eu' where id = 1 returning old.card_number",
    "update customers set region = 'eu' where id = 1 returning old.*, new.*",
    "update customers set region = 'eu' where id = 1 returning with (old as o) o.card_number",
    "update customers set region = 'eu' where id = 1 returning old, new",
    "merge into customers c using payments p on c.id = p.id and p.id = 1 when matched then update set region = 'eu' returning c.*",
    "merge into customers c using payments p on c.id = p.id and p.id = 1 when matched then update set region = 'eu' returning old.card_number",
    "create table t18 (id int, c text generated always as (id) virtual)",
    "explain (analyze, serialize) select card_number from customers",
    "table hr.salaries",
];

#[test]
fn attack_metadata_and_newer_syntax_show_nothing_that_is_hidden() {
    let gate = gate();
    for sql in HIDDEN {
        let output = gate.postern.psql(&gate.token, &["-At", "-c", sql]);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{sql}\n    {}", said.lines().next().unwrap_or_default());
        for hidden in SECRETS {
            assert!(!said.contains(hidden), "{sql}: {said}");
        }
    }
    assert_eq!(gate.postern.sql(&gate.token, "select count(*) from payments"), "400");
}

fn python(script: &str) -> Command {
    let mut command = Command::new(cache().join("clients/venv/bin/python"));
    command.arg(root().join("deploy/postern/tests/clients").join(script));
    command
}

#[test]
fn sqlalchemy_reflects() {
    let found = gate().same("SQLAlchemy", || python("sqlalchemy_suite.py"));
    for word in ["orders_paid", "mood", "customers_email_key", "in cents", "order_lines_order_id_fkey", "hr.salaries"] {
        assert!(found.contains(word), "{word} was not found");
    }
}

#[test]
fn django_inspects() {
    let gate = gate();
    if support::version().is_some_and(|version| version == "13") {
        // Django has given 13 up: its own word on that comes through
        let output = python("django_suite.py").envs(gate.postern.environment(&gate.token)).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("PostgreSQL 14 or later is required (found 13."));
        return;
    }
    let found = gate.same("Django", || python("django_suite.py"));
    for word in [
        "class Customers(models.Model)",
        "card_number = models.TextField(unique=True)",
        "class People",
        "models.ForeignKey",
    ] {
        assert!(found.contains(word), "{word} was not found");
    }
}

#[test]
fn jdbc_tells_of_the_database() {
    let java = || {
        let mut command = Command::new("java");
        command.arg("-cp").arg(cache().join("clients/java/postgresql.jar"));
        command.arg(root().join("deploy/postern/tests/clients/JdbcMetadata.java"));
        command
    };
    let found = gate().same("JDBC", java);
    for word in [
        "COLUMN_NAME=card_number",
        "PK_NAME=orders_pkey",
        "INDEX_NAME=orders_state",
        "FKTABLE_NAME=order_lines",
        "salaries",
    ] {
        assert!(found.contains(word), "{word} was not found");
    }
}
