//! Types, as far as masking tells them apart, by their fixed ids in `pg_type`.

use super::detect::Family;

/// What values of a type look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text in both formats.
    Text,
    /// One byte.
    Char,
    /// An integer of that many bytes.
    Integer(usize),
    /// JSON text in both formats.
    Json,
    /// JSON text; in binary after a version byte.
    Jsonb,
    /// Text that is well-formed XML content.
    Xml,
    /// Bytes; hexadecimal after `\x` in text.
    Bytea,
    /// 16 bytes.
    Uuid,
    /// A number of any length.
    Numeric,
    /// A floating-point number of that many bytes.
    Float(usize),
    /// A day.
    Date,
    /// A moment; with or without a time zone.
    Timestamp {
        /// `timestamptz`.
        zone: bool,
    },
    /// An address, or a network.
    Inet {
        /// `cidr`.
        network: bool,
    },
    /// An array of that element type, which is text.
    Texts(u32),
    /// No honest placeholder.
    Other,
}

const TEXT: u32 = 25;
const BPCHAR: u32 = 1042;
const VARCHAR: u32 = 1043;
const NAME: u32 = 19;

impl Kind {
    pub(super) fn of(type_id: u32) -> Self {
        match type_id {
            TEXT | BPCHAR | VARCHAR | NAME | 705 | 1790 => Self::Text,
            18 => Self::Char,
            20 => Self::Integer(8),
            21 => Self::Integer(2),
            23 => Self::Integer(4),
            114 => Self::Json,
            3802 => Self::Jsonb,
            142 => Self::Xml,
            17 => Self::Bytea,
            2950 => Self::Uuid,
            1700 => Self::Numeric,
            700 => Self::Float(4),
            701 => Self::Float(8),
            1082 => Self::Date,
            1114 => Self::Timestamp { zone: false },
            1184 => Self::Timestamp { zone: true },
            869 => Self::Inet { network: false },
            650 => Self::Inet { network: true },
            1009 => Self::Texts(TEXT),
            1014 => Self::Texts(BPCHAR),
            1015 => Self::Texts(VARCHAR),
            1003 => Self::Texts(NAME),
            _ => Self::Other,
        }
    }
}

/// How values of a type are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// As they are.
    Plain,
    /// As JSON text.
    Json,
    /// As JSON text; in binary after a version byte.
    Jsonb,
    /// Element by element in binary, as they are in text.
    Array,
    /// Bytes; hexadecimal in text.
    Bytes,
    /// As they are; NULL where a binary value holds something.
    Opaque,
    /// An integer of eight bytes: NULL where it is a card number.
    Integer,
    /// A number of any length, likewise.
    Numeric,
}

impl Search {
    /// How values of a type are searched, if they are. `column`: they are a table's own, not an expression's.
    pub(super) fn of(type_id: u32, column: bool) -> Option<(Self, Family)> {
        Some(match type_id {
            TEXT | BPCHAR | VARCHAR | NAME | 705 | 1790 | 142 | 2275 => (Self::Plain, Family::Text),
            20 => (Self::Integer, Family::Number),
            1700 => (Self::Numeric, Family::Number),
            114 => (Self::Json, Family::Json),
            3802 => (Self::Jsonb, Family::Json),
            1002 | 1003 | 1009 | 1014 | 1015 | 143 => (Self::Array, Family::Other),
            // of bytes only what an expression made of text
            17 if !column => (Self::Bytes, Family::Other),
            // arrays of JSON, rows, text search
            199 | 3807 | 2249 | 2287 | 3614 | 3615 => (Self::Opaque, Family::Other),
            own if own >= 16384 => (Self::Opaque, Family::Other),
            _ => return None,
        })
    }
}

/// How many characters a value may have: the modifier of `varchar(n)` and `char(n)`, and of arrays of them, is n + 4.
pub(super) fn room(type_id: u32, modifier: i32) -> Option<usize> {
    let counted = matches!(type_id, BPCHAR | VARCHAR | 1014 | 1015);
    usize::try_from(modifier).ok().filter(|_| counted)?.checked_sub(4)
}
