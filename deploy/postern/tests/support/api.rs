//! The API and the commands that ask it, as the holder of a token.

#![allow(dead_code, reason = "each test uses its part of it")]

use super::Postern;
use serde_json::Value;

impl Postern {
    /// A token of the development issuer with these options.
    pub fn mint(&self, options: &[&str], human: bool) -> String {
        let arguments = [&["token", "mint"][..], options, if human { &["--human"] } else { &[] }].concat();
        self.run(&arguments).trim().to_owned()
    }

    /// Asks the API as the holder of a token: POST where there is a body. The status, and the answer.
    pub fn ask(&self, token: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("http://127.0.0.1:{}{path}", self.api);
        let bearer = format!("Bearer {token}");
        let mut answer = match body {
            Some(body) => agent.post(url).header("authorization", bearer).send_json(body).unwrap(),
            None => agent.get(url).header("authorization", bearer).call().unwrap(),
        };
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    }

    /// Runs a command as the holder of a token to its end; it must succeed. What it says as JSON.
    pub fn does(&self, token: &str, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["-o", "json"]].concat();
        let output = self.command(&arguments).env("POSTERN_TOKEN", token).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command as the holder of a token that must fail, and returns what it said.
    pub fn may_not(&self, token: &str, arguments: &[&str]) -> String {
        let output = self.command(arguments).env("POSTERN_TOKEN", token).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}
