//! Settings that come from the environment: an empty variable is one that is not set, and messages
//! name the variable beside its flag.
//!
//! Containers pass what has not been set as an empty text, and who sets a variable has never seen
//! the flag. Knows of variables what the definitions of the flags say; must never show a value, nor
//! refuse a variable that it does not know, which may be another program's.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::Command;

use crate::config;
use crate::domain::nearest::nearest;

/// What the names of all variables begin with.
const PREFIX: &str = "KEYLEDGER_";

/// Has flags whose variables are empty go without them.
pub(super) fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let name = arg.get_env().and_then(|name| name.to_str());
        let is_empty = name
            .and_then(config::variable)
            .is_some_and(|it| it.is_empty());
        if is_empty { arg.env(None::<&str>) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}

/// What there is to say of variables with our prefix that no flag of any command has; `None` if
/// there are none.
pub(super) fn warning_of_unknown(command: &Command) -> Option<String> {
    let mut known = BTreeSet::from([config::TOKEN_VARIABLE.to_owned()]);
    collect_names(command, &mut known);
    warning_of(&known, &config::variables_with_prefix(PREFIX))
}

fn collect_names(command: &Command, names: &mut BTreeSet<String>) {
    let own = command.get_arguments().filter_map(|arg| arg.get_env());
    names.extend(own.filter_map(|name| Some(name.to_str()?.to_owned())));
    for inner in command.get_subcommands() {
        collect_names(inner, names);
    }
}

fn warning_of(known: &BTreeSet<String>, set: &[(String, String)]) -> Option<String> {
    let suffix = |name: &str| name.strip_prefix(PREFIX).unwrap_or_default().to_owned();
    let suffixes: Vec<String> = known.iter().map(|name| suffix(name)).collect();
    let unknown = set
        .iter()
        .filter(|(name, value)| !known.contains(name) && !is_service_link(name, value));
    let described: Vec<String> = unknown
        .map(
            |(name, _)| match nearest(&suffix(name), suffixes.iter().map(String::as_str)) {
                Some(meant) => format!("{name} (did you mean {PREFIX}{meant}?)"),
                None => name.clone(),
            },
        )
        .collect();
    match described.as_slice() {
        [] => None,
        [one] => Some(format!("unknown environment variable ignored: {one}")),
        more => Some(format!(
            "unknown environment variables ignored: {}",
            more.join(", ")
        )),
    }
}

/// Whether Kubernetes has set it for a service whose name begins as ours does, such as
/// `KEYLEDGER_SERVICE_HOST` or `KEYLEDGER_PORT_8080_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_address = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.contains("_PORT_")
        || (name.ends_with("_PORT") && is_address)
}

/// A flag of the command that runs, and its variable.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Variable {
    /// `--listen`.
    flag: String,
    /// `KEYLEDGER_LISTEN`.
    name: String,
    /// What it holds, where that counts: it is not empty, and the flag is not given.
    value: Option<String>,
    is_given_as_flag: bool,
}

/// The variables of the command that runs.
#[derive(Debug, Default)]
pub(super) struct Variables(Vec<Variable>);

impl Variables {
    /// Those of the command that the arguments name, with what the environment holds.
    pub(super) fn of(command: &Command, args: &[OsString]) -> Self {
        let args: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
        let mut command = command;
        for arg in &args {
            command = command.find_subcommand(arg).unwrap_or(command);
        }
        let mut variables = Vec::new();
        for arg in command.get_arguments() {
            let name = arg.get_env().and_then(|name| name.to_str());
            let (Some(long), Some(name)) = (arg.get_long(), name) else {
                continue;
            };
            let mut longs = arg.get_all_aliases().unwrap_or_default();
            longs.push(long);
            let names = |given: &&str| {
                let given = given.strip_prefix("--").unwrap_or_default();
                longs.contains(&given.split('=').next().unwrap_or_default())
            };
            let is_given_as_flag = args.iter().any(names);
            let value = config::variable(name).filter(|value| !value.is_empty());
            variables.push(Variable {
                flag: format!("--{long}"),
                name: name.to_owned(),
                value: value.filter(|_| !is_given_as_flag),
                is_given_as_flag,
            });
        }
        Self(variables)
    }

    /// A message that names the variables beside the flags that it names, and beside values of
    /// them, where the environment has a part in it.
    pub(super) fn named_in(&self, message: &str) -> String {
        if self.0.iter().all(|variable| variable.value.is_none()) {
            return message.to_owned();
        }
        let mut text = message.to_owned();
        for variable in &self.0 {
            let Some(end) = end_of_flag(&text, &variable.flag) else {
                continue;
            };
            let name = &variable.name;
            match &variable.value {
                Some(_) => text.insert_str(end, &format!(" (set by {name})")),
                None if !variable.is_given_as_flag => {
                    text.insert_str(end, &format!(" (or {name})"));
                }
                None => {}
            }
        }
        let quoted = self.0.iter().filter(|variable| {
            let value = variable.value.as_deref().unwrap_or_default();
            // A path or an address stands for itself; other words may be there by chance.
            value.contains(['/', ':', '.'])
                && text.contains(value)
                && !text.contains(&variable.name)
        });
        let quoted: Vec<&str> = quoted.map(|variable| variable.name.as_str()).collect();
        if !quoted.is_empty() {
            text.push_str(&format!(" (set by {})", quoted.join(", ")));
        }
        text
    }
}

/// Where the first mention of a flag ends, with the name of its value and a quote around it.
fn end_of_flag(text: &str, flag: &str) -> Option<usize> {
    let is_part = |next: char| next.is_ascii_alphanumeric() || next == '-';
    let starts = text
        .match_indices(flag)
        .map(|(start, _)| start + flag.len());
    let rest_at = |end: usize| text.get(end..).unwrap_or_default();
    let end = starts
        .into_iter()
        .find(|end| !rest_at(*end).starts_with(is_part))?;
    let value = rest_at(end);
    let value = match (value.strip_prefix(" <"), value.find('>')) {
        (Some(_), Some(close)) => close + 1,
        (_, _) => 0,
    };
    let end = end + value;
    Some(end + usize::from(rest_at(end).starts_with('\'')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let variable = |flag: &str, value: Option<&str>, is_given_as_flag| Variable {
            flag: flag.to_owned(),
            name: flag
                .replace("--", "KEYLEDGER_")
                .replace('-', "_")
                .to_uppercase(),
            value: value.map(str::to_owned),
            is_given_as_flag,
        };
        Variables(vec![
            variable("--behind-proxy", Some("true"), false),
            variable("--public-url", Some("nonsense"), false),
            variable("--tls-cert", Some("/etc/tls/cert.pem"), false),
            variable("--tls-key", None, false),
            variable("--listen", None, true),
        ])
    }

    #[test]
    fn a_message_names_the_variables_beside_their_flags() {
        for (message, expected) in [
            ("all is well", "all is well"),
            (
                "error: invalid value 'nonsense' for '--public-url <URL>': must be http://",
                "error: invalid value 'nonsense' for '--public-url <URL>' (set by \
                 KEYLEDGER_PUBLIC_URL): must be http://",
            ),
            (
                "--behind-proxy needs --public-url; --behind-proxy needs more",
                "--behind-proxy (set by KEYLEDGER_BEHIND_PROXY) needs --public-url (set by \
                 KEYLEDGER_PUBLIC_URL); --behind-proxy needs more",
            ),
            (
                "the following required arguments were not provided:\n  --tls-key <FILE>\n",
                "the following required arguments were not provided:\n  --tls-key <FILE> (or \
                 KEYLEDGER_TLS_KEY)\n",
            ),
            ("--listen is taken", "--listen is taken"),
            (
                "--tls-key-file is no flag of ours",
                "--tls-key-file is no flag of ours",
            ),
            (
                "cannot read /etc/tls/cert.pem: no such file",
                "cannot read /etc/tls/cert.pem: no such file (set by KEYLEDGER_TLS_CERT)",
            ),
            ("it is true", "it is true"),
        ] {
            assert_eq!(variables().named_in(message), expected);
        }
    }

    #[test]
    fn a_variable_that_no_flag_has_is_named_with_the_nearest_one() {
        let command = <crate::cli::Cli as clap::CommandFactory>::command();
        let mut known = BTreeSet::from([config::TOKEN_VARIABLE.to_owned()]);
        collect_names(&command, &mut known);
        let check = |set: &[(&str, &str)], expected: Option<&str>| {
            let set = set.iter();
            let set: Vec<_> = set
                .map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()))
                .collect();
            assert_eq!(warning_of(&known, &set).as_deref(), expected, "{set:?}");
        };
        let listen = "unknown environment variable ignored: KEYLEDGER_LISTN (did you mean \
                      KEYLEDGER_LISTEN?)";
        check(&[], None);
        check(&[("LISTEN", "x"), ("TOKEN", "x"), ("OUT", "x")], None);
        check(&[("LISTN", "secret")], Some(listen));
        check(
            &[("LISTN", "x"), ("DATADIR", "x"), ("COLOUR", "x")],
            Some(
                "unknown environment variables ignored: KEYLEDGER_LISTN (did you mean \
                 KEYLEDGER_LISTEN?), KEYLEDGER_DATADIR (did you mean KEYLEDGER_DATA_DIR?), \
                 KEYLEDGER_COLOUR",
            ),
        );
        let links = [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "8080"),
            ("SERVICE_PORT_HTTP", "8080"),
            ("PORT", "tcp://10.0.0.1:8080"),
            ("PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("METRICS_SERVICE_HOST", "10.0.0.2"),
            ("METRICS_PORT", "tcp://10.0.0.2:9090"),
        ];
        check(&links, None);
        check(
            &[("PORT", "8080")],
            Some("unknown environment variable ignored: KEYLEDGER_PORT"),
        );
    }

    #[test]
    fn who_sets_no_variable_reads_of_none() {
        let mut variables = variables();
        for variable in &mut variables.0 {
            variable.value = None;
        }
        let message = "--behind-proxy needs --public-url";
        assert_eq!(variables.named_in(message), message);
    }

    #[test]
    fn a_command_has_the_variables_of_its_own_flags() {
        let command = <crate::cli::Cli as clap::CommandFactory>::command();
        let args = |args: &[&str]| args.iter().map(OsString::from).collect::<Vec<_>>();
        for (given, flag, name, is_given_as_flag) in [
            (
                &["init"][..],
                "--organization",
                "KEYLEDGER_ORGANIZATION",
                false,
            ),
            (
                &["recover"],
                "--organization",
                "KEYLEDGER_ORGANIZATION_ID",
                false,
            ),
            (
                &["serve", "--listen", "x"],
                "--listen",
                "KEYLEDGER_LISTEN",
                true,
            ),
            (
                &["serve", "--listen=x"],
                "--listen",
                "KEYLEDGER_LISTEN",
                true,
            ),
            (
                &["serve", "--owner", "x"],
                "--owner-email",
                "KEYLEDGER_OWNER_EMAIL",
                true,
            ),
            (&["keys", "export"], "--out", "KEYLEDGER_OUT", false),
        ] {
            let all = Variables::of(&command, &args(&[&["keyledger"], given].concat()));
            let found = all.0.iter().find(|variable| variable.flag == flag).unwrap();
            let expected = (name, is_given_as_flag);
            assert_eq!(
                (found.name.as_str(), found.is_given_as_flag),
                expected,
                "{given:?}"
            );
        }
    }
}
