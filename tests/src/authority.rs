//! An authority that signs certificates for ends of TLS, for as long as a test takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Itself, and its certificate as PEM.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// When certificates are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valid {
    /// Now.
    Now,
    /// Until the year 2000.
    Past,
}

/// Files of one end of TLS.
pub struct Files {
    /// Its certificate.
    pub certificate: PathBuf,
    /// Of the certificate.
    pub key: PathBuf,
    /// Whose word it takes.
    pub authority: PathBuf,
}

impl Authority {
    /// A new one. Fails if it cannot be made.
    pub fn new() -> Result<Authority> {
        let mut params = CertificateParams::default();
        // No two are of one name: what is signed by one would be taken for the other's, and be wrong.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("authority {} of tests", COUNT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Authority { issuer: Issuer::new(params, key), pem })
    }

    /// Its certificate, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for names and addresses, and its key, both as PEM. Fails if it cannot be made.
    pub fn issue(&self, names: &[&str], valid: Valid) -> Result<[String; 2]> {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        if valid == Valid::Past {
            params.not_before = rcgen::date_time_ymd(1999, 1, 1);
            params.not_after = rcgen::date_time_ymd(2000, 1, 1);
        }
        let key = KeyPair::generate()?;
        Ok([params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()])
    }

    /// Files in `folder`, which begin with `name`, of an end that is known by `names`. Fails if they cannot be written.
    pub fn files(&self, folder: &Path, name: &str, names: &[&str], valid: Valid) -> Result<Files> {
        let [certificate, key] = self.issue(names, valid)?;
        let write = |what: &str, text: &str| -> Result<PathBuf> {
            let path = folder.join(format!("{name}-{what}.pem"));
            fs::write(&path, text)?;
            Ok(path)
        };
        Ok(Files {
            certificate: write("cert", &certificate)?,
            key: write("key", &key)?,
            authority: write("ca", &self.pem)?,
        })
    }
}

impl Files {
    /// The options of a vmm that is this end.
    pub fn options(&self) -> [&str; 6] {
        let [cert, key, ca] = [&self.certificate, &self.key, &self.authority]
            .map(|path| path.to_str().unwrap_or_default());
        ["--tls-cert", cert, "--tls-key", key, "--tls-ca", ca]
    }
}
