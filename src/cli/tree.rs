//! How the tree of the ledger is published.

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

use crate::config::LedgerPrefix;

/// Where the tree is, and for whom.
#[derive(Args, Clone, Debug)]
pub(super) struct TreeArgs {
    /// Below which path checkpoints and tiles are published
    #[arg(long, value_name = "PATH", default_value_t)]
    #[arg(env = "KEYLEDGER_LEDGER_PREFIX", hide_env_values = true)]
    pub(super) ledger_prefix: LedgerPrefix,

    /// Whether everybody may see them; they show how many events there are and nothing of any
    #[arg(long, value_name = "BOOL", default_value_t = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    #[arg(env = "KEYLEDGER_LEDGER_PUBLIC", hide_env_values = true)]
    pub(super) ledger_public: bool,
}
