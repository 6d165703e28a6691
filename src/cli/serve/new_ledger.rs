//! The first start: makes the ledger in an empty folder, and hands out its first key.
//!
//! The key goes to a file, or to stdout where the operator asked for that: by naming the first
//! organization or its owner, or by sitting at a terminal. Else the start is refused, since what a
//! service prints is kept where its log is collected.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::Serve;
use super::stop::Opening;
use crate::cli::bootstrap::{self, Issued};
use crate::cli::exit::Stop;
use crate::cli::files::{self, NewFile};
use crate::cli::output;
use crate::config::PublicUrl;
use crate::ledger::Ledger;
use crate::ledger::boot::Settings;

impl Serve {
    /// Makes the ledger, provided that there is somebody or something to take its key; `None` if a
    /// signal to stop comes while it asks.
    pub(super) fn make(
        &self,
        settings: Settings,
        public_url: &PublicUrl,
        opening: &mut Opening<'_>,
    ) -> Result<Option<Ledger>, Stop> {
        let asks = io::stdin().is_terminal() && io::stderr().is_terminal();
        let shows = asks || self.first.is_named() || io::stdout().is_terminal();
        let file = match &self.bootstrap_key_file {
            Some(path) => Some((path.as_path(), key_file(path, settings.folder.path())?)),
            None if shows => None,
            None => {
                let folder = settings.folder.path().display();
                return Err(Stop::refused(format!(
                    "there is no ledger in {folder} yet, and no terminal to show its first key on: \
                     name its owner with --owner-email to have the key printed, name a file for it \
                     with --bootstrap-key-file, or run `keyledger init`"
                )));
            }
        };
        let (args, clock) = (self.first.clone(), settings.clock.clone());
        let asked = match asks {
            true => opening.unless_stopped(move || {
                args.ask(&clock, &mut io::stdin().lock(), &mut io::stderr())
            })?,
            false => Some(args.first()),
        };
        let Some(first) = asked else { return Ok(None) };
        let folder = settings.folder.path().to_owned();
        let (ledger, issued) = bootstrap::create(settings, first?, public_url)?;
        tracing::info!(
            folder = %folder.display(),
            organization = %issued.organization,
            owner = issued.owner.map(display),
            verifier_key = issued.vkey,
            "a new ledger was made"
        );
        match hand_out(&issued, file, shows) {
            Ok(()) => Ok(Some(ledger)),
            Err(why) => {
                ledger.stop();
                let lost = "the ledger is made and its key is lost; run `keyledger recover`";
                Err(why.context(lost).into())
            }
        }
    }
}

fn key_file(path: &Path, folder: &Path) -> Result<NewFile, Stop> {
    if files::is_inside(path, folder)? {
        return Err(Stop::refused(format!(
            "{} lies in the data folder, which never holds a key in the clear",
            path.display()
        )));
    }
    NewFile::create(path)
}

fn hand_out(issued: &Issued, file: Option<(&Path, NewFile)>, shows: bool) -> anyhow::Result<()> {
    let mut key_file = None;
    if let Some((path, mut file)) = file {
        writeln!(file, "{}", issued.token.reveal())?;
        file.finish()?;
        key_file = Some(path);
    }
    if shows {
        output::print(&issued.text(key_file))?;
    }
    Ok(())
}
