//! Slugs of service accounts, and the first free one of a name.
//!
//! A slug is never free again. The numbers that are taken behind one stem (`ci-bot-2`, `ci-bot-3`)
//! are kept as runs, each at its first and at its last number, so that the next free number is one
//! look-up, however many are taken.

use super::ids::{OrganizationId, ServiceAccountId};
use super::staged::Staged;

/// The first number behind a stem.
const FIRST_NUMBER: u64 = 2;
/// Digits of a number that counts as one: ten thousand million accounts.
const NUMBER_DIGITS_MAX: usize = 10;

/// Numbers that are taken without a gap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Run {
    first: u64,
    last: u64,
}

/// The slugs of all service accounts, deleted ones too.
#[derive(Debug, Default)]
pub(super) struct Slugs {
    taken: Staged<(OrganizationId, String), ServiceAccountId>,
    runs: Staged<(OrganizationId, String, u64), Run>,
}

/// The stem and the number of a slug that ends in one, in the form that [`Slugs::first_free`]
/// gives.
fn numbered(slug: &str) -> Option<(&str, u64)> {
    let (stem, digits) = slug.rsplit_once('-')?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let number = digits.parse().ok().filter(|_| plain)?;
    (digits.len() <= NUMBER_DIGITS_MAX && number >= FIRST_NUMBER).then_some((stem, number))
}

impl Slugs {
    /// Takes a slug.
    pub(super) fn take(&mut self, organization: OrganizationId, slug: &str, of: ServiceAccountId) {
        let key = (organization, slug.to_owned());
        if self.taken.contains(&key) {
            return;
        }
        self.taken.set(key, of);
        let Some((stem, number)) = numbered(slug) else {
            return;
        };
        let key = |number| (organization, stem.to_owned(), number);
        let before = self.runs.get(&key(number - 1)).map(|run| **run);
        let after = self.runs.get(&key(number + 1)).map(|run| **run);
        let run = Run {
            first: before.map_or(number, |run| run.first),
            last: after.map_or(number, |run| run.last),
        };
        for inner in [number - 1, number + 1] {
            if run.first < inner && inner < run.last {
                self.runs.remove(key(inner));
            }
        }
        self.runs.set(key(run.first), run);
        self.runs.set(key(run.last), run);
    }

    /// The first of `ci-bot`, `ci-bot-2`, `ci-bot-3`, ... that no account has or had.
    pub(super) fn first_free(&self, organization: OrganizationId, base: &str) -> String {
        let key = (organization, base.to_owned());
        if !self.taken.contains(&key) {
            return key.1;
        }
        let run = self.runs.get(&(key.0, key.1, FIRST_NUMBER));
        let number = run.map_or(FIRST_NUMBER, |run| run.last + 1);
        format!("{base}-{number}")
    }

    pub(super) fn settle(&mut self) {
        self.taken.settle();
        self.runs.settle();
    }

    pub(super) fn abandon(&mut self) {
        self.taken.abandon();
        self.runs.abandon();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ulid::Ulid;

    use super::*;

    const ACME: OrganizationId = OrganizationId(Ulid(1));
    const BOT: ServiceAccountId = ServiceAccountId(Ulid(2));

    /// By trying one after the other.
    fn searched(taken: &[String], base: &str) -> String {
        let numbered = (2_u64..).map(|number| format!("{base}-{number}"));
        let mut candidates = [base.to_owned()].into_iter().chain(numbered);
        candidates.find(|slug| !taken.contains(slug)).unwrap()
    }

    proptest! {
        #[test]
        fn the_first_free_slug_is_the_one_that_a_search_finds(
            bases in prop::collection::vec("a(-[0-9]{1,2}){0,2}|b", 1..60),
            given in prop::collection::vec("a-[0-9]{1,2}|a-2-[2-6]", 0..30),
        ) {
            let mut slugs = Slugs::default();
            let mut taken: Vec<String> = Vec::new();
            for slug in given {
                slugs.take(ACME, &slug, BOT);
                taken.push(slug);
            }
            for (index, base) in bases.iter().enumerate() {
                let slug = slugs.first_free(ACME, base);
                prop_assert_eq!(&slug, &searched(&taken, base));
                slugs.take(ACME, &slug, BOT);
                taken.push(slug);
                if index % 3 == 0 {
                    slugs.settle();
                }
            }
        }
    }

    #[test]
    fn slugs_that_were_not_settled_are_free_again() {
        let mut slugs = Slugs::default();
        slugs.take(ACME, "ci-bot", BOT);
        slugs.settle();
        slugs.take(ACME, "ci-bot-2", BOT);
        assert_eq!(slugs.first_free(ACME, "ci-bot"), "ci-bot-3");
        slugs.abandon();
        assert_eq!(slugs.first_free(ACME, "ci-bot"), "ci-bot-2");
    }
}
