//! One file of many: a tar of regular files whose every byte follows from their names and contents.
//!
//! Owns the form in which bundles and backups are written, and its strict reading: each header must
//! be the one that would be written, padding must be zero, nothing may stand behind the end, and
//! the last member holds the digests of all before it. Must never know what a member means.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::verdict::{Finding, Kind};

/// Bytes of a tar's blocks.
const BLOCK: u64 = 512;
/// The same in RAM.
const BLOCK_BYTES: usize = 512;
/// The last member: a line a member, as `sha256sum` writes and reads them.
pub(crate) const SUMS: &str = "SHA256SUMS";
/// Bytes of a member that is read whole at most: names and digests of 100,000 files.
const SMALL_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Members at most: a backup of a log of 6 TB.
const MEMBERS_MAX: usize = 100_000;

/// The header of a member.
fn header(name: &str, size: u64) -> io::Result<[u8; BLOCK_BYTES]> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// An archive that is being written.
pub(crate) struct Writing<W> {
    out: W,
    sums: String,
}

impl<W: Write> Writing<W> {
    pub(crate) const fn new(out: W) -> Self {
        let sums = String::new();
        Self { out, sums }
    }

    /// Adds a member, whose content must have the size that is stated before it.
    pub(crate) fn member<E: From<io::Error>>(
        &mut self,
        (name, size): (&str, u64),
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        self.out.write_all(&header(name, size)?)?;
        let mut counted = Counted {
            out: &mut self.out,
            digest: Sha256::new(),
            bytes: 0,
        };
        fill(&mut counted)?;
        let Counted { digest, bytes, .. } = counted;
        if bytes != size {
            let why = format!("{name} has {bytes} bytes and not {size}");
            return Err(io::Error::other(why).into());
        }
        self.pad(size)?;
        let digest = hex::encode(digest.finalize());
        self.sums.push_str(&format!("{digest}  {name}\n"));
        Ok(())
    }

    /// Adds a member that is there already.
    pub(crate) fn whole(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let size = content.len() as u64;
        self.member((name, size), |out| out.write_all(content))
    }

    /// Adds the digests and ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let sums = std::mem::take(&mut self.sums);
        self.whole(SUMS, sums.as_bytes())?;
        self.out.write_all(&[0; 2 * BLOCK_BYTES])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = size.next_multiple_of(BLOCK) - size;
        let padding = usize::try_from(padding).unwrap_or(0);
        self.out
            .write_all([0; BLOCK_BYTES].get(..padding).unwrap_or_default())
    }
}

struct Counted<'a, W> {
    out: &'a mut W,
    digest: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        let taken = bytes.get(..written).unwrap_or_default();
        self.digest.update(taken);
        self.bytes += taken.len() as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// An archive that is read; its form has been checked.
#[derive(Debug)]
pub(crate) struct Archive {
    file: File,
    pub(crate) members: Vec<Member>,
}

/// A file in an archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    pub(crate) name: String,
    offset: u64,
    pub(crate) size: u64,
}

/// Why an archive was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// The system refused something.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("{}", .0.what)]
    Found(Box<Finding>),
}

impl From<Finding> for ArchiveError {
    fn from(finding: Finding) -> Self {
        Self::Found(Box::new(finding))
    }
}

fn refuse(kind: Kind, offset: u64, what: impl Into<String>) -> ArchiveError {
    Finding::new(kind, what).at_offset(offset).into()
}

impl Archive {
    /// Reads all headers, padding and the end.
    pub(crate) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut members = Vec::new();
        let mut at = 0;
        loop {
            let block = block_at(&file, at, length)?;
            if block == [0; BLOCK_BYTES] {
                break;
            }
            let member = member(&block, at)?;
            let end = member.offset.saturating_add(member.size);
            let padded = end.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
            if padded > length {
                let what = format!("the file ends within {}", member.name);
                return Err(refuse(Kind::BundleTruncated, length, what));
            }
            let mut padding = vec![0; usize::try_from(padded - end).unwrap_or(0)];
            file.read_exact_at(&mut padding, end)?;
            if padding.iter().any(|byte| *byte != 0) {
                return Err(refuse(Kind::BundleForm, end, "padding that is not zero"));
            }
            if members.len() == MEMBERS_MAX {
                return Err(refuse(Kind::BundleForm, at, "more members than any has"));
            }
            members.push(member);
            at = padded;
        }
        if block_at(&file, at + BLOCK, length)? != [0; BLOCK_BYTES] {
            let what = "one block of zeros where two end the file";
            return Err(refuse(Kind::BundleForm, at, what));
        }
        let end = at + 2 * BLOCK;
        if length > end {
            let what = format!("{} bytes stand behind the end", length - end);
            return Err(refuse(Kind::BundleTrailing, end, what));
        }
        Ok(Self { file, members })
    }

    /// Holds every member against its digest. The last member must be that of the digests.
    pub(crate) fn check_digests(&self) -> Result<(), ArchiveError> {
        let Some((last, others)) = self
            .members
            .split_last()
            .filter(|(last, _)| last.name == SUMS)
        else {
            let what = format!("the last member is not {SUMS}");
            return Err(refuse(Kind::BundleForm, 0, what));
        };
        let sums = self.small(last)?;
        let mut stated = sums.split_inclusive(|byte| *byte == b'\n');
        for member in others {
            let digest = hex::encode(self.digest(member)?);
            let expected = format!("{digest}  {}\n", member.name);
            if stated.next() != Some(expected.as_bytes()) {
                let what = format!("{} has another digest than {SUMS} says", member.name);
                let finding = Finding::new(Kind::BundleDigest, what);
                let finding = finding.in_file(Path::new(&member.name));
                return Err(finding.at_offset(member.offset).into());
            }
        }
        match stated.next() {
            None => Ok(()),
            Some(_) => {
                let what = format!("{SUMS} names more than is there");
                Err(refuse(Kind::BundleDigest, last.offset, what))
            }
        }
    }

    fn digest(&self, member: &Member) -> io::Result<[u8; 32]> {
        let mut digest = Sha256::new();
        let mut content = self.read(member);
        loop {
            let piece = content.fill_buf()?;
            if piece.is_empty() {
                return Ok(digest.finalize().into());
            }
            digest.update(piece);
            let bytes = piece.len();
            content.consume(bytes);
        }
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    pub(crate) fn read(&self, member: &Member) -> BufReader<Content<'_>> {
        let content = Content {
            file: &self.file,
            at: member.offset,
            left: member.size,
        };
        BufReader::with_capacity(256 * 1024, content)
    }

    /// The whole content of a member that is small.
    pub(crate) fn small(&self, member: &Member) -> Result<Vec<u8>, ArchiveError> {
        if member.size > SMALL_BYTES_MAX {
            let what = format!("{} is larger than any is", member.name);
            return Err(refuse(Kind::BundleForm, member.offset, what));
        }
        let mut content = Vec::new();
        self.read(member).read_to_end(&mut content)?;
        Ok(content)
    }

    /// The whole content of a member that is small and text.
    pub(crate) fn text(&self, member: &Member) -> Result<String, ArchiveError> {
        let text = String::from_utf8(self.small(member)?);
        text.map_err(|_bytes| {
            let what = format!("{} is not text", member.name);
            refuse(Kind::BundleForm, member.offset, what)
        })
    }
}

fn block_at(file: &File, at: u64, length: u64) -> Result<[u8; BLOCK_BYTES], ArchiveError> {
    let mut block = [0; BLOCK_BYTES];
    if at.saturating_add(BLOCK) > length {
        let what = "the file ends before its end is marked";
        return Err(refuse(Kind::BundleTruncated, length, what));
    }
    file.read_exact_at(&mut block, at)?;
    Ok(block)
}

fn member(block: &[u8; BLOCK_BYTES], at: u64) -> Result<Member, ArchiveError> {
    let read = tar::Header::from_byte_slice(block);
    let name = String::from_utf8(read.path_bytes().into_owned()).unwrap_or_default();
    let size = read.entry_size().unwrap_or(0);
    // What would be written for this name and size is all that may stand here.
    match header(&name, size) {
        Ok(expected) if expected == *block && is_plain(&name) => Ok(Member {
            name,
            offset: at + BLOCK,
            size,
        }),
        Ok(_) | Err(_) => Err(refuse(
            Kind::BundleForm,
            at,
            "not a header as it is written",
        )),
    }
}

/// Whether a name stays below the folder that it is unpacked in.
fn is_plain(name: &str) -> bool {
    let mut parts = name.split('/');
    parts.all(|part| !matches!(part, "" | "." | ".."))
}

/// The bytes of one member.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(into.len());
        let read = self
            .file
            .read_at(into.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
