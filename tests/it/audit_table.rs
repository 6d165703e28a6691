//! `keyledger audit export --csv`, by the real binary: cut by times, with names and reasons.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::harness::{Server, code, init, run, stderr, text};

type Row = BTreeMap<String, String>;

/// The folder of a ledger in which something has happened.
struct Company {
    root: TempDir,
    made: Value,
    tables: Cell<u32>,
}

impl Company {
    /// Keys are made, the first is lost, and the second has a formula for a name.
    async fn new() -> (Self, [String; 2]) {
        let root = tempdir().unwrap();
        let made = init(&root.path().join("data"), &["--segment-mib", "1"]);
        let server = Server::start(&root.path().join("data"), &[]);
        let api = server.api(text(&made, "raw_key"));
        let path = format!(
            "/platform/organizations/{}/api-keys",
            text(&made, "organization_id")
        );
        let mut ids = Vec::new();
        for (name, reason) in [("ci", "lost"), ("=1+1", "@SUM(A1), \"lost\"")] {
            let body = json!({"name": name, "scopes": ["cases:read"]});
            let key = api.post(&path, &body).await.unwrap().expect(201);
            let id = text(&key["key"], "id").to_owned();
            let revoke = format!("{path}/{id}/revoke");
            let ended = api.post(&revoke, &json!({"reason": reason})).await;
            ended.unwrap().expect(200);
            ids.push(id);
        }
        assert_eq!(server.stop().status.code(), Some(0));
        let tables = Cell::new(0);
        (Self { root, made, tables }, ids.try_into().unwrap())
    }

    fn file(&self) -> String {
        self.tables.set(self.tables.get() + 1);
        let name = format!("table {}", self.tables.get());
        self.root.path().join(name).to_str().unwrap().to_owned()
    }

    fn export(&self, more: &[&str]) -> std::process::Output {
        let data = self.root.path().join("data");
        let all = ["audit", "export", "--data-dir", data.to_str().unwrap()];
        run([&all, more].concat())
    }

    /// The rows of a table, by the names of their columns.
    fn table(&self, more: &[&str]) -> Vec<Row> {
        let file = self.file();
        let made = self.export(&[&["--csv", &file], more].concat());
        assert_eq!(code(&made), 0, "{more:?}: {}", stderr(&made));
        let mut reader = csv::Reader::from_path(&file).unwrap();
        let columns = reader.headers().unwrap().clone();
        let named = |row: csv::StringRecord| {
            let cells = columns.iter().zip(row.iter());
            cells
                .map(|(name, cell)| (name.to_owned(), cell.to_owned()))
                .collect()
        };
        reader.records().map(|row| named(row.unwrap())).collect()
    }
}

#[tokio::test]
async fn a_table_says_names_and_reasons_and_holds_no_formula() {
    let (company, [lost, formula]) = Company::new().await;
    let all = company.table(&[]);
    let revoked = |id: &str| {
        let is_it = |row: &&Row| row["type"] == "api_key.revoked" && row["subject"] == id;
        let row = all.iter().find(is_it).unwrap();
        ["subject_name", "actor_name", "reason"].map(|column| row[column].clone())
    };
    assert_eq!(revoked(&lost), ["ci", "Bootstrap key", "lost"]);
    let expected = ["'=1+1", "Bootstrap key", "'@SUM(A1), \"lost\""];
    assert_eq!(revoked(&formula), expected);
    let added = all
        .iter()
        .find(|row| row["type"] == "member.added")
        .unwrap();
    assert!(added["subject_name"].contains('@'), "{added:?}");
}

#[tokio::test]
async fn an_export_is_cut_by_positions_and_by_times() {
    let (company, _) = Company::new().await;
    let all = company.table(&[]);
    let at = |n: usize| all[n]["occurred_at"].as_str();
    let last = at(all.len() - 1);
    let positions = |more: &[&str]| -> Vec<usize> {
        let rows = company.table(more);
        rows.iter()
            .map(|row| row["position"].parse().unwrap())
            .collect()
    };
    let whole: Vec<usize> = (0..all.len()).collect();
    let long_ago = "2020-01-01T00:00:00Z";
    assert_eq!(positions(&["--from", long_ago]), whole);
    assert_eq!(positions(&["--from", at(0), "--to", last]), whole);
    let first = all.iter().filter(|row| row["occurred_at"] == at(0)).count();
    assert_eq!(positions(&["--to", at(0)]), whole[..first]);
    assert_eq!(positions(&["--from", "2", "--to", "4"]), [2, 3, 4]);
    assert_eq!(positions(&["--from", "2999-01-01T00:00:00Z"]), [0; 0]);
    assert_eq!(positions(&["--to", long_ago]), [0; 0]);
    // A bundle of a time in which nothing happened proves that.
    let bundle = company.file();
    let none = company.export(&["--out", &bundle, "--to", long_ago]);
    assert_eq!(code(&none), 0, "{}", stderr(&none));
    let vkey = text(&company.made, "vkey");
    let verified = run(["audit", "verify", "--bundle", &bundle, "--vkey", vkey]);
    assert_eq!(code(&verified), 0, "{}", stderr(&verified));
    for (from, to) in [("4", "2"), (last, long_ago)] {
        let turned = company.export(&["--csv", &company.file(), "--from", from, "--to", to]);
        assert_eq!(code(&turned), 2, "{}", stderr(&turned));
        assert!(
            stderr(&turned).contains("--from must not be later"),
            "{}",
            stderr(&turned)
        );
    }
    let wrong = company.export(&["--csv", &company.file(), "--from", "yesterday"]);
    assert_eq!(code(&wrong), 2, "{}", stderr(&wrong));
}
