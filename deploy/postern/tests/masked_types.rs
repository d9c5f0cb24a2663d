//! MSK-1: what takes the place of a value is one of its type, for every method, in text and in binary.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use std::error::Error;
use support::{Postern, Postgres, folder};
use tokio_postgres::{
    Client, NoTls, SimpleQueryMessage,
    types::{FromSql, IsNull, ToSql, Type, private::BytesMut},
};

/// A value as it stands on the wire.
#[derive(Debug, Clone, PartialEq)]
struct Raw(Option<Vec<u8>>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw.to_vec())))
    }
    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match &self.0 {
            Some(bytes) => {
                out.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    tokio_postgres::types::to_sql_checked!();
}

/// (type, a value, whether `hash` and `fake` have a made-up value of it)
const TYPES: &[(&str, &str, bool)] = &[
    ("text", "secret words 1234", true),
    ("varchar(3)", "abc", true),
    ("char(8)", "abc12", true),
    ("name", "somebody", true),
    ("citext", "Some@Body.example", true),
    ("card_t", "4929731608452298", true),
    ("int2", "31234", true),
    ("int4", "1234567891", true),
    ("int8", "-4929731608452298", true),
    ("numeric", "4929731608452298", true),
    ("numeric(12,2)", "-98765.43", true),
    ("numeric(20,10)", "0.0000123456", true),
    ("float4", "12345.67", true),
    ("float8", "-4929731608452298", true),
    ("float8", "1.5e-30", true),
    ("money", "$1,234.56", false),
    ("bool", "true", false),
    ("date", "1984-05-06", true),
    ("timestamp", "1984-05-06 07:08:09.123456", true),
    ("timestamptz", "1984-05-06 07:08:09+02", true),
    ("time", "07:08:09", false),
    ("interval", "3 days", false),
    ("uuid", "6f1e4c1a-58cc-4372-a567-0e02b2c3d479", true),
    ("bytea", "\\xdeadbeef01", true),
    ("json", "{\"a\": 12345678}", true),
    ("jsonb", "{\"a\": [1, 2, 3]}", true),
    ("xml", "<a>secret</a>", true),
    ("inet", "198.18.44.7", true),
    ("inet", "fd00:abcd::17/64", true),
    ("cidr", "10.20.30.0/24", true),
    ("macaddr", "08:00:2b:01:02:03", false),
    ("text[]", "{\"one secret\",two}", true),
    ("varchar(3)[]", "{abc,def}", true),
    ("int4[]", "{1234567,2}", false),
    ("uuid[]", "{6f1e4c1a-58cc-4372-a567-0e02b2c3d479}", false),
    ("int4range", "[1234567,2345678)", false),
    ("daterange", "[1984-05-06,1985-01-01)", false),
    ("mood", "sad", false),
    ("address_t", "(\"1 Elm St\",Oslo)", false),
    ("point", "(1.5,2.5)", false),
    ("bit varying", "10110011", false),
    ("tsvector", "'secret':1", false),
    ("hstore", "\"a\"=>\"secret\"", false),
];

#[test]
fn what_takes_the_place_of_a_value_is_one_of_its_type() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    postgres.sql(
        "create extension citext; create extension hstore; create type mood as enum ('sad', 'happy');
         create type address_t as (street text, city text); create domain card_t as text check (value ~ '^[0-9* ]+$')",
    );
    let methods = ["redact", "last4", "hash", "null", "fake"];
    let mut rules = String::new();
    for method in methods {
        let columns: Vec<String> = (0..TYPES.len()).map(|n| format!("c{n} {}", TYPES[n].0)).collect();
        postgres.sql(&format!("create table t_{method} ({})", columns.join(", ")));
        let values: Vec<String> =
            TYPES.iter().map(|(_, value, _)| format!("'{}'", value.replace('\'', "''"))).collect();
        postgres.sql(&format!("insert into t_{method} values ({})", values.join(", ")));
        let names: Vec<String> = (0..TYPES.len()).map(|n| format!("\"public.t_{method}.c{n}\"")).collect();
        rules.push_str(&format!("{{ columns = [{}], method = \"{method}\" }},\n", names.join(", ")));
    }
    let postern = Postern::configure(folder.path(), "gate", &postgres, "");
    let key = support::secret_file(folder.path(), "masking-key", &"5a".repeat(32));
    let text = std::fs::read_to_string(&postern.config).unwrap();
    let text =
        text.replace("masking = [\n", &format!("masking_key_file = \"{}\"\nmasking = [\n{rules}", key.display()));
    std::fs::write(&postern.config, text).unwrap();
    let _process = postern.start("up");
    let token = postern.token("billing-bot", "agents");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let direct = connect(postgres.port, "postgres", &postgres.password).await;
        let gate = connect(postern.port, "agent", &token).await;
        for method in methods {
            let table = format!("t_{method}");
            let binary = gate.query_one(&format!("select * from {table}"), &[]).await.unwrap();
            let again = gate.query_one(&format!("select * from {table}"), &[]).await.unwrap();
            let clear = direct.query_one(&format!("select * from {table}"), &[]).await.unwrap();
            let text = gate.simple_query(&format!("select * from {table}")).await.unwrap();
            let plain = direct.simple_query(&format!("select * from {table}")).await.unwrap();
            for (number, (type_name, value, made_up)) in TYPES.iter().enumerate() {
                let what = format!("{method} of {type_name} {value:?}");
                let shown: Raw = binary.get(number);
                assert_eq!(shown, again.get::<_, Raw>(number), "{what} is not stable");
                assert_ne!(shown, clear.get::<_, Raw>(number), "{what} is shown in binary");
                let shown_text = first(&text, number);
                assert_ne!(shown_text, first(&plain, number), "{what} is shown in text");
                if method == "null" || !made_up && shown.0.is_none() {
                    assert_eq!((shown.0, shown_text), (None, None), "{what}");
                    continue;
                }
                // the server takes what was shown, in both formats, as the type; what a domain checks is its own
                let base = if *type_name == "card_t" { "text" } else { type_name };
                let cast =
                    format!("select ($1::{base})::text, '{}'::{base}::text", shown_text.clone().unwrap_or_default());
                if let Some(text) = &shown_text {
                    let back = direct.query_one(&cast, &[&shown]).await;
                    let back = back.unwrap_or_else(|error| panic!("{what}: {text:?}: {error:?}"));
                    let (binary, text): (Option<String>, String) = (back.get(0), back.get(1));
                    assert_eq!(binary.as_deref(), Some(text.as_str()), "{what}: text and binary differ");
                } else {
                    assert!(shown.0.is_none(), "{what}: NULL in text, a value in binary");
                }
                if *made_up && matches!(method, "hash" | "fake") {
                    let small = *type_name == "int2" && method == "hash";
                    assert!(shown.0.is_some() || small, "{what} is NULL");
                }
            }
        }
    });
}

fn first(messages: &[SimpleQueryMessage], column: usize) -> Option<String> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(column).map(str::to_owned)),
        _ => None,
    })?
}

async fn connect(port: u16, user: &str, password: &str) -> Client {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(user).dbname("shop").password(password);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
