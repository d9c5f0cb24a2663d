//! Two gates and one node for the rest, over a real Apache Kafka, that trust each other.

use super::{Kafka, Postern, Postgres, folder};
use std::{fs, io::Write as _, process::Command};

/// Policies: everything goes, and deleting payments waits for data-owners.
pub const PAYMENTS_HELD: &str = r#"
@id("team:all") permit (principal, action, resource);
@id("team:payments") @hold("data-owners") @reason("payments are kept")
forbid (principal, action == Action::"delete", resource == Table::"public.payments")
unless { context.approved };
"#;

/// Nothing of it runs but the database and the broker.
pub struct Pair {
    pub gates: [Postern; 2],
    /// Recorder, indexer and API, as the test starts them.
    pub back: Postern,
    pub postgres: Postgres,
    pub kafka: Kafka,
    pub folder: tempfile::TempDir,
}

impl Pair {
    /// Configures them; `control` is what the section `[control]` has besides.
    pub fn configure(control: &str) -> Self {
        let folder = folder();
        let postgres = Postgres::start(folder.path());
        let kafka = Kafka::start(folder.path());
        let broker = format!("[kafka]\nbrokers = [\"127.0.0.1:{}\"]\npartitions = 4\n", kafka.port);
        let configure = |name: &str| Postern::configure(folder.path(), name, &postgres, &broker);
        let (gates, back) = (["gate-1", "gate-2"].map(configure), configure("back"));
        // one development issuer for all: its key is in the data folder of each
        gates[0].run(&["token", "mint", "--subject", "first", "--group", "agents"]);
        for other in ["gate-2", "back"] {
            let target = folder.path().join(other);
            fs::create_dir_all(&target).unwrap();
            let keys = folder.path().join("gate-1/keys");
            assert!(Command::new("cp").arg("-a").arg(&keys).arg(target).status().unwrap().success());
        }
        // but a signing key for each, which the others trust
        let nodes = [&gates[0], &gates[1], &back];
        let trusted = nodes.map(|node| node.run(&["control", "key"]).trim().to_owned()).join(", ");
        for node in nodes {
            let mut config = fs::File::options().append(true).open(&node.config).unwrap();
            writeln!(config, "[control]\ntrusted_keys = {{ {trusted} }}\n{control}").unwrap();
        }
        Self { gates, back, postgres, kafka, folder }
    }
}
