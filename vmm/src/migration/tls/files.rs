//! The files by which one end of a migration is known to the other, as a command line names them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error as TlsError, InconsistentKeys, RootCertStore};

use super::credentials::Credentials;
use crate::text_file::{self, ReadError};

/// Most bytes of one file.
const MOST: usize = 1 << 20;
/// How long a pipe may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

const CERT: &str = "--tls-cert";
const KEY: &str = "--tls-key";
const CA: &str = "--tls-ca";

/// All three, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct TlsFiles {
    /// Certificate by which this end of a migration by tls: is known to the other one, as PEM, and behind it those up to
    /// its authority's; read at the start, as are the next two
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_ca")]
    tls_key: Option<PathBuf>,

    /// Certificates of the authorities whose word is taken for who the other end is, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
}

/// Why there are no credentials in the files.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("{option} {}", path.display())]
    Read { option: &'static str, path: PathBuf, source: ReadError },
    #[error("{option} {}: it has no {what}, as PEM", path.display())]
    Absent { option: &'static str, path: PathBuf, what: &'static str },
    #[error("{option} {}: it is no PEM ({why:?})", path.display())]
    Pem { option: &'static str, path: PathBuf, why: pem::Error },
    #[error("{KEY} {}: it is not the key of the certificate in {CERT}", .0.display())]
    OtherKey(PathBuf),
    #[error("{option} {}: it cannot be used", path.display())]
    Unfit { option: &'static str, path: PathBuf, source: TlsError },
    #[error("the host has no random numbers")]
    Random,
}

impl TlsFiles {
    /// Reads them, if they are named. Fails if one is not there, or not what it is to be.
    pub fn load(&self) -> Result<Option<Credentials>, FilesError> {
        let TlsFiles { tls_cert: Some(cert), tls_key: Some(key), tls_ca: Some(ca) } = self else {
            return Ok(None);
        };
        let chain = certificates(CERT, cert)?;
        let found = PrivateKeyDer::from_pem_slice(&text(KEY, key)?);
        let secret = found.map_err(|why| wrong(KEY, key, why, "private key"))?;
        let mut roots = RootCertStore::empty();
        for root in certificates(CA, ca)? {
            roots.add(root).map_err(|source| unfit(CA, ca, source))?;
        }
        let credentials =
            Credentials::new(chain, secret, roots).map_err(|source| match source {
                TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    FilesError::OtherKey(key.clone())
                }
                TlsError::InvalidCertificate(_) => unfit(CERT, cert, source),
                TlsError::FailedToGetRandomBytes => FilesError::Random,
                _ => unfit(KEY, key, source),
            })?;
        Ok(Some(credentials))
    }
}

fn text(option: &'static str, path: &Path) -> Result<Vec<u8>, FilesError> {
    let read = text_file::read(path, MOST, PATIENCE);
    read.map_err(|source| FilesError::Read { option, path: path.into(), source })
}

fn certificates(
    option: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, FilesError> {
    let text = text(option, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(none) if none.is_empty() => {
            Err(wrong(option, path, pem::Error::NoItemsFound, "certificate"))
        }
        Ok(found) => Ok(found),
        Err(why) => Err(wrong(option, path, why, "certificate")),
    }
}

fn wrong(option: &'static str, path: &Path, why: pem::Error, what: &'static str) -> FilesError {
    let path = path.into();
    match why {
        pem::Error::NoItemsFound => FilesError::Absent { option, path, what },
        why => FilesError::Pem { option, path, why },
    }
}

fn unfit(option: &'static str, path: &Path, source: TlsError) -> FilesError {
    FilesError::Unfit { option, path: path.into(), source }
}

#[cfg(test)]
#[path = "files_test.rs"]
mod tests;
