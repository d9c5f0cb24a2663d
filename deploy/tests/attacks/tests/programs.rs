//! The programs of this package say what they take, and refuse what they do not know. That they are named here builds them with
//! the tests of the workspace.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::process::Command;

#[test]
fn each_program_says_what_it_takes() {
    for (program, option) in [
        (env!("CARGO_BIN_EXE_attacks"), "--corpus"),
        (env!("CARGO_BIN_EXE_fuzz"), "--cases"),
        (env!("CARGO_BIN_EXE_regress"), "--source"),
    ] {
        let help = Command::new(program).arg("--help").output().unwrap();
        assert!(help.status.success());
        assert!(String::from_utf8_lossy(&help.stdout).contains(option), "{program}");
        let unknown = Command::new(program).arg("--no-such-option").output().unwrap();
        assert!(!unknown.status.success());
        assert!(String::from_utf8_lossy(&unknown.stderr).contains("--no-such-option"), "{program}");
    }
}
