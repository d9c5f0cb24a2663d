//! COPY on the client's connection: its options, as PostgreSQL reads them, and which columns a row has.

use super::{Walker, scope::Columns, scope::Item, statement::text};
use crate::sql::facts::{CopyFormat, CopyLayout};
use pg_query::{NodeEnum, protobuf};

/// How rows of a COPY are laid out; `None` where an option is not understood, so that nobody can walk them.
pub(super) fn format(copy: &protobuf::CopyStmt) -> Option<CopyFormat> {
    let mut layout = CopyLayout::Text;
    let (mut delimiter, mut null, mut quote, mut escape) = (None, None, None, None);
    let (mut header, mut force_quote) = (false, false);
    for option in &copy.options {
        let Some(NodeEnum::DefElem(option)) = &option.node else { return None };
        let argument = option.arg.as_deref();
        let value = || argument.and_then(text);
        match option.defname.as_str() {
            "format" => {
                layout = match value()?.as_str() {
                    "text" => CopyLayout::Text,
                    "csv" => CopyLayout::Csv,
                    "binary" => CopyLayout::Binary,
                    _ => return None, // no node: a word
                }
            }
            "delimiter" => delimiter = Some(one_byte(&value()?)?),
            "null" => null = Some(value()?),
            "quote" => quote = Some(one_byte(&value()?)?),
            "escape" => escape = Some(one_byte(&value()?)?),
            "header" => header = argument.is_none() || truth(&value()?)?,
            // another encoding may hide the bytes that separate values inside of letters
            "encoding" => {
                let encoding = value()?.to_ascii_lowercase().replace(['-', '_'], "");
                if !matches!(encoding.as_str(), "utf8" | "unicode") {
                    return None;
                }
            }
            // these change no byte that separates values
            "force_quote" => force_quote = true,
            "freeze" | "force_not_null" | "force_null" | "on_error" | "log_verbosity" | "reject_limit" => {}
            _ => return None, // no node: a word
        }
    }
    let csv = layout == CopyLayout::Csv;
    let quote = quote.unwrap_or(b'"');
    Some(CopyFormat {
        layout,
        delimiter: delimiter.unwrap_or(if csv { b',' } else { b'\t' }),
        null: null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() }),
        quote,
        escape: escape.unwrap_or(quote),
        force_quote,
        header,
        targets: Vec::new(),
    })
}

fn one_byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [one] if one.is_ascii() => Some(*one),
        [] | [_] | [_, _, ..] => None,
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" | "match" => Some(true),
        "false" | "off" | "0" => Some(false),
        _ => None, // no node: a word
    }
}

impl<'a> Walker<'a> {
    /// Notes how rows of a COPY on the client's connection are laid out, and for COPY FROM what each value goes to.
    pub(super) fn note_copy(&mut self, copy: &protobuf::CopyStmt, target: Option<(&Item<'a>, &[String])>) {
        let Some(mut format) = format(copy) else { return };
        if let Some((target, names)) = target
            && let Columns::Relation(relation) = target.columns
        {
            format.targets = if names.is_empty() {
                relation.columns.iter().filter(|c| !c.generated).map(|c| c.origins.clone()).collect()
            } else {
                names.iter().map(|n| relation.column(n).map(|c| c.origins.clone()).unwrap_or_default()).collect()
            };
        }
        self.out.copy = Some(format);
    }
}
