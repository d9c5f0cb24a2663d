//! A connection of the gate's own by which roles are made and dropped.
//!
//! Each bears its owner's name ([`names::LIFE`]): as long as one of them stands, other nodes see that the owner lives. That
//! is no lock, since agents can take every advisory lock of a database: the name counts only on a connection of a role that
//! may make roles, and an agent has none.

use super::{
    Error, grants,
    names::{self, LEASE, Owner, ident, literal, texts},
};
use crate::{
    ask::{self, Rows},
    upstream::{self, Database, Upstream},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Longest answer that is waited for; the server gives up a little earlier.
const LIMIT: Duration = Duration::from_secs(12);

/// The server's time in seconds since 1970.
const CLOCK: &str = "extract(epoch FROM pg_catalog.clock_timestamp())::bigint::text";

/// What PostgreSQL answers where a lock was not had in time.
const LOCKED: &str = "55P03";

/// Seconds by which the two clocks may move apart before it counts: of the at least 15 for which a password is good.
const SLACK: i64 = 5;

/// A connection that makes and drops roles.
pub(super) struct Admin {
    upstream: Upstream,
    /// The database's oid.
    pub(super) database: u32,
    /// The server's major version.
    pub(super) version: u32,
    /// Seconds by which the server's clock is ahead of ours.
    skew: i64,
}

/// What became of roles that should go.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    pub(super) gone: Vec<String>,
    /// A backend still serves them, or what they own could not be dealt with yet.
    pub(super) left: Vec<String>,
}

impl Admin {
    /// Logs in under the owner's name, which others see from then on.
    pub(super) async fn open(database: &Database, owner: Owner) -> Result<Self, Error> {
        let name = names::life(owner);
        let parameters = [
            ("application_name", name.as_str()),
            ("search_path", "pg_catalog"),
            // a crash of the server ends the sessions anyway, and the reaper drops again what it brings back
            ("synchronous_commit", "off"),
            ("statement_timeout", "10s"),
            // a role can be held by who names it in a transaction: what waits for it must not keep others waiting
            ("lock_timeout", "500ms"),
        ];
        let parameters: BTreeMap<String, String> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let upstream = upstream::connect(database, &parameters).await.map_err(Error::Connect)?;
        let mut admin = Self { upstream, database: 0, version: 0, skew: 0 };
        let facts = format!(
            "SELECT d.oid::text, pg_catalog.current_setting('server_version_num'), \
             {CLOCK}, pg_catalog.pg_is_in_recovery()::text, (SELECT a.application_name \
             FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a) \
             FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
        );
        let answers = admin.ask("reading what the server is", &facts).await?;
        let row = answers.first().and_then(|rows| rows.first()).map(Vec::as_slice).unwrap_or_default();
        let [Some(oid), Some(version), Some(now), Some(recovering), known] = row else { return Err(Error::Answer) };
        if recovering == "true" {
            return Err(Error::Standby);
        }
        if known.as_ref() != Some(&name) {
            return Err(Error::Nameless);
        }
        admin.database = oid.parse().map_err(|_| Error::Answer)?;
        admin.version = version.parse::<u32>().map_err(|_| Error::Answer)? / 10_000;
        admin.set_clock(Some(now))?;
        Ok(admin)
    }

    /// Sends statements as one message, which is one transaction where they begin none.
    pub(super) async fn ask(&mut self, doing: &'static str, sql: &str) -> Result<Vec<Rows>, Error> {
        match tokio::time::timeout(LIMIT, ask::ask(&mut self.upstream, sql)).await {
            Ok(answer) => answer.map_err(|source| Error::Ask { doing, source }),
            Err(_) => Err(Error::Slow { doing }),
        }
    }

    /// Makes leased roles (name, scope role, verifier) that can be logged in as for so long.
    pub(super) async fn make_roles(&mut self, roles: &[(&str, &str, &str)], login: Duration) -> Result<(), Error> {
        let until = self.after(login);
        let scopes: BTreeSet<&str> = roles.iter().map(|(_, scope, _)| *scope).collect();
        let mut sql: String = scopes.into_iter().map(grants::join).collect();
        sql.push_str(&format!("SELECT {CLOCK};"));
        for (role, scope, verifier) in roles {
            sql.push_str(&format!(
                "CREATE ROLE {} LOGIN INHERIT CONNECTION LIMIT 1 VALID UNTIL {until} IN ROLE {} PASSWORD {};",
                ident(role),
                ident(scope),
                literal(verifier)
            ));
        }
        let answers = self.ask("making a leased role", &sql).await?;
        let now = answers.first().and_then(|rows| rows.first()?.first()?.as_deref());
        if !self.set_clock(now)? {
            return Ok(());
        }
        // one of the two clocks was set since it was read: the passwords end at another time than they should
        let until = self.after(login);
        let all = roles.iter().map(|(role, _, _)| format!("ALTER ROLE {} VALID UNTIL {until};", ident(role)));
        let all: String = all.collect();
        tracing::warn!(
            "the clock of the database and that of the gate moved apart; leased roles are given another end"
        );
        match self.ask("giving leased roles another end", &all).await {
            // the roles are there, whatever the server says of this
            Err(error @ Error::Ask { source: ask::Error::Refused { .. }, .. }) => {
                tracing::warn!(error = %crate::chain(&error), "leased roles could not be given another end");
                Err(Error::Answer)
            }
            other => other.map(drop),
        }
    }

    /// Asks what the time is there.
    pub(super) async fn read_clock(&mut self) -> Result<(), Error> {
        let answers = self.ask("reading the server's clock", &format!("SELECT {CLOCK}")).await?;
        self.set_clock(answers.first().and_then(|rows| rows.first()?.first()?.as_deref())).map(drop)
    }

    /// Takes what the server says of its time; whether that was not what was thought.
    fn set_clock(&mut self, now: Option<&str>) -> Result<bool, Error> {
        let now = now.and_then(|now| now.parse::<i64>().ok()).ok_or(Error::Answer)?;
        let was = std::mem::replace(&mut self.skew, now - super::seconds());
        Ok((was - self.skew).abs() > SLACK)
    }

    /// A time on the server's clock, this long from now, as a constant.
    fn after(&self, time: Duration) -> String {
        let seconds = super::seconds() + self.skew + i64::try_from(time.as_secs()).unwrap_or_default();
        literal(&timestamp(seconds))
    }

    /// The clause that makes a membership one whose rights are used; before 16 all are.
    fn with_inherit(&self) -> &'static str {
        if self.version >= 16 { " WITH INHERIT TRUE, SET TRUE" } else { "" }
    }

    /// Drops leased roles whose sessions have ended, with what they own. `insist` ends backends that still serve them.
    pub(super) async fn drop_roles(
        &mut self,
        names: &[String],
        owner: Option<&str>,
        insist: bool,
    ) -> Result<Dropped, Error> {
        let mut dropped = Dropped::default();
        let served = self.served(names).await?;
        let mut free = Vec::new();
        for name in names {
            match served.get(name) {
                Some(pids) => {
                    if insist {
                        self.end_backends(name, pids).await?;
                    }
                    dropped.left.push(name.clone());
                }
                None => free.push(name.clone()),
            }
        }
        if free.is_empty() {
            return Ok(dropped);
        }
        // two nodes may drop the roles of the same dead one: in one order they wait for each other only one way
        free.sort();
        let all: Vec<String> = free.iter().map(|name| ident(name)).collect();
        match self.ask("dropping leased roles", &format!("DROP ROLE IF EXISTS {}", all.join(", "))).await {
            Ok(_) => dropped.gone.append(&mut free),
            Err(Error::Ask { source: ask::Error::Refused { .. }, .. }) => {
                for name in free {
                    let outcome = self.drop_owner(&name, owner).await;
                    match outcome {
                        Ok(()) => dropped.gone.push(name),
                        Err(error @ Error::Ask { source: ask::Error::Refused { .. }, .. }) => {
                            tracing::warn!(role = %name, error = %crate::chain(&error), "a leased role could not be dropped yet");
                            if insist && error.sqlstate_of_server() == Some(LOCKED) {
                                self.end_holders(&name).await?;
                            }
                            dropped.left.push(name);
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(dropped)
    }

    /// Drops a role that owns something, or that somebody else dropped already.
    async fn drop_owner(&mut self, name: &str, owner: Option<&str>) -> Result<(), Error> {
        let quoted = ident(name);
        let there = format!("SELECT 1::text FROM pg_catalog.pg_roles WHERE rolname = {}", literal(name));
        if self.ask("looking for a leased role", &there).await?.first().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let reassign = owner.map(|owner| format!("REASSIGN OWNED BY {quoted} TO {};", ident(owner)));
        let sql = format!(
            "GRANT {quoted} TO CURRENT_USER{}; {} DROP OWNED BY {quoted} CASCADE; DROP ROLE {quoted}",
            self.with_inherit(),
            reassign.unwrap_or_default()
        );
        self.ask("dropping what a leased role owns", &sql).await?;
        tracing::info!(role = %name, reassigned = owner.is_some(), "what a session made was dealt with");
        Ok(())
    }

    /// The backends that still serve some of these roles.
    async fn served(&mut self, names: &[String]) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let sql = format!(
            "SELECT r.rolname::text, a.pid::text FROM pg_catalog.pg_stat_get_activity(NULL) a \
             JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid WHERE r.rolname = ANY ({})",
            texts(names.iter().map(String::as_str))
        );
        let answers = self.ask("looking for backends of leased roles", &sql).await?;
        let mut served: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in answers.first().into_iter().flatten() {
            if let [Some(name), Some(pid)] = row.as_slice() {
                served.entry(name.clone()).or_default().push(pid.clone());
            }
        }
        Ok(served)
    }

    async fn end_backends(&mut self, name: &str, pids: &[String]) -> Result<(), Error> {
        let numbers: Vec<&str> =
            pids.iter().map(String::as_str).filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit())).collect();
        // only who has a role's rights may end its backends
        let sql = format!(
            "GRANT {} TO CURRENT_USER{}; SELECT pg_catalog.pg_terminate_backend(p)::text \
             FROM pg_catalog.unnest(ARRAY[{}]::int[]) p",
            ident(name),
            self.with_inherit(),
            numbers.join(",")
        );
        match self.ask("ending a backend of a leased role", &sql).await {
            Err(Error::Ask { source: source @ ask::Error::Refused { .. }, .. }) => {
                tracing::warn!(role = %name, error = %crate::chain(&source), "a backend of a leased role could not be ended");
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Ends the backends of leased roles that hold a role of somebody else's session: whoever grants it something in a
    /// transaction keeps it from being dropped for as long as that stays open.
    async fn end_holders(&mut self, name: &str) -> Result<(), Error> {
        let sql = format!(
            "SELECT DISTINCT u.rolname::text, l.pid::text FROM pg_catalog.pg_locks l \
             JOIN pg_catalog.pg_roles r ON r.oid = l.objid AND l.classid = 'pg_catalog.pg_authid'::pg_catalog.regclass \
             JOIN pg_catalog.pg_stat_get_activity(NULL) a ON a.pid = l.pid \
             JOIN pg_catalog.pg_roles u ON u.oid = a.usesysid \
             WHERE l.locktype = 'object' AND l.granted AND r.rolname = {} AND pg_catalog.starts_with(u.rolname::text, {})",
            literal(name),
            literal(LEASE)
        );
        let answers = self.ask("looking for who holds a leased role", &sql).await?;
        for row in answers.first().into_iter().flatten() {
            if let [Some(holder), Some(pid)] = row.as_slice() {
                tracing::warn!(role = %name, %holder, "a session holds the role of another that has ended, and is ended");
                self.end_backends(holder, std::slice::from_ref(pid)).await?;
            }
        }
        Ok(())
    }

    /// Every leased role: its name, and whether its password opens nothing any more.
    pub(super) async fn leases(&mut self) -> Result<Vec<(String, bool)>, Error> {
        let sql = format!(
            "SELECT rolname::text, (rolvaliduntil < pg_catalog.clock_timestamp())::text FROM pg_catalog.pg_roles \
             WHERE pg_catalog.starts_with(rolname::text, {})",
            literal(LEASE)
        );
        let answers = self.ask("listing leased roles", &sql).await?;
        let rows = answers.into_iter().next().unwrap_or_default();
        let read = |row: Vec<Option<String>>| {
            let mut row = row.into_iter();
            Some((row.next()??, row.next()?.is_some_and(|past| past == "true")))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// The databases of the server.
    pub(super) async fn databases(&mut self) -> Result<BTreeSet<u32>, Error> {
        let answers = self.ask("listing databases", "SELECT oid::bigint::text FROM pg_catalog.pg_database").await?;
        let oid = |row: &Vec<Option<String>>| row.first()?.as_ref()?.parse::<u32>().ok();
        let oids = answers.first().into_iter().flatten().map(|row| oid(row).ok_or(Error::Answer));
        oids.collect()
    }

    /// Owners that live: whose name a connection of a role bears that may make roles, in whatever database. A leased role may
    /// not, whatever it calls its connection.
    pub(super) async fn owners(&mut self) -> Result<BTreeSet<Owner>, Error> {
        let sql = format!(
            "SELECT DISTINCT a.application_name FROM pg_catalog.pg_stat_get_activity(NULL) a \
             JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid \
             WHERE pg_catalog.starts_with(a.application_name, {}) AND (r.rolcreaterole OR r.rolsuper)",
            literal(names::LIFE)
        );
        let answers = self.ask("looking for living nodes", &sql).await?;
        let rows = answers.into_iter().next().unwrap_or_default();
        Ok(rows.iter().filter_map(|row| names::living(row.first()?.as_ref()?)).collect())
    }
}

/// As `2026-11-21 05:50:39+00`.
pub(crate) fn timestamp(seconds: i64) -> String {
    let (day, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // days to a civil date, counted in eras of 400 years that begin in March
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02} {:02}:{:02}:{:02}+00", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_postgresql_reads_them() {
        assert_eq!(timestamp(0), "1970-01-01 00:00:00+00");
        assert_eq!(timestamp(951_827_696), "2000-02-29 12:34:56+00");
        assert_eq!(timestamp(1_795_240_239), "2026-11-21 05:50:39+00");
    }
}
