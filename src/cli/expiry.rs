//! Notices of expiries on the command line: how many days ahead.

use clap::Args;

use crate::domain::expiry::Leads;

/// When it is told that credentials expire.
#[derive(Args, Clone, Debug)]
pub(super) struct ExpiryArgs {
    /// Days ahead at which an event tells that a credential expires, 1 to 365; or `none`
    #[arg(long, value_name = "DAYS", default_value = "30,7,1", value_parser = leads)]
    #[arg(env = "KEYLEDGER_EXPIRY_NOTICE_DAYS", hide_env_values = true)]
    expiry_notice_days: Leads,
}

impl ExpiryArgs {
    pub(super) fn leads(&self) -> Leads {
        self.expiry_notice_days.clone()
    }
}

fn leads(text: &str) -> Result<Leads, String> {
    // A variable cannot say so by being empty: then it is not set.
    let says_none = text.trim().is_empty() || text.trim() == "none";
    let days = text.split(',').filter(|_| !says_none);
    let days = days.map(|days| {
        let days = days.trim();
        let number = days.parse::<u16>();
        number.map_err(|_why| format!("{days:?} is no number of days from 1 to 365"))
    });
    let days = days.collect::<Result<_, _>>()?;
    Leads::check(days).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_ahead_are_a_list_or_nothing() {
        for (text, expected) in [
            ("30,7,1", Ok(vec![30, 7, 1])),
            (" 1 , 365", Ok(vec![1, 365])),
            ("", Ok(vec![])),
            (" ", Ok(vec![])),
            ("none", Ok(vec![])),
            ("30,", Err("\"\" is no number of days from 1 to 365")),
            (
                "7 days",
                Err("\"7 days\" is no number of days from 1 to 365"),
            ),
            ("-1", Err("\"-1\" is no number of days from 1 to 365")),
            ("0", Err("0 days ahead is not between 1 and 365")),
            ("366", Err("366 days ahead is not between 1 and 365")),
            ("1,2,3,4,5,6,7,8,9,10,11", Err("11 leads are more than 10")),
        ] {
            let expected = expected.map(|days| Leads::check(days).unwrap());
            assert_eq!(leads(text), expected.map_err(str::to_owned), "{text:?}");
        }
    }
}
