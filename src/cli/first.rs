//! What a new ledger begins with: its first organization and its owner, by flags or by asking.
//!
//! Shared by `init` and the first `serve`. Must never ask where no person answers.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::bootstrap::{First, rehearse_first};
use super::catalogue;
use super::exit::Stop;
use crate::clock::Clock;

/// The name of an organization that was given none.
const ORGANIZATION: &str = "Default";
/// The address of an owner who was not named.
const OWNER_EMAIL: &str = "owner@localhost";

/// What a new ledger begins with.
#[derive(Args, Clone, Debug)]
pub(super) struct FirstArgs {
    /// The name of a new ledger's first organization [default: Default]
    #[arg(long, value_name = "NAME")]
    #[arg(env = "KEYLEDGER_ORGANIZATION", hide_env_values = true)]
    organization: Option<String>,

    /// The e-mail address of its owner; without it owner@localhost.
    #[arg(
        help = "The e-mail address of its owner [default: owner@localhost]",
        long,
        visible_alias = "owner",
        value_name = "EMAIL"
    )]
    #[arg(env = "KEYLEDGER_OWNER_EMAIL", hide_env_values = true)]
    owner_email: Option<String>,

    /// The name under which a new ledger's checkpoints are signed, for ever [default: keyledger/
    /// and the log id]
    #[arg(long, value_name = "NAME")]
    #[arg(env = "KEYLEDGER_ORIGIN", hide_env_values = true)]
    origin: Option<String>,

    /// A new ledger's scopes, roles and presets, in TOML [default: those of `catalogue show
    /// --default`]
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_CATALOGUE", hide_env_values = true)]
    catalogue: Option<PathBuf>,
}

impl FirstArgs {
    /// Whether the operator names the organization or its owner.
    pub(super) const fn is_named(&self) -> bool {
        self.organization.is_some() || self.owner_email.is_some()
    }

    /// What they say; what they leave out is as by default.
    pub(super) fn first(self) -> Result<First, Stop> {
        let catalogue = self.catalogue.as_deref().map(catalogue::read);
        let or = |given: Option<String>, default: &str| given.unwrap_or_else(|| default.to_owned());
        Ok(First {
            organization: or(self.organization, ORGANIZATION),
            owner_email: or(self.owner_email, OWNER_EMAIL),
            origin: self.origin,
            catalogue: catalogue.transpose()?,
        })
    }

    /// The same, with questions for what is left out, and again where an answer is refused.
    pub(super) fn ask(
        self,
        clock: &Clock,
        input: &mut impl BufRead,
        output: &mut impl Write,
    ) -> Result<First, Stop> {
        let first = self.clone().first()?;
        rehearse_first(&first, clock)?;
        if self.organization.is_some() && self.owner_email.is_some() {
            return Ok(first);
        }
        loop {
            let mut args = self.clone();
            for (what, default, given) in [
                (
                    "Name of the first organization",
                    ORGANIZATION,
                    &mut args.organization,
                ),
                (
                    "E-mail address of its owner",
                    OWNER_EMAIL,
                    &mut args.owner_email,
                ),
            ] {
                if given.is_none() {
                    *given = Some(answer(&format!("{what} [{default}]: "), input, output)?)
                        .filter(|answer| !answer.is_empty());
                }
            }
            let first = args.first()?;
            match rehearse_first(&first, clock) {
                Ok(()) => return Ok(first),
                Err(refused) => {
                    writeln!(output, "{:#}", refused.why).context("cannot ask")?;
                }
            }
        }
    }
}

/// One line, without the spaces around it.
fn answer(
    question: &str,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<String, Stop> {
    let asked = write!(output, "{question}").and_then(|()| output.flush());
    asked.context("cannot ask")?;
    let mut line = String::new();
    match input
        .read_line(&mut line)
        .context("cannot read the answer")?
    {
        0 => Err(Stop::refused(
            "no answer: name the first organization and its owner with --organization and \
             --owner-email",
        )),
        _ => Ok(line.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(organization: Option<&str>, owner_email: Option<&str>) -> FirstArgs {
        FirstArgs {
            organization: organization.map(str::to_owned),
            owner_email: owner_email.map(str::to_owned),
            origin: None,
            catalogue: None,
        }
    }

    /// What is asked for, and what comes of the answers: organization and owner.
    fn asked(args: FirstArgs, answers: &str) -> (String, Option<(String, String)>) {
        let mut output = Vec::new();
        let first = args.ask(&Clock::system(), &mut answers.as_bytes(), &mut output);
        let first = first.ok();
        (
            String::from_utf8(output).unwrap(),
            first.map(|first| (first.organization, first.owner_email)),
        )
    }

    #[test]
    fn only_what_no_flag_names_is_asked_for() {
        let (name, email) = (
            "Name of the first organization [Default]: ",
            "E-mail address of its owner [owner@localhost]: ",
        );
        for (organization, owner, answers, questions, expected) in [
            (
                None,
                None,
                "Acme\nada@acme.example\n",
                vec![name, email],
                "Acme ada@acme.example",
            ),
            (
                None,
                None,
                " Acme \r\n\n",
                vec![name, email],
                "Acme owner@localhost",
            ),
            (
                None,
                None,
                "\n\n",
                vec![name, email],
                "Default owner@localhost",
            ),
            (
                Some("Acme"),
                None,
                "ada@acme.example\n",
                vec![email],
                "Acme ada@acme.example",
            ),
            (
                None,
                Some("a@b.example"),
                "Acme\n",
                vec![name],
                "Acme a@b.example",
            ),
            (
                Some("Acme"),
                Some("a@b.example"),
                "",
                vec![],
                "Acme a@b.example",
            ),
        ] {
            let (said, first) = asked(named(organization, owner), answers);
            assert_eq!(said, questions.concat(), "{answers:?}");
            let (organization, owner) = first.unwrap();
            assert_eq!(format!("{organization} {owner}"), expected, "{answers:?}");
        }
    }

    #[test]
    fn a_refused_answer_is_asked_for_again_and_none_ends_it() {
        let (said, first) = asked(named(Some("Acme"), None), "ada\nada@acme.example\n");
        assert_eq!(first.unwrap().1, "ada@acme.example");
        assert!(
            said.contains("--owner-email must be an e-mail address, such as ada@example.com\n"),
            "{said}"
        );
        assert_eq!(
            said.matches("E-mail address of its owner").count(),
            2,
            "{said}"
        );
        for answers in ["", "Acme\n", "Acme\nada\n"] {
            assert_eq!(asked(named(None, None), answers).1, None, "{answers:?}");
        }
    }
}
