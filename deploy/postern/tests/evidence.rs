//! What convinces a third party: the archive of a real gate, proved by the gate's own code and by a program in another language,
//! with keys and a checkpoint that were kept elsewhere; and what each of them finds when somebody was at it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};
use support::{Postern, Postgres, cache, eventually, folder, root, verifier};

/// An archive that ended, and what its reader kept outside of it.
struct Site {
    folder: tempfile::TempDir,
    postern: Postern,
    keys: PathBuf,
    checkpoint: PathBuf,
    // ends when all is done
    _postgres: Postgres,
}

impl Site {
    /// Some sessions in two starts of the node, the second with a new key.
    fn new() -> Self {
        let folder = folder();
        let postgres = Postgres::start(folder.path());
        let postern = Postern::configure(folder.path(), "postern", &postgres, "[archive]\ncheckpoint_seconds = 1\n");
        let keys = folder.path().join("keys.txt");
        let mut text = postern.run(&["audit", "key"]);
        sessions(&postern, 4);
        let second = folder.path().join("second.pk8");
        postern.change("[archive]", &format!("[log]\nsigning_key = '{}'\n[archive]", second.display()));
        let more = postern.run(&["audit", "key"]);
        text.push_str(&more);
        sessions(&postern, 3);
        fs::write(&keys, text).unwrap();
        let checkpoint = folder.path().join("checkpoint.json");
        fs::write(&checkpoint, postern.command(&["audit", "checkpoint"]).output().unwrap().stdout).unwrap();
        Self { folder, postern, keys, checkpoint, _postgres: postgres }
    }

    fn archive(&self) -> PathBuf {
        self.postern.data().join("archive")
    }

    /// What the gate's own program says.
    fn own(&self) -> Output {
        let (keys, checkpoint) = (self.keys.to_str().unwrap(), self.checkpoint.to_str().unwrap());
        self.postern.command(&["audit", "verify", "--keys", keys, "--checkpoint", checkpoint]).output().unwrap()
    }

    /// What the other one says.
    fn other(&self) -> Output {
        let mut command = verifier("postern-verify");
        command.arg("archive").arg(self.archive()).arg("--keys").arg(&self.keys);
        command.arg("--checkpoint").arg(&self.checkpoint).output().unwrap()
    }
}

/// Runs a gate for some sessions, and ends it.
fn sessions(postern: &Postern, count: usize) {
    let process = postern.start("up");
    let token = postern.token("billing-bot", "agents");
    for _ in 0..count {
        postern.sql(&token, "select id, name, card_number from customers order by id limit 3");
        postern.refused(&token, "select id from customers where card_number like '4%'");
    }
    let first = eventually("a checkpoint is made while it runs", Duration::from_secs(30), || {
        let output = postern.command(&["audit", "checkpoint"]).output().unwrap();
        output.status.success().then_some(output.stdout)
    });
    assert!(first.starts_with(b"{\"payloadType\""));
    process.stop();
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn two_programs_prove_an_archive_and_find_ten_thousand_changes() {
    let site = Site::new();
    let (own, other) = (site.own(), site.other());
    assert!(own.status.success(), "{}", text(&own));
    assert!(other.status.success(), "{}", text(&other));
    assert!(text(&own).contains("signed by keys that you believe") && text(&own).contains("0 batches came after it"));
    assert!(text(&other).starts_with("the archive holds"), "{}", text(&other));

    let changes = verifier("changes.py").arg(site.archive()).arg(&site.keys).arg(&site.checkpoint).output().unwrap();
    assert!(changes.status.success(), "{}", text(&changes));
    assert!(text(&changes).contains("10000 changes, 10000 found"), "{}", text(&changes));

    // a byte of a data object
    let data = files(&site.archive().join("data/000000"))[0].clone();
    let good = fs::read(&data).unwrap();
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(&data, &changed).unwrap();
    assert_both_find(&site, "data/000000/");
    fs::write(&data, &good).unwrap();

    // the end of it, with every checkpoint that tells
    let (manifests, checkpoints) = (site.archive().join("manifest/000000"), site.archive().join("checkpoint"));
    let aside = site.folder.path().join("aside");
    fs::create_dir(&aside).unwrap();
    for last in [files(&manifests).pop().unwrap(), files(&checkpoints).pop().unwrap()] {
        fs::rename(&last, aside.join(last.file_name().unwrap())).unwrap();
    }
    assert_both_find(&site, "checkpoint");
}

/// Both programs say that the archive does not hold, with status 5 and 1, and name the place.
fn assert_both_find(site: &Site, place: &str) {
    for (output, status) in [(site.own(), 5), (site.other(), 1)] {
        assert_eq!(output.status.code(), Some(status), "{}", text(&output));
        assert!(text(&output).contains(place), "{}", text(&output));
        assert!(text(&output).contains("does NOT hold"), "{}", text(&output));
    }
}

#[test]
fn the_independent_verifier_does_what_its_page_says() {
    let mut command = Command::new(cache().join("clients/venv/bin/python"));
    let output =
        command.args(["-m", "unittest", "discover", "-p", "test_*.py"]).current_dir(root().join("deploy/verify"));
    let output = output.output().unwrap();
    assert!(output.status.success() && text(&output).contains("OK"), "{}", text(&output));
}

#[test]
fn a_bundle_is_proved_with_the_keys_alone() {
    let site = Site::new();
    let bundle = site.folder.path().join("evidence.zip");
    let prove = |bundle: &Path| {
        verifier("postern-verify").arg("bundle").arg(bundle).arg("--keys").arg(&site.keys).output().unwrap()
    };
    let told = site.postern.run(&["audit", "export", "who read card_number", "--bundle", bundle.to_str().unwrap()]);
    assert!(told.contains("7 sessions") && told.contains("postern-verify"), "{told}");
    let good = prove(&bundle);
    assert!(good.status.success(), "{}", text(&good));

    // one session, and nothing else of the archive at hand
    let sessions: serde_json::Value =
        serde_json::from_str(&site.postern.run(&["session", "ls", "-o", "json"])).unwrap();
    let session = sessions[0]["session"].as_str().unwrap();
    site.postern.run(&["session", "export", session, "--bundle", bundle.to_str().unwrap()]);
    fs::rename(site.archive(), site.folder.path().join("gone")).unwrap();
    let good = prove(&bundle);
    assert!(good.status.success(), "{}", text(&good));
    assert!(text(&good).contains("1 sessions") || text(&good).contains(session), "{}", text(&good));

    // what is in it reads as files of their kind do, and shows what the client saw
    let script = "import sys, zipfile, json\n\
        z = zipfile.ZipFile(sys.argv[1])\n\
        page = z.read('report.html').decode()\n\
        assert 'postern-verify' in page and '<script' not in page, page\n\
        lines = [json.loads(line) for line in z.read('events.jsonl').splitlines()]\n\
        assert len(lines) == len(json.loads(z.read('proof.json'))['events']), lines\n\
        names = z.namelist()\n\
        whole = b''.join(z.read(name) for name in names)\n\
        assert b'4929333333337919' not in whole\n\
        out = zipfile.ZipFile(sys.argv[2], 'w')\n\
        proof = json.loads(z.read('proof.json'))\n\
        del proof['events'][-1]\n\
        [out.writestr(name, json.dumps(proof) if name == 'proof.json' else z.read(name)) for name in names]\n\
        out.close()\n";
    let cut = site.folder.path().join("cut.zip");
    let python = Command::new("python3").args(["-c", script]).arg(&bundle).arg(&cut).output().unwrap();
    assert!(python.status.success(), "{}", text(&python));
    let bad = prove(&cut);
    assert_eq!(bad.status.code(), Some(1), "{}", text(&bad));

    // with somebody else's keys it proves nothing
    let key = "ab".repeat(32);
    fs::write(&site.keys, format!("batches postern {key}\ncheckpoints postern {key}\n")).unwrap();
    assert_eq!(prove(&bundle).status.code(), Some(1));
}

#[test]
fn a_stranger_to_the_keys_is_told_so() {
    let site = Site::new();
    let lines = fs::read_to_string(&site.keys).unwrap();
    // believing the first key alone, what the second signed is nobody's
    let first: String = lines
        .lines()
        .filter(|line| line.starts_with("checkpoints"))
        .chain(lines.lines().take(1))
        .fold(String::new(), |text, line| text + line + "\n");
    fs::write(&site.keys, first).unwrap();
    for (output, status) in [(site.own(), 5), (site.other(), 1)] {
        assert_eq!(output.status.code(), Some(status), "{}", text(&output));
    }
    fs::write(&site.keys, "batches here\n").unwrap();
    for (output, status) in [(site.own(), 1), (site.other(), 2)] {
        assert_eq!(output.status.code(), Some(status), "{}", text(&output));
        assert!(text(&output).contains("line 1"), "{}", text(&output));
    }
}
