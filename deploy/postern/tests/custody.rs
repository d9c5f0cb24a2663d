//! What the custody of the archive promises: what is held stays, what retention lets go is gone, and the record of a real gate is
//! proved before and after by both verifiers; and what each of them finds when somebody was at the custody log.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

#[path = "support/bucket.rs"]
mod bucket;
mod support;

use bucket::{PREFIX, S3};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};
use support::{Postern, Postgres, eventually, folder, verifier};

const RULES: &str = r#"
[[archive.retention]]
class = "bots"
identity_kind = "machine"
hours = 0
then = "delete"

[[archive.retention]]
class = "rest"
hours = 0
then = "delete"
"#;

/// An archive that ended, of two agents one after the other.
struct Site {
    folder: tempfile::TempDir,
    postern: Postern,
    keys: PathBuf,
    // ends when all is done
    _postgres: Postgres,
}

impl Site {
    fn new() -> Self {
        let folder = folder();
        let postgres = Postgres::start(folder.path());
        let archive = format!("[archive]\ncheckpoint_seconds = 1\nflush_interval_ms = 50\n{RULES}");
        let postern = Postern::configure(folder.path(), "postern", &postgres, &archive);
        let keys = folder.path().join("keys.txt");
        fs::write(&keys, postern.run(&["audit", "key"])).unwrap();
        for agent in ["billing-bot", "ledger-bot"] {
            let process = postern.start("up");
            let token = postern.token(agent, "agents");
            for _ in 0..3 {
                postern.sql(&token, "select id, name, card_number from customers order by id limit 3");
            }
            eventually("the statements are found", Duration::from_secs(30), || {
                (postern.found(&format!("type:statement identity:{agent}")) >= 3).then_some(())
            });
            process.stop();
        }
        Self { folder, postern, keys, _postgres: postgres }
    }

    fn archive(&self) -> PathBuf {
        self.postern.data().join("archive")
    }

    fn own(&self) -> Output {
        self.postern.command(&["audit", "verify", "--keys", self.keys.to_str().unwrap()]).output().unwrap()
    }

    fn other(&self) -> Output {
        let mut python = verifier("postern-verify");
        python.arg("archive").arg(self.archive());
        python.arg("--keys").arg(&self.keys).output().unwrap()
    }

    /// Both programs say that it holds, and say this of it.
    fn holds(&self, told: &str) {
        for output in [self.own(), self.other()] {
            assert!(output.status.success() && text(&output).contains(told), "{told}: {}", text(&output));
        }
    }

    /// Both programs find this.
    fn found(&self, told: &str) {
        for (output, status) in [(self.own(), 5), (self.other(), 1)] {
            assert_eq!(output.status.code(), Some(status), "{}", text(&output));
            assert!(text(&output).contains(told), "{told}: {}", text(&output));
        }
    }

    fn sessions(&self, agent: &str) -> Vec<String> {
        let listed = self.postern.run(&["session", "ls", "--identity", agent, "-o", "json"]);
        let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
        listed.iter().map(|session| session["session"].as_str().unwrap().to_owned()).collect()
    }

    fn retain(&self, more: &[&str]) -> Value {
        serde_json::from_str(&self.postern.run(&[&["audit", "retain", "-o", "json"], more].concat())).unwrap()
    }

    /// Does something to a file, looks, and puts it back.
    fn while_changed(&self, name: &str, change: impl FnOnce(&Path), told: &str) {
        let path = self.archive().join(name);
        let before = fs::read(&path).ok();
        change(&path);
        self.found(told);
        match before {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// An export of what a question finds has what is left, and says what is gone; one of a session that is gone fails.
fn exported(site: &Site, gone: &str, left: &[String]) {
    let (into, bundle) = (site.folder.path().join("exported"), site.folder.path().join("left.zip"));
    let why = format!("{gone}: deleted by retention on 20");
    let table = ["--format", "csv"];
    let bundled = ["--bundle", bundle.to_str().unwrap()];
    let each = ["--into", into.to_str().unwrap(), "--format", "csv"];
    for form in [&table[..], &bundled, &each] {
        let found =
            site.postern.command(&[&["audit", "export", "who read card_number"], form].concat()).output().unwrap();
        assert!(found.status.success() && text(&found).contains(&format!("left out: {why}")), "{}", text(&found));
        let rows = String::from_utf8_lossy(&found.stdout);
        assert!(form != table || left.iter().all(|session| rows.contains(session)) && !rows.contains(gone), "{rows}");
        if form == each {
            fs::remove_dir_all(&into).unwrap();
        }
        let named = site.postern.command(&[&["session", "export", &left[0], gone], form].concat()).output().unwrap();
        assert_eq!(named.status.code(), Some(4), "{form:?}: {}", text(&named));
        assert!(text(&named).contains(&why) && named.stdout.is_empty() == (form != each), "{}", text(&named));
    }
    assert!(into.join(format!("{}.csv", left[0])).exists());
    let mut proved = verifier("postern-verify");
    let proved = proved.arg("bundle").arg(&bundle).arg("--keys").arg(&site.keys).output().unwrap();
    assert!(text(&proved).contains(&format!("the bundle holds: {} sessions", left.len())), "{}", text(&proved));
}

/// The files of a folder and their bytes, by their names from there.
fn files(archive: &Path, folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(archive.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap()), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn what_is_held_stays_what_is_due_goes_and_both_programs_prove_the_rest() {
    let site = Site::new();
    site.holds("the archive holds");
    let (billing, ledger) = (site.sessions("billing-bot"), site.sessions("ledger-bot"));
    let before = files(&site.archive(), "data/000000");
    let checked = site.postern.run(&["config", "check"]);
    assert!(checked.contains("retention: class bots: 0 days after the end, then delete; programs only"), "{checked}");

    let placed = ["audit", "hold", "place", "case 7", "--reason", "asked for by court", "--subject", "ledger-bot"];
    let told = site.postern.run(&[&placed[..], &["--by", "ada"]].concat());
    assert!(told.contains(&format!("by ada; it means {} sessions that are archived", ledger.len())), "{told}");
    let listed = site.postern.run(&["audit", "hold", "ls"]);
    assert!(listed.contains("case 7") && listed.contains("ada") && listed.contains("subject ledger-bot"), "{listed}");

    let plan = site.retain(&["--dry-run"]);
    let bots = &plan["plan"]["classes"][0];
    assert_eq!(bots["held"].as_array().unwrap().len(), ledger.len(), "{plan}");
    let due = bots["delete"].as_array().unwrap().len();
    assert!(due >= 1 && files(&site.archive(), "data/000000") == before, "{plan}");
    let outcome = site.retain(&[]);
    assert_eq!(outcome["outcome"]["plan"]["classes"][0]["delete"], bots["delete"]);
    let after = files(&site.archive(), "data/000000");
    assert!(after.len() < before.len() && after.iter().all(|file| before.contains(file)));
    site.holds("deleted by retention: ");
    assert!(site.retain(&[])["outcome"]["entries"].as_array().unwrap().is_empty());

    // what is asked of a session that is gone says so, and of one that is held says all
    let gone = site.postern.command(&["session", "play", &billing[0]]).output().unwrap();
    assert_eq!(gone.status.code(), Some(4), "{}", text(&gone));
    assert!(
        text(&gone).contains("deleted by retention on 20") && text(&gone).contains("(class bots, custody entry 1)")
    );
    let shown = site.postern.run(&["session", "show", &billing[0]]);
    assert!(shown.contains("billing-bot") && shown.contains("deleted by retention on 20"), "{shown}");
    let shown: Value =
        serde_json::from_str(&site.postern.run(&["session", "show", &billing[0], "-o", "json"])).unwrap();
    assert_eq!(shown["disposed"]["deleted"]["class"], "bots");
    assert!(site.postern.run(&["session", "play", &ledger[0]]).contains("select id, name"));
    exported(&site, &billing[0], &ledger);

    // a new index has what is left, and the next checkpoint covers the custody log
    fs::remove_dir_all(site.postern.data().join("index")).unwrap();
    let process = site.postern.start("up");
    let asked = ["audit", "search", "type:statement identity:ledger-bot"];
    eventually("the index is built again", Duration::from_secs(30), || {
        // there is none at all until the indexer has begun
        let begun = site.postern.command(&asked).output().unwrap().status.success();
        (begun && site.postern.found("type:statement identity:ledger-bot") >= 3).then_some(())
    });
    assert_eq!(site.postern.found("type:statement identity:billing-bot"), 0);
    process.stop();
    let log = site.postern.process_log();
    let filled = log.lines().rfind(|line| line.contains("the search index was filled from the archive")).unwrap();
    assert!(filled.contains("deleted=") && !filled.ends_with("deleted=0"), "{filled}");
    site.holds("deleted by retention: ");

    tampered(&site, &before, &after, &billing[0]);

    let kept = site.folder.path().join("kept.json");
    fs::write(&kept, site.postern.run(&["audit", "checkpoint"])).unwrap();
    site.postern.run(&["audit", "hold", "release", "case 7", "--reason", "closed"]);
    let nothing = site.postern.command(&["audit", "hold", "release", "case 7", "--reason", "again"]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(4), "{}", text(&nothing));
    let (kept, keys) = (kept.to_str().unwrap(), site.keys.to_str().unwrap());
    let outcome = site.retain(&["--keys", keys, "--checkpoint", kept]);
    assert!(!outcome["outcome"]["entries"].as_array().unwrap().is_empty(), "{outcome}");
    site.holds("deleted by retention: ");
    let gone = site.postern.command(&["session", "play", &ledger[0]]).output().unwrap();
    assert!(text(&gone).contains("deleted by retention on "), "{}", text(&gone));
    let listed = site.postern.run(&["audit", "custody"]);
    assert!(listed.contains("held for case 7: subject ledger-bot") && listed.contains("released: case 7"), "{listed}");
}

#[test]
fn in_a_bucket_who_may_not_delete_leaves_it_to_who_may() {
    let folder = folder();
    let postgres = Postgres::start(folder.path());
    let s3 = S3::start(folder.path());
    let postern = Postern::configure(folder.path(), "postern", &postgres, &format!("{}{RULES}", s3.section("")));
    let process = postern.start("up");
    let token = postern.token("billing-bot", "agents");
    postern.sql(&token, "select 1");
    eventually("the statement is found", Duration::from_secs(30), || {
        (postern.found("type:statement") >= 1).then_some(())
    });
    process.stop();
    postern.verified();
    let refused = postern.command(&["audit", "retain"]).output().unwrap();
    let told = text(&refused);
    assert!(refused.status.code() == Some(1) && told.contains("not all that it names is erased yet"), "{told}");
    assert!(!told.contains(s3.secret()), "{told}");
    let verify = postern.command(&["audit", "verify"]).output().unwrap();
    assert!(verify.status.code() == Some(5) && text(&verify).contains("is not deleted yet"), "{}", text(&verify));

    let (id, secret) = s3.administrator();
    let file = support::secret_file(folder.path(), "administrator", secret);
    postern.change(s3.recorder(), id);
    postern.change(folder.path().join("s3-secret").to_str().unwrap(), file.to_str().unwrap());
    let outcome: Value = serde_json::from_str(&postern.run(&["audit", "retain", "-o", "json"])).unwrap();
    assert!(!outcome["outcome"]["plan"]["unfinished"].as_array().unwrap().is_empty(), "{outcome}");
    assert!(postern.verified()["deleted"].as_u64() >= Some(1));
    let copy = folder.path().join("copy");
    s3.administer(&["copy", &format!("{PREFIX}/"), copy.to_str().unwrap()]);
    let mut python = verifier("postern-verify");
    python.arg("archive").arg(copy).args(["--jobs", "2"]);
    let other = python.output().unwrap();
    assert!(other.status.success() && text(&other).contains("deleted by retention: "), "{}", text(&other));
}

/// What somebody who can write into the archive does to it.
fn tampered(site: &Site, before: &[(String, Vec<u8>)], after: &[(String, Vec<u8>)], gone_session: &str) {
    let entry = |number: u32| format!("custody/{number:020}.json");
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    site.while_changed(&entry(0), remove, "was to come");
    site.while_changed(&entry(1), remove, "says that it has 2 entries");
    let (gone, bytes) = before.iter().find(|file| !after.contains(file)).unwrap();
    site.while_changed(gone, |path| fs::write(path, bytes).unwrap(), "is not deleted yet");
    site.while_changed(&after[0].0, remove, &after[0].0);
    site.while_changed("custody/notes.txt", |path| fs::write(path, "x").unwrap(), "custody/notes.txt");

    // a release by somebody with a key of his own: found, and not followed
    let stranger = format!("archive.signing_key={}", site.folder.path().join("stranger.pk8").display());
    let own = site.postern.run(&["audit", "key", "--set", &stranger]);
    let all = site.folder.path().join("all.txt");
    fs::write(&all, format!("{}{own}", fs::read_to_string(&site.keys).unwrap())).unwrap();
    let release = ["audit", "hold", "release", "case 7", "--reason", "closed", "--by", "ada", "--set", &stranger];
    let refused = site.postern.command(&release).output().unwrap();
    assert!(refused.status.code() == Some(1) && text(&refused).contains("give --keys"), "{}", text(&refused));
    site.postern.run(&[&release[..], &["--keys", all.to_str().unwrap()]].concat());
    site.found("no line");
    // without keys too: it signed no checkpoint
    let unsound = site.postern.command(&["audit", "verify"]).output().unwrap();
    let by_nobody = "entry 2 is signed by a key that signed no checkpoint that you keep";
    assert!(unsound.status.code() == Some(5) && text(&unsound).contains(by_nobody), "{}", text(&unsound));
    let marked = site.postern.run(&["audit", "custody"]);
    assert_eq!(marked.matches("DOES NOT COUNT").count(), 1, "{marked}");
    let listed = site.postern.command(&["audit", "hold", "ls"]).output().unwrap();
    assert!(listed.status.code() == Some(1) && text(&listed).contains("give --keys"), "{}", text(&listed));
    let refused = site.postern.command(&["audit", "retain"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("give --keys"), "{}", text(&refused));
    assert_eq!(files(&site.archive(), "data/000000"), after);
    // what is no entry at all hides nothing of a session
    fs::write(site.archive().join(entry(2)), "junk").unwrap();
    let shown = site.postern.run(&["session", "show", gone_session]);
    assert!(shown.contains("billing-bot") && shown.contains("whether it is whole cannot be told: "), "{shown}");
    fs::remove_file(site.archive().join(entry(2))).unwrap();
    site.holds("the archive holds");
}
