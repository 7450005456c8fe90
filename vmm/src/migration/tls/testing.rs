//! Ends of TLS for tests.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tests::authority::{Authority, Valid};

use super::credentials::Credentials;

/// Of an end that `known` has signed for, by these names, and that believes another authority, or the same.
pub fn credentials(
    known: &Authority,
    believes: &Authority,
    names: &[&str],
    valid: Valid,
) -> Credentials {
    let [certificate, key] = known.issue(names, valid).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(believes.pem().as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    Credentials::new(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(), roots).unwrap()
}

/// A name, or an address.
pub fn name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_string()).unwrap()
}
