//! The ledger's own time on disk, while it is ahead of the clock.
//!
//! Owns the file `time` of the data folder and the thread that writes it. Where the log is ahead of
//! the clock, time passes by the monotonic clock, of which the log knows nothing until the next
//! event: without the file a restart would begin at the newest event again, and what has expired
//! since would be valid once more. It is written every few seconds and at a stop, and never while
//! the clock rules: a clock that is ahead by mistake must not be remembered. Must never stop a
//! start or a write. Time flows from memory to the file, and back once, at start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::Shared;
use crate::degraded::{DegradedParts, Part};
use crate::private;

/// A crash loses half of this at most, since time passes at half the speed.
const BETWEEN_WRITES: Duration = Duration::from_secs(10);

/// Stores the time while it is ahead of the clock.
#[derive(Debug)]
pub(super) struct TimeKeeper {
    path: PathBuf,
    stored_ms: Option<i64>,
    has_failed: bool,
}

impl TimeKeeper {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            stored_ms: None,
            has_failed: false,
        }
    }

    /// Stores it every few seconds until the writer is gone, and once more then.
    pub(super) fn run(mut self, shared: &Shared, stopped: &Receiver<()>) {
        loop {
            let waited = stopped.recv_timeout(BETWEEN_WRITES);
            self.store_if_ahead(shared);
            if waited != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    pub(super) fn store_if_ahead(&mut self, shared: &Shared) {
        let ahead_ms = shared.time.ahead_ms(shared.clock.read_both_clocks());
        let Some(time_ms) = ahead_ms.filter(|_| ahead_ms != self.stored_ms) else {
            return;
        };
        let stored = write(&self.path, shared.log_id, time_ms);
        if let (Err(why), false) = (&stored, self.has_failed) {
            let file = self.path.display();
            tracing::warn!(%file, %why, "the ledger's time cannot be stored; it is tried again");
        }
        self.has_failed = stored.is_err();
        self.stored_ms = stored.ok().map(|()| time_ms);
    }
}

/// The time that was reached, if the file has one of this ledger. A damaged file is set aside.
pub(super) fn read(path: &Path, log_id: [u8; 16], degraded: &DegradedParts) -> Option<i64> {
    let why = match fs::read(path) {
        Ok(bytes) => match parse(&bytes, log_id) {
            Ok(time_ms) => return Some(time_ms),
            Err(why) => why.to_owned(),
        },
        Err(why) if why.kind() == io::ErrorKind::NotFound => return None,
        // No sign of damage: it may be readable at the next start.
        Err(why) if private::is_denied(why.kind()) => {
            degraded.note_damage(Part::Clock, path, &why.to_string());
            return None;
        }
        Err(why) => why.to_string(),
    };
    if degraded.set_aside(Part::Clock, path, &why).is_err() {
        degraded.note_damage(Part::Clock, path, &why);
    }
    None
}

fn write(path: &Path, log_id: [u8; 16], time_ms: i64) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(text(log_id, time_ms).as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// The log's id, milliseconds since the Unix epoch, and the CRC32C of both.
fn text(log_id: [u8; 16], time_ms: i64) -> String {
    let content = format!("{} {time_ms}", hex::encode(log_id));
    format!("{content} {:08x}\n", crc32c::crc32c(content.as_bytes()))
}

fn parse(bytes: &[u8], log_id: [u8; 16]) -> Result<i64, &'static str> {
    const DAMAGED: &str = "it is not what was written";
    let read = str::from_utf8(bytes).map_err(|_why| DAMAGED)?;
    let mut fields = read.split(' ');
    let (id, time_ms) = (fields.next(), fields.next());
    let id = id.and_then(|id| <[u8; 16]>::try_from(hex::decode(id).ok()?).ok());
    let time_ms = time_ms.and_then(|time_ms| time_ms.parse().ok());
    match (id, time_ms) {
        (Some(id), Some(time_ms)) if text(id, time_ms) == read => {
            let is_ours = id == log_id;
            is_ours.then_some(time_ms).ok_or("it is another ledger's")
        }
        (_, _) => Err(DAMAGED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const LOG_ID: [u8; 16] = [7; 16];

    #[test]
    fn a_time_is_read_as_it_was_written_and_what_is_damaged_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("time");
        let check = |content: &[u8], expected: Option<i64>, reason: Option<&str>| {
            fs::write(&path, content).unwrap();
            let degraded = DegradedParts::new(Clock::manual(1_000).0);
            let shown = String::from_utf8_lossy(content);
            assert_eq!(read(&path, LOG_ID, &degraded), expected, "{shown}");
            let found = degraded.damage_found();
            let reasons: Vec<_> = found.iter().map(|damage| damage.reason.as_str()).collect();
            assert_eq!(reasons, Vec::from_iter(reason), "{shown}");
            assert_eq!(path.exists(), reason.is_none(), "{shown}");
        };
        write(&path, LOG_ID, 1_777_044_600_000).unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&whole),
            "07070707070707070707070707070707 1777044600000 358f3462\n"
        );
        check(&whole, Some(1_777_044_600_000), None);
        check(text(LOG_ID, -5).as_bytes(), Some(-5), None);
        let other = Some("it is another ledger's");
        check(text([8; 16], 5).as_bytes(), None, other);
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            check(&flipped, None, Some("it is not what was written"));
            check(&whole[..at], None, Some("it is not what was written"));
        }
        let long = [whole.as_slice(), &[b' '; 4096]].concat();
        check(&long, None, Some("it is not what was written"));
        let degraded = DegradedParts::new(Clock::manual(1_000).0);
        assert_eq!(read(&path, LOG_ID, &degraded), None);
        assert_eq!(degraded.damage_found(), []);
    }

    #[test]
    fn a_folder_in_its_place_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("time");
        fs::create_dir(&path).unwrap();
        let degraded = DegradedParts::new(Clock::manual(1_000).0);
        assert_eq!(read(&path, LOG_ID, &degraded), None);
        assert_eq!(degraded.damage_found().len(), 1);
        write(&path, LOG_ID, 5).unwrap();
        assert_eq!(read(&path, LOG_ID, &degraded), Some(5));
    }
}
