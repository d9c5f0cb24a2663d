//! How long facts take: p50 of a short SELECT and of a longer one, without and with the cache.

use judge::sql::{Cache, Catalog, Context, Limits, analyze, cache::Key};
use std::{sync::Arc, time::Instant};

fn main() {
    let catalog = Catalog::empty();
    let path = ["public".to_owned()];
    let context = Context { catalog: &catalog, search_path: &path, limits: Limits::default(), tripwire: false };
    let long = format!(
        "SELECT {} FROM t JOIN u ON t.id = u.id WHERE t.id = 1 AND u.b IN (1, 2, 3)",
        "t.a, u.b, ".repeat(14) + "t.c"
    );
    for text in ["SELECT id, name FROM t WHERE id = 1", long.as_str()] {
        let mut times: Vec<u128> = (0..20_000)
            .map(|_| {
                let start = Instant::now();
                let facts = analyze(text, &context);
                let time = start.elapsed().as_nanos();
                assert!(facts.is_ok());
                time
            })
            .collect();
        times.sort_unstable();
        let at = |place: usize| times.get(place).copied().unwrap_or_default();
        println!("{} bytes: p50 {} ns, p99 {} ns", text.len(), at(10_000), at(19_800));
        let mut cache = Cache::new(1 << 20);
        let key = Key { text, search_path: &path, epoch: 0, extra: 0 };
        cache
            .insert(&key, analyze(text, &context).expect("it was analyzed before").into_iter().map(Arc::new).collect());
        let start = Instant::now();
        for _ in 0..100_000 {
            std::hint::black_box(cache.get(&key));
        }
        println!("  hit: {} ns", start.elapsed().as_nanos() / 100_000);
    }
}
