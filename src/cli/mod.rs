//! The command line: what an operator who holds the data folder can do.
//!
//! Parsing only parses; each command's file says what it takes and then does it. Data goes to
//! stdout, talk to stderr, and the way it ended is the exit code (`exit`). Commands reach the
//! ledger as everybody does, by `ledger.submit`, with the operator as actor.

mod audit;
mod backup;
mod bootstrap;
mod catalogue;
mod erase;
mod exit;
mod expiry;
mod files;
mod folder;
mod init;
mod keys;
mod listen;
mod logging;
mod mark_restored;
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

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Does what was asked and says how it ended.
    #[must_use]
    pub fn run(self) -> ExitCode {
        private::restrict_umask();
        let outcome = match self.command {
            Command::Init(init) => init.run(),
            Command::Serve(serve) => serve.run(),
            Command::Recover(recover) => recover.run(),
            Command::Catalogue(catalogue) => catalogue.run(),
            Command::Keys(keys) => keys.run(),
            Command::Erase(erase) => erase.run(),
            Command::Webhooks(webhooks) => webhooks.run(),
            Command::Audit(audit) => return audit.run(),
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::MarkRestored(mark) => mark.run(),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(Stop { exit, why }) => {
                output::say(&format!("keyledger: {why:#}"));
                exit.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

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
