//! What the session's names mean: the catalog as the server has it now, and the search path.

use crate::relay::{Seen, Server};
use anyhow::{Context as _, Result};
use judge::sql::{
    self, Catalog, Context, Facts, Limits,
    catalog::{Kind, Part, QUERIES, Rows},
};

/// One session's view.
pub struct Session {
    catalog: Catalog,
    path: Vec<String>,
    rows: Vec<Rows>,
    stale: bool,
    known: bool,
    epoch: u64,
}

impl Default for Session {
    fn default() -> Self {
        Self { catalog: Catalog::default(), path: Vec::new(), rows: Vec::new(), stale: true, known: false, epoch: 0 }
    }
}

/// Kinds of statements that leave names as they are.
const HARMLESS: [&str; 20] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "EXPLAIN",
    "VALUES",
    "FETCH",
    "MOVE",
    "CLOSE",
    "COPY",
    "SHOW",
    "DECLARE CURSOR",
    "ANALYZE",
    "BEGIN",
    "VACUUM",
    "EXECUTE",
    "COMMENT",
    "LOCK TABLE",
    "REINDEX",
];

impl Session {
    /// Reads the catalog again if a statement may have changed it.
    pub fn refresh(&mut self, server: &mut Server) -> Result<()> {
        if !self.stale {
            return Ok(());
        }
        // the question for views empties the search path up to the end of its transaction
        let within = server.status == b'T';
        if within && server.ask("SAVEPOINT postern_regress")?.is_none() {
            return Ok(());
        }
        let path = server.ask("SELECT pg_catalog.unnest(pg_catalog.current_schemas(true))::text")?;
        self.path =
            path.context("the search path")?.into_iter().filter_map(|row| row.into_iter().next()).flatten().collect();
        let mut all = Vec::new();
        for (part, sql) in QUERIES {
            // how common values are says only how many rows a write may concern, and takes longest to read
            if *part == Part::Statistics {
                all.push(Rows::new());
                continue;
            }
            // temporary tables belong to one session: the gate's snapshot leaves them out, this one is that session's
            let sql = sql.replace(" AND c.relpersistence <> 't'", "");
            all.push(server.ask(&sql)?.with_context(|| format!("reading {part:?}"))?);
        }
        if within {
            server.ask("ROLLBACK TO SAVEPOINT postern_regress")?;
            server.ask("RELEASE SAVEPOINT postern_regress")?;
        }
        if all != self.rows {
            self.epoch += 1;
            self.catalog = Catalog::build(self.epoch, &all).context("building a snapshot")?;
            self.rows = all;
        }
        self.stale = false;
        self.known = true;
        Ok(())
    }

    /// What a text touches.
    ///
    /// # Errors
    /// [`sql::Error`].
    pub fn analyze(&self, text: &str) -> Result<Vec<Facts>, sql::Error> {
        let limits = Limits::default();
        sql::analyze(text, &Context { catalog: &self.catalog, search_path: &self.path, limits, tripwire: true })
    }

    /// It touches a temporary view: the server prints such a view's definition without the schemas of the temporary
    /// relations in it, and the gate's snapshot has neither.
    pub fn is_blind_for(&self, facts: &Facts) -> bool {
        facts.relations.iter().filter(|relation| relation.name.starts_with("pg_temp")).any(|relation| {
            let found = relation.id.and_then(|id| self.catalog.relation(id));
            found.is_some_and(|relation| relation.kind == Kind::View)
        })
    }

    /// The names are those of now.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// A statement was accepted, or refused: then it left names as they are.
    pub fn after(&mut self, seen: Option<&Seen>, accepted: bool) {
        let harmless = |facts: &Facts| HARMLESS.contains(&facts.kind.as_str()) && facts.functions.is_empty();
        self.stale |= accepted && !seen.is_some_and(|seen| seen.facts.iter().all(harmless));
    }
}
