//! The command line: what an operator who holds the data folder can do.
//!
//! Parsing only parses; each command's file says what it takes and then does it. Data goes to
//! stdout, talk to stderr, and the way it ended is the exit code (`exit`). Commands reach the
//! ledger as everybody does, by `ledger.submit`, with the operator as actor.

mod audit;
mod backup;
mod bootstrap;
mod catalogue;
mod environment;
mod erase;
mod exit;
mod expiry;
mod files;
mod first;
mod folder;
mod init;
mod keys;
mod listen;
mod logging;
mod mark_restored;
mod operator;
mod otlp;
mod output;
mod recover;
mod rehearsal;
mod serve;
mod signals;
mod signing;
mod tree;
mod usage;
mod webhooks;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use environment::{Variables, warning_of_unknown, without_empty_variables};
use exit::{EXIT_CODES, Stop};

use crate::private;

/// An event-sourced ledger of machine credentials: issue, verify, rotate, revoke, prove.
#[derive(Debug, Parser)]
#[command(name = "keyledger", version, max_term_width = 100)]
#[command(after_long_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Serve(Box<serve::Serve>),
    Recover(recover::Recover),
    Catalogue(catalogue::CatalogueArgs),
    Keys(keys::Keys),
    Erase(erase::Erase),
    Webhooks(listen::Webhooks),
    Audit(Box<audit::Audit>),
    Backup(backup::Backup),
    Restore(backup::Restore),
    MarkRestored(mark_restored::MarkRestored),
}

impl Cli {
    /// Reads the command line and the environment, does what they ask, and says how it ended.
    #[must_use]
    pub fn run() -> ExitCode {
        private::restrict_umask();
        let args: Vec<OsString> = std::env::args_os().collect();
        let mut command = without_empty_variables(Self::command());
        let variables = Variables::of(&command, &args);
        let unknown = warning_of_unknown(&command);
        let parsed = command
            .try_get_matches_from_mut(&args)
            .and_then(|matches| Self::from_arg_matches(&matches));
        match parsed {
            Ok(cli) => cli.run_command(&variables, unknown.as_deref()),
            Err(mut why) => {
                if let (true, Some(unknown)) = (why.use_stderr(), &unknown) {
                    output::say(unknown);
                }
                quote_without_user(&mut why);
                not_parsed(&why.format(&mut command), &variables)
            }
        }
    }

    fn run_command(self, variables: &Variables, unknown: Option<&str>) -> ExitCode {
        // A server says it in its log.
        if let (Some(unknown), false) = (unknown, matches!(self.command, Command::Serve(_))) {
            output::say(unknown);
        }
        let outcome = match self.command {
            Command::Init(init) => init.run(),
            Command::Serve(serve) => return serve.run(variables, unknown),
            Command::Recover(recover) => recover.run(),
            Command::Catalogue(catalogue) => catalogue.run(),
            Command::Keys(keys) => keys.run(),
            Command::Erase(erase) => erase.run(),
            Command::Webhooks(webhooks) => webhooks.run(),
            Command::Audit(audit) => return audit.run(variables),
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::MarkRestored(mark) => mark.run(),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(Stop { exit, why }) => {
                complain(&why, variables);
                exit.into()
            }
        }
    }
}

/// Says why a command failed.
fn complain(why: &anyhow::Error, variables: &Variables) {
    output::say(&variables.named_in(&format!("keyledger: {why:#}")));
}

/// Shows what was asked for instead of a command, or says what is wrong.
fn not_parsed(why: &clap::Error, variables: &Variables) -> ExitCode {
    let plain = why.render().to_string();
    let named = variables.named_in(&plain);
    if why.use_stderr() && named != plain {
        output::say(named.trim_end());
    } else {
        // There is no better place to complain about a closed one.
        drop(why.print());
    }
    ExitCode::from(u8::try_from(why.exit_code()).unwrap_or(1))
}

/// Has the message quote no user and password of a URL.
fn quote_without_user(why: &mut clap::Error) {
    if let Some(ContextValue::String(value)) = why.get(ContextKind::InvalidValue) {
        let quoted = without_user(value);
        why.insert(ContextKind::InvalidValue, ContextValue::String(quoted));
    }
}

/// The value of a flag as a message may quote it: URLs may hold a user and a password.
fn without_user(value: &str) -> String {
    match value.rsplit_once('@') {
        Some((user, rest)) if user.contains("//") => {
            let (scheme, _) = user.split_once("//").unwrap_or_default();
            format!("{scheme}//...@{rest}")
        }
        Some(_) | None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_quoted() {
        for (value, quoted) in [
            (
                "https://ann:s3cr3t@example.com/x",
                "https://...@example.com/x",
            ),
            ("http//ann:p@ss@coll:4318", "http//...@coll:4318"),
            ("https://example.com", "https://example.com"),
            ("ann@example.com", "ann@example.com"),
            ("", ""),
        ] {
            assert_eq!(without_user(value), quoted);
        }
        let wrong = [
            "keyledger",
            "serve",
            "--public-url",
            "https://ann:s3cr3t@x.example",
        ];
        let mut why = Cli::try_parse_from(wrong).unwrap_err();
        assert!(why.to_string().contains("s3cr3t"));
        quote_without_user(&mut why);
        let text = why.to_string();
        assert!(
            text.contains("https://...@x.example") && !text.contains("s3cr3t"),
            "{text}"
        );
    }

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable_that_help_does_not_read() {
        fn check(command: &clap::Command) {
            for arg in command
                .get_arguments()
                .filter(|arg| arg.get_long().is_some())
            {
                let flag = format!("{} --{}", command.get_name(), arg.get_long().unwrap());
                if matches!(arg.get_id().as_str(), "help" | "version" | "json") {
                    continue;
                }
                let name = arg.get_env().unwrap_or_else(|| panic!("{flag}")).to_str();
                assert!(name.unwrap().starts_with("KEYLEDGER_"), "{flag}");
                assert!(arg.is_hide_env_values_set(), "{flag} shows values");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
