//! A PostgreSQL server of a test's own, spoken to by psql.
#![allow(dead_code, reason = "each test uses a part")]

use judge::sql::{Catalog, catalog};
use std::{
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
};

const BIN: &str = "/usr/lib/postgresql/15/bin";

pub struct Postgres {
    folder: tempfile::TempDir,
    port: u16,
}

impl Postgres {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { folder, port };
        server.control(&["initdb", "-D", server.data().to_str().unwrap(), "-A", "trust", "-U", "postgres"]);
        let options = format!("-p {port} -k '' -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=16MB");
        let log = server.folder.path().join("log");
        let (data, log) = (server.data(), log.to_str().unwrap().to_owned());
        server.control(&["pg_ctl", "-D", data.to_str().unwrap(), "-o", &options, "-l", &log, "-w", "start"]);
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn control(&self, arguments: &[&str]) {
        let program = format!("{BIN}/{}", arguments[0]);
        let done = Command::new("runuser")
            .args(["-u", "postgres", "--", &program])
            .args(&arguments[1..])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(done.success(), "{arguments:?}");
    }

    /// Runs SQL as psql does; the output and whether it succeeded.
    pub fn psql(&self, database: &str, options: &[&str], sql: &str) -> (String, bool) {
        let done = Command::new(format!("{BIN}/psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-U",
                "postgres",
                "-d",
                database,
            ])
            .args(options)
            .args(["-v", "ON_ERROR_STOP=1", "-c", sql])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (String::from_utf8_lossy(&done.stdout).into_owned(), done.status.success())
    }

    pub fn file(&self, database: &str, path: &str) {
        let done = Command::new(format!("{BIN}/psql"))
            .args([
                "-X",
                "-q",
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-U",
                "postgres",
                "-d",
                database,
                "-f",
                path,
            ])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// A snapshot of a database's catalog.
    pub fn catalog(&self, database: &str) -> Catalog {
        let results: Vec<catalog::Rows> = catalog::QUERIES
            .iter()
            .map(|(part, sql)| {
                let (text, good) = self.psql(database, &["-z", "-0", "-P", "null=\u{1}"], sql);
                assert!(good, "{part:?}");
                let (fields, mut rows) = (text.matches('\0').count(), Vec::new());
                assert!(fields > 0 || text.is_empty());
                let width = width(*part);
                let cells: Vec<_> = text.split('\0').collect();
                for row in cells[..cells.len() - cells.len() % width].chunks(width) {
                    rows.push(row.iter().map(|cell| (*cell != "\u{1}").then(|| (*cell).to_owned())).collect());
                }
                rows
            })
            .collect();
        Catalog::build(1, &results).unwrap()
    }
}

fn width(part: catalog::Part) -> usize {
    use catalog::Part;
    match part {
        Part::Schemas | Part::Views | Part::Inheritance | Part::DomainChecks | Part::Casts => 2,
        Part::Generated | Part::Operators => 3,
        Part::Statistics => 4,
        Part::Constraints => 5,
        Part::Columns | Part::Indexes => 6,
        Part::Relations | Part::Types => 8,
        Part::Functions => 14,
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.data();
        self.control(&["pg_ctl", "-D", data.to_str().unwrap(), "-m", "immediate", "stop"]);
    }
}
