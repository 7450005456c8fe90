//! Tests of the files by which an end is known.

use std::fs;

use ::tests::authority::{Authority, Valid};

use super::*;

#[test]
fn files_are_all_there_and_fit_or_one_is_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    let made =
        |name: &str| authority.files(folder.path(), name, &["a.example"], Valid::Now).unwrap();
    let (one, other) = (made("one"), made("other"));
    let load = |cert: &Path, key: &Path, ca: &Path| {
        let [cert, key, ca] = [cert, key, ca].map(|path| Some(path.to_path_buf()));
        TlsFiles { tls_cert: cert, tls_key: key, tls_ca: ca }.load()
    };
    assert!(load(&one.certificate, &one.key, &one.authority).unwrap().is_some());
    assert!(TlsFiles::default().load().unwrap().is_none());

    let (none, broken) = (folder.path().join("none"), folder.path().join("broken"));
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").unwrap();
    let nonsense = folder.path().join("nonsense");
    fs::write(&nonsense, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let (cert, key, ca) = (&one.certificate, &one.key, &one.authority);
    for (files, words) in [
        ([&none, key, ca], ["--tls-cert", "cannot be read"]),
        ([cert, &none, ca], ["--tls-key", "cannot be read"]),
        ([cert, key, &none], ["--tls-ca", "cannot be read"]),
        ([cert, cert, ca], ["--tls-key", "no private key"]),
        ([key, key, ca], ["--tls-cert", "no certificate"]),
        ([cert, &other.key, ca], ["--tls-key", "not the key of the certificate"]),
        ([&broken, key, ca], ["--tls-cert", "no PEM"]),
        ([&nonsense, key, ca], ["--tls-cert", "cannot be used"]),
        ([cert, key, &nonsense], ["--tls-ca", "cannot be used"]),
    ] {
        let [cert, key, ca] = files;
        let line = crate::words::one_line(None, &load(cert, key, ca).unwrap_err());
        assert!(words.iter().all(|word| line.contains(word)), "{words:?}: {line}");
    }
}
