//! An index from the archive is the one that the bus would have made; it fills what the bus has let go of.

use super::*;
use crate::consume::tests::{everything, expected, index, same};
use crate::testing::{Bus, traffic};
use kit::Shutdown;
use std::path::Path;
use std::time::Duration;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn config(folder: &Path) -> Config {
    Config { directory: folder.join("index"), commit_interval: Duration::ZERO, memory_bytes: 16 << 20 }
}

/// Archives logs by the recorder itself.
fn archive(folder: &Path, logs: Vec<Vec<bytes::Bytes>>) -> Reader {
    let url = folder.join("archive").to_string_lossy().into_owned();
    let file = recorder::config::File { url: Some(url), flush_interval_ms: 1, ..Default::default() };
    let config = file.check().unwrap();
    let shutdown = Shutdown::new();
    let mut bus = Bus::new(logs, shutdown.clone());
    block_on(recorder::run(config.clone(), &mut bus, shutdown)).unwrap();
    Reader::open(&config).unwrap()
}

#[test]
fn an_index_from_the_archive_equals_the_live_one() {
    let folder = tempfile::tempdir().unwrap();
    let reader = archive(folder.path(), traffic(5));
    let summary = block_on(rebuild(&config(folder.path()), &reader)).unwrap();
    assert!(summary.batches > 10 && summary.events > 100, "{summary:?}");
    same(&everything(folder.path()), &expected(), "rebuilt");
    // again: everything is skipped
    assert_eq!(block_on(rebuild(&config(folder.path()), &reader)).unwrap(), Summary::default());
    same(&everything(folder.path()), &expected(), "rebuilt twice");
}

#[test]
fn a_lost_index_is_filled_from_the_archive_and_goes_on_with_the_bus() {
    for late in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let logs = traffic(5);
        let archived: Vec<Vec<bytes::Bytes>> = logs.iter().map(|log| log[..log.len() - 3].to_vec()).collect();
        let oldest = archived.iter().map(Vec::len).min().unwrap() as u64;
        let reader = archive(folder.path(), archived);
        let shutdown = Shutdown::new();
        let mut bus = Bus::new(logs, shutdown.clone());
        (bus.oldest, bus.late) = (oldest, late);
        let surroundings = crate::Surroundings { archive: Some(reader), metrics: None };
        block_on(crate::run_with(config(folder.path()), surroundings, &mut bus, shutdown)).unwrap();
        same(&everything(folder.path()), &expected(), "filled and gone on");
        // with nothing lost a second run needs neither
        index(folder.path(), &mut bus);
        same(&everything(folder.path()), &expected(), "run again");
    }
}

/// While it reads, the bus lets go of what the index lacks: the archive has it.
#[test]
fn an_index_that_the_bus_runs_away_from_takes_what_it_missed_from_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let logs = traffic(5);
    let begun: Vec<Vec<bytes::Bytes>> = logs.iter().map(|log| log[..2].to_vec()).collect();
    index(folder.path(), &mut Bus::new(begun, Shutdown::new()));
    let oldest = logs.iter().map(Vec::len).min().unwrap() as u64 - 1;
    let mut bus = Bus::new(logs.clone(), Shutdown::new());
    (bus.oldest, bus.late) = (oldest, true);
    // without an archive it says so
    let alone = crate::run(config(folder.path()), &mut bus, Shutdown::new());
    let error = block_on(alone).unwrap_err();
    assert!(
        matches!(error, crate::consume::Error::Bus { attempts: 1, source: event_log::Error::Gone { .. } }),
        "{error:?}"
    );
    let shutdown = Shutdown::new();
    let mut bus = Bus::new(logs.clone(), shutdown.clone());
    (bus.oldest, bus.late) = (oldest, true);
    let surroundings = crate::Surroundings { archive: Some(archive(folder.path(), logs)), metrics: None };
    block_on(crate::run_with(config(folder.path()), surroundings, &mut bus, shutdown)).unwrap();
    same(&everything(folder.path()), &expected(), "nothing is missing");
}
