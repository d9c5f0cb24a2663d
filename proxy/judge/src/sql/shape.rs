//! Texts that differ in literals only: models and ORMs write values inline, so that the exact text is rarely seen twice.
//!
//! The second key of the cache. PostgreSQL's scanner finds the literals; the tree of the first text of a shape says which
//! of them are *free*: values that columns are compared with, of which no fact depends. All else, white space and comments
//! too, must be the same byte for byte, as must every literal that is not free: `LIMIT 1`, `ORDER BY 2`, `nextval('s')`,
//! `'t'::regclass`. What a literal's value decides elsewhere (a write that stores a mask, say) it may not decide here.

use pg_query::{
    Node, NodeEnum,
    protobuf::{self, AExprKind, BoolExprType, ScanToken, Token, a_const},
};
use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

/// Longest text that is looked at.
const LONGEST: usize = 16 << 10;

/// Most shapes that are remembered; beyond, all are forgotten.
const SHAPES: usize = 4096;

/// Types whose input says nothing about other objects.
const PLAIN: [&str; 16] = [
    "int2",
    "int4",
    "int8",
    "numeric",
    "float4",
    "float8",
    "bool",
    "text",
    "varchar",
    "bpchar",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "uuid",
];

/// A text without the values of its literals.
#[derive(Debug)]
pub struct Shape {
    key: String,
    literals: Vec<(usize, usize)>,
}

impl Shape {
    /// The shape of a text; `None` if it has no literal, is too long, or the scanner refuses it.
    pub fn of(text: &str) -> Option<Self> {
        if text.len() > LONGEST || !text.bytes().any(|byte| byte.is_ascii_digit() || byte == b'\'') {
            return None;
        }
        let tokens = super::scan::tokens(text).ok()?;
        let mut shape = Self { key: String::with_capacity(text.len()), literals: Vec::new() };
        let mut after = 0;
        for token in &tokens {
            let Some((start, end, mark)) = literal(text, token) else { continue };
            shape.key.push_str(text.get(after..start)?);
            shape.key.push_str(mark);
            shape.literals.push((start, end));
            after = end;
        }
        shape.key.push_str(text.get(after..)?);
        (!shape.literals.is_empty()).then_some(shape)
    }
}

/// A literal whose value may be left out, and what stands for it: NUL bytes occur in no text.
fn literal(text: &str, token: &ScanToken) -> Option<(usize, usize, &'static str)> {
    let (start, end) = (usize::try_from(token.start).ok()?, usize::try_from(token.end).ok()?);
    let mark = match Token::try_from(token.token).ok()? {
        Token::Iconst => "\0i",
        Token::Fconst => "\0f",
        // one pair of quotes and nothing that any parser reads in a second way
        Token::Sconst => {
            let inner = text.get(start..end)?.strip_prefix('\'')?.strip_suffix('\'')?;
            if inner.contains(['\'', '\\']) {
                return None;
            }
            "\0s"
        }
        _ => return None,
    };
    Some((start, end, mark))
}

/// The shapes that were seen, and which literals of each are not free. One for each thread.
#[derive(Debug, Default)]
pub struct Shapes {
    bound: HashMap<Box<str>, Rc<[usize]>>,
}

impl Shapes {
    /// The text that stands for all texts of this shape with the same bound literals, if the shape is known.
    pub fn common(&self, text: &str, shape: &Shape) -> Option<String> {
        let bound = self.bound.get(shape.key.as_str())?;
        Some(common(text, shape, bound))
    }

    /// Remembers a shape by the first text of it. `None` if none of its literals is free.
    pub fn learn(&mut self, text: &str, shape: &Shape, free: &BTreeSet<usize>) -> Option<String> {
        let literals = shape.literals.iter().enumerate();
        let bound: Rc<[usize]> = literals.filter(|(_, (start, _))| !free.contains(start)).map(|(n, _)| n).collect();
        if bound.len() == shape.literals.len() {
            return None;
        }
        let text = common(text, shape, &bound);
        if self.bound.len() >= SHAPES {
            self.bound.clear();
        }
        self.bound.insert(shape.key.as_str().into(), bound);
        Some(text)
    }
}

fn common(text: &str, shape: &Shape, bound: &[usize]) -> String {
    let mut common = shape.key.clone();
    for (start, end) in bound.iter().filter_map(|n| shape.literals.get(*n)) {
        common.push('\0');
        common.push_str(text.get(*start..*end).unwrap_or_default());
    }
    common
}

/// Where the free literals of a statement begin, as bytes of the message.
pub(super) fn free(statement: &NodeEnum) -> BTreeSet<usize> {
    let mut free = BTreeSet::new();
    match statement {
        NodeEnum::SelectStmt(select) => {
            condition(select.where_clause.as_deref(), &["=", "<>", "!=", "<", ">", "<=", ">="], &mut free);
        }
        // only what bounds a write whatever the value is
        NodeEnum::UpdateStmt(update) => condition(update.where_clause.as_deref(), &["="], &mut free),
        NodeEnum::DeleteStmt(delete) => condition(delete.where_clause.as_deref(), &["="], &mut free),
        _ => {}
    }
    free
}

fn condition(node: Option<&Node>, operators: &[&str], free: &mut BTreeSet<usize>) {
    match node.and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::BoolExpr(of)) if of.boolop() != BoolExprType::NotExpr => {
            of.args.iter().for_each(|argument| condition(Some(argument), operators, free));
        }
        Some(NodeEnum::AExpr(expression)) => comparison(expression, operators, free),
        _ => {}
    }
}

/// `column op literal`, `column IN (literals)`, `column BETWEEN literal AND literal`.
fn comparison(expression: &protobuf::AExpr, operators: &[&str], free: &mut BTreeSet<usize>) {
    let sides = (inner(expression.lexpr.as_deref()), inner(expression.rexpr.as_deref()));
    let operator = match expression.name.as_slice() {
        [one] => name(one),
        _ => None,
    };
    let listed = operator.is_some_and(|operator| operators.contains(&operator));
    match (expression.kind(), sides) {
        (AExprKind::AexprOp, (Some(NodeEnum::ColumnRef(_)), Some(value)))
        | (AExprKind::AexprOp, (Some(value), Some(NodeEnum::ColumnRef(_))))
            if listed =>
        {
            free.extend(place(value));
        }
        (AExprKind::AexprIn, (Some(NodeEnum::ColumnRef(_)), Some(NodeEnum::List(values)))) if listed => {
            free.extend(values.items.iter().filter_map(|item| place(item.node.as_ref()?)));
        }
        (AExprKind::AexprBetween, (Some(NodeEnum::ColumnRef(_)), Some(NodeEnum::List(values))))
            if operators.contains(&"<=") =>
        {
            free.extend(values.items.iter().filter_map(|item| place(item.node.as_ref()?)));
        }
        _ => {}
    }
}

fn inner(node: Option<&Node>) -> Option<&NodeEnum> {
    node.and_then(|node| node.node.as_ref())
}

fn name(node: &Node) -> Option<&str> {
    match node.node.as_ref() {
        Some(NodeEnum::String(string)) => Some(&string.sval),
        _ => None,
    }
}

/// Where a literal stands, if it is one, or one cast to a plain type.
fn place(node: &NodeEnum) -> Option<usize> {
    match node {
        NodeEnum::AConst(constant) => match constant.val {
            Some(a_const::Val::Ival(_) | a_const::Val::Fval(_) | a_const::Val::Sval(_)) => {
                usize::try_from(constant.location).ok()
            }
            _ => None,
        },
        NodeEnum::TypeCast(cast) => {
            let names = &cast.type_name.as_ref()?.names;
            let plain = match names.as_slice() {
                [one] => PLAIN.contains(&name(one)?),
                [schema, one] => name(schema)? == "pg_catalog" && PLAIN.contains(&name(one)?),
                _ => false,
            };
            match cast.arg.as_deref()?.node.as_ref()? {
                constant @ NodeEnum::AConst(_) if plain => place(constant),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that stands for this one, learnt from itself.
    fn learnt(text: &str) -> Option<String> {
        let parsed = pg_query::parse(text, 0).unwrap().protobuf;
        let statement = parsed.stmts[0].stmt.as_ref().unwrap().node.as_ref().unwrap();
        Shapes::default().learn(text, &Shape::of(text)?, &free(statement))
    }

    #[test]
    fn texts_that_differ_in_compared_values_share_their_facts() {
        let first = learnt("select a from t where id = 5 and name = 'x' and day > '2020-01-01'::date").unwrap();
        assert_eq!(first, learnt("select a from t where id = 77 and name = '' and day > '2'::date").unwrap());
        let first = learnt("select a from t where id in (1,2) or b between 3 and 4.5").unwrap();
        assert_eq!(first, learnt("select a from t where id in (8,9) or b between 0 and 0.1").unwrap());
        assert_eq!(learnt("delete from t where id = 1").unwrap(), learnt("delete from t where id = 2").unwrap());
    }

    #[test]
    fn a_literal_that_may_matter_must_be_the_same() {
        for (one, other) in [
            ("select a from t where id = 5 limit 1", "select a from t where id = 5 limit 2"),
            ("select a from t where id = 5 order by 1", "select a from t where id = 5 order by 2"),
            ("select a, 1 from t where id = 5", "select a, 2 from t where id = 5"),
            ("select a from t where id = 5 and 1 = 1", "select a from t where id = 5 and 1 = 2"),
            ("select a from t where id = 5 and f(1)", "select a from t where id = 5 and f(2)"),
            (
                "select a from t where id = 5 and b = 'x'::regclass",
                "select a from t where id = 5 and b = 'y'::regclass",
            ),
            ("select a from t where id = 5 and b = -1", "select a from t where id = 5 and b = -2"),
            ("select a from t where id = 5", "select a from t where id = 5.0"),
            ("select a from t where id = 5", "select a  from t where id = 5"),
            ("select a from t where id = 5", "select a from t where id = '5'"),
            ("select a from t where id = '5'", "select a from t where id = '5\\'"),
            ("select a from t where id = '5'", "select a from t where id = '5'''"),
            ("select a from t where id = 5 -- 1", "select a from t where id = 5 -- 2"),
            ("update t set a = 1 where id = 5", "update t set a = 2 where id = 5"),
            ("select \"1\" from t where id = 5", "select \"2\" from t where id = 5"),
        ] {
            let (one, other) = (learnt(one), learnt(other));
            assert!(one.is_some());
            assert_ne!(one, other);
        }
        for none in ["delete from t where id > 5", "select nextval('s')", "select 1", "insert into t values (1)"] {
            assert_eq!(learnt(none), None, "{none}");
        }
    }

    #[test]
    fn a_known_shape_needs_no_tree() {
        let text = "select a from t where id = 5 limit 3";
        let parsed = pg_query::parse(text, 0).unwrap().protobuf;
        let statement = parsed.stmts[0].stmt.as_ref().unwrap().node.as_ref().unwrap();
        let mut shapes = Shapes::default();
        let other = "select a from t where id = 600 limit 3";
        assert_eq!(shapes.common(other, &Shape::of(other).unwrap()), None);
        let common = shapes.learn(text, &Shape::of(text).unwrap(), &free(statement));
        assert_eq!(common, shapes.common(other, &Shape::of(other).unwrap()));
    }
}
