//! What git's words mean: its exit code says only that it failed.
//!
//! Pure. The words are git's own in the language `C`; words that nobody here knows are [`Cause::Other`],
//! never a guess that would throw a mirror away.

/// Why git failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The server wants credentials, or other ones.
    Denied,
    /// The server has no such repository (or hides it from us).
    NoRepository,
    /// The server has no such ref or commit.
    NoReference,
    /// The server did not answer.
    Unreachable,
    /// The server points elsewhere.
    Redirected,
    /// The server's ssh key is not the one that is known.
    HostKey,
    /// Something is broken in the repository on this side.
    Corrupt,
    /// The other side says that it is broken; for a workspace that is our mirror.
    CorruptThere,
    /// What came is not what git lets in: malformed, or made to harm.
    Hostile,
    /// The server counts in the other hash.
    OtherHash,
    /// A name that is a folder now was a ref before, or the other way round; or a lock was left.
    Conflict,
    Other,
}

const WORDS: &[(Cause, &[&str])] = &[
    (Cause::HostKey, &["Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"]),
    (
        Cause::Denied,
        &[
            "Authentication failed",
            "terminal prompts disabled",
            "could not read Username",
            "could not read Password",
            "Permission denied (",
            "returned error: 401",
            "returned error: 403",
        ],
    ),
    (Cause::Hostile, &["fsck error"]),
    (Cause::CorruptThere, &["repository corruption on the remote side"]),
    (Cause::OtherHash, &["mismatched algorithms"]),
    (Cause::Conflict, &["cannot lock ref", "unable to update local ref", "refname conflict", "File exists"]),
    (
        Cause::NoReference,
        &["not our ref", "couldn't find remote ref", "unadvertised object", "no such remote ref"],
    ),
    (
        Cause::Redirected,
        &["returned error: 301", "returned error: 302", "returned error: 307", "returned error: 308"],
    ),
    (
        Cause::Unreachable,
        &[
            "Could not resolve host",
            "Couldn't connect to server",
            "Failed to connect",
            "Connection refused",
            "Connection reset",
            "Connection timed out",
            "Operation timed out",
            "Network is unreachable",
            "returned error: 429",
            "returned error: 5",
            "early EOF",
            "unexpected disconnect",
            "the remote end hung up unexpectedly",
            "Empty reply from server",
        ],
    ),
    (
        Cause::Corrupt,
        &[
            "is corrupt",
            "is empty",
            "bad object",
            "bad config",
            "bad ref",
            "broken ref",
            "cannot be accessed",
            "could not get object info",
            "does not match index",
            "file truncated",
            "inflate: ",
            "index file corrupt",
            "invalid object",
            "invalid sha1 pointer",
            "missing blob",
            "missing tree",
            "missing commit",
            "missing necessary objects",
            "did not send all necessary objects",
            "no valid '.git' directory",
            "not a git repository",
            "not a valid object",
            "pack has bad object",
            "packfile",
            "unable to parse",
            "unable to read",
            "could not read",
            "wrong index v",
            "unknown object type",
            "unresolved delta",
        ],
    ),
];

/// Says what a failed git meant by its last words.
pub(crate) fn of(message: &str) -> Cause {
    // Every mirror has an origin: one that has none has lost its settings.
    if message.contains("'origin' does not appear to be a git repository") {
        return Cause::Corrupt;
    }
    // A server that is not there also makes git say that it could not read from the repository.
    let missing = [
        "does not appear to be a git repository",
        "returned error: 404",
        "epository not found",
        "' not found",
    ];
    if missing.iter().any(|words| message.contains(words)) {
        return Cause::NoRepository;
    }
    // What the server says of its own objects is no reason to throw ours away.
    let ours: Vec<&str> = message.split("; ").filter(|line| !line.starts_with("remote:")).collect();
    let said = |words: &&str| message.contains(*words);
    let said_here = |words: &&str| ours.iter().any(|line| line.contains(*words));
    let found = WORDS.iter().find(|(cause, words)| match cause {
        Cause::Corrupt => words.iter().any(said_here),
        _ => words.iter().any(said),
    });
    found.map_or(Cause::Other, |(cause, _)| *cause)
}

impl Cause {
    /// Returns what to do, as the end of a sentence.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Denied => "; store a credential that may read this repository as a secret of the project",
            Self::NoRepository => "; check the URL, and whether the credential may see this repository",
            Self::Redirected => "; the server points elsewhere: use the URL that it points to",
            Self::HostKey => {
                "; if the server has a new key, store its line of known_hosts with the credential"
            }
            Self::Hostile => "; the repository holds what git refuses as malformed or made to harm",
            Self::NoReference
            | Self::CorruptThere
            | Self::Unreachable
            | Self::Corrupt
            | Self::OtherHash
            | Self::Conflict
            | Self::Other => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_git_have_one_meaning_each() {
        let words = [
            ("fatal: could not read Username for 'https://h': terminal prompts disabled", Cause::Denied),
            ("fatal: Authentication failed for 'https://h/r'", Cause::Denied),
            ("fatal: remote error: upload-pack: not our ref 1234", Cause::NoReference),
            ("fatal: couldn't find remote ref refs/heads/x", Cause::NoReference),
            ("fatal: unable to access 'https://h/': Could not resolve host: h", Cause::Unreachable),
            (
                "fatal: unable to access 'https://h/': The requested URL returned error: 503",
                Cause::Unreachable,
            ),
            (
                "fatal: unable to access 'https://h/': The requested URL returned error: 302",
                Cause::Redirected,
            ),
            ("fatal: repository 'https://h/r/' not found", Cause::NoRepository),
            ("remote: Repository not found.", Cause::NoRepository),
            (
                "fatal: '/x' does not appear to be a git repository\nfatal: Could not read from remote repository.",
                Cause::NoRepository,
            ),
            ("kex_exchange: Connection closed\nfatal: Could not read from remote repository.", Cause::Other),
            ("Host key verification failed.\nfatal: Could not read from remote repository.", Cause::HostKey),
            ("fatal: not a git repository: '/m'", Cause::Corrupt),
            ("remote: fatal: bad object 12; fatal: the end", Cause::Other),
            (
                "error: object 12: hasDotgit: contains '.git'; fatal: fsck error in packed object",
                Cause::Hostile,
            ),
            ("fatal: 'origin' does not appear to be a git repository", Cause::Corrupt),
            (
                "remote: aborting due to possible repository corruption on the remote side.",
                Cause::CorruptThere,
            ),
            ("error: object file objects/aa/bb is empty", Cause::Corrupt),
            ("error: packfile ./objects/pack/pack-1.pack does not match index", Cause::Corrupt),
            ("fatal: mismatched algorithms: client sha1; server sha256", Cause::OtherHash),
            (
                "error: cannot lock ref 'refs/heads/a/b': 'refs/heads/a' exists; cannot create",
                Cause::Conflict,
            ),
            ("something new", Cause::Other),
        ];
        for (text, cause) in words {
            assert_eq!(of(text), cause, "{text}");
        }
    }
}
