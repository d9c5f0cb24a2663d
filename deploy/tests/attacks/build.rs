//! Lets this package's own test and example binaries link: libpg_query and librdkafka both carry a copy of xxHash, under
//! the same names. Which copy serves depends on the order of the archives; both compute the same, and the functions that
//! both call (XXH32) have had the same state since 2014, so that either may serve.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-Wl,--allow-multiple-definition");
}
