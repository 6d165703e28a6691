//! The catalogue: what it holds by default, and what is refused.

use crate::domain::catalogue::{
    ADMIN, CATALOGUE_BYTES_MAX, Catalogue, CatalogueText, EVERYTHING, PLATFORM, SCOPES_MAX,
    ScopeSet,
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
        (
            format!("{tail}{0}{0}", scope("admin:*")),
            "is given more than once",
        ),
        (format!("{tail}{}", scope("a:*")), "is not a name"),
        (
            format!("{tail}{}keep = true", scope("admin:*")),
            "the scope admin:*",
        ),
    ] {
        let why = Catalogue::from_toml(&text).unwrap_err().to_string();
        assert!(why.contains(reason), "{why}");
    }
}

#[test]
fn a_refusal_names_the_line() {
    let good = "\
[[scopes]]
name = 'admin:*'
description = 'All'

[[scopes]]
name = 'old'
description = 'Old'
keep = true

[[roles]]
name = 'boss'
aliases = ['chief']
title = 'Boss'
description = ''
scopes = ['admin:*']
owner = true

[[presets]]
name = 'all'
description = ''
scopes = ['admin:*']
";
    for (from, to, line, reason) in [
        ("'Old'", "'Old", 7, "not a catalogue: invalid"),
        (
            "keep = true",
            "keep = 1",
            8,
            "not a catalogue: invalid type",
        ),
        ("owner = true", "ovner = true", 16, "unknown field `ovner`"),
        (
            "name = 'old'",
            "name = 'Old'",
            5,
            "scope \"Old\" is not a name",
        ),
        ("'old'", "'admin:*'", 5, "\"admin:*\" is given more"),
        ("'chief'", "'boss'", 10, "\"boss\" is given more"),
        (
            "['admin:*']\nowner",
            "['x']\nowner",
            10,
            "the unknown scope \"x\"",
        ),
        ("'all'", "'A'", 18, "preset \"A\" is not a name"),
        ("['admin:*']\n", "['old']\n", 0, ""),
    ] {
        let found = Catalogue::from_toml(&good.replacen(from, to, 1));
        if reason.is_empty() {
            // A role may name a kept scope: it is the ceiling on it.
            assert!(found.is_ok(), "{found:?}");
            continue;
        }
        let why = found.unwrap_err();
        assert_eq!(why.line, Some(line), "{from}: {why}");
        assert!(why.to_string().contains(reason), "{why}");
    }
    let preset = format!("{good}[[presets]]\nname='b'\ndescription=''\nscopes=['old']\n");
    let why = Catalogue::from_toml(&preset).unwrap_err();
    assert_eq!(why.line, Some(22));
    assert!(
        why.to_string().contains("kept for old tokens only"),
        "{why}"
    );
    let twice = preset.replace("'b'", "'all'");
    let why = Catalogue::from_toml(&twice).unwrap_err().to_string();
    assert_eq!(why, "the preset \"all\" is given more than once");
    let kept = good.replace("owner = true", "owner = true\nkeep = true");
    let why = Catalogue::from_toml(&kept).unwrap_err().to_string();
    assert_eq!(why, "the catalogue needs a role with owner = true");
}

#[test]
fn what_is_written_as_toml_or_json_reads_back_as_the_same() {
    let mut text = Catalogue::embedded().unwrap().text().clone();
    text.scopes[0].keep = true;
    text.roles[1].keep = true;
    text.presets[2].keep = true;
    text.presets[0].scopes.clear();
    text.scopes[1].description = String::from("\"Stra\u{df}e\" \\ 'x'\n\t\u{7f}\u{1}\u{2028}");
    let written = Catalogue::from_toml(&text.to_toml()).unwrap();
    assert_eq!(*written.text(), text);
    assert_eq!(CatalogueText::from_json(&text.to_json()).unwrap(), text);
    // What was stored before anything could be kept stays as it is.
    let plain = Catalogue::embedded().unwrap();
    assert!(!plain.text().to_json().contains("keep"));
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
