//! TLS without a proxy.

use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What the service speaks TLS with. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Tls(pub(crate) RustlsConfig);

/// A certificate or a key that TLS cannot be spoken with.
#[derive(Debug, thiserror::Error)]
pub enum WrongCertificate {
    /// Not PEM, or without what it should hold.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// They do not go together, or are of no kind that is spoken.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl Tls {
    /// TLS by a certificate with those that vouch for it, and its private key.
    ///
    /// # Errors
    /// [`WrongCertificate`], when they are not PEM or do not go together.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> Result<Self, WrongCertificate> {
        let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key)?;
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth();
        let mut config = config.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(RustlsConfig::from_config(Arc::new(config))))
    }

    /// Has connections that begin from now on speak TLS as another does, wherever clones of this
    /// are in use.
    pub fn replace_by(&self, other: &Self) {
        self.0.reload_from_config(other.0.get_inner());
    }
}
