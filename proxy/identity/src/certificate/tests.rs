//! Certificates of an authority that is made here.

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use std::time::Instant;
use std::{fs, path::Path};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn holder(ca: &Ca, serial: u64, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from(serial));
    (params.not_before, params.not_after) = (date_time_ymd(2023, 1, 1), date_time_ymd(2024, 1, 1));
    change(&mut params);
    params.signed_by(&KeyPair::generate().unwrap(), ca).unwrap().der().clone()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn revocations(ca: &Ca, serials: &[u64]) -> String {
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2023, 2, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2023, 1, 1),
        next_update: date_time_ymd(2023, 12, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(ca).unwrap().pem().unwrap()
}

fn settings(folder: &Path, lists: bool) -> Config {
    let rule = |name: &str, groups: &[&str]| IdentityFile {
        name: name.to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..IdentityFile::default()
    };
    let file = File {
        ca_file: Some(folder.join("ca.pem")),
        crl_file: lists.then(|| folder.join("crl.pem")),
        identities: vec![
            rule("spiffe://example.org/agents/*", &["agents"]),
            IdentityFile { subject: Some("ops".to_owned()), ..rule("dns:ops.example.org", &["operators"]) },
            rule("cn:legacy", &["agents"]),
        ],
    };
    let mut problems = Vec::new();
    file.check(&mut problems).filter(|_| problems.is_empty()).unwrap()
}

/// A look at the files is done by then, on a busy machine too.
const SOON: Duration = Duration::from_secs(10);

/// In the summer of 2023.
fn clock() -> Clock {
    Clock::fixed(1_690_000_000_000_000)
}

#[test]
fn a_name_of_the_certificate_says_who() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("agents' authority");
    fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
    let gate = Authority::open(settings(folder.path(), false), clock()).unwrap();
    let verify = |san: Vec<SanType>, name: &str| {
        let certificate = holder(&ca, 4711, |params| {
            params.subject_alt_names = san;
            params.distinguished_name.push(DnType::CommonName, name);
        });
        gate.verify(&[certificate])
    };
    let verified = verify(vec![uri("spiffe://example.org/agents/billing")], "x").unwrap();
    let identity = &verified.identity;
    assert_eq!(
        (identity.subject.as_str(), identity.issuer.as_str(), &identity.groups[..]),
        ("spiffe://example.org/agents/billing", "spiffe://example.org", &["agents".to_owned()][..])
    );
    assert_eq!((verified.expires, verified.credential.as_deref()), (1_704_067_200, Some("1267")));
    let dns = SanType::DnsName("ops.example.org".try_into().unwrap());
    assert_eq!(verify(vec![dns], "x").unwrap().identity.subject, "ops");
    let legacy = verify(Vec::new(), "legacy").unwrap().identity;
    assert_eq!((legacy.subject.as_str(), legacy.issuer.as_str()), ("legacy", "urn:postern:client-certificate"));

    for (san, name, why) in [
        (vec![uri("spiffe://example.org/agents/")], "x", "of no identity"),
        (vec![uri("spiffe://example.org.evil/agents/a")], "x", "of no identity"),
        (vec![uri("spiffe://example.org/agents/a"), uri("https://a")], "x", "exactly one"),
        (Vec::new(), "legacy2", "of no identity"),
    ] {
        let text = verify(san, name).unwrap_err().to_string();
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn expired_revoked_and_strangers_certificates_are_refused_each_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, stranger) = (authority("ours"), authority("theirs"));
    fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
    fs::write(folder.path().join("crl.pem"), revocations(&ca, &[13])).unwrap();
    let clock = clock();
    let gate = Authority::open(settings(folder.path(), true), clock.clone()).unwrap();
    let make = |ca: &Ca, serial: u64, change: fn(&mut CertificateParams)| {
        holder(ca, serial, |params| {
            params.subject_alt_names = vec![uri("spiffe://example.org/agents/a")];
            change(params);
        })
    };
    let good = make(&ca, 1, |_| {});
    assert!(gate.verify(std::slice::from_ref(&good)).is_ok());
    for (certificate, why) in [
        (make(&ca, 13, |_| {}), "has been revoked"),
        (make(&ca, 2, |params| params.not_after = date_time_ymd(2023, 2, 1)), "has expired"),
        (make(&ca, 3, |params| params.not_before = date_time_ymd(2023, 12, 1)), "not valid yet"),
        (make(&stranger, 4, |_| {}), "not of an authority"),
        (
            make(&ca, 5, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            "not acceptable",
        ),
        (CertificateDer::from(vec![0x30, 0]), "malformed"),
    ] {
        let rejection = gate.verify(&[certificate]).unwrap_err();
        assert_eq!((rejection.kind(), rejection.sqlstate()), (Kind::Certificate, "28000"));
        assert!(rejection.to_string().contains(why), "{rejection}");
    }
    assert!(gate.verify(&[]).is_err());

    // a list that is put in place is seen; one that is damaged leaves the last in force
    let wait = |why: &str| {
        let start = Instant::now();
        while !gate.verify(std::slice::from_ref(&good)).is_err_and(|error| error.to_string().contains(why)) {
            assert!(start.elapsed() < SOON, "{why}");
            std::thread::yield_now();
        }
    };
    fs::write(folder.path().join("crl.pem"), revocations(&ca, &[1, 13])).unwrap();
    wait("has been revoked");
    fs::write(folder.path().join("crl.pem"), "no list").unwrap();
    std::thread::park_timeout(LOOK_AGAIN);
    wait("has been revoked");
    fs::write(folder.path().join("crl.pem"), revocations(&stranger, &[])).unwrap();
    wait("no revocation list");
    fs::write(folder.path().join("crl.pem"), revocations(&ca, &[])).unwrap();
    let start = Instant::now();
    while gate.verify(std::slice::from_ref(&good)).is_err() {
        assert!(start.elapsed() < SOON);
        std::thread::yield_now();
    }
    clock.advance(Duration::from_secs(140 * 86_400));
    wait("out of date");
}

#[test]
fn what_is_revoked_ends_what_runs_and_a_list_that_is_out_of_date_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("ours");
    fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
    fs::write(folder.path().join("crl.pem"), revocations(&ca, &[13])).unwrap();
    let clock = clock();
    let gate = Authority::open(settings(folder.path(), true), clock.clone()).unwrap();
    let chain = |serial: u64| {
        let name = vec![uri("spiffe://example.org/agents/a")];
        vec![holder(&ca, serial, |params| params.subject_alt_names = name)]
    };
    let (kept, lost) = (chain(1), chain(2));
    for chain in [&kept, &lost] {
        let Watched::Certificates(watched) = gate.verify(chain).unwrap().watch else { panic!("it is watched") };
        assert_eq!(*watched, *chain);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let brief = Duration::from_millis(1);
        assert!(tokio::time::timeout(brief, gate.ended(&lost)).await.is_err(), "it is good");
        fs::write(folder.path().join("crl.pem"), revocations(&ca, &[2, 13])).unwrap();
        tokio::time::timeout(SOON, gate.ended(&lost)).await.expect("it was revoked");
        assert!(tokio::time::timeout(brief, gate.ended(&kept)).await.is_err(), "another's revocation");
        clock.advance(Duration::from_secs(140 * 86_400));
        assert!(gate.verify(&kept).unwrap_err().to_string().contains("out of date"));
        assert!(tokio::time::timeout(brief, gate.ended(&kept)).await.is_err(), "nobody new, and nobody out");
    });
}

#[test]
fn problems_are_told_at_once() {
    let mut problems = Vec::new();
    let rule = |name: &str, kind: Option<&str>| IdentityFile {
        name: name.to_owned(),
        kind: kind.map(str::to_owned),
        ..IdentityFile::default()
    };
    let file = File {
        ca_file: Some("ca.pem".into()),
        identities: vec![rule("plain", None), rule("spiffe://*/a", None), rule("cn:a", Some("robot"))],
        ..File::default()
    };
    file.check(&mut problems);
    assert_eq!(problems.len(), 3, "{problems:?}");
    problems.clear();
    assert!(File { crl_file: Some("crl.pem".into()), ..File::default() }.check(&mut problems).is_none());
    assert_eq!(problems.len(), 1);
}
