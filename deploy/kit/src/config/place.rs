//! On which line of the file a key stands.

use super::keys::{Part, Path};
use toml::de::{DeTable, DeValue};

/// The lines of all keys of one file.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<(Path, usize)>);

impl Places {
    /// Walks a text that is valid TOML; of any other it knows no lines.
    pub(super) fn of(text: &str) -> Self {
        let mut places = Self::default();
        if let Ok(table) = DeTable::parse(text) {
            places.table(text, table.get_ref(), &Path::default());
        }
        places
    }

    /// The line of a key, or of the nearest that holds it.
    pub(super) fn line(&self, path: &Path) -> Option<usize> {
        let mut path = path.clone();
        loop {
            if let Some((_, line)) = self.0.iter().find(|(known, _)| *known == path) {
                return Some(*line);
            }
            path.0.pop()?;
        }
    }

    fn table(&mut self, text: &str, table: &DeTable<'_>, path: &Path) {
        for (key, value) in table {
            let path = path.child(key.get_ref());
            self.0.push((path.clone(), line(text, key.span().start)));
            self.value(text, value.get_ref(), &path);
        }
    }

    fn value(&mut self, text: &str, value: &DeValue<'_>, path: &Path) {
        match value {
            DeValue::Table(table) => self.table(text, table, path),
            DeValue::Array(list) => {
                for (index, item) in list.iter().enumerate() {
                    let mut path = path.clone();
                    path.0.push(Part::Index(index));
                    self.0.push((path.clone(), line(text, item.span().start)));
                    self.value(text, item.get_ref(), &path);
                }
            }
            _ => {}
        }
    }
}

/// The number, from 1, of the line that holds this byte.
pub(super) fn line(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}
