//! An external witness keeps the checkpoints of a real gate: it gets each of them, also after it was away; an archive that was
//! cut off with everything that told of it is found by it alone; and what is false it does not take.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};
use support::{Postern, Postgres, Process, eventually, folder, free_port, secret_file, verifier};

/// The reference witness, over TLS and with a token.
struct Witness {
    process: Option<Process>,
    folder: PathBuf,
    port: u16,
}

impl Witness {
    /// Not running yet.
    fn prepare(folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.join("witness.pem"), made.cert.pem()).unwrap();
        fs::write(folder.join("witness-key.pem"), made.signing_key.serialize_pem()).unwrap();
        secret_file(folder, "witness-token", "a-token-of-the-witness\n");
        Self { process: None, folder: folder.to_owned(), port: free_port() }
    }

    fn start(&mut self) {
        let at = |name: &str| self.folder.join(name);
        let mut command = verifier("postern-witness");
        command.arg(at("witness")).arg("--keys").arg(at("keys.txt"));
        command.args(["--listen", &format!("localhost:{}", self.port)]);
        command.arg("--cert").arg(at("witness.pem")).arg("--key").arg(at("witness-key.pem"));
        command.arg("--token-file").arg(at("witness-token"));
        let mut process = Process::start("witness", &mut command, &at("witness.log"));
        let port = self.port;
        process.wait_for("listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        self.process = Some(process);
    }

    fn stop(&mut self) {
        drop(self.process.take());
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    fn section(&self) -> String {
        let (token, ca) = (self.folder.join("witness-token"), self.folder.join("witness.pem"));
        format!("[archive.witness]\nurl = \"{}\"\ntoken_file = {token:?}\nca_file = {ca:?}\n", self.url())
    }

    fn kept(&self) -> Vec<PathBuf> {
        files(&self.folder.join("witness/checkpoint"))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("witness.log")).unwrap()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    // what is being written has another name
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

fn bytes(files: &[PathBuf]) -> Vec<Vec<u8>> {
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn metric(postern: &Postern, name: &str) -> i64 {
    let mut page = ureq::get(format!("http://127.0.0.1:{}/metrics", postern.metrics)).call().unwrap();
    let page = page.body_mut().read_to_string().unwrap();
    let line = page.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("{name} in {page}")).split(' ').nth(1).unwrap().parse().unwrap()
}

struct Site {
    folder: tempfile::TempDir,
    postern: Postern,
    witness: Witness,
    _postgres: Postgres,
}

impl Site {
    fn new() -> Self {
        let folder = folder();
        let postgres = Postgres::start(folder.path());
        let witness = Witness::prepare(folder.path());
        let more = format!("[archive]\ncheckpoint_seconds = 1\n{}", witness.section());
        let postern = Postern::configure(folder.path(), "postern", &postgres, &more);
        fs::write(folder.path().join("keys.txt"), postern.run(&["audit", "key"])).unwrap();
        Self { folder, postern, witness, _postgres: postgres }
    }

    fn archived(&self) -> Vec<PathBuf> {
        files(&self.postern.data().join("archive/checkpoint"))
    }

    /// One more statement, and the checkpoint of it.
    fn attest(&self, token: &str) {
        let before = self.archived().len();
        self.postern.sql(token, "select id, name from customers order by id limit 3");
        eventually("a checkpoint is made", Duration::from_secs(30), || (self.archived().len() > before).then_some(()));
    }

    /// Waits until the witness has what the archive has.
    fn caught_up(&self) {
        eventually("the witness has all", Duration::from_secs(60), || {
            let kept = self.witness.kept();
            let last = i64::try_from(kept.len()).unwrap() - 1;
            let counted = metric(&self.postern, "recorder_witness_last_number") == last;
            (counted && bytes(&kept) == bytes(&self.archived())).then_some(())
        });
    }

    fn verify(&self, more: &[&str]) -> Output {
        let keys = self.folder.path().join("keys.txt");
        self.postern.command(&["audit", "verify", "--keys", keys.to_str().unwrap()]).args(more).output().unwrap()
    }

    fn retain(&self) -> Output {
        self.postern.command(&["audit", "retain"]).output().unwrap()
    }

    /// With what the witness says.
    fn verify_witnessed(&self) -> Output {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let (url, token, ca) = (self.witness.url(), at("witness-token"), at("witness.pem"));
        self.verify(&["--witness", &url, "--witness-token-file", &token, "--witness-ca", &ca])
    }
}

#[test]
fn a_witness_gets_every_checkpoint_and_an_archive_that_was_cut_off_is_found_by_it() {
    let mut site = Site::new();
    site.witness.start();
    let process = site.postern.start("up");
    let token = site.postern.token("billing-bot", "agents");
    for _ in 0..2 {
        site.attest(&token);
        site.caught_up();
    }
    assert_eq!(metric(&site.postern, "recorder_witness_failing"), 0);

    // it is away: nothing else is the worse for it, and it is told
    site.witness.stop();
    for _ in 0..3 {
        site.attest(&token);
    }
    eventually("it is told", Duration::from_secs(30), || {
        (metric(&site.postern, "recorder_witness_failing") == 1).then_some(())
    });
    assert!(metric(&site.postern, "recorder_witness_failures_total") > 0);
    assert_eq!(metric(&site.postern, "recorder_witness_refused"), 0);
    assert!(site.postern.process_log().contains("the witness lacks checkpoints, will try again"));
    assert!(site.archived().len() >= site.witness.kept().len() + 3, "the archive goes on");
    let away = site.verify_witnessed();
    assert_eq!(away.status.code(), Some(1), "{}", text(&away));
    assert!(text(&away).contains("asking the witness"), "{}", text(&away));
    let disposed = site.retain();
    assert_eq!(disposed.status.code(), Some(1), "{}", text(&disposed));
    assert!(text(&disposed).contains("--checkpoint FILE does without it"), "{}", text(&disposed));

    // it is back, and gets what it lacks
    site.witness.start();
    site.caught_up();
    eventually("all is well", Duration::from_secs(10), || {
        (metric(&site.postern, "recorder_witness_failing") == 0).then_some(())
    });

    // the recorder's last checkpoint reaches it too
    site.postern.sql(&token, "select 1");
    process.stop();
    assert_eq!(bytes(&site.witness.kept()), bytes(&site.archived()));
    let good = site.verify_witnessed();
    assert!(good.status.success(), "{}", text(&good));
    let last = site.archived().len() - 1;
    let told = format!("a witness keeps checkpoint {last}, and the archive has it");
    assert!(text(&good).contains(&told), "{}", text(&good));
    let disposed = site.retain();
    assert!(disposed.status.success(), "{}", text(&disposed));

    // the last commit, with every checkpoint that tells of it: the archive alone does not show it
    let archive = site.postern.data().join("archive");
    let aside = site.folder.path().join("aside");
    fs::create_dir(&aside).unwrap();
    for gone in [files(&archive.join("manifest/000000")).pop().unwrap(), site.archived().pop().unwrap()] {
        fs::rename(&gone, aside.join(gone.parent().unwrap().file_name().unwrap())).unwrap();
    }
    let alone = site.verify(&[]);
    assert!(alone.status.success(), "{}", text(&alone));
    let found = site.verify_witnessed();
    assert_eq!(found.status.code(), Some(5), "{}", text(&found));
    let told = format!("does not have the checkpoint {last} that the witness keeps: it ends with {}", last - 1);
    assert!(text(&found).contains(&told), "{}", text(&found));
    let disposed = site.retain();
    assert_eq!(disposed.status.code(), Some(1), "{}", text(&disposed));
    assert!(text(&disposed).contains("it is not the checkpoint that was given"), "{}", text(&disposed));

    // a recorder on it is told too, and what it signs then is not taken: nothing is written over
    let kept = bytes(&site.witness.kept());
    let process = site.postern.start("up");
    eventually("the recorder says so", Duration::from_secs(30), || {
        (metric(&site.postern, "recorder_witness_refused") == 1).then_some(())
    });
    assert!(site.postern.process_log().contains("it was cut off; keep it as it is"), "{}", site.postern.process_log());
    site.attest(&token);
    site.attest(&token);
    let told = format!("the witness does not take checkpoint {last}: another");
    eventually("it says that it is refused", Duration::from_secs(60), || {
        site.postern.process_log().contains(&told).then_some(())
    });
    process.stop();
    assert_eq!(bytes(&site.witness.kept()), kept);
    assert!(site.witness.log().contains(&format!("\"PUT /checkpoint/{last} HTTP/1.1\" 409")), "{}", site.witness.log());
    let found = site.verify_witnessed();
    assert_eq!(found.status.code(), Some(5), "{}", text(&found));
    assert!(text(&found).contains(&format!("the checkpoint {last} that the witness keeps")), "{}", text(&found));
    assert!(!site.postern.process_log().contains("a-token-of-the-witness"));
}

#[test]
fn a_witness_that_has_nothing_or_does_not_let_us_in_proves_nothing() {
    let mut site = Site::new();
    site.witness.start();
    let none = site.verify_witnessed();
    assert_eq!(none.status.code(), Some(1), "{}", text(&none));
    assert!(text(&none).contains("keeps no checkpoint yet"), "{}", text(&none));
    let stranger = site.verify(&["--witness", &site.witness.url()]);
    assert_eq!(stranger.status.code(), Some(1), "{}", text(&stranger));
    assert!(text(&stranger).contains("invalid peer certificate"), "{}", text(&stranger));
    let ca = site.folder.path().join("witness.pem");
    let refused = site.verify(&["--witness", &site.witness.url(), "--witness-ca", ca.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("status 401"), "{}", text(&refused));
    let plain = site.verify(&["--witness", "http://witness.example.org"]);
    assert_eq!(plain.status.code(), Some(1), "{}", text(&plain));
    assert!(text(&plain).contains("--witness must be https"), "{}", text(&plain));

    // a recorder's config says so before anything is started
    site.postern.change(&site.witness.url(), "http://witness.example.org");
    let checked = site.postern.command(&["config", "check"]).output().unwrap();
    assert_eq!(checked.status.code(), Some(3), "{}", text(&checked));
    assert!(text(&checked).contains("archive.witness.url: must be https"), "{}", text(&checked));
}
