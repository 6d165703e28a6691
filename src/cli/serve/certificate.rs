//! The certificate that the server speaks TLS with, and the ones that take its place.
//!
//! Owns the reading of its files: at the start, when they change, and on SIGHUP. They are compared
//! by what they hold, since certificates are renewed in every way: rewritten, renamed, or behind a
//! link that is moved. Certificate and key are two files, so what does not fit together is looked
//! at once more before it is reported. A renewal that cannot be used changes nothing: the
//! certificate before it stays in use, and a part is degraded until a good one is there.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::api::Tls;
use crate::cli::exit::Stop;
use crate::cli::signals::Hangups;
use crate::config::TlsFiles;
use crate::degraded::{DegradedParts, Part};

/// How soon changed files are seen.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const REMEDY: &str = "the certificate before it stays in use; correct the files, they are read \
    again every second";

/// A certificate and its key, as they were read.
pub(super) struct Certificate {
    files: TlsFiles,
    tls: Tls,
    digest: [u8; 32],
}

impl Certificate {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, Stop> {
        let read = Contents::read(files).map_err(Stop::refused)?;
        Ok(Self {
            tls: read.tls(files).map_err(Stop::refused)?,
            digest: read.digest(),
            files: files.clone(),
        })
    }

    /// What to speak TLS with; a renewal changes it.
    pub(super) fn tls(&self) -> Tls {
        self.tls.clone()
    }
}

/// What the two files hold.
struct Contents {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, String> {
        let read = |flag: &str, path: &Path| {
            let cannot = |why| format!("{flag}: cannot read {}: {why}", path.display());
            fs::read(path).map_err(cannot)
        };
        Ok(Self {
            cert: read("--tls-cert", &files.cert)?,
            key: Zeroizing::new(read("--tls-key", &files.key)?),
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(self.cert.len().to_le_bytes());
        hash.update(&self.cert);
        hash.update(&*self.key);
        hash.finalize().into()
    }

    fn tls(&self, files: &TlsFiles) -> Result<Tls, String> {
        Tls::from_pem(&self.cert, &self.key).map_err(|why| {
            let (cert, key) = (files.cert.display(), files.key.display());
            format!("{cert} and {key} are no certificate and key that go together: {why}")
        })
    }
}

/// What came of a look at the files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Looked {
    /// They hold what is in use.
    Unchanged,
    /// They hold another certificate, which is in use now.
    Renewed,
    /// They cannot be used, which may be since they are just being written.
    Unsettled,
    /// They cannot be used.
    Refused,
}

/// Follows the files of a certificate.
pub(super) struct Renewal {
    certificate: Certificate,
    /// Why the files could not be used when they were last looked at.
    wrong: Option<String>,
    degraded: DegradedParts,
}

impl Renewal {
    /// The renewal of a certificate that is in use.
    pub(super) const fn new(certificate: Certificate, degraded: DegradedParts) -> Self {
        Self {
            certificate,
            wrong: None,
            degraded,
        }
    }

    /// Takes up what the files hold now; what is wrong is reported when it is seen twice, or at
    /// once where the operator asks.
    fn look(&mut self, asked: bool) -> Looked {
        let files = &self.certificate.files;
        let found = Contents::read(files).and_then(|read| {
            let digest = read.digest();
            let is_new = digest != self.certificate.digest;
            let tls = is_new.then(|| read.tls(files)).transpose()?;
            Ok((digest, tls))
        });
        match found {
            Ok((digest, tls)) => {
                self.wrong = None;
                self.degraded.end(Part::TlsCertificate);
                let Some(tls) = tls else {
                    return Looked::Unchanged;
                };
                self.certificate.tls.replace_by(&tls);
                self.certificate.digest = digest;
                tracing::info!(cert = %files.cert.display(), "a renewed certificate is in use");
                Looked::Renewed
            }
            Err(why) => {
                let is_settled = self.wrong.as_ref() == Some(&why);
                self.wrong = Some(why.clone());
                if !is_settled && !asked {
                    return Looked::Unsettled;
                }
                self.degraded.begin(Part::TlsCertificate, why, REMEDY);
                Looked::Refused
            }
        }
    }
}

/// Looks at the files every second, and on SIGHUP, which reloads nothing else.
pub(super) async fn follow(mut hangups: Hangups, mut renewal: Option<Renewal>) -> Infallible {
    loop {
        let asked = tokio::select! {
            () = hangups.next() => true,
            () = tokio::time::sleep(LOOK_EVERY), if renewal.is_some() => false,
        };
        let looked = match renewal.take() {
            Some(mut renewing) => {
                // Files may be on a disk that is slow.
                let looking = move || (renewing.look(asked), renewing);
                match tokio::task::spawn_blocking(looking).await {
                    Ok((looked, renewing)) => {
                        renewal = Some(renewing);
                        Some(looked)
                    }
                    Err(_panic) => {
                        tracing::error!("renewed certificates are not taken up any more");
                        None
                    }
                }
            }
            None => None,
        };
        if asked {
            let certificate = match looked {
                None => "there is none to reload",
                Some(Looked::Unchanged) => "it is unchanged",
                Some(Looked::Renewed) => "it is reloaded",
                Some(Looked::Unsettled | Looked::Refused) => "it cannot be used",
            };
            tracing::info!(certificate, "SIGHUP");
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;
    use tempfile::TempDir;

    use super::*;
    use crate::clock::Clock;

    /// A server's files, with the first certificate in them.
    struct World {
        folder: TempDir,
        renewal: Renewal,
    }

    /// A certificate and its key, PEM.
    fn pair() -> (String, String) {
        let made = generate_simple_self_signed(["keys.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let files = TlsFiles {
                cert: folder.path().join("cert.pem"),
                key: folder.path().join("key.pem"),
            };
            let (cert, key) = pair();
            fs::write(&files.cert, cert).unwrap();
            fs::write(&files.key, key).unwrap();
            let degraded = DegradedParts::new(Clock::system());
            let renewal = Renewal::new(Certificate::read(&files).unwrap(), degraded);
            Self { folder, renewal }
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join(name), text).unwrap();
        }

        /// What came of looking, and whether the certificate is degraded then.
        fn look(&mut self, asked: bool) -> (Looked, bool) {
            let looked = self.renewal.look(asked);
            (
                looked,
                self.renewal.degraded.is_degraded(Part::TlsCertificate),
            )
        }
    }

    #[test]
    fn a_renewed_certificate_is_taken_up_once_both_files_are_there() {
        let mut world = World::new();
        assert_eq!(world.look(false), (Looked::Unchanged, false));
        let (cert, key) = pair();
        world.write("cert.pem", &cert);
        assert_eq!(world.look(false), (Looked::Unsettled, false));
        world.write("key.pem", &key);
        assert_eq!(world.look(false), (Looked::Renewed, false));
        assert_eq!(world.look(false), (Looked::Unchanged, false));
        assert_eq!(world.look(true), (Looked::Unchanged, false));
    }

    #[test]
    fn a_link_that_is_moved_to_other_files_is_followed() {
        let mut world = World::new();
        let (cert, key) = pair();
        let next = world.folder.path().join("next");
        fs::create_dir(&next).unwrap();
        for (name, text) in [("cert.pem", cert), ("key.pem", key)] {
            fs::write(next.join(name), text).unwrap();
            let path = world.folder.path().join(name);
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(next.join(name), path).unwrap();
        }
        assert_eq!(world.look(false), (Looked::Renewed, false));
    }

    #[test]
    fn a_renewal_that_cannot_be_used_is_reported_and_changes_nothing() {
        let (other_cert, other_key) = pair();
        for (name, text) in [
            ("cert.pem", Some("no certificate")),
            ("cert.pem", Some("")),
            ("cert.pem", None),
            ("cert.pem", Some(other_cert.as_str())),
            ("key.pem", Some("no key")),
            ("key.pem", None),
            ("key.pem", Some(other_key.as_str())),
        ] {
            let mut world = World::new();
            let path = world.folder.path().join(name);
            let before = fs::read_to_string(&path).unwrap();
            match text {
                Some(text) => world.write(name, text),
                None => fs::remove_file(&path).unwrap(),
            }
            assert_eq!(
                world.look(false),
                (Looked::Unsettled, false),
                "{name} {text:?}"
            );
            assert_eq!(
                world.look(false),
                (Looked::Refused, true),
                "{name} {text:?}"
            );
            assert_eq!(world.look(true), (Looked::Refused, true), "{name} {text:?}");
            let reason = world.renewal.degraded.list()[0].reason.clone();
            assert!(reason.contains(name), "{reason}");
            // What was there before is back.
            world.write(name, &before);
            assert_eq!(
                world.look(false),
                (Looked::Unchanged, false),
                "{name} {text:?}"
            );
            // The operator's question is not kept waiting.
            match text {
                Some(text) => world.write(name, text),
                None => fs::remove_file(&path).unwrap(),
            }
            assert_eq!(world.look(true), (Looked::Refused, true), "{name} {text:?}");
        }
    }
}
