//! What auditors look for, in the history with every type of event.

use super::company::{Company, member};
use crate::clock::Entropy;
use crate::domain::command::{
    Actor, AddMember, Command, EraseMember, NoteCheckpoint, NoteLedgerRead, RecordRestore,
    RotateSigningKey,
};
use crate::domain::digest::Digest32;
use crate::domain::event::ledger::LedgerReading;
use crate::domain::ids::Owner;
use crate::domain::kind::Kind;
use crate::merkle::{Checkpoint, NoteSigner};

const ORIGIN: &str = "keyledger.example/log";

impl Company<'_> {
    /// A checkpoint is told, somebody reads, another key signs, a person is erased, and a restore
    /// gives up a position.
    pub(super) fn audited(&mut self) {
        let ledger = &self.world.ledger;
        let size = self.world.events();
        let root = ledger.reader().batch_root_at(size - 1).unwrap().unwrap();
        let signer = NoteSigner::new(ORIGIN, &ledger.keys().first_signing_key().to_bytes());
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root,
        };
        let told = NoteCheckpoint {
            size,
            root: Digest32(root),
            checkpoint: checkpoint.sign_note(&signer.unwrap()).unwrap(),
        };
        self.run(Actor::System, Command::NoteCheckpoint(told));
        let read = NoteLedgerRead {
            organization: Some(self.organization),
            what: LedgerReading::Export,
        };
        self.run(Actor::Operator, Command::NoteLedgerRead(read));
        self.another_signing_key();
        self.erased();
        let restore = RecordRestore {
            positions: 1,
            at_once: 2,
        };
        self.run(Actor::Operator, Command::RecordRestore(restore));
    }

    fn another_signing_key(&mut self) {
        let keys = self.world.ledger.keys();
        let key = keys
            .signing_key_or_create(2, &mut Entropy::seeded(7))
            .unwrap();
        let signer = NoteSigner::new(ORIGIN, &key.to_bytes()).unwrap();
        let rotate = RotateSigningKey {
            vkey: signer.verifier().to_string(),
            overlap_days: 30,
        };
        self.run(Actor::Operator, Command::RotateSigningKey(rotate));
    }

    /// Erin, who had a token and a session.
    fn erased(&mut self) {
        let organization = self.organization;
        let erin = AddMember {
            organization,
            email: "erin@acme.example".to_owned(),
            name: Some("Erin".to_owned()),
            role: "engineer".to_owned(),
        };
        let erin = member(&self.run(Actor::Operator, erin));
        let token = self.owned(Kind::Personal, Owner::User(erin), "Erin's laptop");
        self.issue("erin", token);
        self.session(erin);
        let erase = EraseMember {
            organization,
            member: erin,
            reason: "Request 17 of 2026".to_owned(),
        };
        self.run(Actor::Operator, Command::EraseMember(erase));
    }
}
