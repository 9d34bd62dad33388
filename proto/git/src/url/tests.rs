use super::*;

const ALL: Allowed = Allowed { http: true, file: true };

#[test]
fn each_form_has_one_text() {
    let forms = [
        ("https://github.com/a/b.git", "https://github.com/a/b.git"),
        ("HTTPS://GitHub.com:443/a/b/", "https://github.com/a/b"),
        ("https://h:8443/a", "https://h:8443/a"),
        ("https://[::1]:8443/a", "https://[::1]:8443/a"),
        ("ssh://git@h/a/b.git", "ssh://git@h/a/b.git"),
        ("ssh://h:22/a", "ssh://h/a"),
        ("ssh://git@h:2222/~u/a", "ssh://git@h:2222/~u/a"),
        ("git@github.com:a/b.git", "ssh://git@github.com/a/b.git"),
        ("git@[fe80::1]:a", "ssh://git@[fe80::1]/a"),
        ("git@h:/srv/a.git", "ssh://git@h/srv/a.git"),
        ("https://h/a%20b", "https://h/a%20b"),
        // One host has one name, so that whoever forbids an address sees it.
        ("https://2130706433/a", "https://127.0.0.1/a"),
        ("https://0x7f.1/a", "https://127.0.0.1/a"),
        ("https://0/a", "https://0.0.0.0/a"),
        ("ssh://git@017700000001/a", "ssh://git@127.0.0.1/a"),
    ];
    for (text, normal) in forms {
        let url = RepositoryUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(url.to_string(), normal);
        assert_eq!(RepositoryUrl::parse(normal).unwrap(), url);
    }
    let url = RepositoryUrl::parse("ssh://git@h:2222/a/b").unwrap();
    assert_eq!(
        (url.host(), url.port(), url.path(), url.scheme()),
        (Some("h"), Some(2222), "/a/b", Scheme::Ssh)
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one line for each trick, in one table")]
fn what_is_no_plain_url_is_refused_with_a_reason_of_its_own() {
    use UrlError as E;
    let text = |text: &str| text.to_owned();
    let wrong = [
        ("", E::Empty),
        ("--upload-pack=touch x", E::Dash(text("--upload-pack=touch x"))),
        ("-oProxyCommand=x", E::Dash(text("-oProxyCommand=x"))),
        ("ext::sh -c touch% x", E::Helper(text("ext"))),
        ("fd::17", E::Helper(text("fd"))),
        ("transport::https://h/a", E::Helper(text("transport"))),
        ("git-remote-x::h", E::Helper(text("git-remote-x"))),
        ("::https://h/a", E::Helper(text(""))),
        ("git://h/a", E::Scheme(text("git"))),
        ("ftp://h/a", E::Scheme(text("ftp"))),
        ("git+ssh://h/a", E::Scheme(text("git+ssh"))),
        ("javascript://h/a", E::Scheme(text("javascript"))),
        ("http://h/a", E::Http),
        ("file:///etc", E::File),
        ("FILE:///etc", E::File),
        ("/etc", E::File),
        ("../a", E::Shape),
        ("a/b", E::Shape),
        ("C:\\a", E::Character('\\')),
        ("https:\\\\h\\a", E::Character('\\')),
        ("https://h/a b", E::Character(' ')),
        ("https://h/a\nb", E::Character('\n')),
        ("https://h/a\r", E::Character('\r')),
        ("https://h/a\0", E::Character('\0')),
        ("https://h/\u{202e}a", E::Character('\u{202e}')),
        ("https://hö/a", E::Character('ö')),
        ("https://user:secret@h/a", E::Credentials),
        ("https://token@h/a", E::Credentials),
        ("https://h@evil/a", E::Credentials),
        ("ssh://git:secret@h/a", E::Credentials),
        ("git:secret@h:a", E::Credentials),
        ("ssh://-oProxyCommand=x@h/a", E::Dash(text("-oProxyCommand=x"))),
        ("ssh://%2doProxyCommand@h/a", E::User(text("%2doProxyCommand"))),
        ("ssh://-oProxyCommand=touch/a", E::Dash(text("-oProxyCommand=touch"))),
        ("git@-oProxyCommand=touch:a", E::Dash(text("-oProxyCommand=touch"))),
        ("git@h:-a", E::Dash(text("-a"))),
        ("-git@h:a", E::Dash(text("-git@h:a"))),
        ("ssh://@h/a", E::User(String::new())),
        ("https:///a", E::Host(String::new())),
        ("https://.h/a", E::Host(text(".h"))),
        ("https://a..b/a", E::Host(text("a..b"))),
        ("https://h%2f/a", E::Host(text("h%2f"))),
        ("https://$(id)/a", E::Host(text("$(id)"))),
        ("https://[::1/a", E::Host(text("[::1"))),
        ("https://[fe80::1%25eth0]/a", E::Host(text("[fe80::1%25eth0]"))),
        ("https://999.1.1.1/a", E::Host(text("999.1.1.1"))),
        ("https://h:0/a", E::Port(text("0"))),
        ("https://h:99999/a", E::Port(text("99999"))),
        ("https://h:+1/a", E::Port(text("+1"))),
        ("https://h:/a", E::Port(String::new())),
        ("https://h/a?x=1", E::Query),
        ("https://h/a#b", E::Query),
        ("https://h", E::NoPath),
        ("https://h//", E::NoPath),
        ("https://h/../a", E::Path(text(".."))),
        ("https://h/a/%2e%2e/b", E::Path(text("%2e%2e"))),
        ("https://h/a%0ahost=evil", E::Path(text("a%0ahost=evil"))),
        ("https://h/a%00", E::Path(text("a%00"))),
        ("https://h/a%2fb", E::Path(text("a%2fb"))),
        ("https://h/a%", E::Path(text("a%"))),
        ("https://h/a//b", E::Path(String::new())),
        ("https://h/-a", E::Dash(text("-a"))),
        ("https://h/%2da", E::Dash(text("%2da"))),
    ];
    assert!(wrong.len() >= 60);
    for (url, error) in wrong {
        assert_eq!(RepositoryUrl::parse(url), Err(error), "{url:?}");
    }
    assert_eq!(RepositoryUrl::parse(&format!("https://h/{}", "a".repeat(3000))), Err(E::Long));
}

#[test]
fn files_and_http_are_for_whoever_allows_them() {
    for text in ["file:///srv/a", "/srv/a", "http://h/a"] {
        assert!(RepositoryUrl::parse(text).is_err());
        let url = RepositoryUrl::parse_with(text, ALL).unwrap();
        assert!(!url.scheme().is_allowed(Allowed::default()));
        let json = serde_json::to_string(&url).unwrap();
        assert_eq!(serde_json::from_str::<RepositoryUrl>(&json).unwrap(), url);
    }
    assert_eq!(RepositoryUrl::parse_with("file://host/a", ALL), Err(UrlError::Host("host".to_owned())));
}

#[test]
fn the_url_of_a_submodule_is_read_beside_its_repository() {
    let url = RepositoryUrl::parse("git@h:group/a.git").unwrap();
    let join = |text: &str| url.join(text, Allowed::default()).map(|url| url.to_string());
    assert_eq!(join("../b.git").unwrap(), "ssh://git@h/group/b.git");
    assert_eq!(join("../../other/b").unwrap(), "ssh://git@h/other/b");
    assert_eq!(join("./b").unwrap(), "ssh://git@h/group/a.git/b");
    assert_eq!(join("https://h/b").unwrap(), "https://h/b");
    for wrong in
        ["../../../b", "../../../../evil:x", "ext::sh", "/etc", "file:///etc", "../-b", "-b", "../b\n", ".."]
    {
        assert!(join(wrong).is_err(), "{wrong}");
    }
    let other = RepositoryUrl::parse("https://h/group/a.git").unwrap();
    assert!(!url.same_server(&other));
    assert!(url.same_server(&RepositoryUrl::parse("ssh://h/x").unwrap()));
}
