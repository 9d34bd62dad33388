//! `ocelot completion`: what a shell reads to complete what is typed.
//!
//! Verbs and flags are written out; for names the shell asks `ocelot __complete`, and uses what that says
//! in place of them where it says something.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::{Args, Completion};
use crate::error::Result;
use crate::show::Output;

const BASH: &str = r#"
_ocelot_names() {
    local names
    names=$(ocelot __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [ -n "$names" ]; then
        local IFS=$'\n'
        COMPREPLY=($names)
        return 0
    fi
    _ocelot "$@"
}
complete -F _ocelot_names -o nosort -o bashdefault -o default ocelot
"#;

const ZSH: &str = r#"
_ocelot_names() {
    local -a names
    names=(${(f)"$(ocelot __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#names )); then
        compadd -a names
        return 0
    fi
    _ocelot "$@"
}
compdef _ocelot_names ocelot
# Loaded because somebody completes: what for is still to be answered.
if [ "$funcstack[1]" = "_ocelot" ]; then
    _ocelot_names "$@"
fi
"#;

/// How the last lines of the script begin that is made for zsh.
const ZSH_END: &str = "\nif [ \"$funcstack[1]\" = \"_ocelot\" ]";

const FISH: &str = r#"
complete -c ocelot -f -a '(set -l line (commandline -opc); ocelot __complete -- $line[2..-1] (commandline -ct) 2>/dev/null)'
"#;

pub(crate) fn run(completion: &Completion, output: &Output) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(completion.shell, &mut Args::command(), "ocelot", &mut script);
    if completion.shell == Shell::Zsh {
        // It ends by calling itself, or by saying what it is for: both are ours to do.
        let end = script.windows(ZSH_END.len()).rposition(|part| part == ZSH_END.as_bytes());
        script.truncate(end.unwrap_or(script.len()));
    }
    script.extend_from_slice(names(completion.shell).as_bytes());
    output.bytes(&script)
}

/// How a shell asks for names.
fn names(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
        // Of these, names are typed.
        _ => "",
    }
}
