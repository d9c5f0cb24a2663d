//! `postern kms wrap`: makes of a private key a file that is of no use without the key management service.

use crate::arguments::{Global, Kms as Verb};
use crate::failure::Failure;
use crate::{config, output};
use anyhow::{Context as _, ensure};
use kit::config::{Problem, Problems};
use kit::kms::{self, Kms, read_secret};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Runs the verb.
pub fn run(global: &Global, verb: &Verb) -> Result<(), Failure> {
    let Verb::Wrap { from, to } = verb;
    let config = config::load(global)?;
    if config.kms.is_none() {
        let text = "must be set, with kms.key and kms.token_file: it says who wraps";
        return Err(Failure::Config(Problems(vec![Problem::new("kms.address", text)])));
    }
    wrap(&config.kms, from, to)?;
    let text = || {
        let (from, to) = (from.display(), to.display());
        format!("{to} holds the key of {from}, wrapped. Name it in the config, then delete {from} and its copies")
    };
    Ok(output::either(global.output, text, || json!({"from": from, "to": to}))?)
}

fn wrap(kms: &Kms, from: &Path, to: &Path) -> anyhow::Result<()> {
    let key = match read_secret(from, &Kms::none()) {
        Err(kms::Error::NoKms { path }) => anyhow::bail!("{} is wrapped already", path.display()),
        read => read?,
    };
    ensure!(!key.expose().is_empty(), "{} is empty", from.display());
    let wrapped = kms.wrap(&key).context("wrapping the key")?;
    // before anybody deletes the key: a token may wrap and not unwrap
    let again = kms.unwrap_text(&wrapped).context("unwrapping it again, to be sure")?;
    ensure!(again.expose() == key.expose(), "the key management service does not give back what it was given");
    let made = || format!("making {}", to.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).with_context(made)?;
    file.write_all(wrapped.as_bytes()).and_then(|()| file.write_all(b"\n")).with_context(made)?;
    file.sync_all().with_context(made)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(made)
}
