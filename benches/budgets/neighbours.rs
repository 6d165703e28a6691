//! What other programs took of the processors while a group ran.
//!
//! Rows are to be measured alone. Beside busy neighbours a ratio can come out on either side of its
//! budget, so that no verdict is given then.

use std::fs;

/// Jiffies since the machine and this program started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jiffies {
    /// Of all processors, idle ones too.
    all: u64,
    busy: u64,
    /// Of the children of this process that have ended, and of theirs.
    children: u64,
}

impl Jiffies {
    /// As the system counts them; `None` where it does not tell.
    pub(crate) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let fields = stat.lines().next()?.split_ascii_whitespace().skip(1);
        // user, nice, system, idle, iowait, irq, softirq, steal.
        let times = fields.take(8).map(|field| field.parse().ok());
        let times: Vec<u64> = times.collect::<Option<_>>()?;
        let all = times.iter().sum::<u64>();
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        // Behind the name, which is in brackets, user and system time of children are 13 and 14.
        let (_, own) = own.rsplit_once(')')?;
        let mut own = own.split_ascii_whitespace().skip(13);
        let children: u64 = own.next()?.parse().ok()?;
        let system: u64 = own.next()?.parse().ok()?;
        Some(Self {
            all,
            busy: all - times.get(3)? - times.get(4)?,
            children: children + system,
        })
    }

    /// Percent of all processors that was neither idle nor used by a child since `earlier`. The
    /// kernel's own threads, which write to the disk for us, are among it.
    pub(crate) fn others_percent(self, earlier: Self) -> u64 {
        let busy = self.busy.saturating_sub(earlier.busy);
        let own = self.children.saturating_sub(earlier.children);
        let all = self.all.saturating_sub(earlier.all).max(1);
        busy.saturating_sub(own) * 100 / all
    }
}
