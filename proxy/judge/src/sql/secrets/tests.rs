//! What is struck out, and what is not.

use super::*;
use proptest::prelude::*;

fn shown(text: &str) -> String {
    String::from_utf8_lossy(&redacted(text.as_bytes())).into_owned()
}

#[test]
fn secrets_of_statements_are_struck_out() {
    for text in [
        "create role a login password 'S3CRET'",
        "CREATE USER a WITH ENCRYPTED PASSWORD E'S3CRET' VALID UNTIL '2030-01-01'",
        "alter role a password /* a comment */ 'S3CRET'",
        "alter role a password $$S3CRET$$",
        "alter role a password $x$S3CRET$x$",
        "alter role a password U&'S3CRET'",
        "alter role a password 'S3CRET'\n  'S3CRET'",
        "alter role a password 'it''S3CRET'",
        "create user mapping for a server s options (user 'b', password 'S3CRET')",
        "alter user mapping for a server s options (set \"password\" 'S3CRET')",
        "create subscription s connection 'host=h password=S3CRET user=u' publication p",
        "select * from dblink('host=h password=S3CRET', 'select 1') as t(a int)",
        "select dblink_connect('c', 'postgresql://u:S3CRET@h/db')",
        "select dblink_connect('host=h password=''S3CRET S3CRET'' user=u')",
        "select dblink_connect('host=h password=''it\\''S3CRET'' user=u')",
        "select dblink_connect('host=h password=a\\ S3CRET user=u')",
        "do $$ begin execute 'alter role a password ''S3CRET'''; end $$",
        "do $$ begin execute format('alter role a password %L', 'x'); alter role b password 'S3CRET'; end $$",
        "do 'begin execute ''alter role a password ''''it''''''''S3CRET''''''; end'",
        "set app.password = 'S3CRET'",
        "set app.secret to 'S3CRET'",
        "select f(api_key => 'S3CRET', client_secret := 'S3CRET')",
        "insert into t values ('{\"user\": \"u\", \"password\": \"S3CRET\"}')",
        "insert into t values (E'{\\\"password\\\": \\\"S3CRET\\\"}')",
        "select 1 -- password = 'S3CRET'",
        "select 1 /* token: S3CRET */",
        // what the scanner refuses
        "alter role a password 'S3CRET",
        "alter role a passwort 'x' password $$S3CRET",
        "select 'a' \u{0} password 'S3CRET'",
        "alter role a password 'S3CRET'; select \"",
        // what is not quoted, or by the wrong quotes
        "create user bob with password \"S3CRET\"",
        "alter role a password S3CRET",
        "set app.token = S3CRET",
        "select 1 from users where token = \"S3CRET\"",
        // through functions and formats
        "do $$ begin execute format('alter role a password %L', 'S3CRET'); end $$",
        "select format('alter role a password %L', 'S3CRET')",
        "do $$ begin execute 'alter role a password ' || quote_literal('S3CRET'); end $$",
        "do $$ begin execute 'alter role a password ''' || 'S3CRET' || ''''; end $$",
        "select dblink_connect('host=h password=' || 'S3CRET')",
        "update users set password = crypt('S3CRET', gen_salt('bf')), name = 'bob'",
        "update users set password = ('S3CRET')",
        "select set_config('app.password', 'S3CRET', false)",
        "select jsonb_build_object('password', 'S3CRET')",
        "do $$ begin alter role a password /* c */ 'S3CRET'; end $$",
        "do $$ begin alter role a password 'a'\n 'S3CRET'; end $$",
        "do $$ begin create role a pasword 'S3CRET'; end $$",
        // other names
        "select dblink('host=h oauth_client_secret=S3CRET', '')",
        "set app.db_password = 'S3CRET'",
        "select '{\"accessToken\": \"S3CRET\"}'",
        "select 'x-api-key: S3CRET'",
        "select 'Authorization: Bearer S3CRET'",
        "select 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJTM0NSRVQifQ.S3CRET'",
        "select dblink_connect('postgresql://u:S3#?S3CRET@h/d')",
        // what PostgreSQL refuses
        "alter role a passwort 'S3CRET'",
        "alter role a password 'x' 'S3CRET' nonsense",
        "create user a identified by 'S3CRET'",
        "alter role a passwort 'S3CRET",
    ] {
        let shown = shown(text);
        assert_eq!(shown.len(), text.len());
        assert!(!shown.contains("S3CRET"), "{shown}");
        assert!(shown.contains("******"), "{shown}");
    }
}

#[test]
fn what_is_no_secret_stays() {
    for text in [
        "select id, password from users where id = 5",
        "select password_hash from users where name = 'a'",
        "alter role a password null",
        "alter role a set search_path = 'a', 'b'",
        "alter role a valid until '2030-01-01'",
        "alter user mapping for a server s options (set user 'b')",
        "create table a (b text default 'c')",
        "select created from users where alter = 'b'",
        "select 'the password is wrong'",
        "select 'https://example.com/a?b=c@d'",
        "select * from tokens where kind = 'a' and id in ('b')",
        "select password, name from users where created_at > 'x' and token_id = 5",
        "select 'a', 'password'",
        "select max(secret) from t where mysecret = 'b' and secrets = 'c'",
    ] {
        assert_eq!(shown(text), text);
    }
    // code does not hide behind a name
    for code in [
        "do $$ begin -- password $x$\nexecute 'drop table customers'; end $$",
        "do $$ begin -- password ''\nexecute 'drop table customers'; end $$",
        "do $$ begin /* password $x$ */ execute 'drop table customers'; /* $x$ */ end $$",
        "do 'begin /* password $x$ */ execute ''drop table customers''; /* $x$ */ end'",
        "do 'begin /* password= '' */ execute ''drop table customers''; /* '' */ end'",
    ] {
        assert!(shown(code).contains("drop table customers"), "{}", shown(code));
    }
    assert!(shown(r#"select '{"password": "", "user": "bob"}'"#).contains("bob"));
    // the rest of a statement stays too
    assert_eq!(
        shown("create role a password 'abc' valid until '2030-01-01'"),
        "create role a password '***' valid until '2030-01-01'"
    );
    assert_eq!(shown("select dblink('host=h password=abc user=u')"), "select dblink('host=h password=*** user=u')");
    assert_eq!(shown("select 'postgres://u:abc@h/d'"), "select 'postgres://u:***@h/d'");
}

#[test]
fn values_are_searched_too() {
    let shown = |value: &str| {
        let mut bytes = value.as_bytes().to_vec();
        let found = secrets_of_value(&bytes);
        strike(&mut bytes, &found);
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(shown("host=h password=abc"), "host=h password=***");
    assert_eq!(shown("postgres://u:abc@h:5432/d"), "postgres://u:***@h:5432/d");
    assert_eq!(shown("abc"), "abc");
}

proptest! {
    #[test]
    fn ranges_are_ascending_and_within_whatever_the_text(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "password", "'", "''", "$$", "$a$", "=", " ", "\\", "://", "@", ":", "\"", "token", "abc", "--", "/*", "*/",
            "\n", "é", "E'",
        ]), 0..24)
    ) {
        let text = parts.concat();
        let mut last = 0;
        for range in secrets(text.as_bytes()) {
            let fits = range.start >= last && range.start < range.end && range.end <= text.len();
            prop_assert!(fits, "{range:?} of {text}");
            last = range.end;
        }
    }

    #[test]
    fn a_password_is_struck_out_however_it_is_quoted(
        secret in "[A-Za-z0-9'\\\\ $=:@/]{1,20}", tag in "[a-z]{0,3}"
    ) {
        let marked = format!("Q7Q{secret}Q7Q");
        let doubled = marked.replace('\'', "''");
        for text in [
            format!("alter role a password '{doubled}'"),
            format!("alter role a password ${tag}${marked}${tag}$"),
            format!("do $body$ begin alter role a password '{doubled}'; end $body$"),
            format!("do 'begin alter role a password ''{}''; end'", doubled.replace('\'', "''")),
            format!("alter role a password '{doubled}"),
        ] {
            if marked.contains(&format!("${tag}$")) || marked.contains("$body$") {
                continue;
            }
            let shown = shown(&text);
            prop_assert!(!shown.contains("Q7Q"), "{text} -> {shown}");
        }
    }
}

#[test]
fn what_was_named_is_found_where_it_is_quoted() {
    let mut known = Known::default();
    let text = b"alter role a password 'it''s Tangerine'";
    known.learn(text, &secrets(text));
    known.learn(b"ab\0cd", std::slice::from_ref(&(0..5)));
    let mut report = b"error at \"it's Tangerine\" and 'it''s Tangerine', ab\0cd".to_vec();
    known.strike(&mut report);
    assert_eq!(report, b"error at \"**************\" and '***************', ab\0cd");
}

#[test]
fn a_hostile_text_is_dealt_with_in_time() {
    let start = std::time::Instant::now();
    let parts = ["password=$1 ", "password $a$ ", "alter;", "://:@", "password''", "password=\"", "token (", "eyJ"];
    for part in parts {
        let begun = std::time::Instant::now();
        let text = part.repeat((1 << 20) / part.len());
        for text in [text.clone(), format!("select '{}'", text.replace('\'', "''")), format!("/* {text} */")] {
            let found = (secrets(text.as_bytes()), secrets_of_value(text.as_bytes()));
            assert!(found.0.len() <= text.len() && found.1.len() <= text.len());
        }
        println!("{part:?}: {:?}", begun.elapsed());
    }
    // minutes, were any of it quadratic
    assert!(start.elapsed() < std::time::Duration::from_secs(60), "{:?}", start.elapsed());
}
