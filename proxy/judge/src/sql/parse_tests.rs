//! How deep a text may be, and what that takes.

use super::*;
use crate::sql::{Catalog, Context, analyze};

/// A text made of a repeated part; each deepens its tree.
struct Shape {
    name: &'static str,
    before: &'static str,
    open: &'static str,
    middle: &'static str,
    close: &'static str,
}

const fn shape(
    name: &'static str,
    before: &'static str,
    open: &'static str,
    middle: &'static str,
    close: &'static str,
) -> Shape {
    Shape { name, before, open, middle, close }
}

const SHAPES: &[Shape] = &[
    shape("concatenation", "SELECT 'a'", "||b", "", ""),
    shape("sum", "SELECT 1", "+ 1", "", ""),
    shape("casts", "SELECT 1", "::int", "", ""),
    shape("signs", "SELECT ", "- ", "1", ""),
    shape("not", "SELECT ", "NOT ", "true", ""),
    shape("or", "SELECT 1 WHERE false", " OR a", "", ""),
    shape("or of comparisons", "SELECT 1 FROM t WHERE a=1", " OR a=1", "", ""),
    shape("case", "SELECT ", "CASE WHEN a THEN b ELSE ", "1", " END"),
    shape("union", "SELECT 1", " UNION SELECT 1", "", ""),
    shape("union of lists", "SELECT 1,2", " UNION SELECT 1,2", "", ""),
    shape("except", "SELECT 1", " EXCEPT ALL SELECT 1", "", ""),
    shape("joins", "SELECT 1 FROM t", " CROSS JOIN t", "", ""),
    shape("right joins", "SELECT 1 FROM ", "t JOIN ", "t", " ON a"),
    shape("is null", "SELECT 1", " IS NULL", "", ""),
    shape("collate", "SELECT a", " COLLATE c", "", ""),
    shape("at time zone", "SELECT a", " AT TIME ZONE b", "", ""),
    shape("parentheses", "SELECT ", "(", "1", ")"),
    shape("subqueries", "SELECT ", "(SELECT ", "1", ")"),
    shape("exists", "SELECT 1 WHERE ", "EXISTS (SELECT 1 WHERE ", "true", ")"),
    shape("from subqueries", "SELECT 1 FROM ", "(SELECT 1 FROM ", "t", ") x"),
    shape("lateral", "SELECT 1 FROM ", "t, LATERAL (SELECT 1 FROM ", "t", ") x"),
    shape("with", "", "WITH x AS (", "SELECT 1", ") SELECT 1"),
    shape("arrays", "SELECT ", "ARRAY[", "1", "]"),
    shape("rows", "SELECT ", "ROW(a,", "1", ")"),
    shape("functions", "SELECT ", "lower(", "a", ")"),
    shape("in", "SELECT ", "a IN (", "1", ")"),
    shape("json", "SELECT ", "JSON_OBJECT('a': ", "1", ")"),
];

impl Shape {
    fn text(&self, times: usize) -> String {
        format!("{}{}{}{}", self.before, self.open.repeat(times), self.middle, self.close.repeat(times))
    }

    /// How often the part is repeated in the deepest text that PostgreSQL's grammar takes too.
    fn understood(&self, most: usize, limits: &Limits) -> usize {
        on_large_stack(|| {
            let (mut good, mut bad) = (1, most + 1);
            while bad - good > 1 {
                let middle = good + (bad - good) / 2;
                if statements(&self.text(middle), limits).is_ok() { good = middle } else { bad = middle }
            }
            Ok(good)
        })
        .unwrap()
    }

    /// The longest text of this shape that the limits allow, and how often the part is repeated in it.
    fn deepest(&self, limits: &Limits) -> (String, usize) {
        let fits = |times: usize| {
            let text = self.text(times);
            weigh(&text, limits).is_ok() && depth(&text, limits).is_ok()
        };
        let (mut good, mut bad) = (1, limits.bytes);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if fits(middle) { good = middle } else { bad = middle }
        }
        (self.text(good), good)
    }
}

/// The bytes of this thread's stack that were ever touched.
fn stack_used() -> usize {
    let here = 0u8;
    let here = std::ptr::from_ref(&here) as usize;
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in maps.lines() {
        if let Some((range, _)) = line.split_once(' ').filter(|(range, _)| range.contains('-')) {
            let (start, end) = range.split_once('-').unwrap();
            let number = |text| usize::from_str_radix(text, 16).unwrap();
            inside = (number(start)..number(end)).contains(&here);
        } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| inside) {
            return size.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10;
        }
    }
    panic!("the stack is not mapped")
}

fn facts(text: &str) -> Result<usize, Error> {
    let catalog = Catalog::empty();
    let context = Context { catalog: &catalog, search_path: &[], limits: Limits::default(), tripwire: true };
    analyze(text, &context).map(|all| all.len())
}

#[test]
fn the_deepest_text_of_each_shape_takes_at_most_half_of_the_stack() {
    let limits = Limits::default();
    for shape in SHAPES {
        let (_, most) = shape.deepest(&limits);
        let times = shape.understood(most, &limits);
        let text = shape.text(times);
        let bound = depth(&text, &limits).unwrap();
        let start = std::time::Instant::now();
        let (outcome, used) = on_large_stack(|| {
            let statements = statements(&text, &limits).map(|all| {
                let catalog = Catalog::empty();
                let facts: Vec<_> = all.iter().map(|one| crate::sql::walk::statement(one, &catalog, &[])).collect();
                let context = Context { catalog: &catalog, search_path: &[], limits, tripwire: true };
                let _flag = crate::sql::tripwire::compare(&text, &all, &facts, &context);
            });
            Ok((statements, stack_used()))
        })
        .unwrap();
        let time = start.elapsed();
        println!(
            "{}: {times} times, depth {bound}, {} KiB, {} bytes a level, {time:?}",
            shape.name,
            used >> 10,
            used / bound
        );
        assert!(used < STACK / 2, "{} takes {used} bytes", shape.name);
        assert!(outcome.is_ok() && facts(&text).is_ok(), "{}", shape.name);
        assert!(facts(&shape.text(times + 1)).is_err(), "{} has no limit", shape.name);
        assert!(facts(&shape.text(most)).is_ok() == (times == most), "{}", shape.name);
    }
}

#[test]
fn what_runs_where_it_is_called_takes_at_most_half_of_a_small_stack() {
    for shape in SHAPES {
        let mut times = 1;
        let light = |text: &str| {
            weigh(text, &Limits::default()).unwrap() <= LIGHT || depth(text, &Limits::default()).unwrap() <= LIGHT
        };
        while light(&shape.text(times + 1)) {
            times += 1;
        }
        let text = shape.text(times);
        let used = std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(move || {
                let outcome = facts(&text);
                (stack_used(), outcome.is_ok())
            })
            .unwrap()
            .join()
            .unwrap();
        println!("{}: {times} times, {} KiB, {}", shape.name, used.0 >> 10, used.1);
        assert!(used.0 < 1 << 20, "{} takes {} bytes", shape.name, used.0);
    }
}

#[test]
fn the_decoder_has_no_limit_of_its_own() {
    let text = format!("SELECT a{} FROM t", "||a".repeat(1000));
    assert_eq!(facts(&text), Ok(1));
}

#[test]
fn long_is_not_deep() {
    let row = "(1, 'a', now(), -1.5),";
    let text = format!("INSERT INTO t VALUES {}(1, 'a', now(), 2)", row.repeat(8000));
    assert!(weigh(&text, &Limits::default()).unwrap() > LIGHT);
    assert!(depth(&text, &Limits::default()).unwrap() <= LIGHT);
    assert_eq!(facts(&text), Ok(1));
    let smile = format!("INSERT INTO t VALUES ('{}')", ":( ".repeat(1000));
    assert_eq!(facts(&smile), Ok(1));
    assert_eq!(facts(&"SELECT 1;".repeat(1000)), Ok(1000));
}

#[test]
fn limits_are_told() {
    let limits = Limits::default();
    assert!(matches!(facts(&format!("SELECT 1 {}", " ".repeat(limits.bytes))), Err(Error::TooLarge { .. })));
    assert!(matches!(facts(&format!("{}{}SELECT 1", "/*".repeat(33), "*/".repeat(33))), Err(Error::TooDeep { .. })));
    assert!(matches!(facts("SELECT 1\0"), Err(Error::Nul)));
    assert!(matches!(facts(&"SELECT 1;".repeat(1025)), Err(Error::TooManyStatements { .. })));
    assert_eq!(utf8(b"a\xff"), Err(Error::Encoding { position: 1 }));
}
