//! Settings as operators give them, and what is said when one cannot be.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair};

use crate::support::{INGLE, free_ports, run};

/// Checks the settings of the environment.
fn check(settings: &[(&str, &str)]) -> Result<String, String> {
    let mut command = Command::new(INGLE);
    command.arg("check-config").envs(settings.iter().copied());
    run(command, "")
}

#[test]
fn a_list_takes_either_form_and_only_hosts() {
    for names in ["a.example,10.0.0.7", r#"["a.example", "10.0.0.7"]"#] {
        assert_eq!(check(&[("INGLE_API_TLS_NAMES", names)]).unwrap(), "ok\n", "{names}");
        let folder = tempfile::tempdir().unwrap();
        let cloud = crate::support::TestCloud::binary(folder.path(), &[("INGLE_API_TLS_NAMES", names)]);
        let address = cloud.addresses["api_tls"].as_str().unwrap().strip_prefix("https://").unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", address, "-showcerts"]);
        let shown = run(openssl, "").unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-ext", "subjectAltName"]);
        let certificate = run(openssl, &shown).unwrap();
        assert!(certificate.contains("DNS:a.example") && certificate.contains("10.0.0.7"), "{names}: {certificate}");
    }
    for (names, text) in
        [("[\"a\"", "does not fit api.tls_names"), ("https://a", "api.tls_names: \"https://a\" is neither")]
    {
        assert!(check(&[("INGLE_API_TLS_NAMES", names)]).unwrap_err().contains(text), "{names}");
    }
}

/// A key and its certificate as PEM files.
fn certificate(folder: &Path, name: &str) -> [String; 2] {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let files = [("crt", certificate.pem()), ("key", key.serialize_pem())];
    files.map(|(kind, pem)| {
        let path = folder.join(format!("{name}.{kind}"));
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

#[test]
fn the_files_of_a_certificate_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let ([certificate_file, key], [_, other_key]) =
        (certificate(folder.path(), "one"), certificate(folder.path(), "other"));
    let check =
        |certificate: &str, key: &str| check(&[("INGLE_API_TLS_CERT", certificate), ("INGLE_API_TLS_KEY", key)]);
    assert_eq!(check(&certificate_file, &key).unwrap(), "ok\n");
    let absent = folder.path().join("absent.pem").to_str().unwrap().to_owned();
    let damaged = folder.path().join("damaged.pem").to_str().unwrap().to_owned();
    std::fs::write(&damaged, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    for (certificate, key, named) in [
        (&absent, &key, "absent.pem"),
        (&certificate_file, &absent, "absent.pem"),
        (&damaged, &key, "damaged.pem"),
        // A file of the wrong kind, and a key of another certificate.
        (&key, &key, "no certificate in it"),
        (&certificate_file, &certificate_file, "one.crt"),
        (&certificate_file, &other_key, "api.tls_key"),
    ] {
        let error = check(certificate, key).unwrap_err();
        assert!(error.contains("api.tls_cert") && error.contains(named), "{certificate} {key}: {error}");
    }
}

#[test]
fn an_address_in_use_names_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setting in ["mqtt.listen", "mqtt.tls_listen", "api.listen", "api.tls_listen", "metrics.listen"] {
        let folder = tempfile::tempdir().unwrap();
        let variable = format!("INGLE_{}", setting.replace('.', "_").to_uppercase());
        let mut command = Command::new(INGLE);
        command.args(["serve", "--data"]).arg(folder.path()).envs(free_ports()).env(variable, &address);
        let error = run(command, "").unwrap_err();
        assert!(error.contains(&format!("{setting}: cannot listen on {address}")), "{error}");
    }
}
