//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file that is written beside its name, and gets it when it is whole and synced. Dropped before, it is removed.
#[derive(Debug)]
pub struct WholeFile {
    path: PathBuf,
    unfinished: PathBuf,
    file: Option<BufWriter<File>>,
}

impl WholeFile {
    /// Begins one, as `PATH.unfinished`; what a process that was killed left there is written over.
    ///
    /// # Errors
    /// What the file system says, of that file.
    pub fn create(path: &Path) -> io::Result<Self> {
        let unfinished = path.with_added_extension("unfinished");
        let file = File::create(&unfinished).map_err(|error| of(&unfinished, error))?;
        Ok(Self { path: path.to_owned(), unfinished, file: Some(BufWriter::new(file)) })
    }

    /// Syncs it and gives it its name, in the place of what had it.
    ///
    /// # Errors
    /// What the file system says; the file is then removed.
    pub fn finish(mut self) -> io::Result<()> {
        let writer = self.writer()?;
        let synced = writer.flush().and_then(|()| writer.get_ref().sync_all());
        synced.map_err(|error| of(&self.unfinished, error))?;
        fs::rename(&self.unfinished, &self.path).map_err(|error| of(&self.path, error))?;
        self.file = None;
        Ok(())
    }

    fn writer(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.file.as_mut().ok_or_else(|| io::Error::other("the file is finished"))
    }
}

/// The error, with the file that it is of.
fn of(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer()?.flush()
    }
}

impl Seek for WholeFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.writer()?.seek(to)
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // it says by its name that it is not whole
            drop(fs::remove_file(&self.unfinished));
        }
    }
}
