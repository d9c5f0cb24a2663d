//! The fields of a document, and how a hit becomes one.
//!
//! One document stands for one statement, one session, one refused connection, one access of an auditor or one gap of the
//! log. What a question may ask for is indexed as terms; what an answer shows is one stored JSON text; what is counted,
//! compared or sorted by is a fast field. Every value is added by the typed function of its field: a value of another
//! type would kill tantivy's writer thread, so none can be given here.

use crate::search::Hit;
use schemas::event::{Usage, VerdictKind};
use schemas::literals;
use std::collections::BTreeSet;
use tantivy::TantivyDocument;
use tantivy::schema::Value as _;
use tantivy::schema::{Field, IndexRecordOption, NumericOptions, STORED, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{PreTokenizedString, Token};

/// Grows when the documents change: an index of another version is built again.
pub const VERSION: u32 = 4;

/// Longest term in bytes; a longer value is cut, in documents and in questions alike.
const MAX_TERM_BYTES: usize = 1024;

/// What a term field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The value as it is.
    Exact,
    /// The value in lower case.
    Lower,
    /// A dotted name in lower case, and each of its ends: `hr.salaries.amount`, `salaries.amount`, `amount`.
    Dotted,
}

/// The term fields: name, form, and what `postern audit search --help` says of it.
pub const TERMS: &[(&str, Form, &str)] = &[
    ("id", Form::Exact, "id of a statement or session"),
    ("type", Form::Lower, "statement, session, refused, access, gap"),
    ("state", Form::Lower, "open or done"),
    ("session", Form::Exact, "id of a session"),
    ("identity", Form::Exact, "subject or name of an identity"),
    ("issuer", Form::Exact, "issuer of the identity"),
    ("identity_kind", Form::Lower, "human or machine"),
    ("group", Form::Exact, "group of the identity"),
    ("on_behalf_of", Form::Exact, "who acts for the identity: the token's act chain"),
    ("task", Form::Exact, "task that the identity works on"),
    ("resource", Form::Exact, "registered database"),
    ("role", Form::Exact, "PostgreSQL role of the session"),
    ("node", Form::Exact, "node that served it"),
    ("peer", Form::Exact, "client's address, with or without port"),
    ("protocol", Form::Lower, "simple, extended, function_call"),
    ("verdict", Form::Lower, "allow, mask, hold, deny"),
    ("policy", Form::Exact, "id of a policy that decided"),
    ("policy_version", Form::Exact, "digest of the policy version"),
    ("reviewer", Form::Exact, "who answered a held statement"),
    ("kind", Form::Lower, "kind of statement, such as select or \"create table\""),
    ("relation", Form::Dotted, "relation that is touched"),
    ("selected", Form::Dotted, "relation whose rows are read"),
    ("changed", Form::Dotted, "relation that is written or redefined"),
    ("column", Form::Dotted, "column that is touched"),
    ("read", Form::Dotted, "column that is projected, filtered or joined"),
    ("projected", Form::Dotted, "column that reaches the answer"),
    ("filtered", Form::Dotted, "column that decides which rows there are"),
    ("joined", Form::Dotted, "column that joins relations"),
    ("wrote", Form::Dotted, "column that is written"),
    ("masked", Form::Dotted, "column that is read and hidden"),
    ("clear", Form::Dotted, "column that is read and not hidden"),
    ("label", Form::Lower, "classification of a column that is touched"),
    ("function", Form::Dotted, "function that is called"),
    ("fingerprint", Form::Lower, "shape of the statement"),
    ("flag", Form::Lower, "note for auditors"),
    ("opaque", Form::Lower, "true where the facts are incomplete"),
    ("read_only", Form::Lower, "true where the statement changes nothing"),
    ("outcome", Form::Lower, "running, succeeded, failed, denied, ..., or why a session ended"),
    ("sqlstate", Form::Lower, "SQLSTATE that the client was told"),
    ("token", Form::Lower, "token of a value that the statement named: postern audit token"),
    ("found", Form::Lower, "detector that found something in the answer, such as pan, or the column it was in"),
];

/// The number fields that can be compared.
pub const NUMBERS: &[(&str, &str)] =
    &[("rows", "rows"), ("bytes", "bytes of rows"), ("duration", "time taken"), ("number", "number in the session")];

/// Fields by name. Field ids follow from the order of declaration, which [`VERSION`] stands for.
#[derive(Debug, Clone)]
pub struct Fields {
    /// The schema.
    pub schema: Schema,
    terms: Vec<Field>,
    numbers: Vec<Field>,
    /// Microseconds since 1970-01-01 UTC.
    pub time: Field,
    /// Subject and issuer, for counting.
    pub who: Field,
    /// Words of the SQL text.
    pub text: Field,
    /// Words of the reason.
    pub reason: Field,
    document: Field,
    words: Field,
}

impl Fields {
    /// Declares them.
    pub fn new() -> Self {
        let mut builder = Schema::builder();
        let raw = || TextFieldIndexing::default().set_tokenizer("raw").set_fieldnorms(false);
        let term = TextOptions::default().set_indexing_options(raw().set_index_option(IndexRecordOption::Basic));
        let words = raw().set_index_option(IndexRecordOption::WithFreqsAndPositions);
        let words = TextOptions::default().set_indexing_options(words);
        let number = NumericOptions::default().set_fast().set_indexed();
        Self {
            terms: TERMS.iter().map(|(name, _, _)| builder.add_text_field(name, term.clone())).collect(),
            numbers: NUMBERS.iter().map(|(name, _)| builder.add_u64_field(name, number.clone())).collect(),
            time: builder.add_i64_field("time", number),
            who: builder.add_text_field("who", TextOptions::default().set_fast("raw")),
            text: builder.add_text_field("text", words.clone()),
            reason: builder.add_text_field("reason", words),
            document: builder.add_text_field("document", TextOptions::default() | STORED),
            words: builder.add_text_field("words", TextOptions::default() | STORED),
            schema: builder.build(),
        }
    }

    /// A term field and its form.
    pub fn term(&self, name: &str) -> Option<(Field, Form)> {
        let at = TERMS.iter().position(|(known, _, _)| *known == name)?;
        Some((*self.terms.get(at)?, TERMS.get(at)?.1))
    }

    /// A number field.
    pub fn number(&self, name: &str) -> Option<Field> {
        let at = NUMBERS.iter().position(|(known, _)| *known == name)?;
        self.numbers.get(at).copied()
    }

    /// The term that stands for exactly this document.
    pub fn id_term(&self, id: &str) -> Option<tantivy::Term> {
        Some(tantivy::Term::from_field_text(self.term("id")?.0, id))
    }

    /// Makes the document of a hit.
    ///
    /// # Errors
    /// If the hit cannot be written as JSON: a fault in this package.
    pub fn document(&self, hit: &Hit, words: &[String]) -> Result<TantivyDocument, serde_json::Error> {
        let mut document = TantivyDocument::default();
        document.add_text(self.document, serde_json::to_string(hit)?);
        document.add_i64(self.time, hit.time);
        for (name, value) in
            [("rows", hit.rows), ("bytes", hit.bytes), ("duration", hit.duration), ("number", hit.number)]
        {
            if let (Some(value), Some(field)) = (value, self.number(name)) {
                document.add_u64(field, value);
            }
        }
        if let Some(identity) = &hit.identity {
            document.add_text(self.who, who(&identity.subject, &identity.issuer));
        }
        for (name, value) in terms(hit) {
            if let Some((field, form)) = self.term(name) {
                document.add_text(field, form.term(&value));
            }
        }
        if hit.open && !words.is_empty() {
            // the document will be written again: what it is made of must come back after a restart
            document.add_text(self.words, words.join(" "));
        }
        document.add_pre_tokenized_text(self.text, pre_tokenized(words));
        document.add_pre_tokenized_text(self.reason, pre_tokenized(&reason_words(&hit.reason)));
        Ok(document)
    }

    /// Reads a hit out of a document.
    pub fn hit(&self, document: &TantivyDocument) -> Option<Hit> {
        serde_json::from_str(document.get_first(self.document)?.as_str()?).ok()
    }

    /// The words that an open document was written with. No word has a space in it.
    pub fn words(&self, document: &TantivyDocument) -> Vec<String> {
        let words = document.get_first(self.words);
        let words = words.as_ref().and_then(|words| words.as_str()).unwrap_or_default();
        words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self::new()
    }
}

impl Form {
    /// A value as the term that is looked up. For a dotted name the whole is one term: its ends are terms of their own.
    pub fn term(self, value: &str) -> String {
        let mut term = match self {
            Self::Exact => value.to_owned(),
            Self::Lower | Self::Dotted => value.to_lowercase(),
        };
        let mut end = MAX_TERM_BYTES.min(term.len());
        while !term.is_char_boundary(end) {
            end -= 1;
        }
        term.truncate(end);
        term
    }
}

/// Subject and issuer as one text; see [`split_who`].
fn who(subject: &str, issuer: &str) -> String {
    format!("{issuer}\t{subject}")
}

/// Issuer and subject of the text that is counted by.
pub fn split_who(who: &str) -> (&str, &str) {
    who.split_once('\t').unwrap_or(("", who))
}

/// The words of a reason, for phrases.
pub fn reason_words(reason: &str) -> Vec<String> {
    literals::remove(reason).map(|text| text.words).unwrap_or_else(|| plain_words(reason))
}

/// Words of a text that is not SQL.
pub fn plain_words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

fn pre_tokenized(words: &[String]) -> PreTokenizedString {
    let token = |(position, word): (usize, &String)| Token { position, text: word.clone(), ..Token::default() };
    PreTokenizedString { text: String::new(), tokens: words.iter().enumerate().map(token).collect() }
}

/// Every term of a hit, each once. Only text that was cleaned of constants, catalog names and the gate's own words.
fn terms(hit: &Hit) -> BTreeSet<(&'static str, String)> {
    let mut terms = Terms(BTreeSet::new());
    terms.add("id", &hit.id);
    terms.add("type", hit.document.name());
    terms.add("state", if hit.open { "open" } else { "done" });
    terms.add("session", &hit.session.to_string());
    terms.add("resource", &hit.resource);
    terms.add("role", &hit.role);
    terms.add("node", &hit.node);
    terms.add("peer", &hit.peer);
    if let Some((address, _port)) = hit.peer.rsplit_once(':') {
        terms.add("peer", address);
    }
    terms.add("protocol", &hit.protocol);
    terms.add("policy_version", &hit.policy_version);
    terms.add("kind", &hit.kind);
    terms.add("fingerprint", &hit.fingerprint);
    terms.add("outcome", &hit.outcome);
    terms.add("sqlstate", hit.sqlstate.as_deref().unwrap_or_default());
    terms.add("reviewer", hit.review.as_ref().and_then(|review| review.reviewer.as_deref()).unwrap_or_default());
    hit.policies.iter().for_each(|policy| terms.add("policy", policy));
    hit.flags.iter().for_each(|flag| terms.add("flag", flag));
    hit.tokens.iter().for_each(|token| terms.add("token", token));
    hit.functions.iter().for_each(|function| terms.dotted("function", function));
    for found in &hit.found {
        terms.add("found", &found.detector);
        terms.add("found", &found.column);
    }
    // what was held first is found by that as well as by what became of it
    if hit.review.is_some() && hit.verdict != Some(VerdictKind::Hold) {
        terms.add("verdict", verdict_name(VerdictKind::Hold));
    }
    if let Some(verdict) = hit.verdict {
        terms.add("verdict", verdict_name(verdict));
        terms.add("opaque", if hit.opaque { "true" } else { "false" });
        terms.add("read_only", if hit.read_only { "true" } else { "false" });
    }
    terms.identity(hit);
    terms.touched(hit);
    terms.0
}

struct Terms(BTreeSet<(&'static str, String)>);

impl Terms {
    fn add(&mut self, field: &'static str, value: &str) {
        if !value.is_empty() {
            self.0.insert((field, value.to_owned()));
        }
    }

    /// A name and each of its ends after a dot.
    fn dotted(&mut self, field: &'static str, name: &str) {
        let name = name.to_lowercase();
        self.add(field, &name);
        name.match_indices('.').filter_map(|(at, _)| name.get(at + 1..)).for_each(|end| self.add(field, end));
    }

    fn identity(&mut self, hit: &Hit) {
        let Some(identity) = &hit.identity else { return };
        self.add("identity", &identity.subject);
        self.add("identity", &identity.name);
        self.add("issuer", &identity.issuer);
        self.add("identity_kind", identity_kind_name(identity.kind));
        identity.groups.iter().for_each(|group| self.add("group", group));
        identity.on_behalf_of.iter().for_each(|principal| self.add("on_behalf_of", principal));
        identity.task.iter().for_each(|task| self.add("task", task));
    }

    fn touched(&mut self, hit: &Hit) {
        for relation in &hit.relations {
            self.dotted("relation", &relation.name);
            for action in &relation.actions {
                match action.as_str() {
                    "select" | "copy_out" => self.dotted("selected", &relation.name),
                    "lock" | "maintain" => {}
                    _ => self.dotted("changed", &relation.name),
                }
            }
        }
        for column in &hit.columns {
            self.dotted("column", &column.name);
            self.add("label", column.label.as_deref().unwrap_or_default());
            self.dotted(usage_name(column.usage), &column.name);
            if column.usage != Usage::Written {
                self.dotted("read", &column.name);
                self.dotted(if column.masked { "masked" } else { "clear" }, &column.name);
            }
        }
    }
}

/// The term of a verdict.
pub const fn verdict_name(verdict: VerdictKind) -> &'static str {
    match verdict {
        VerdictKind::Allow => "allow",
        VerdictKind::Mask => "mask",
        VerdictKind::Hold => "hold",
        VerdictKind::Deny => "deny",
    }
}

/// The field of a usage.
pub const fn usage_name(usage: Usage) -> &'static str {
    match usage {
        Usage::Projected => "projected",
        Usage::Filtered => "filtered",
        Usage::Joined => "joined",
        Usage::Written => "wrote",
    }
}

const fn identity_kind_name(kind: schemas::IdentityKind) -> &'static str {
    match kind {
        schemas::IdentityKind::Human => "human",
        schemas::IdentityKind::Machine => "machine",
    }
}
