//! A full spool refuses new statements with a clear error; none is forwarded unrecorded, and all that was is archived.

mod support;

use std::{net::TcpListener, time::Duration};
use support::{Postern, Postgres, eventually, folder};

#[test]
fn a_full_spool_refuses_and_forwards_nothing_unrecorded() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    // a broker that nobody answers for: whatever is spooled stays
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!(
        "[log]\nsegment_bytes = 1048576\nlimit_bytes = 8388608\nreserve_bytes = 1048576\n\n[kafka]\nbrokers = [\"{}\"]\n",
        silent.local_addr().unwrap()
    );
    let postern = Postern::configure(folder.path(), "gate", &postgres, &more);
    let _process = postern.start("proxy");
    let token = postern.token("filler", "agents");
    let mut written = 0;
    let refused = eventually("the spool is full", Duration::from_secs(120), || {
        let note = "x".repeat(100_000);
        let output = postern.psql(
            &token,
            &["-Atq", "-v", "ON_ERROR_STOP=1", "-c", &format!("insert into ledger values ({written}, 0, '{note}')")],
        );
        if output.status.success() {
            written += 1;
            return None;
        }
        Some(String::from_utf8(output.stderr).unwrap())
    });
    assert!(refused.contains("log") && refused.contains("again"), "{refused}");
    let stored: u64 = postgres.sql("select count(*) from ledger").parse().unwrap();
    assert_eq!(stored, written, "a refused statement reached the database");
    let again = postern.refused(&token, "insert into ledger values (-1, 0, 'no')");
    assert!(again.contains("log"), "{again}");
    assert_eq!(postgres.sql("select count(*) from ledger where id = -1"), "0");
}
