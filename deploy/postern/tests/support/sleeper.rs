//! Sessions that sleep in the database until something ends them.

use super::{Postern, Postgres, eventually};
use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// What is revoked must be gone by then.
pub const AT_ONCE: Duration = Duration::from_secs(1);

const STATEMENT: &str = "select pg_sleep(300)";

/// One more of them, through this gate.
pub fn sleeper(gate: &Postern, postgres: &Postgres, token: &str) -> Child {
    let before = sleeping(postgres);
    let mut command = Command::new("psql");
    command.envs(gate.environment(token)).args(["-XAtq", "-c", STATEMENT]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it sleeps", Duration::from_secs(20), || (sleeping(postgres) > before).then_some(()));
    child
}

/// How many sleep, as the database sees it.
pub fn sleeping(postgres: &Postgres) -> usize {
    let count = format!(
        "select count(*) from pg_stat_activity where query like '%{STATEMENT}%' and state = 'active' \
         and pid <> pg_backend_pid()"
    );
    postgres.sql(&count).parse().unwrap()
}

/// Does it, and expects that the only sleeper is out at once, in the database too; returns what the client was told.
pub fn ends(postgres: &Postgres, mut sleeper: Child, act: impl FnOnce()) -> String {
    act();
    // from the moment that the command has returned: the record counts by then
    let begun = Instant::now();
    eventually("the client is out", AT_ONCE, || sleeper.try_wait().unwrap());
    eventually("the statement is cancelled", AT_ONCE.saturating_sub(begun.elapsed()), || {
        (sleeping(postgres) == 0).then_some(())
    });
    String::from_utf8(sleeper.wait_with_output().unwrap().stderr).unwrap()
}
