//! Logins as the tools want them: which files, and which variables say where they are.
//!
//! A value is the tool's own file as it is, or, for most, lines of words that such a file is made of.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ocelot_core::plan::Tool;
use zeroize::Zeroizing;

/// What one login comes to.
pub(super) struct Login {
    /// By file name, in the tool's own directory.
    pub files: Vec<(&'static str, Zeroizing<Vec<u8>>)>,
    pub env: Vec<(String, String)>,
    /// What stands in the files and is no part of the value as it was set.
    pub masks: Vec<Zeroizing<Vec<u8>>>,
}

/// Returns the name of the tool's directory, which is also its word in a plan.
pub(super) fn word(tool: Tool) -> &'static str {
    match tool {
        Tool::Docker => "docker",
        Tool::SshKey => "ssh-key",
        Tool::Maven => "maven",
        Tool::Npm => "npm",
        Tool::Pypi => "pypi",
        Tool::Netrc => "netrc",
        Tool::Kubeconfig => "kubeconfig",
    }
}

/// Makes the login of a value, for a tool that finds `directory`. An error tells the form that is
/// right, and nothing of the value.
pub(super) fn login(tool: Tool, value: &[u8], directory: &Path) -> Result<Login, &'static str> {
    let text = std::str::from_utf8(value).map_err(|_| "it is no text")?;
    let at = |file: &str| directory.join(file).to_string_lossy().into_owned();
    match tool {
        Tool::Docker => docker(text, directory),
        Tool::SshKey => ssh(text, directory),
        Tool::Maven => maven(text, &at("settings.xml")),
        Tool::Npm => npm(text, &at(".npmrc")),
        Tool::Pypi => pypi(text, &at("pip.conf")),
        Tool::Netrc => netrc(text, directory),
        Tool::Kubeconfig => Ok(one("config", text, vec![env("KUBECONFIG", at("config"))])),
    }
}

fn env(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn one(file: &'static str, text: &str, env: Vec<(String, String)>) -> Login {
    Login { files: vec![(file, bytes(text))], env, masks: vec![] }
}

fn bytes(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

/// Returns the words of each line that has some; none if a line has another number of them.
fn lines<const N: usize>(text: &str) -> Option<Vec<[&str; N]>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let rows: Option<Vec<[&str; N]>> =
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().try_into().ok()).collect();
    rows.filter(|rows| !rows.is_empty())
}

fn docker(text: &str, directory: &Path) -> Result<Login, &'static str> {
    let env = vec![env("DOCKER_CONFIG", directory.to_string_lossy())];
    if text.trim_start().starts_with('{') {
        return Ok(one("config.json", text, env));
    }
    let rows = lines(text).ok_or("it is a config.json, or lines of `registry user password`")?;
    let mut masks = Vec::new();
    let auths: serde_json::Map<String, serde_json::Value> = rows
        .iter()
        .map(|[registry, user, password]| {
            let auth = STANDARD.encode(format!("{user}:{password}"));
            masks.extend([bytes(password), bytes(&auth)]);
            let registry = match *registry {
                "docker.io" => "https://index.docker.io/v1/",
                other => other,
            };
            (registry.to_owned(), serde_json::json!({ "auth": auth }))
        })
        .collect();
    let config = serde_json::json!({ "auths": auths }).to_string();
    Ok(Login { masks, ..one("config.json", &config, env) })
}

fn ssh(text: &str, directory: &Path) -> Result<Login, &'static str> {
    const FORM: &str = "it is a private key in PEM, and behind it, if there are any, lines of known_hosts";
    const END: &str = "PRIVATE KEY-----";
    let from = text.find("-----END ").ok_or(FORM)?;
    let end = from + text.get(from..).and_then(|rest| rest.find(END)).ok_or(FORM)? + END.len();
    let (key, hosts) = (text.get(..end).unwrap_or(text), text.get(end..).unwrap_or_default().trim());
    let path = |file: &str| directory.join(file).to_string_lossy().into_owned();
    // With hosts that are known nobody else is; without them the first key seen counts, each time.
    let checks = if hosts.is_empty() { "accept-new" } else { "yes" };
    let command = format!(
        "ssh -i {} -o IdentitiesOnly=yes -o UserKnownHostsFile={} -o StrictHostKeyChecking={checks}",
        path("key"),
        if hosts.is_empty() { "/dev/null".to_owned() } else { path("known_hosts") },
    );
    let files = vec![
        ("key", bytes(&format!("{}\n", key.trim_start()))),
        ("known_hosts", bytes(&format!("{hosts}\n"))),
    ];
    let env = vec![env("GIT_SSH_COMMAND", command), env("OCELOT_SSH_KEY", path("key"))];
    Ok(Login { files, env, masks: vec![] })
}

fn maven(text: &str, path: &str) -> Result<Login, &'static str> {
    let env = vec![env("MAVEN_ARGS", format!("--settings {path}"))];
    if text.trim_start().starts_with('<') {
        return Ok(one("settings.xml", text, env));
    }
    let rows = lines(text).ok_or("it is a settings.xml, or lines of `server user password`")?;
    let servers: String = rows
        .iter()
        .map(|[id, user, password]| {
            let [id, user, password] = [xml(id), xml(user), xml(password)];
            format!(
                "<server><id>{id}</id><username>{user}</username><password>{password}</password></server>"
            )
        })
        .collect();
    let masks = rows.iter().flat_map(|[_, _, password]| [bytes(password), bytes(&xml(password))]).collect();
    Ok(Login {
        masks,
        ..one("settings.xml", &format!("<settings><servers>{servers}</servers></settings>\n"), env)
    })
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn npm(text: &str, path: &str) -> Result<Login, &'static str> {
    let env = vec![env("NPM_CONFIG_USERCONFIG", path)];
    if text.lines().any(|line| line.contains(":_") || line.starts_with('@') || line.contains(" = ")) {
        return Ok(one(".npmrc", text, env));
    }
    let with_registry = lines(text);
    let rows = match lines(text) {
        Some(bare) => bare.iter().map(|[token]| ["registry.npmjs.org", token]).collect(),
        None => with_registry.ok_or("it is an .npmrc, a token, or lines of `registry token`")?,
    };
    let (mut made, mut masks) = (String::new(), Vec::new());
    for [registry, token] in rows {
        let registry = registry.trim_start_matches("https://").trim_end_matches('/');
        made.push_str(&format!("//{registry}/:_authToken={token}\n"));
        masks.push(bytes(token));
    }
    Ok(Login { masks, ..one(".npmrc", &made, env) })
}

/// Twine reads variables and no file that can be elsewhere; pip reads both.
fn pypi(text: &str, path: &str) -> Result<Login, &'static str> {
    if let Some([[token]]) = lines(text).as_deref() {
        let env = vec![env("TWINE_USERNAME", "__token__"), env("TWINE_PASSWORD", *token)];
        return Ok(Login { files: vec![], env, masks: vec![] });
    }
    const FORM: &str = "it is a token of PyPI, or `https://index/simple user password`";
    let rows = lines(text).ok_or(FORM)?;
    let [[index, user, password]] = rows.as_slice() else { return Err(FORM) };
    let host = index.strip_prefix("https://").ok_or(FORM)?;
    let upload = index.trim_end_matches('/').trim_end_matches("/simple");
    let (user_spelt, password_spelt) = (percent(user), percent(password));
    let conf = format!("[global]\nindex-url = https://{user_spelt}:{password_spelt}@{host}\n");
    let env = vec![
        env("PIP_CONFIG_FILE", path),
        env("TWINE_REPOSITORY_URL", upload),
        env("TWINE_USERNAME", *user),
        env("TWINE_PASSWORD", *password),
    ];
    Ok(Login { masks: vec![bytes(password), bytes(&password_spelt)], ..one("pip.conf", &conf, env) })
}

/// Programs that heed `NETRC` read the file itself, curl is told of it, git gets the same as its own.
fn netrc(text: &str, directory: &Path) -> Result<Login, &'static str> {
    let mut words = text.split_whitespace();
    let (mut host, mut user) = ("", "");
    let (mut git, mut masks) = (String::new(), Vec::new());
    while let Some(word) = words.next() {
        match word {
            "machine" => (host, user) = (words.next().unwrap_or_default(), ""),
            "login" => user = words.next().unwrap_or_default(),
            "password" => {
                let password = words.next().unwrap_or_default();
                git.push_str(&format!("https://{}:{}@{host}\n", percent(user), percent(password)));
                masks.extend([bytes(password), bytes(&percent(password))]);
            }
            _ => {}
        }
    }
    if git.is_empty() {
        return Err("it is a .netrc: `machine HOST login USER password PASSWORD`");
    }
    let path = |file: &str| directory.join(file).to_string_lossy().into_owned();
    let files = vec![
        (".netrc", bytes(text)),
        (".curlrc", bytes(&format!("netrc-file = \"{}\"\n", path(".netrc")))),
        ("git-credentials", bytes(&git)),
    ];
    let env = vec![
        env("NETRC", path(".netrc")),
        env("CURL_HOME", directory.to_string_lossy()),
        env("GIT_CONFIG_COUNT", "1"),
        env("GIT_CONFIG_KEY_0", "credential.helper"),
        env("GIT_CONFIG_VALUE_0", format!("store --file={}", path("git-credentials"))),
    ];
    Ok(Login { files, env, masks })
}

fn percent(text: &str) -> String {
    let spelt = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(spelt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(tool: Tool, value: &str) -> String {
        match login(tool, value.as_bytes(), Path::new("/run/t")) {
            Err(why) => why.to_owned(),
            Ok(login) => {
                let files = login.files.iter().map(|(name, bytes)| {
                    format!("{name}: {}", String::from_utf8_lossy(bytes).trim_end().replace('\n', " | "))
                });
                let env = login.env.iter().map(|(name, value)| format!("{name}={value}"));
                let masks = login.masks.iter().map(|mask| format!("mask {}", String::from_utf8_lossy(mask)));
                files.chain(env).chain(masks).collect::<Vec<_>>().join("\n")
            }
        }
    }

    #[test]
    fn each_tool_finds_its_login_where_a_variable_says() {
        let all = [
            shown(Tool::Docker, "registry.example bob hunter2hunter2\n"),
            shown(Tool::Docker, "{\"auths\":{}}"),
            shown(
                Tool::SshKey,
                "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n",
            ),
            shown(Tool::Maven, "nexus bob a&b<c\n"),
            shown(Tool::Npm, "npm_token"),
            shown(Tool::Npm, "https://npm.example/ npm_token"),
            shown(Tool::Pypi, "pypi-token"),
            shown(Tool::Pypi, "https://pypi.example/simple bob p@ss"),
            shown(Tool::Netrc, "machine git.example login bob password p@ss"),
            shown(Tool::Kubeconfig, "apiVersion: v1"),
        ];
        insta::assert_snapshot!(all.join("\n\n"));
    }

    #[test]
    fn a_value_in_no_known_form_is_refused_without_a_word_of_it() {
        let tools = [Tool::Docker, Tool::SshKey, Tool::Maven, Tool::Pypi, Tool::Netrc, Tool::Npm];
        for tool in tools {
            let why = login(tool, b"canary of four words", Path::new("/t")).err().unwrap();
            assert!(!why.contains("canary"), "{why}");
        }
        assert!(login(Tool::Kubeconfig, &[0xff], Path::new("/t")).is_err());
    }
}
