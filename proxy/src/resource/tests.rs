//! A database that goes silent does not keep a resource from being read for ever.

use super::*;
use crate::testing;
use std::{
    io::{Read, Write},
    net::TcpListener,
    time::Instant,
};

/// A login without a password, the settings, and the answer to the first question: the search path.
const LOGIN: &[u8] =
    b"R\0\0\0\x08\0\0\0\0S\0\0\0\x19client_encoding\0UTF8\0S\0\0\0\x23standard_conforming_strings\0on\0\
    S\0\0\0\x18server_version\x0015.1\0Z\0\0\0\x05I\
    D\0\0\0\x10\0\x01\0\0\0\x06public\
    C\0\0\0\x09SHOW\0Z\0\0\0\x05I";

/// Takes connections, logs everybody in, and says nothing more.
fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            std::thread::spawn(move || {
                let mut packet = [0; 4096];
                assert!(socket.read(&mut packet).unwrap() >= 8);
                socket.write_all(LOGIN).unwrap();
                while socket.read(&mut packet).is_ok_and(|count| count > 0) {}
            });
        }
    });
    port
}

#[test]
fn a_reading_that_nobody_answers_is_given_up() {
    let config = testing::resource("app", testing::database("app", silent()), Rules::default()).unwrap();
    let resource = Resource::new(&config, 0, false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Duration::from_millis(300);
    let begun = Instant::now();
    // many times, as `keep_fresh` does: what was given up leaves nothing behind
    for _ in 0..3 {
        let error = runtime.block_on(resource.read_within(limit)).unwrap_err();
        assert!(error.contains("did not tell its catalog"), "{error}");
    }
    assert!(begun.elapsed() >= 3 * limit);
}
