//! The one binary: every process of the system is a subcommand, `up` runs them all in one process, and the rest are
//! the questions that people ask of the record.
//!
//! Each subcommand has its own small file under [`command`]; the libraries do the work. [`config`] composes their
//! sections into one file. [`process`] starts what runs until it is told to stop.

mod arguments;
mod client;
mod command;
mod config;
mod failure;
mod output;
mod process;

use arguments::{Arguments, Command, ControlVerb};
use clap::Parser as _;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let global = &arguments.global;
    match &arguments.command {
        Command::Up => process::up::run(global),
        Command::Proxy => process::proxy::run(global),
        Command::Recorder => process::recorder::run(global),
        Command::Indexer => process::indexer::run(global),
        Command::Replay => process::replay::run(global),
        Command::Session(session) => command::session::run(global, session),
        Command::Request(request) => command::access::request(global, request),
        Command::Grant(grant) => command::access::grant(global, grant),
        Command::Identity(identity) => command::access::identity(global, identity),
        Command::Control(ControlVerb::Key) => command::control::key(global),
        Command::Audit(audit) => command::audit::run(global, audit),
        Command::Events(events) => command::events::run(global, events),
        Command::Loadtest(loadtest) => command::loadtest::run(global, loadtest),
        Command::Config(config) => command::config::run(global, config),
        Command::Policy(policy) => command::policy::run(global, policy),
        Command::Review(review) => command::review::run(global, review),
        Command::Key(key) => command::key::run(global, key),
        Command::Kms(kms) => command::kms::run(global, kms),
        Command::Token(token) => command::token::run(global, token),
        Command::Doctor { resource, examiner, password_file, expected } => {
            let examiner = examiner.as_deref().map(|user| (user, password_file.as_deref()));
            command::doctor::run(global, resource.as_deref(), examiner, expected)
        }
        Command::Version => command::version::run(global),
    }
}
