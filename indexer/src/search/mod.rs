//! Search: a question in, hits out. Works in any process that can read the index's folder, while the indexer writes it.
//!
//! [`Question::parse`] understands the text ([`parse`] describes the language), [`Searcher::search`] answers, [`render`]
//! shows the answer on a terminal. Every search sees the index's last commit.

mod hit;
pub mod parse;
mod query;
pub mod render;
mod time;

pub use hit::{Document, Hit, Review};
pub use parse::{Deed, Question, Who};

use crate::schema::{Fields, split_who};
use parse::Condition;
use query::ByIdentity;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tantivy::collector::{Count, TopDocs};
use tantivy::{Index, IndexReader, Order, ReloadPolicy, TantivyDocument};

/// Most hits of one answer: a page, not an export.
pub const MAX_LIMIT: usize = 10_000;
/// Furthest hit that can be paged to.
pub const MAX_OFFSET: usize = 100_000;
/// Most identities of one answer; the busiest.
pub const MAX_IDENTITIES: usize = 1_000;

/// The question cannot be answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is no index (yet).
    #[error("there is no search index in {}; is the indexer running?", path.display())]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The index is of another version.
    #[error("the search index in {} is of another version; start this version's indexer once", path.display())]
    Version {
        /// Where.
        path: PathBuf,
    },
    /// The index cannot be opened.
    #[error("opening the search index in {}", path.display())]
    Open {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: tantivy::TantivyError,
    },
    /// The index cannot be read.
    #[error("searching the index")]
    Search(#[source] tantivy::TantivyError),
    /// The page is beyond what can be paged to.
    #[error("a page can have at most {MAX_LIMIT} hits and begin at most at hit {MAX_OFFSET}; narrow the time instead")]
    Page,
}

/// What one identity did, of a question that asks who.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityCount {
    /// The subject; empty where nobody was identified.
    pub subject: String,
    /// Who vouches for it.
    pub issuer: String,
    /// Statements.
    pub count: u64,
    /// Those of them that read the asked-for column with its values hidden only.
    pub masked: u64,
    /// Those of them that read the asked-for column with its values shown.
    pub clear: u64,
    /// Microseconds since 1970-01-01 UTC of the first of them.
    pub first: i64,
    /// And of the last.
    pub last: i64,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Newest first.
    pub hits: Vec<Hit>,
    /// How many there are in all.
    pub total: u64,
    /// For a question that asks who: by identity, the busiest first.
    pub identities: Vec<IdentityCount>,
    /// For `who read`: statements in the same scope that ran and of which cannot be known what they reached.
    pub opaque: u64,
    /// Time taken.
    pub took: Duration,
}

/// A view of the index. Clones share it.
#[derive(Debug, Clone)]
pub struct Searcher {
    directory: PathBuf,
    fields: Arc<Fields>,
    reader: Arc<Mutex<Option<Opened>>>,
}

#[derive(Clone)]
struct Opened(IndexReader);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}

impl Searcher {
    /// Looks at the index of a folder. It may not be there yet: it is opened at the first search.
    pub fn open(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), fields: Arc::new(Fields::new()), reader: Arc::default() }
    }

    /// The folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Answers a question with hits `offset .. offset + limit`, newest first. Blocks for milliseconds.
    ///
    /// # Errors
    /// [`Error`].
    pub fn search(&self, question: &Question, limit: usize, offset: usize) -> Result<Answer, Error> {
        if limit > MAX_LIMIT || offset > MAX_OFFSET {
            return Err(Error::Page);
        }
        let began = Instant::now();
        let searcher = self.current()?;
        let query = query::query(&question.condition, &self.fields);
        // a page of none is a question for the number alone
        let (total, found) = if limit == 0 {
            (searcher.search(&query, &Count).map_err(Error::Search)?, Vec::new())
        } else {
            let top = TopDocs::with_limit(limit).and_offset(offset).order_by_fast_field::<i64>("time", Order::Desc);
            searcher.search(&query, &(Count, top)).map_err(Error::Search)?
        };
        let mut hits = Vec::with_capacity(found.len());
        for (_, address) in found {
            let document: TantivyDocument = searcher.doc(address).map_err(Error::Search)?;
            hits.extend(self.fields.hit(&document));
        }
        let (identities, opaque) = match &question.who {
            Some(who) => (self.identities(&searcher, question, who)?, self.opaque(&searcher, question, who)?),
            None => (Vec::new(), 0),
        };
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        Ok(Answer { hits, total, identities, opaque, took: began.elapsed() })
    }

    /// One document by its id (`stm_...`, `ses_...`).
    ///
    /// # Errors
    /// [`Error`].
    pub fn find(&self, id: &str) -> Result<Option<Hit>, Error> {
        let condition = Condition::Term { field: "id", value: id.to_owned() };
        let question = Question { filters: condition.clone(), condition, who: None };
        Ok(self.search(&question, 1, 0)?.hits.pop())
    }

    fn identities(
        &self,
        searcher: &tantivy::Searcher,
        question: &Question,
        who: &Who,
    ) -> Result<Vec<IdentityCount>, Error> {
        let count = |condition: &Condition| {
            searcher.search(&query::query(condition, &self.fields), &ByIdentity).map_err(Error::Search)
        };
        let of = |field| Condition::Term { field, value: who.object.clone() };
        let (mut masked, mut clear) = (HashMap::new(), HashMap::new());
        if matches!(who.deed, Deed::Read | Deed::TriedToRead) {
            clear = count(&Condition::And(vec![question.condition.clone(), of("clear")]))?;
            let hidden = vec![question.condition.clone(), of("masked"), Condition::Not(Box::new(of("clear")))];
            masked = count(&Condition::And(hidden))?;
        }
        let number =
            |tallies: &HashMap<String, query::Tally>, who: &str| tallies.get(who).map_or(0, |tally| tally.count);
        let all = count(&question.condition)?;
        let mut identities: Vec<IdentityCount> = all
            .iter()
            .map(|(who, tally)| {
                let (issuer, subject) = split_who(who);
                IdentityCount {
                    subject: subject.to_owned(),
                    issuer: issuer.to_owned(),
                    count: tally.count,
                    masked: number(&masked, who),
                    clear: number(&clear, who),
                    first: tally.first,
                    last: tally.last,
                }
            })
            .collect();
        identities.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.subject.cmp(&b.subject)));
        identities.truncate(MAX_IDENTITIES);
        Ok(identities)
    }

    /// What was let through without its facts being complete may have read anything: an honest answer says how many.
    fn opaque(&self, searcher: &tantivy::Searcher, question: &Question, who: &Who) -> Result<u64, Error> {
        if !matches!(who.deed, Deed::Read | Deed::TriedToRead) {
            return Ok(0);
        }
        let term = |field, value: &str| Condition::Term { field, value: value.to_owned() };
        let ran = [term("verdict", "deny"), term("outcome", "denied")].map(|denied| Condition::Not(Box::new(denied)));
        let mut parts = vec![question.filters.clone(), term("opaque", "true")];
        parts.extend(ran);
        let query = query::query(&Condition::And(parts), &self.fields);
        searcher.search(&query, &Count).map(|n| u64::try_from(n).unwrap_or(u64::MAX)).map_err(Error::Search)
    }

    /// The index as of its last commit.
    fn current(&self) -> Result<tantivy::Searcher, Error> {
        let mut opened = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Opened(reader)) = &*opened {
            match reader.reload() {
                Ok(()) if self.directory.join("meta.json").exists() => return Ok(reader.searcher()),
                Ok(()) => {}
                // the folder was put aside and made anew: open that
                Err(error) => tracing::warn!(%error, "the search index cannot be read again, opening it anew"),
            }
        }
        *opened = None;
        let reader = self.reader()?;
        let searcher = reader.searcher();
        *opened = Some(Opened(reader));
        Ok(searcher)
    }

    fn reader(&self) -> Result<IndexReader, Error> {
        let path = || self.directory.clone();
        if !self.directory.join("meta.json").exists() {
            return Err(Error::Absent { path: path() });
        }
        let failed = |source| Error::Open { path: path(), source };
        let index = Index::open_in_dir(&self.directory).map_err(failed)?;
        if index.schema() != self.fields.schema {
            return Err(Error::Version { path: path() });
        }
        index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(failed)
    }
}

#[cfg(test)]
mod tests;
