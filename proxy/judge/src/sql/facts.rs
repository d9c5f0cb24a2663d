//! What a statement touches: the result of understanding it, and all that policy and masking need.

use schemas::event::Usage;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// A relation's object id in `pg_class`.
pub type RelationId = u32;

/// A base column: relation and attribute number. Attribute 0 stands for the whole row, a negative one for a system column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnId {
    /// The relation.
    pub relation: RelationId,
    /// Its attribute number.
    pub attribute: i16,
}

/// What a statement does to a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Reads rows.
    Select,
    /// Adds rows.
    Insert,
    /// Changes rows.
    Update,
    /// Removes rows.
    Delete,
    /// Removes all rows.
    Truncate,
    /// COPY ... FROM.
    CopyIn,
    /// COPY ... TO.
    CopyOut,
    /// Takes a lock, by LOCK or FOR UPDATE.
    Lock,
    /// Defines a new relation or object of that name.
    Create,
    /// Changes its definition, owner, rights, comments, statistics.
    Alter,
    /// Removes it.
    Drop,
    /// Refreshes, analyzes, vacuums, clusters, reindexes.
    Maintain,
}

/// A relation that a statement touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationUse {
    /// Its id in the catalog snapshot; `None` for one that the snapshot does not know.
    pub id: Option<RelationId>,
    /// `schema.name` as in the catalog; as in the text where it is unknown.
    pub name: String,
    /// What is done to it.
    pub actions: BTreeSet<Action>,
    /// Reached through a view, a rule or a partitioned or inherited parent, not named in the text.
    pub indirect: bool,
}

/// A base column that a statement touches, views and CTEs followed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnUse {
    /// Which.
    pub column: ColumnId,
    /// How.
    pub usage: Usage,
}

/// One column of the statement's answer. One named `*` that is opaque stands for the columns, of unknown number and names,
/// of a relation that the catalog snapshot does not know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Its name, as the client will see it.
    pub name: String,
    /// Every base column whose value can reach it, through views, CTEs, subqueries and expressions.
    pub sources: BTreeSet<ColumnId>,
    /// It is one column as it stands: no expression changed it.
    pub direct: bool,
    /// Its sources are not all known (a function that may read anything, a type that cannot be followed).
    pub opaque: bool,
}

/// What a statement does to the session around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT, END; with `chain`, AND CHAIN.
    Commit {
        /// A new transaction begins at once.
        chain: bool,
    },
    /// ROLLBACK, ABORT.
    Rollback {
        /// A new transaction begins at once.
        chain: bool,
    },
    /// SAVEPOINT, RELEASE, ROLLBACK TO.
    Savepoint,
    /// PREPARE name AS ...: the inner statement's facts.
    Prepare {
        /// The statement's name; shares its namespace with the protocol's.
        name: String,
        /// What EXECUTE of it will do.
        inner: Box<Facts>,
    },
    /// EXECUTE name.
    Execute {
        /// The statement's name.
        name: String,
    },
    /// DEALLOCATE name; `None` for ALL.
    Deallocate {
        /// The statement's name.
        name: Option<String>,
    },
    /// DECLARE name CURSOR FOR ...: the inner query's facts.
    Declare {
        /// The cursor's name; shares its namespace with the protocol's portals.
        name: String,
        /// What FETCH from it will return.
        inner: Box<Facts>,
    },
    /// FETCH or MOVE from a cursor.
    Fetch {
        /// The cursor's name.
        name: String,
    },
    /// CLOSE name; `None` for ALL.
    Close {
        /// The cursor's name.
        name: Option<String>,
    },
    /// DISCARD ALL; its parts change no setting and close no name.
    Discard,
    /// SET, RESET, SET LOCAL, set by a startup option or `set_config` with a constant name.
    Set {
        /// The setting's name, lower case; `all` for RESET ALL.
        name: String,
        /// Its new value where the text states it; `None` for DEFAULT, RESET or an expression. Of `search_path` a text that
        /// [`search_path::split`](super::search_path::split) takes apart.
        value: Option<String>,
        /// SET LOCAL: ends with the transaction.
        local: bool,
    },
    /// The catalog changes: names may resolve differently afterwards.
    ChangesCatalog,
    /// LISTEN, UNLISTEN, NOTIFY.
    Notify,
}

/// Whether a text looks like what masking puts in the place of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placeholders {
    /// Four stars, alone or with the last four of a value, also as JSON, array or bytes; an address `@example.invalid`.
    pub stars: bool,
    /// Sixteen hexadecimal digits, as `hash` makes them.
    pub pseudonym: bool,
}

impl Placeholders {
    /// Adds what a text looks like.
    pub fn note(&mut self, text: &[u8]) {
        let bare = text.trim_ascii();
        let bare = bare.strip_prefix(b"{").and_then(|t| t.strip_suffix(b"}")).unwrap_or(bare);
        let bare = bare.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")).unwrap_or(bare);
        let kept = bare.strip_prefix(b"****");
        // last4 keeps letters and digits of any alphabet
        let last4 = kept.and_then(|kept| std::str::from_utf8(kept).ok());
        let last4 = last4.is_some_and(|kept| kept.chars().count() <= 4 && kept.chars().all(char::is_alphanumeric));
        self.stars |= last4 || bare == b"\\x2a2a2a2a" || bare.ends_with(b"@example.invalid");
        let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        self.pseudonym |= bare.len() == 16 && bare.iter().all(digit);
    }

    /// None at all.
    pub fn is_empty(self) -> bool {
        !self.stars && !self.pseudonym
    }
}

/// How rows of a COPY are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyLayout {
    /// Values between delimiters, with backslashes.
    Text,
    /// Values between delimiters, with quotes.
    Csv,
    /// Values with their lengths.
    Binary,
}

/// The options of a COPY on the client's connection, all of them understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFormat {
    /// `FORMAT`.
    pub layout: CopyLayout,
    /// `DELIMITER`.
    pub delimiter: u8,
    /// `NULL`.
    pub null: String,
    /// `QUOTE`, of csv.
    pub quote: u8,
    /// `ESCAPE`, of csv.
    pub escape: u8,
    /// `FORCE_QUOTE` of any column.
    pub force_quote: bool,
    /// `HEADER`: the first row holds the columns' names.
    pub header: bool,
    /// COPY FROM: the base columns that each value of a row is written to, in order; empty where they are not known.
    pub targets: Vec<BTreeSet<ColumnId>>,
}

impl CopyFormat {
    /// A value and NULL may look the same: with a text for NULL of one's own, the layout `text` writes both alike.
    pub fn is_ambiguous(&self) -> bool {
        self.layout == CopyLayout::Text && self.null != "\\N"
    }
}

/// Among the flags of an EXPLAIN that runs its statement.
pub const EXPLAIN_RUNS: &str = "explain:analyze";

/// What one statement touches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The bytes of the message that are this statement.
    pub text: Range<usize>,
    /// Its kind as its command tag names it, such as `SELECT`, `CREATE TABLE`, `COPY`.
    pub kind: String,
    /// It provably changes nothing: no write, no lock, no volatile or unknown function, no session setting.
    pub read_only: bool,
    /// Why what it reaches cannot be known from its text, if so (DO blocks, CALL, unknown functions, unknown nodes).
    pub opaque: Option<String>,
    /// The first name of a column, of a function, or of a part of FROM, that stands for nothing although all names around it are known. The
    /// statement is opaque then: PostgreSQL would refuse it, or the catalog snapshot is too old.
    pub missing: Option<String>,
    /// Relations.
    pub relations: Vec<RelationUse>,
    /// Base columns.
    pub columns: BTreeSet<ColumnUse>,
    /// Base columns whose values the statement stores somewhere else than in its answer: a table (INSERT ... SELECT, UPDATE,
    /// MERGE, CREATE TABLE AS), a view's definition. They are in `columns` as well, as Projected and as Written.
    pub stored: BTreeSet<ColumnId>,
    /// Base columns of which the statement's failing, waiting or not failing may tell: an operation that not every value
    /// survives is applied to them (`failing`).
    pub told: BTreeSet<ColumnId>,
    /// Base columns of whose stored values the statement's success or failure tells something: what it writes must differ
    /// from them (a unique or exclusion index), be among them (a foreign key), or go with them (a check).
    pub probed: BTreeSet<ColumnId>,
    /// Functions and procedures called outside the list of pure ones, `schema.name`; as in the text where the catalog does not know them.
    pub functions: BTreeSet<String>,
    /// It may set a setting unseen, or to what cannot be known: why. What comes after it could not be read.
    pub hidden_setting: Option<String>,
    /// Relations that an unqualified name of its text would mean if an earlier one of the search path were not there, or
    /// could not be used: in that order PostgreSQL and the catalog snapshot may differ.
    pub shadowed: BTreeMap<RelationId, String>,
    /// The columns of its answer; `None` where it returns no rows or they are not known before it runs.
    pub outputs: Option<Vec<Output>>,
    /// What it does to the session.
    pub effects: Vec<Effect>,
    /// UPDATE or DELETE without a WHERE that bounds it.
    pub unbounded_write: bool,
    /// COPY to or from the client's connection.
    pub copies_to_client: bool,
    /// COPY with a file or PROGRAM on the server.
    pub copies_server_side: bool,
    /// How the rows of a COPY on the client's connection are laid out; `None` where that cannot be known.
    pub copy: Option<CopyFormat>,
    /// Constants of the text that look like what masking puts in the place of a value.
    pub placeholders: Placeholders,
    /// Shape of the text with its constants removed; 16 hexadecimal digits.
    pub fingerprint: String,
    /// Notes for auditors, such as `tripwire:parsers_differ`.
    pub flags: Vec<String>,
}

impl Facts {
    /// What the statement reaches cannot all be known from its text: it is opaque as a whole, calls a function of the
    /// database's own, has an answer of unknown origin, or names a relation that the catalog snapshot does not know.
    pub fn reaches_unknown(&self) -> bool {
        self.opaque.is_some()
            || self.functions.iter().any(|name| !name.starts_with("pg_catalog."))
            || self.outputs.iter().flatten().any(|output| output.opaque)
            || self
                .relations
                .iter()
                .any(|relation| relation.id.is_none() && !relation.actions.contains(&Action::Create))
    }
}
