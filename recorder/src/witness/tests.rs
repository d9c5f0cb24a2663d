//! A witness that is away, that hangs, that has more or something else: the recorder goes on, says so, and hands over what is
//! missing in order. The witness here is a small server of HTTP with the same rules as `postern-witness`.

use super::*;
use crate::archive::checkpoint::Checkpoints;
use crate::archive::layout;
use crate::config::Notary;
use crate::consume::tests::archived;
use crate::telemetry::Telemetry;
use crate::testing::{Node, session, signer, whole};
use kit::Shutdown;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
use schemas::EventBatch;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::Notify;

#[derive(Default)]
struct Inner {
    kept: Vec<Vec<u8>>,
    /// Status of every answer; 0: none comes.
    answer: Option<u16>,
    /// Methods, paths and tokens.
    asked: Vec<String>,
}

#[derive(Clone)]
struct Witness {
    port: u16,
    inner: Arc<Mutex<Inner>>,
}

impl Witness {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let witness = Self { port: listener.local_addr().unwrap().port(), inner: Arc::default() };
        let serving = witness.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let one = serving.clone();
                std::thread::spawn(move || one.serve(stream));
            }
        });
        witness
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let header = |name: &str| {
            let found =
                head.iter().filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let mut inner = self.inner.lock().unwrap();
        let (method, rest) = head[0].split_once(' ').unwrap();
        let path = rest.split(' ').next().unwrap();
        inner.asked.push(format!("{method} {path} {}", header("authorization")).trim_end().to_owned());
        let number = path.strip_prefix("/w/checkpoint/").and_then(|text| text.parse::<usize>().ok());
        let (status, answer) = match (inner.answer, method, number) {
            (Some(0), ..) => {
                drop(inner);
                return std::thread::park_timeout(Duration::from_secs(60));
            }
            (Some(status), ..) => (status, b"as it was\x1b told\n".to_vec()),
            (None, "GET", None) if inner.kept.is_empty() => (404, Vec::new()),
            (None, "GET", None) => (200, format!("{{\"number\":{}}}", inner.kept.len() - 1).into_bytes()),
            (None, "GET", Some(number)) => inner.kept.get(number).map_or((404, Vec::new()), |raw| (200, raw.clone())),
            (None, "PUT", Some(number)) => {
                assert_eq!(header("content-type"), "application/vnd.dsse+json");
                match inner.kept.get(number) {
                    Some(kept) if *kept == body => (200, Vec::new()),
                    None if number == inner.kept.len() => {
                        inner.kept.push(body);
                        (201, Vec::new())
                    }
                    _ => (409, b"another one is here\n".to_vec()),
                }
            }
            other => panic!("{other:?}"),
        };
        drop(inner);
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
        // who asked may be gone
        drop(stream.write_all(&[head.as_bytes(), &answer].concat()));
    }

    fn settings(&self) -> Settings {
        let url = format!("http://127.0.0.1:{}/w", self.port);
        Settings { url, token_file: None, ca_file: None, timeout: Duration::from_secs(5) }
    }

    fn answer(&self, status: Option<u16>) {
        self.inner.lock().unwrap().answer = status;
    }

    fn kept(&self) -> Vec<Vec<u8>> {
        self.inner.lock().unwrap().kept.clone()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().unwrap().asked)
    }
}

/// An archive to which checkpoints come, and the recorder's part of the witness.
struct Scene {
    store: Arc<dyn ObjectStore>,
    node: Node,
    batches: Vec<EventBatch>,
    witness: Witness,
    telemetry: Telemetry,
    made: Notify,
    ended: Shutdown,
    count: u8,
}

impl Scene {
    fn new() -> Self {
        Self {
            store: Arc::new(InMemory::new()),
            node: Node::new("gate-1"),
            batches: Vec::new(),
            witness: Witness::start(),
            telemetry: Telemetry::default(),
            made: Notify::new(),
            ended: Shutdown::new(),
            count: 0,
        }
    }

    /// One more batch, and a checkpoint of it.
    async fn attest(&mut self) {
        self.count += 1;
        self.batches.push(self.node.seal(&whole(session(self.count), 2)));
        // the recorder of these tests lets a paused clock go on
        tokio::time::pause();
        archived(&self.store, self.batches.clone()).await;
        tokio::time::resume();
        let notary = Notary { signer: signer(9), node: "recorder-1".into() };
        let now = i64::from(self.count) * 60_000_000;
        Checkpoints::new(&*self.store, &notary).make(now, 0).await.unwrap().unwrap();
        self.made.notify_one();
    }

    async fn checkpoints(&self) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for number in crate::archive::checkpoint::numbers(&*self.store, None).await.unwrap() {
            let bytes = crate::archive::writer::fetch(&*self.store, &layout::checkpoint(number)).await.unwrap();
            found.push(bytes.to_vec());
        }
        found
    }

    async fn tell(&self) {
        tell(&*self.store, Some(&self.witness.settings()), &self.telemetry, &self.made, &self.ended).await;
    }

    /// What is told in one go, as at the end of a recorder.
    async fn tell_once(&self) {
        let ended = Shutdown::new();
        ended.trigger();
        tell(&*self.store, Some(&self.witness.settings()), &self.telemetry, &self.made, &ended).await;
    }

    fn state(&self) -> (i64, i64, i64) {
        let telemetry = &self.telemetry;
        (telemetry.witness_last.get(), telemetry.witness_failing.get(), telemetry.witness_refused.get())
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

const POLL: Duration = Duration::from_millis(10);

async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} did not happen");
        tokio::time::sleep(POLL).await;
    }
}

#[test]
fn what_is_missing_comes_in_order_whatever_was_in_between() {
    block_on(async {
        let mut scene = Scene::new();
        for _ in 0..3 {
            scene.attest().await;
        }
        scene.tell_once().await;
        assert_eq!((scene.witness.kept(), scene.state()), (scene.checkpoints().await, (2, 0, 0)));
        let asked = ["GET /w/checkpoint", "PUT /w/checkpoint/0", "PUT /w/checkpoint/1", "PUT /w/checkpoint/2"];
        assert_eq!(scene.witness.asked(), asked);
        // the next start asks what it has, and begins there
        for _ in 0..2 {
            scene.attest().await;
        }
        scene.tell_once().await;
        let asked = ["GET /w/checkpoint", "PUT /w/checkpoint/2", "PUT /w/checkpoint/3", "PUT /w/checkpoint/4"];
        assert_eq!((scene.witness.asked(), scene.state()), (asked.map(str::to_owned).to_vec(), (4, 0, 0)));
        assert_eq!(scene.witness.kept(), scene.checkpoints().await);
    });
}

#[test]
fn a_witness_that_is_away_gets_all_when_it_is_back() {
    block_on(async {
        let mut scene = Scene::new();
        scene.witness.answer(Some(503));
        let (telemetry, witness, ended) = (scene.telemetry.clone(), scene.witness.clone(), scene.ended.clone());
        scene.attest().await;
        scene.attest().await;
        let watch = async {
            eventually("it is told", || telemetry.witness_failures.get() >= 2).await;
            assert_eq!(scene.state(), (-1, 1, 0));
            witness.answer(None);
            eventually("it has all", || witness.kept().len() == 2).await;
            eventually("all is well", || telemetry.witness_failing.get() == 0).await;
            ended.trigger();
        };
        tokio::join!(scene.tell(), watch);
        assert_eq!(scene.witness.kept(), scene.checkpoints().await);
    });
}

#[test]
fn an_archive_that_was_cut_off_or_written_anew_is_told_at_once() {
    block_on(async {
        let mut scene = Scene::new();
        for _ in 0..3 {
            scene.attest().await;
        }
        scene.tell_once().await;
        let kept = scene.witness.kept();
        // its last checkpoint is gone
        scene.store.delete(&layout::checkpoint(2)).await.unwrap();
        scene.tell_once().await;
        assert_eq!(scene.state(), (-1, 1, 1));
        // another one stands in its place: nothing is written over
        let notary = Notary { signer: signer(9), node: "recorder-1".into() };
        Checkpoints::new(&*scene.store, &notary).make(1, 0).await.unwrap().unwrap();
        scene.tell_once().await;
        assert_eq!((scene.state(), scene.witness.kept()), ((-1, 1, 1), kept.clone()));
        // and what is built on it is not taken either
        scene.attest().await;
        scene.tell_once().await;
        assert_eq!((scene.state(), scene.witness.kept()), ((-1, 1, 1), kept.clone()));
        assert_eq!(scene.telemetry.witness_failures.get(), 3);
        // with the true ones it goes on
        scene.store.delete(&layout::checkpoint(3)).await.unwrap();
        scene.store.put(&layout::checkpoint(2), kept[2].clone().into()).await.unwrap();
        scene.attest().await;
        scene.tell_once().await;
        assert_eq!((scene.state(), scene.witness.kept()), ((3, 0, 0), scene.checkpoints().await));
        // one in the middle is gone, and a witness that has none of them yet
        scene.store.delete(&layout::checkpoint(1)).await.unwrap();
        scene.witness.inner.lock().unwrap().kept.clear();
        scene.tell_once().await;
        assert_eq!((scene.state(), scene.witness.kept()), ((0, 1, 1), kept[..1].to_vec()));
    });
}

#[test]
fn a_witness_that_never_answers_keeps_no_recorder_from_its_end() {
    block_on(async {
        let mut scene = Scene::new();
        scene.attest().await;
        scene.witness.answer(Some(0));
        let begun = Instant::now();
        scene.tell_once().await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_token_is_read_for_each_request_and_shown_by_nothing() {
    block_on(async {
        let scene = Scene::new();
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        let settings = Settings { token_file: Some(token_file.clone()), ..scene.witness.settings() };
        let client = Client::new(&settings).unwrap();
        assert!(matches!(client.last(), Err(Error::Token(_))));
        for token in ["first-of-all", "second-of-all"] {
            std::fs::write(&token_file, format!("{token}\n")).unwrap();
            assert_eq!(client.last().unwrap(), None);
            assert_eq!(scene.witness.asked(), [format!("GET /w/checkpoint Bearer {token}")]);
        }
        for status in [302, 401, 500] {
            scene.witness.answer(Some(status));
            let (got, put) = (client.last().unwrap_err(), client.put(0, b"x").unwrap_err());
            let told = format!("{got} {put} {client:?}");
            assert!(told.contains(&format!("status {status}: as it was  told")) && !told.contains("second"), "{told}");
        }
        scene.witness.answer(Some(200));
        assert!(matches!(client.last(), Err(Error::Answer(_))));
    });
}

#[test]
fn what_is_wrong_with_the_section_is_told() {
    let check = |file: File| {
        let mut problems = Vec::new();
        let settings = file.check(&mut problems);
        (settings, problems.join("\n"))
    };
    assert_eq!(check(File::default()), (None, String::new()));
    let url = |url: &str| File { url: Some(url.to_owned()), ..File::default() };
    assert_eq!(check(url("https://w.example/a/")).0.unwrap().url, "https://w.example/a");
    assert!(check(url("http://127.0.0.1:80")).0.is_some());
    assert!(check(url("http://w.example")).1.starts_with("archive.witness.url: must be https"));
    assert!(check(File { allow_http: true, ..url("http://w.example") }).0.is_some());
    let (settings, problems) = check(File { request_timeout_seconds: 0, ..url("https://w.example") });
    assert!(settings.is_none() && problems.starts_with("archive.witness.request_timeout_seconds"), "{problems}");
    let alone = File { token_file: Some("/t".into()), ..File::default() };
    assert!(check(alone).1.starts_with("archive.witness.url: must be set"));
}
