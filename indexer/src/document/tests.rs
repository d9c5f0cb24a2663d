//! What of a reason is kept.

use super::clean;

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
    ] {
        assert_eq!(clean(reason), kept, "{reason}");
    }
}
