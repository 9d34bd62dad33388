use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::text::hex;

const BODY: &[u8] = br#"{"ref":"refs/heads/main"}"#;

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn ours() -> Secret {
    secret("It's a Secret to Everybody")
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn check(forge: Forge, pairs: Pairs<'_>, secrets: &[Secret]) -> Result<Verified, SignatureError> {
    let find = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_bytes());
    verify(forge, &find, BODY, secrets)
}

fn right() -> String {
    hex(&ours().sign(&[BODY]))
}

#[test]
fn the_example_of_githubs_documentation_is_verified() {
    let find = |name: &str| -> Option<&'static [u8]> {
        (name == "x-hub-signature-256")
            .then_some(b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
    };
    assert!(verify(Forge::GitHub, &find, b"Hello, World!", &[ours()]).is_ok());
    assert_eq!(verify(Forge::GitHub, &find, b"Hello, World?", &[ours()]), Err(SignatureError::Wrong));
}

#[test]
fn a_signature_that_is_not_exactly_right_is_refused() {
    let other = hex(&secret("another repository's secret").sign(&[BODY]));
    let hex = right();
    let wrong = |value: &str| check(Forge::GitHub, &[("x-hub-signature-256", value)], &[ours()]);
    assert_eq!(wrong(&format!("sha256={other}")), Err(SignatureError::Wrong));
    assert_eq!(wrong(&format!("sha256={}", "0".repeat(64))), Err(SignatureError::Wrong));
    for malformed in [
        String::new(),
        "sha256=".into(),
        hex.clone(),
        format!("sha256={}", hex.to_uppercase()),
        format!("sha256={}", &hex[..63]),
        format!("sha256={}", &hex[..32]),
        format!("sha256={hex}0"),
        format!("sha256= {hex}"),
        format!("SHA256={hex}"),
        format!("sha1={}", &hex[..40]),
        format!("sha256={hex},sha256={hex}"),
    ] {
        assert_eq!(wrong(&malformed), Err(SignatureError::Malformed), "{malformed:?}");
    }
    assert!(wrong(&format!("sha256={hex}")).is_ok());
}

#[test]
fn one_changed_bit_of_signature_or_body_is_refused() {
    let right = ours().sign(&[BODY]);
    for bit in 0..256 {
        let mut wrong = right;
        wrong[bit / 8] ^= 1 << (bit % 8);
        let header = format!("sha256={}", hex(&wrong));
        let answer = check(Forge::Bitbucket, &[("x-hub-signature", &header)], &[ours()]);
        assert_eq!(answer, Err(SignatureError::Wrong), "bit {bit}");
    }
    let header = format!("sha256={}", hex(&right));
    for bit in 0..BODY.len() * 8 {
        let mut body = BODY.to_vec();
        body[bit / 8] ^= 1 << (bit % 8);
        let find = |name: &str| (name == "x-hub-signature-256").then_some(header.as_bytes());
        let answer = verify(Forge::GitHub, &find, &body, &[ours()]);
        assert_eq!(answer, Err(SignatureError::Wrong), "bit {bit}");
    }
}

#[test]
fn sha1_is_never_enough_and_a_missing_signature_is_told_apart() {
    let sha1 = [("x-hub-signature", "sha1=7d38cdd689735b008b3c702edd92eea23791c5f6")];
    for forge in [Forge::GitHub, Forge::Gitea, Forge::Bitbucket] {
        assert_eq!(check(forge, &sha1, &[ours()]), Err(SignatureError::OnlySha1), "{forge}");
    }
    for forge in Forge::ALL {
        assert_eq!(check(forge, &[], &[ours()]), Err(SignatureError::Missing), "{forge}");
        assert_eq!(check(forge, &[], &[]), Err(SignatureError::NoSecret), "{forge}");
    }
    // At GitHub this header is SHA-1 by its name, whatever stands in it.
    let there = [("x-hub-signature", format!("sha256={}", right()))];
    let there = there.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(check(Forge::GitHub, &there, &[ours()]), Err(SignatureError::OnlySha1));
    assert!(check(Forge::Bitbucket, &there, &[ours()]).is_ok());
}

#[test]
fn gitea_is_verified_by_any_of_its_headers_and_the_first_of_them_decides() {
    let hex = right();
    let prefixed = format!("sha256={hex}");
    for pair in
        [("x-gitea-signature", &hex), ("x-forgejo-signature", &hex), ("x-hub-signature-256", &prefixed)]
    {
        assert!(check(Forge::Gitea, &[(pair.0, pair.1)], &[ours()]).is_ok(), "{pair:?}");
    }
    let zeros = "0".repeat(64);
    let wrong = format!("sha256={zeros}");
    let mixed = [("x-hub-signature-256", wrong.as_str()), ("x-gitea-signature", hex.as_str())];
    assert_eq!(check(Forge::Gitea, &mixed, &[ours()]), Err(SignatureError::Wrong));
    let mixed = [("x-forgejo-signature", zeros.as_str()), ("x-gitea-signature", hex.as_str())];
    assert_eq!(check(Forge::Gitea, &mixed, &[ours()]), Err(SignatureError::Wrong));
    assert_eq!(
        check(Forge::Gitea, &[("x-gitea-signature", &prefixed)], &[ours()]),
        Err(SignatureError::Malformed)
    );
    assert_eq!(check(Forge::Gitea, &[("x-gitea-signature", "")], &[ours()]), Err(SignatureError::Malformed));
}

#[test]
fn a_secret_that_was_rotated_out_is_known_and_named() {
    let header = format!("sha256={}", right());
    let secrets = [secret("the new secret of the project"), ours()];
    let verified = check(Forge::GitHub, &[("x-hub-signature-256", &header)], &secrets).unwrap();
    assert_eq!((verified.secret, verified.scheme), (1, Scheme::BodySignature));
    let gone = check(Forge::GitHub, &[("x-hub-signature-256", &header)], &secrets[..1]);
    assert_eq!(gone, Err(SignatureError::Wrong));
}

#[test]
fn gitlabs_token_is_the_secret_or_the_one_that_we_told_it() {
    let told = ours().gitlab_token();
    for token in [ours().reveal(), &told] {
        let verified = check(Forge::GitLab, &[("x-gitlab-token", token)], &[ours()]).unwrap();
        assert_eq!(verified.scheme, Scheme::PlainToken);
    }
    for token in ["", "It's a Secret to Everybod", "It's a Secret to Everybody ", "another secret of someone"]
    {
        let answer = check(Forge::GitLab, &[("x-gitlab-token", token)], &[ours()]);
        assert_eq!(answer, Err(SignatureError::Wrong), "{token:?}");
    }
}

fn signed(secret: &Secret, id: &str, timestamp: &str) -> String {
    let parts: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", BODY];
    format!("v1,{}", STANDARD.encode(sign(&secret.gitlab_signing_key(), &parts)))
}

#[test]
fn gitlabs_signing_token_covers_id_and_time_and_leaves_no_way_back_to_the_plain_token() {
    let (id, at) = ("f5e5f430-f57b-4e6e-9fac-d9128cd7232f", "1763720000");
    let key = secret("whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=");
    for secret in [key, ours()] {
        let signature = signed(&secret, id, at);
        let several = format!("v1a,abc v1,AAAA {signature}");
        for signature in [&signature, &several] {
            let pairs = [("webhook-id", id), ("webhook-timestamp", at), ("webhook-signature", signature)];
            let verified = check(Forge::GitLab, &pairs, std::slice::from_ref(&secret)).unwrap();
            assert_eq!(
                (verified.scheme, verified.signed_at),
                (Scheme::StandardWebhooks, Some(1_763_720_000))
            );
        }
        let token = secret.gitlab_token();
        for (id, at, signature, expected) in [
            ("other", at, signature.as_str(), SignatureError::Wrong),
            (id, "1763720001", &signature, SignatureError::Wrong),
            (id, "soon", &signature, SignatureError::Malformed),
            (id, at, "v1,", SignatureError::Wrong),
            (id, at, "v2,AAAA", SignatureError::Malformed),
            (id, at, "", SignatureError::Malformed),
            ("a.b", at, &signature, SignatureError::Malformed),
        ] {
            let pairs = [
                ("webhook-id", id),
                ("webhook-timestamp", at),
                ("webhook-signature", signature),
                ("x-gitlab-token", &token),
            ];
            let answer = check(Forge::GitLab, &pairs, std::slice::from_ref(&secret));
            assert_eq!(answer, Err(expected), "{id} {at} {signature}");
        }
    }
}

#[test]
fn the_key_inside_a_standard_secret_is_the_one_that_signs() {
    let key = secret("whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=");
    assert_eq!(key.gitlab_signing_key(), b"testtesttesttesttesttesttesttest");
    assert_eq!(key.gitlab_signing_token(), key.reveal());
    // The token that travels in the open gives the key away in no form.
    assert_ne!(ours().gitlab_token(), hex(&ours().gitlab_signing_key()));
}

#[test]
fn a_short_secret_is_no_secret_and_none_is_printed() {
    assert_eq!(Secret::new("hunter2"), Err(crate::secret::WeakSecret));
    assert_eq!(format!("{:?}", ours()), "Secret(..)");
}

#[test]
fn a_deliverys_id_is_a_plain_word_or_none() {
    let id = |forge, name: &'static str, value: &'static str| {
        delivery_id(forge, &move |asked: &str| (asked == name).then_some(value.as_bytes()))
    };
    for (forge, name) in [
        (Forge::GitHub, "x-github-delivery"),
        (Forge::GitLab, "webhook-id"),
        (Forge::GitLab, "x-gitlab-event-uuid"),
        (Forge::Gitea, "x-gitea-delivery"),
        (Forge::Gitea, "x-forgejo-delivery"),
        (Forge::Bitbucket, "x-request-uuid"),
    ] {
        assert_eq!(id(forge, name, "72d3162e-cc78").as_deref(), Some("72d3162e-cc78"), "{forge}");
        assert_eq!(id(forge, name, ""), None);
        assert_eq!(id(forge, name, "a\u{1b}[2J"), None);
    }
}
