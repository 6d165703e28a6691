//! The budgets, measured: `cargo bench --bench budgets`.
//!
//! Each group of rows runs in a process of its own, one after another, so that neither memory nor
//! caches of one reach into the next. What they print is gathered into one table, in Markdown.
//! `-- GROUP...` runs some groups alone; `--quick` shows in a minute that everything runs;
//! `KEYLEDGER_BENCH_LARGE=1` adds the rows with 10 M credentials (16 GB of RAM, half an hour).

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and prints, and ends where it cannot go on"
)]

mod auditor;
mod creates;
mod disk;
mod feed;
mod http;
mod live;
mod memory;
mod mixed;
mod neighbours;
mod numbers;
mod replay;
mod report;
mod restart;
mod revocations;
mod synthetic;
mod tenants;
mod usage;
mod verify;
mod webhooks;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use mimalloc::MiMalloc;

use neighbours::Jiffies;
use report::{Report, Row};

/// The one of the server.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Credentials that a row is measured with unless it says otherwise.
const CREDENTIALS: u64 = 1_000_000;
/// Credentials of the large rows.
const CREDENTIALS_LARGE: u64 = 10_000_000;

/// Rows that are measured in one process.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Group {
    /// Verification over HTTP.
    Http,
    /// Verification beside creates and all else.
    Mixed,
    /// Verification in process.
    Verify,
    /// The usage history in process.
    Usage,
    /// One client's creates, and the log alone.
    Disk,
    /// Many clients' creates.
    Creates,
    /// How long revocations wait behind others.
    Revocations,
    /// Verification while another tenant reads.
    Tenants,
    /// From a revoke to the stream.
    Feed,
    /// Deliveries of webhooks.
    Webhooks,
    /// What an auditor waits for.
    Auditor,
    /// The check of a large folder.
    AuditorLarge,
    /// Checking and replaying a log.
    Replay,
    /// Bytes a credential.
    Memory,
    /// Bytes a credential of a service account.
    MemoryAccounts,
    /// Opening a ledger.
    Restart,
}

impl Group {
    fn needs_folder(self) -> bool {
        matches!(
            self,
            Self::Http | Self::Mixed | Self::Auditor | Self::Restart
        )
    }
}

#[derive(Clone, Debug, Parser)]
struct Args {
    /// The groups to run; none: all
    groups: Vec<Group>,
    /// Small and short: shows that everything runs, measures nothing
    #[arg(long)]
    quick: bool,
    /// The rows with 10 M credentials too
    #[arg(long, env = "KEYLEDGER_BENCH_LARGE")]
    #[arg(value_parser = clap::builder::FalseyValueParser::new())]
    large: bool,
    /// Cargo says so when it runs benchmarks rather than tests
    #[arg(long, hide = true)]
    bench: bool,
    /// Works on this folder in place of starting the groups
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
    /// Makes a ledger with so many credentials in the child's folder
    #[arg(long, hide = true)]
    build: Option<u64>,
}

/// How large and how long.
#[derive(Clone, Copy, Debug)]
struct Scale {
    quick: bool,
    large: bool,
}

impl Scale {
    fn count(self, full: u64) -> u64 {
        if self.quick { full / 50 } else { full }
    }

    fn seconds(self, full: u64) -> Duration {
        let whole = Duration::from_secs(full);
        if self.quick { whole / 20 } else { whole }
    }

    fn credentials(self) -> u64 {
        self.count(CREDENTIALS)
    }

    fn credentials_large(self) -> Option<u64> {
        self.large.then(|| self.count(CREDENTIALS_LARGE))
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let scale = Scale {
        quick: args.quick,
        large: args.large,
    };
    match (&args.child, args.build, args.groups.as_slice()) {
        (Some(folder), Some(credentials), _) => live::build(folder, credentials),
        (Some(folder), None, [group]) => run_group(*group, folder, scale),
        (Some(_), None, _) => anyhow::bail!("a child runs one group"),
        (None, _, _) if args.bench => run_all(&args, scale),
        (None, _, _) => {
            eprintln!("nothing is measured outside `cargo bench`");
            Ok(())
        }
    }
}

fn run_all(args: &Args, scale: Scale) -> Result<()> {
    let groups = match args.groups.as_slice() {
        [] => Group::value_variants(),
        some => some,
    };
    let work = tempfile::Builder::new()
        .prefix("budgets-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut report = Report::start();
    let built = work.path().join("built");
    if groups.iter().any(|group| group.needs_folder()) {
        eprintln!("making a ledger with {} credentials", scale.credentials());
        let credentials = scale.credentials().to_string();
        child(args, &built, &["--build", &credentials], &mut report)?;
    }
    for group in groups {
        let name = group
            .to_possible_value()
            .context("every group has a name")?;
        let name = name.get_name();
        eprintln!("measuring: {name}");
        if group.needs_folder() {
            child(args, &built, &[name], &mut report)?;
        } else {
            let folder = work.path().join(name);
            child(args, &folder, &[name], &mut report)?;
            std::fs::remove_dir_all(&folder)?;
        }
    }
    report.print();
    Ok(())
}

/// Runs this program once more on `folder` and takes the rows that it prints.
fn child(args: &Args, folder: &Path, what: &[&str], report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--child").arg(folder).args(what);
    if args.quick {
        command.arg("--quick");
    }
    if args.large {
        command.arg("--large");
    }
    let before = Jiffies::read();
    let mut rows = Vec::new();
    let mut running = command.stdout(Stdio::piped()).spawn()?;
    let printed = running.stdout.take().context("the output is a pipe")?;
    for line in BufReader::new(printed).lines() {
        let line = line?;
        match Row::from_line(&line) {
            Some(row) => {
                eprintln!("  {row}");
                rows.push(row);
            }
            None => eprintln!("  {line}"),
        }
    }
    let status = running.wait()?;
    ensure!(status.success(), "{what:?} ended with {status}");
    let others = Jiffies::read()
        .zip(before)
        .map(|(after, before)| after.others_percent(before));
    for row in rows {
        report.add(row.measured_beside(others));
    }
    Ok(())
}

fn run_group(group: Group, folder: &Path, scale: Scale) -> Result<()> {
    match group {
        Group::Http => http::run(folder, scale),
        Group::Mixed => mixed::run(folder, scale),
        Group::Verify => verify::run(folder, scale),
        Group::Usage => usage::run(folder, scale),
        Group::Disk => disk::run(folder, scale),
        Group::Creates => creates::run(folder, scale),
        Group::Revocations => revocations::run(folder, scale),
        Group::Tenants => tenants::run(folder, scale),
        Group::Feed => feed::run(folder, scale),
        Group::Webhooks => webhooks::run(folder, scale),
        Group::Auditor => auditor::run(folder, scale),
        Group::AuditorLarge => auditor::run_large(folder, scale),
        Group::Replay => replay::run(folder, scale),
        Group::Memory => memory::run(folder, scale),
        Group::MemoryAccounts => memory::run_accounts(folder, scale),
        Group::Restart => restart::run(folder, scale),
    }
}
