//! The catalogue: what it holds by default, and what is refused.

use crate::domain::catalogue::{
    ADMIN, CATALOGUE_BYTES_MAX, Catalogue, EVERYTHING, PLATFORM, SCOPES_MAX, ScopeSet,
};

#[test]
fn the_default_covers_every_scope_and_role_of_the_seeds() {
    let catalogue = Catalogue::embedded().unwrap();
    for scope in "issues:read issues:write patterns:read patterns:write predictions:read \
         predictions:write recommendations:read recommendations:write projects:read \
         projects:write rulesets:read rulesets:write analysis:run cases:read cases:write \
         reviews:read reviews:write versions:read versions:write admin:* projects:status"
        .split_whitespace()
    {
        assert!(catalogue.has_scope(scope), "{scope}");
    }
    for role in
        "viewer team_member engineer workspace_manager administrator tenant_admin owner".split(' ')
    {
        assert!(catalogue.role(role).is_some(), "{role}");
    }
    for preset in ["status", "read-only", "admin"] {
        assert!(catalogue.preset(preset).is_some(), "{preset}");
    }
    assert!(!catalogue.has_scope(PLATFORM) && !catalogue.has_scope(EVERYTHING));
    assert_eq!(
        catalogue.role("tenant_admin").unwrap().name,
        "administrator"
    );
}

#[test]
fn admin_covers_every_scope_and_nothing_outside_the_catalogue() {
    let catalogue = Catalogue::embedded().unwrap();
    let admin = catalogue.expand([ADMIN]);
    assert!(
        catalogue
            .text()
            .scopes
            .iter()
            .all(|scope| catalogue.holds(admin, &scope.name))
    );
    assert!(!catalogue.holds(admin, PLATFORM));
    assert_eq!(
        catalogue.expand([PLATFORM, EVERYTHING, "nonsense"]),
        ScopeSet::default()
    );
}

#[test]
fn a_bad_catalogue_is_refused_with_its_reason() {
    let scope = |name: &str| format!("[[scopes]]\nname = {name:?}\ndescription = \"\"\n");
    let tail = "presets = []\nroles = []\n";
    for (text, reason) in [
        (String::from("scopes = 1"), "not a catalogue"),
        (format!("{tail}{}", scope("a:read")), "the scope admin:*"),
        (
            format!("{tail}{}", scope("admin:*")),
            "a role with owner = true",
        ),
        (format!("{tail}{0}{0}", scope("admin:*")), "stands twice"),
        (format!("{tail}{}", scope("a:*")), "is not a name"),
    ] {
        let why = Catalogue::from_toml(&text).unwrap_err().to_string();
        assert!(why.contains(reason), "{why}");
    }
}

#[test]
fn a_catalogue_fits_one_event() {
    let scopes = |count: usize, words: usize| {
        let scope = |n| {
            let description = "x".repeat(words);
            format!("[[scopes]]\nname = \"s:{n}\"\ndescription = \"{description}\"\n")
        };
        let scopes: String = (0..count).map(scope).collect();
        let refusal = Catalogue::from_toml(&format!("roles = []\npresets = []\n{scopes}"));
        refusal.unwrap_err().to_string()
    };
    let too_many = format!("{} scopes", SCOPES_MAX + 1);
    assert!(scopes(SCOPES_MAX + 1, 0).starts_with(&too_many));
    let too_long = format!("at most {CATALOGUE_BYTES_MAX} are possible");
    assert!(scopes(2, CATALOGUE_BYTES_MAX / 2).ends_with(&too_long));
    assert!(scopes(SCOPES_MAX, 100).contains("admin:*"));
}
