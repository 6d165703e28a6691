//! Which types of events, and families of them, a webhook endpoint may ask for.
//!
//! Asked once, when the endpoint is made or edited: what is stored stays as it is, whatever types a
//! later program knows.

use super::event::Fact;
use super::record::event_filter::{EVERYTHING, OPEN_FAMILIES, family, family_of};
use super::record::{EventFilter, WrongEventType};
use super::rejection::Rejection;

/// Most entries of a filter: all types that there are fit, and a look at it stays short.
const EVENT_TYPES_MAX: usize = 50;

/// Families whose events belong to no organization, so that they are delivered to none.
const OF_NO_ORGANIZATION: [&str; 4] = ["ledger", "catalogue", "usage", "signing_key"];
/// The one of them that consumers get all the same, with the newest of their own chain.
const CHECKPOINTED: &str = "ledger.checkpointed";

impl EventFilter {
    /// A filter as it is asked for: each entry is known, and stands there once.
    pub fn check(entries: Vec<String>) -> Result<Self, Rejection> {
        let field = "event_types";
        if entries.is_empty() {
            return Err(Rejection::FieldEmpty { field });
        }
        if entries.len() > EVENT_TYPES_MAX {
            return Err(Rejection::FieldTooLong {
                field,
                max: EVENT_TYPES_MAX,
                unit: "event types",
            });
        }
        for (index, entry) in entries.iter().enumerate() {
            let entry = entry.as_str();
            let wrong = if entries.iter().take(index).any(|earlier| earlier == entry) {
                Some(WrongEventType::Twice)
            } else {
                wrong(entry)
            };
            if let Some(why) = wrong {
                let event_type = entry.to_owned();
                return Err(Rejection::EventTypeNotDelivered { event_type, why });
            }
        }
        Ok(Self(entries))
    }
}

fn wrong(entry: &str) -> Option<WrongEventType> {
    let Some(of_entry) = family_of(entry) else {
        return (entry != EVERYTHING).then_some(WrongEventType::Unknown);
    };
    let whole = family(entry) == Some(of_entry);
    let mut types = Fact::TYPES.iter().map(|(name, _)| *name);
    let known = if whole {
        OPEN_FAMILIES.contains(&of_entry) || types.any(|name| family_of(name) == Some(of_entry))
    } else {
        types.any(|name| name == entry)
    };
    let checkpoints = entry == CHECKPOINTED || (whole && Some(of_entry) == family_of(CHECKPOINTED));
    if checkpoints {
        None
    } else if OF_NO_ORGANIZATION.contains(&of_entry) {
        Some(WrongEventType::OfNoOrganization)
    } else {
        (!known).then_some(WrongEventType::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(entries: &[&str]) -> Result<EventFilter, Rejection> {
        EventFilter::check(entries.iter().map(|entry| (*entry).to_owned()).collect())
    }

    #[test]
    fn known_types_families_and_everything_can_be_asked_for() {
        for entry in [
            "*",
            "api_key.*",
            "service_account.*",
            "job.*",
            "member.*",
            "webhook_endpoint.*",
            "api_key.revoked",
            "webhook_endpoint.failing",
            "ledger.*",
            "ledger.checkpointed",
        ] {
            assert!(filter(&[entry]).is_ok(), "{entry}");
        }
        let unknown = WrongEventType::Unknown;
        let nobodys = WrongEventType::OfNoOrganization;
        for (entry, expected) in [
            ("", unknown),
            (".", unknown),
            (".*", unknown),
            ("**", unknown),
            ("*.*", unknown),
            ("api_key", unknown),
            ("api_key.", unknown),
            ("api_key.*.*", unknown),
            ("api_key.c*", unknown),
            ("API_KEY.created", unknown),
            (" api_key.created", unknown),
            ("job.started", unknown),
            ("nonsense.*", unknown),
            ("ledger.opened", nobodys),
            ("catalogue.adopted", nobodys),
            ("catalogue.*", nobodys),
            ("usage.sealed", nobodys),
            ("usage.*", nobodys),
            ("signing_key.*", nobodys),
        ] {
            let event_type = entry.to_owned();
            let why = expected;
            let refused = Rejection::EventTypeNotDelivered { event_type, why };
            assert_eq!(filter(&["member.added", entry]), Err(refused), "{entry}");
        }
        let event_type = String::from("job.*");
        let why = WrongEventType::Twice;
        let refused = Rejection::EventTypeNotDelivered { event_type, why };
        assert_eq!(filter(&["job.*", "*", "job.*"]), Err(refused));
        assert_eq!(filter(&[]).unwrap_err().reason().code, "field_empty");
        assert_eq!(
            filter(&["*"; 51]).unwrap_err().reason().code,
            "field_too_long"
        );
    }

    #[test]
    fn a_filter_matches_names_and_families_and_no_half_of_a_name() {
        let names = [
            "api_key.created",
            "api_key.revoked",
            "member.added",
            "job.completed",
        ];
        for (entries, expected) in [
            (&["*"][..], &names[..]),
            (&["api_key.*"], &names[..2]),
            (&["api_key.revoked", "member.*"], &names[1..3]),
            (&["job.*"], &names[3..]),
            (&["service_account.*"], &[]),
        ] {
            let filter = filter(entries).unwrap();
            let matching = names.into_iter().filter(|name| filter.matches(name));
            assert_eq!(matching.collect::<Vec<_>>(), expected, "{entries:?}");
        }
        let family = filter(&["api_key.*"]).unwrap();
        for other in ["api_keys.created", "api_key", "", "*"] {
            assert!(!family.matches(other), "{other}");
        }
    }

    #[test]
    fn what_is_more_than_credentials_accounts_and_jobs_needs_the_ledger() {
        for (entries, expected) in [
            (
                &["api_key.*", "service_account.created", "job.*"][..],
                false,
            ),
            (&["api_key.*", "member.added"], true),
            (&["*"], true),
            (&["ledger.checkpointed"], true),
            (&["webhook_endpoint.*"], true),
        ] {
            let filter = filter(entries).unwrap();
            assert_eq!(filter.needs_ledger_read(), expected, "{entries:?}");
        }
        let open = ["api_key.*", "service_account.*", "job.*"];
        assert_eq!(Ok(EventFilter::open_families()), filter(&open));
        assert_eq!(Ok(EventFilter::everything()), filter(&["*"]));
    }
}
