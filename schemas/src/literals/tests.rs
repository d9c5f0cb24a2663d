//! What becomes of every form of a constant, and that no text breaks the lexer.

use super::*;
use proptest::prelude::*;

fn shown(sql: &str) -> String {
    remove(sql).map_or_else(|| "(nothing)".to_owned(), |text| text.shown)
}

#[test]
fn constants_of_every_form_become_a_question_mark() {
    for (sql, expected) in [
        ("select  card_number\n from customers", "select card_number from customers"),
        ("select 'it''s' , 1", "select ? , ?"),
        ("select 'a\\' , secret", "select ? , secret"), // standard_conforming_strings is on
        (r"select E'it\'s a secret', x", "select ?, x"),
        (r"select e'\\', x", "select ?, x"),
        ("select E'a'\n 'it\\'s', x", "select ?, x"), // a continued string keeps its escapes
        ("select 'a' -- c\n 'b', x", "select ?, x"),
        ("select 'a' 'b'", "select ? ?"),
        (r#"select U&'\0441\043B' uescape '!', U&"d\0061t" , u & 1"#, "select ? uescape ?, ? , u & ?"),
        ("select B'1010', X'1FF', n'abc'", "select ?, ?, ?"),
        ("select $$it's$$, $a$ $$ secret $a$, $1, $22", "select ?, ?, $1, $22"),
        ("do $body$ begin perform 'x'; end $body$", "do ?"),
        ("select 1, 1.5, .5, 1e10, 1.5e-7, 0x1F, 1_000, 12abc", "select ?, ?, ?, ?, ?, ?, ?, ?"),
        ("select -1, a-1, a - -1", "select -?, a-?, a - -?"),
        ("select a --secret\n, b /* secret /* nested */ secret */ from t", "select a , b from t"),
        ("select a+--secret\n b", "select a+ b"),
        ("select foo$bar$ from t", "select foo$bar$ from t"),
        ("select x::text, a[1], b->>'k', c @> '{}'", "select x::text, a[?], b->>?, c @> ?"),
        (r#"select "Name", "ada@example.com", "4111 1111" from "t""#, r#"select "Name", ?, ? from "t""#),
        ("select 1 as c4111111111111111, t_20260101 from t", "select ? as ?, t_20260101 from t"),
        ("hld_01a1fd0fd66272912345678984b9a2c9 hld_4111111111111111", "hld_01a1fd0fd66272912345678984b9a2c9 ?"),
        ("alter role a password 'hunter2'", "alter role a password ?"),
        ("select 'naïve', naïve", "select ?, naïve"),
        ("", ""),
    ] {
        assert_eq!(shown(sql), expected, "{sql}");
    }
}

#[test]
fn nothing_is_kept_of_what_is_not_sound() {
    for sql in [
        "select 'secret",
        "select \"secret",
        "select $a$secret",
        "select /* secret",
        "select E'secret\\'",
        "a \\ b",
        "select $secret",
        "select \u{1} secret",
        "select /* a /* b */ secret",
    ] {
        assert_eq!(remove(sql), None, "{sql}");
    }
}

#[test]
fn words_are_lower_case_and_hold_the_place_of_constants() {
    let text = remove("SELECT Name FROM t WHERE id = 5 AND \"Email\" = 'x' LIMIT $1").unwrap();
    assert_eq!(text.words, ["select", "name", "from", "t", "where", "id", "?", "and", "email", "?", "limit", "$1"]);
}

#[test]
fn a_long_text_is_cut_for_people_only() {
    let sql = format!("select {} needle", "column_name, ".repeat(8_000));
    let text = remove(&sql).unwrap();
    assert!(text.shown.len() < MAX_SHOWN_BYTES + 100 && text.shown.ends_with(" ..."));
    assert_eq!(text.words.last().unwrap(), "needle");
}

/// A constant that holds the marker, in a form chosen at random, correctly quoted.
fn constant() -> impl Strategy<Value = String> {
    let inside = r"[a-z'\\$\n \-/*]{0,12}";
    (inside, 0..7_u8, inside).prop_map(|(before, form, after)| {
        let inner = format!("{before}zqsecretqz{after}");
        match form {
            0 => format!("'{}'", inner.replace('\'', "''")),
            1 => format!("E'{}'", inner.replace('\\', "\\\\").replace('\'', "\\'")),
            2 => format!("E'{}'", inner.replace('\\', "\\\\").replace('\'', "''")),
            3 => format!("$tag${inner}$tag$"),
            4 => format!("U&'{}'", inner.replace('\'', "''").replace('\\', "\\\\")),
            5 => format!("'a'\n'{}'", inner.replace('\'', "''")),
            _ => format!("/* {} */ 7", inner.replace("*/", "").replace("/*", "").replace(['*', '/'], "")),
        }
    })
}

proptest! {
    #[test]
    fn no_constant_survives(pieces in prop::collection::vec((r#"[a-z_(),;=+<>\[\]:.@ \n-]{0,8}"#, constant()), 1..8)) {
        // a comment begun by the random words would rightly swallow what follows, quotes and all
        // and a constant right before a newline would go on in the next, by its own rules for backslashes
        let sql: String = pieces.iter().map(|(words, constant)| format!("{}, {constant} ", words.replace("--", "-"))).collect();
        let text = remove(&sql).expect("the text is sound");
        prop_assert!(!text.shown.contains("zqsecretqz"), "{sql} -> {}", text.shown);
        prop_assert!(!text.words.iter().any(|word| word.contains("zqsecretqz")));
        prop_assert!(!text.shown.contains(['\'', '\\']));
    }

    #[test]
    fn no_number_survives(number in 1_000_000_000_u64.., word in "[a-z]{1,5}") {
        for sql in [format!("select {number}"), format!("{word}{number}"), format!("{word}=-{number}.5"), format!("\"{number}\""),
            format!("${number}"), format!("{word} .{number}e+{number}")]
        {
            let shown = remove(&sql).map(|text| text.shown).unwrap_or_default();
            prop_assert!(!shown.contains(&number.to_string()), "{sql} -> {shown}");
        }
    }

    #[test]
    fn any_text_is_taken_without_panic_and_twice_is_as_once(sql in r#"(\PC|['"$\\/*\n-]){0,60}"#) {
        if let Some(text) = remove(&sql) {
            prop_assert!(!text.shown.contains('\''));
            // what is shown is sound again, unless marks came together to form a comment, or a doubled name
            if let Some(again) = remove(&text.shown) {
                prop_assert!(again.words.len() <= text.words.len());
            }
        }
    }
}

#[test]
fn reasons_keep_ids_and_lose_what_may_be_a_value() {
    for (reason, kept) in [
        ("it has expired", "it has expired"),
        (
            "approved as hld_01a1fd0fd66272912345678984b9a2c9, too late",
            "approved as hld_01a1fd0fd66272912345678984b9a2c9, too late",
        ),
        ("the card 4929731608452298 is known", "?"),
        ("see ses_4929731608452298", "?"),
        ("the column \"card_number\" is masked", "the column \"card_number\" is masked"),
        ("the name \"Ada Lovelace\" is unknown", "the name \"?\" is unknown"),
        (r#"the name "a\"Ada Lovelace" is unknown"#, "the name \"?\" is unknown"),
        (r#"the name "a\\" is "Ada Lovelace""#, "the name \"?\" is \"?\""),
        ("the name \"a", "the name \"?"),
    ] {
        assert_eq!(remove_from_reason(reason), kept, "{reason}");
    }
}

#[test]
fn what_is_shown_has_the_words_that_were_removed_from() {
    for sql in ["select a, 'x' from t where b = 4711 and \"Odd name\" = $1", "insert into t values (1, E'\\'', $$x$$)"]
    {
        let text = remove(sql).unwrap();
        assert_eq!(words_of_shown(&text.shown), text.words, "{}", text.shown);
    }
}

#[test]
fn quoted_names_are_shown_where_they_are_known() {
    let shown = remove("select \"id\", 'x' from \"customers\" where note = \"Ada\"").unwrap().shown;
    let known = known_names(&shown, |name| matches!(name, "id" | "customers"));
    assert_eq!(known.unwrap(), "select \"id\", ? from \"customers\" where note = \"?\"");
    for (given, kept) in [("s1", "s1"), ("", ""), ("Ada Lovelace", "?"), ("4929731608452298", "?")] {
        assert_eq!(name(given), kept);
    }
}
