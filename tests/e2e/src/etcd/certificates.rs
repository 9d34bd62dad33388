//! Certificates for one cluster, made when it starts.

use std::fs;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// What a client needs for TLS, as PEM.
#[derive(Debug, Clone)]
pub struct Certificates {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

/// Makes an authority and one certificate for 127.0.0.1 that serves and dials.
pub(super) fn certificates(folder: &TempDir) -> Result<Certificates> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);
    let own_key = KeyPair::generate()?;
    let mut own = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let own_certificate = own.signed_by(&own_key, &issuer)?;
    let made = Certificates {
        ca: ca_certificate.pem(),
        certificate: own_certificate.pem(),
        key: own_key.serialize_pem(),
    };
    fs::write(folder.path().join("ca.pem"), &made.ca)?;
    fs::write(folder.path().join("own.pem"), &made.certificate)?;
    fs::write(folder.path().join("own.key"), &made.key)?;
    Ok(made)
}
