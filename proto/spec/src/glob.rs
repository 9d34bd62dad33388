//! Globs: `*` within a path component, `**` across them, `?`, `{a,b}`, and lists with `!`.
//!
//! A pattern is compiled to a small automaton and all its states are followed at once, so matching takes
//! at most pattern times text steps whatever the pattern says. Nothing here reads a file system.

use crate::problem::{Wrong, or_list};

/// Longer patterns are refused.
pub(crate) const PATTERN_MAX: usize = 1024;

/// One compiled pattern; matches a whole text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Exactly(char),
    /// `?`: one character that is no `/`.
    One,
    /// Loops on any character that is no `/`.
    Component,
    /// Loops on any character.
    Anything,
    /// Goes on at both.
    Fork(usize, usize),
    Jump(usize),
}

impl Glob {
    /// Compiles a pattern without its leading `!`.
    pub(crate) fn new(pattern: &str) -> Result<Self, Wrong> {
        let characters: Vec<char> = pattern.chars().collect();
        if characters.len() > PATTERN_MAX {
            return Err(Wrong::new(format!("a glob has at most {PATTERN_MAX} characters")));
        }
        let mut compiler = Compiler { pattern: &characters, position: 0, steps: Vec::new() };
        compiler.sequence(0)?;
        Ok(Self { steps: compiler.steps })
    }

    /// Compiles a pattern that stands in no file; says what is wrong with it.
    pub fn compile(pattern: &str) -> Result<Self, String> {
        Self::new(pattern).map_err(|wrong| wrong.message)
    }

    /// Says whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        let mut now = States::new(self.steps.len());
        let mut next = States::new(self.steps.len());
        now.add(&self.steps, 0);
        for character in text.chars() {
            next.clear();
            for &state in &now.list {
                match self.steps.get(state) {
                    Some(Step::Exactly(wanted)) if *wanted == character => next.add(&self.steps, state + 1),
                    Some(Step::One) if character != '/' => next.add(&self.steps, state + 1),
                    Some(Step::Component) if character != '/' => next.add(&self.steps, state),
                    Some(Step::Anything) => next.add(&self.steps, state),
                    Some(_) | None => {}
                }
            }
            std::mem::swap(&mut now, &mut next);
            if now.list.is_empty() {
                return false;
            }
        }
        now.list.contains(&self.steps.len())
    }
}

/// The states that are alive, each once.
struct States {
    list: Vec<usize>,
    alive: Vec<bool>,
}

impl States {
    fn new(steps: usize) -> Self {
        Self { list: Vec::new(), alive: vec![false; steps + 1] }
    }

    fn clear(&mut self) {
        self.list.clear();
        self.alive.fill(false);
    }

    /// Adds a state and those it reaches without a character.
    fn add(&mut self, steps: &[Step], state: usize) {
        let mut waiting = vec![state];
        while let Some(state) = waiting.pop() {
            if std::mem::replace(&mut self.alive[state], true) {
                continue;
            }
            match steps.get(state) {
                Some(Step::Fork(left, right)) => waiting.extend([*left, *right]),
                Some(Step::Jump(target)) => waiting.push(*target),
                Some(Step::Component | Step::Anything) => {
                    waiting.push(state + 1);
                    self.list.push(state);
                }
                Some(Step::Exactly(_) | Step::One) | None => self.list.push(state),
            }
        }
    }
}

struct Compiler<'p> {
    pattern: &'p [char],
    position: usize,
    steps: Vec<Step>,
}

/// Braces within braces are refused beyond this depth; it bounds the compiler's recursion.
const BRACES_MAX: usize = 8;

impl Compiler<'_> {
    /// Compiles up to the end, or inside braces up to the `,` or `}` that ends the alternative.
    fn sequence(&mut self, braces: usize) -> Result<(), Wrong> {
        while let Some(&character) = self.pattern.get(self.position) {
            match character {
                ',' | '}' if braces > 0 => return Ok(()),
                '}' => return Err(Wrong::new("`}` without `{` in a glob")),
                '{' => self.braces(braces + 1)?,
                '*' => self.star(),
                '?' => self.push(Step::One),
                '\\' => {
                    return Err(
                        Wrong::new("a glob knows no `\\`").hint("path components are separated by `/`")
                    );
                }
                other => self.push(Step::Exactly(other)),
            }
        }
        Ok(())
    }

    fn push(&mut self, step: Step) {
        self.steps.push(step);
        self.position += 1;
    }

    fn star(&mut self) {
        let rest = &self.pattern[self.position..];
        let stars = rest.iter().take_while(|character| **character == '*').count();
        let starts_component = match self.position.checked_sub(1).map(|before| self.pattern[before]) {
            None | Some('/' | '{' | ',') => true,
            Some(_) => false,
        };
        if stars == 1 {
            return self.push(Step::Component);
        }
        self.position += stars;
        let fork = self.steps.len();
        if starts_component && rest.get(stars) == Some(&'/') {
            // `**/` stands for no folder too: `**/a` matches `a`, and `x/**/a` matches `x/a`.
            self.position += 1;
            self.steps.extend([Step::Fork(fork + 1, fork + 3), Step::Anything, Step::Exactly('/')]);
        } else {
            self.steps.push(Step::Anything);
        }
    }

    fn braces(&mut self, depth: usize) -> Result<(), Wrong> {
        if depth > BRACES_MAX {
            return Err(Wrong::new(format!("braces in a glob nest at most {BRACES_MAX} deep")));
        }
        self.position += 1;
        let mut ends = Vec::new();
        loop {
            let fork = self.steps.len();
            self.steps.push(Step::Jump(fork + 1));
            self.sequence(depth)?;
            let Some(&character) = self.pattern.get(self.position) else {
                return Err(Wrong::new("`{` without `}` in a glob"));
            };
            self.position += 1;
            if character == '}' {
                break;
            }
            ends.push(self.steps.len());
            self.steps.push(Step::Jump(0));
            self.steps[fork] = Step::Fork(fork + 1, self.steps.len());
        }
        let after = self.steps.len();
        for end in ends {
            self.steps[end] = Step::Jump(after);
        }
        Ok(())
    }
}

/// A list of globs, some of them excluding; keeps how it was written for the reasons people read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Globs {
    positive: Vec<Glob>,
    negative: Vec<Glob>,
    written: Vec<String>,
}

impl Globs {
    pub(crate) fn bytes(&self) -> usize {
        self.written.iter().map(String::len).sum()
    }

    /// Compiles a list; a pattern that is refused is left out and has been reported where it stands.
    pub(crate) fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut globs = Self::default();
        for pattern in patterns {
            let (list, bare) = match pattern.strip_prefix('!') {
                Some(bare) => (&mut globs.negative, bare),
                None => (&mut globs.positive, pattern),
            };
            if let Ok(glob) = Glob::new(bare) {
                list.push(glob);
                globs.written.push(pattern.to_owned());
            }
        }
        globs
    }

    /// Matches when some positive glob does, or none is given, and no `!` glob does.
    pub fn matches(&self, text: &str) -> bool {
        let wanted = self.positive.is_empty() || self.positive.iter().any(|glob| glob.matches(text));
        wanted && !self.negative.iter().any(|glob| glob.matches(text))
    }

    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// What matches, in words: `main or release/** (except release/old/**)`.
    pub(crate) fn wanted(&self) -> String {
        let excluded = |pattern: &&String| pattern.starts_with('!');
        let wanted: Vec<&str> =
            self.written.iter().filter(|glob| !excluded(glob)).map(String::as_str).collect();
        let except: Vec<&str> = self.written.iter().filter_map(|glob| glob.strip_prefix('!')).collect();
        let wanted = if wanted.is_empty() { "anything".to_owned() } else { or_list(&wanted) };
        if except.is_empty() { wanted } else { format!("{wanted} (except {})", or_list(&except)) }
    }
}

/// Refuses what can only be meant as a regular expression or can match no branch and no tag.
pub(crate) fn check_ref(pattern: &str) -> Result<(), Wrong> {
    let bare = pattern.strip_prefix('!').unwrap_or(pattern);
    let after_any = |index: usize| bare[..index].ends_with(['/', '-', '_', '^', '(']) || index == 0;
    let dot_any = bare.match_indices(".*").any(|(index, _)| after_any(index));
    let is_regex = dot_any
        || bare.starts_with('^')
        || bare.ends_with('$')
        || bare.contains('\\')
        || bare.contains(".+")
        || (bare.contains('(') && bare.contains('|'));
    if is_regex {
        let glob = regex_to_glob(bare);
        let wrong = Wrong::new(format!("`{pattern}` is a regular expression; these are globs"));
        return Err(wrong.hint(format!("write `{glob}`: `*` stops at `/`, `**` does not")));
    }
    if let Some(character) = bare.chars().find(|c| matches!(c, '[' | ']' | '^' | '~' | ':' | ' ')) {
        let wrong = Wrong::new(format!("`{character}` occurs in no branch or tag name"));
        return Err(wrong.hint("globs know `*`, `**`, `?` and `{a,b}`"));
    }
    Glob::new(bare).map(|_| ())
}

fn regex_to_glob(regex: &str) -> String {
    let bare = regex.strip_prefix('^').unwrap_or(regex);
    let bare = bare.strip_suffix('$').unwrap_or(bare);
    let mut bare = bare.replace("\\.", "\u{0}");
    for (regex, glob) in
        [("\\d+", "*"), ("\\w+", "*"), ("[0-9]+", "*"), (".*", "**"), (".+", "**"), ("\\", "")]
    {
        bare = bare.replace(regex, glob);
    }
    bare.replace('\u{0}', ".").replace('(', "{").replace(')', "}").replace('|', ",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The plainest reading of the rules: spell out the braces, then try every length for each star.
    fn naive(pattern: &str, text: &str) -> bool {
        spell_out(pattern).iter().any(|plain| {
            let plain: Vec<char> = plain.chars().collect();
            let text: Vec<char> = text.chars().collect();
            naive_plain(&plain, &text, true)
        })
    }

    fn spell_out(pattern: &str) -> Vec<String> {
        let Some(open) = pattern.find('{') else { return vec![pattern.to_owned()] };
        let mut depth = 0;
        let mut cuts = vec![open];
        let mut close = None;
        for (index, character) in pattern.char_indices().skip_while(|(index, _)| *index < open) {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => cuts.push(index),
                _ => {}
            }
            if depth == 0 {
                close = Some(index);
                break;
            }
        }
        let close = close.unwrap();
        cuts.push(close);
        cuts.windows(2)
            .flat_map(|cut| {
                spell_out(&format!(
                    "{}{}{}",
                    &pattern[..open],
                    &pattern[cut[0] + 1..cut[1]],
                    &pattern[close + 1..]
                ))
            })
            .collect()
    }

    fn naive_plain(pattern: &[char], text: &[char], at_component: bool) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', '*', '/', rest @ ..] if at_component => {
                naive_plain(rest, text, true)
                    || (0..text.len())
                        .any(|cut| text[cut] == '/' && naive_plain(rest, &text[cut + 1..], true))
            }
            ['*', '*', rest @ ..] => (0..=text.len()).any(|cut| naive_plain(rest, &text[cut..], false)),
            ['*', rest @ ..] => (0..=text.len())
                .take_while(|cut| !text[..*cut].contains(&'/'))
                .any(|cut| naive_plain(rest, &text[cut..], false)),
            ['?', rest @ ..] => {
                text.first().is_some_and(|c| *c != '/') && naive_plain(rest, &text[1..], false)
            }
            [c, rest @ ..] => text.first() == Some(c) && naive_plain(rest, &text[1..], *c == '/'),
        }
    }

    /// Patterns whose stars touch no brace: there the two readings of "starts a component" are one.
    fn pattern() -> impl Strategy<Value = String> {
        let atom = prop_oneof![
            "[ab/.]".prop_map(String::from),
            Just("?".to_owned()),
            Just("a*b".to_owned()),
            Just("/*".to_owned()),
            Just("/**/".to_owned()),
            Just("b**a".to_owned()),
        ];
        let braces = proptest::collection::vec(atom.clone(), 0..3).prop_map(|atoms| atoms.concat());
        let braces = (braces.clone(), braces).prop_map(|(one, two)| format!("a{{{one},a{two}}}"));
        proptest::collection::vec(prop_oneof![4 => atom, 1 => braces], 0..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn a_glob_matches_what_its_plain_reading_matches(pattern in pattern(), text in "[ab/.]{0,8}") {
            prop_assert_eq!(Glob::new(&pattern).unwrap().matches(&text), naive(&pattern, &text), "{} {}", pattern, text);
        }

        #[test]
        fn compiling_never_panics(pattern in "[a*?{},!/\\\\]{0,40}", text in "[a/,]{0,20}") {
            if let Ok(glob) = Glob::new(&pattern) {
                glob.matches(&text);
            }
        }
    }

    #[test]
    fn stars_stop_where_the_rules_say() {
        let table = [
            ("main", "main", true),
            ("main", "mainline", false),
            ("release/*", "release/1", true),
            ("release/*", "release/1/2", false),
            ("release/**", "release/1/2", true),
            ("release/**", "release", false),
            ("**", "anything/at/all", true),
            ("**/package-lock.json", "package-lock.json", true),
            ("**/package-lock.json", "a/b/package-lock.json", true),
            ("**/package-lock.json", "xpackage-lock.json", false),
            ("src/**/x.rs", "src/x.rs", true),
            ("*.{rs,toml}", "Cargo.toml", true),
            ("*.{rs,toml}", "src/lib.rs", false),
            ("v?.{0,1{0,1}}", "v2.11", true),
            ("{,x}", "", true),
            ("pages/[id].tsx", "pages/[id].tsx", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(Glob::new(pattern).unwrap().matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_list_takes_what_a_positive_glob_takes_and_no_negative_refuses() {
        let globs = Globs::of(["**", "!wip/**"]);
        assert!(globs.matches("main") && !globs.matches("wip/x"));
        assert!(Globs::of(["!wip/**"]).matches("main"));
        assert!(!Globs::of(["main"]).matches("dev"));
    }

    #[test]
    fn the_steps_of_a_match_are_bounded_by_pattern_times_text() {
        let pattern = "{*a,aa}".repeat(140);
        let glob = Glob::new(&pattern).unwrap();
        assert!(glob.steps.len() <= 2 * pattern.len());
        assert!(!glob.matches(&format!("{}b", "a".repeat(5_000))));
    }
}
