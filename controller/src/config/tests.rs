use super::*;

fn start(args: &[&str]) -> Start {
    let args = ["ocelot-controller", "start"].into_iter().chain(args.iter().copied());
    let Command::Start(start) = Args::try_parse_from(args).unwrap().command else { panic!("no start") };
    *start
}

#[test]
fn the_arguments_fit_together() {
    use clap::CommandFactory;
    Args::command().debug_assert();
}

#[test]
fn a_flag_comes_before_the_file_and_the_file_before_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.yml");
    std::fs::write(&path, "# ours\ndata: /from/file\nname: from-file\nlog-format: json\n").unwrap();
    let resolved = start(&["--config", path.to_str().unwrap(), "--name", "from-flag"]).resolved().unwrap();
    assert_eq!(resolved.name.as_deref(), Some("from-flag"));
    assert_eq!(resolved.data.as_deref(), Some(std::path::Path::new("/from/file")));
    assert_eq!((resolved.log_format, resolved.listen), (Some(LogFormat::Json), None));
}

#[test]
fn every_setting_has_a_flag_a_variable_and_a_key() {
    use clap::CommandFactory;
    let command = Args::command();
    let start = command.find_subcommand("start").unwrap();
    for argument in start.get_arguments().filter(|argument| argument.get_id() != "help") {
        let flag = argument.get_long().unwrap();
        let variable = format!("OCELOT_CONTROLLER_{}", flag.replace('-', "_").to_uppercase());
        assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        if flag == "config" {
            continue;
        }
        let value = match flag {
            "listen" => "127.0.0.1:1",
            "log-format" => "json",
            "git-allow" => "[http]",
            "metrics-open" => "true",
            "cache-gib" | "project-cache-gib" => "1",
            "allow-egress" | "forge-api" => "[x]",
            _ => "x",
        };
        assert_ne!(File::parse(&format!("{flag}: {value}")).unwrap(), File::default(), "{flag}");
    }
}

#[test]
fn an_unknown_key_is_an_error_with_its_line() {
    let error = File::parse("data: /x\nlisten: 127.0.0.1:7070\nlissten: 1\n").unwrap_err();
    assert!(error.contains("lissten") && error.contains("line 3"), "{error}");
    assert_eq!(File::parse("# nothing\n").unwrap(), File::default());
}
