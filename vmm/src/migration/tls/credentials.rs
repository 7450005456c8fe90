//! By what an end of a migration shows who it is, and whom it believes.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, RootCertStore, ServerConfig,
    ServerConnection,
};

use super::session::Session;

/// A certificate with its key, and the authorities that sign for the other end.
#[derive(Clone)]
pub struct Credentials {
    source: Arc<ClientConfig>,
    target: Arc<ServerConfig>,
}

/// Nothing of a key.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Of `chain`, which begins with the certificate of `key`; believes whom `roots` have signed for, of which there is one
    /// at least. Fails if they do not fit, or the host gives no random numbers.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: RootCertStore,
    ) -> Result<Credentials, Error> {
        let provider = Arc::new(ring::default_provider());
        // Now: a C library may map memory for its random numbers, which a thread that is shut in cannot.
        let drawn = provider.secure_random.fill(&mut [0; 32]);
        drawn.map_err(|_| Error::FailedToGetRandomBytes)?;
        let roots = Arc::new(roots);
        let source = ClientConfig::builder_with_provider(provider.clone());
        let mut source = source
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        source.resumption = Resumption::disabled();
        source.enable_early_data = false;
        let known = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
        let known = known.map_err(|error| Error::General(error.to_string()))?;
        let target = ServerConfig::builder_with_provider(provider);
        let mut target = target
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(known)
            .with_single_cert(chain, key)?;
        target.session_storage = Arc::new(NoServerSessionStorage {});
        target.send_tls13_tickets = 0;
        target.max_early_data_size = 0;
        Ok(Credentials { source: Arc::new(source), target: Arc::new(target) })
    }

    /// The source's end of a session with a target that is to show a certificate for `name`. Fails if there are no random
    /// numbers.
    pub fn to_target(&self, name: ServerName<'static>) -> Result<Session, Error> {
        let connection = ClientConnection::new(self.source.clone(), name)?;
        Ok(Session::new(Connection::Client(connection)))
    }

    /// The target's end of a session with whoever connects. Fails if there are no random numbers.
    pub fn to_source(&self) -> Result<Session, Error> {
        let connection = ServerConnection::new(self.target.clone())?;
        Ok(Session::new(Connection::Server(connection)))
    }
}
