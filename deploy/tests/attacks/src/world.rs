//! What is attacked: a fresh PostgreSQL with the corpus' schema, and a gate before it that logs in as the tables' owner.

use crate::{
    admin::{DATABASE, OWNER, TEMPLATE},
    wire::Target,
};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long anything may take to start or to end.
const LIMIT: Duration = Duration::from_secs(120);

/// Where the cases are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// A process that ends with its owner.
pub struct Process {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Process {
    fn start(name: &'static str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let errors = file.try_clone().context("a second handle of a log")?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        Ok(Self { child: child.with_context(|| format!("starting {name}"))?, name, log })
    }

    fn wait(&mut self, mut ready: impl FnMut() -> bool) -> Result<()> {
        let start = Instant::now();
        while !ready() {
            let ended = self.child.try_wait().with_context(|| format!("looking at {}", self.name))?;
            if let Some(status) = ended {
                bail!("{} ended early, {status}:\n{}", self.name, self.said());
            }
            ensure!(start.elapsed() < LIMIT, "{} was not ready within {LIMIT:?}:\n{}", self.name, self.said());
            std::thread::park_timeout(Duration::from_millis(30));
        }
        Ok(())
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().context("running kill")?;
        ensure!(status.success(), "kill {signal} {pid} ended with {status}");
        Ok(())
    }

    fn stop(&mut self, signal: &str) -> Result<()> {
        self.signal(signal)?;
        let start = Instant::now();
        while self.child.try_wait().with_context(|| format!("looking at {}", self.name))?.is_none() {
            ensure!(start.elapsed() < LIMIT, "{} did not end:\n{}", self.name, self.said());
            std::thread::park_timeout(Duration::from_millis(30));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let end = self.stop("-INT").or_else(|_| self.child.kill().context("killing"));
            if let Err(error) = end.and_then(|()| self.child.wait().context("waiting")) {
                eprintln!("attacks: {} may still run: {error:#}", self.name);
            }
        }
    }
}

/// The database and the gate.
pub struct World {
    // in the order in which they end
    gate: Option<Process>,
    _postgres: Process,
    folder: tempfile::TempDir,
    binary: PathBuf,
    token: String,
    port: u16,
    database: u16,
    metrics: u16,
    key: String,
    keeping: Keeping,
}

/// What the record keeps of what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// All, as it was.
    All,
    /// All, under a key.
    Sealed,
    /// No value that a statement names.
    NoValues,
}

impl World {
    /// Starts both.
    pub fn start(bin: Option<&Path>, binary: Option<&Path>, keeping: Keeping) -> Result<Self> {
        let binary = match (binary, std::env::var_os("POSTERN_BINARY")) {
            (Some(binary), _) => binary.to_owned(),
            (None, Some(binary)) => PathBuf::from(binary),
            (None, None) => bail!("which gate? name it with --postern or POSTERN_BINARY"),
        };
        let folder = tempfile::Builder::new().prefix("postern-attacks").tempdir().context("making a folder")?;
        // the user postgres must be able to enter it
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).context("opening a folder")?;
        let schema = crate::world::folder().join("schema.sql");
        let (postgres, database) = postgres(folder.path(), bin, TEMPLATE, Some(&schema))?;
        let (port, api, metrics) = (free_port()?, free_port()?, free_port()?);
        let text = fs::read_to_string(crate::world::folder().join("gate.toml")).context("reading gate.toml")?;
        let text = [("port", port), ("api", api), ("metrics", metrics), ("database_port", database)]
            .iter()
            .fold(text, |text, (name, port)| text.replace(&format!("{{{name}}}"), &port.to_string()))
            .replace("{owner}", OWNER)
            .replace("{folder}", &folder.path().display().to_string());
        let asking = match keeping {
            Keeping::All => None,
            Keeping::Sealed => Some(("sealing", "seal_payloads = true")),
            Keeping::NoValues => Some(("tokens", "recorded_values = \"none\"")),
        };
        let text = match asking {
            None => text,
            Some((section, asks)) => {
                let key = folder.path().join("sealing.key");
                let section = format!("[{section}]\nkey_file = \"{}\"\n", key.display());
                text.replace("[[resources]]", &format!("{section}\n[[resources]]\n{asks}"))
            }
        };
        fs::write(folder.path().join("gate.toml"), text).context("writing gate.toml")?;
        let key: String = (0..32).map(|byte| format!("{byte:02x}")).collect();
        for (name, key) in [("masking.key", &key), ("sealing.key", &key.chars().rev().collect())] {
            let path = folder.path().join(name);
            fs::write(&path, key).with_context(|| format!("writing {name}"))?;
            let closed = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
            closed.with_context(|| format!("closing {name}"))?;
        }
        let mut world = Self {
            gate: None,
            _postgres: postgres,
            folder,
            binary,
            token: String::new(),
            port,
            database,
            metrics,
            key,
            keeping,
        };
        // the gate reads the catalog of the database at its start
        crate::admin::Admin::new(world.target()).reset()?;
        let mut gate = Process::start("gate", world.command().arg("up"), world.folder.path())?;
        gate.wait(|| answers(metrics))?;
        world.gate = Some(gate);
        world.token = world.run(&["token", "mint", "--subject", "agent", "--group", "agents"])?.trim().to_owned();
        Ok(world)
    }

    /// The database itself, as its superuser.
    pub fn target(&self) -> Target {
        Target {
            host: "127.0.0.1".to_owned(),
            port: self.database,
            user: "postgres".to_owned(),
            database: DATABASE.to_owned(),
            password: String::new(),
            application: String::new(),
        }
    }

    /// The gate, as the agent. The sessions carry the case's name, refused ones as the user that they asked for: who an
    /// agent is, says its token.
    pub fn gate(&self, case: &str) -> Target {
        let (user, application) = (case.to_owned(), case.to_owned());
        Target { port: self.port, user, password: self.token.clone(), application, ..self.target() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(self.folder.path().join("gate.toml"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command().args(arguments).output().with_context(|| format!("running {arguments:?}"))?;
        ensure!(output.status.success(), "postern {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).context("what a command says is UTF-8")
    }

    /// The node's folder.
    pub fn node(&self) -> PathBuf {
        self.folder.path().join("node")
    }

    /// Everything that the gate logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("gate.log")).unwrap_or_default()
    }

    /// What the gate's metrics say now.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metrics(&self) -> Result<String> {
        get(self.metrics, "/metrics").context("reading the metrics")
    }

    /// What may stand nowhere: the agent's credential, and the key of masking.
    pub fn credentials(&self) -> [(&'static str, String); 3] {
        let sealing = self.key.chars().rev().collect();
        [
            ("the agent's token", self.token.clone()),
            ("the masking key", self.key.clone()),
            ("the key of the record", sealing),
        ]
    }

    /// What the record keeps.
    pub fn keeping(&self) -> Keeping {
        self.keeping
    }

    /// Ends the gate; everything that its archive holds.
    pub fn end(&mut self) -> Result<Vec<Value>> {
        if let Some(mut gate) = self.gate.take() {
            gate.stop("-TERM")?;
            if std::env::var_os("POSTERN_TEST_KEEP").is_some() {
                eprintln!("{}", gate.said());
            }
        }
        let text = self.run(&["events", "tail", "--from-start", "--no-follow", "-o", "json"])?;
        text.lines().map(|line| serde_json::from_str(line).context("an event is JSON")).collect()
    }
}

/// A PostgreSQL of our own that asks nobody for a password, and its port.
///
/// # Errors
/// It cannot be started, or the file cannot be loaded.
pub fn postgres(folder: &Path, bin: Option<&Path>, database: &str, load: Option<&Path>) -> Result<(Process, u16)> {
    let script = self::folder().join("../../services/postgres");
    let data = folder.join("postgres");
    let mut command = Command::new(script);
    command.args(["start", "--trust", "--database", database, "-c", "fsync=off", "-c", "max_connections=100"]);
    command.args(["-c", "shared_preload_libraries=pg_stat_statements", "--dir"]).arg(&data);
    if let Some(file) = load {
        command.arg("--load").arg(file);
    }
    if let Some(bin) = bin {
        command.arg("--bin").arg(bin);
    }
    let mut process = Process::start("postgres", &mut command, folder)?;
    process.wait(|| data.join("port").exists())?;
    let port = fs::read_to_string(data.join("port")).context("reading the port")?;
    Ok((process, port.trim().parse().context("a port")?))
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("looking for a free port")?;
    Ok(listener.local_addr().context("the port that was found")?.port())
}

/// Whether `/readyz` says 200.
fn answers(port: u16) -> bool {
    get(port, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn get(port: u16, path: &str) -> std::io::Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
