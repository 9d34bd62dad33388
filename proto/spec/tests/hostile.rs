//! Files that try to explode: each is read in a child of its own that may use 96 MiB of address space and
//! ten seconds of processor time, in a debug build, the process itself included.
//!
//! Limits of the kernel do not depend on how busy the machine is. `--measure` prints what each file costs.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};

use ocelot_spec::{Context, Event, Execution, FILE_BYTES_MAX, Job, JobEvent, Pipeline, Resolution};

const ADDRESS_SPACE_KIB: u32 = 96 * 1024;
const PROCESSOR_SECONDS: u32 = 10;

const TAIL: &str = "\nimage: a:1\nstages: [{name: s, script: x}]\n";

/// What a child reads to prove that the limits hold.
const WASTE: &[u8] = b"\0waste";

fn waste() -> String {
    let wasted = vec![1_u8; 2 * 1024 * ADDRESS_SPACE_KIB as usize];
    if std::hint::black_box(wasted).len() > FILE_BYTES_MAX { "wasted" } else { "" }.to_owned()
}

/// A file and the beginning of the first message that it must get; `ok` if it is right.
type Case = (&'static str, Vec<u8>, &'static str);

fn cases() -> Vec<Case> {
    let mut cases = bombs();
    cases.extend(large());
    cases.extend(encodings());
    cases
}

#[expect(clippy::too_many_lines, reason = "a table, not a procedure")]
fn bombs() -> Vec<Case> {
    let text = |text: String| text.into_bytes();
    let laughs: String =
        (1..10).map(|n| format!("x-{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","))).collect();
    let merges: String = (1..12)
        .map(|n| {
            format!(
                "x-{n}: &m{n} {{<<: [{}], k{n}: *m{}}}\n",
                vec![format!("*m{}", n - 1); 9].join(","),
                n - 1
            )
        })
        .collect();
    let wide: String = (0..5000).map(|n| format!("k{n}: 1, ")).collect();
    let wide_merges = format!("x-0: &w {{{wide}}}\nx-1: [{}]", vec!["{<<: *w}"; 2000].join(","));
    vec![
        (
            "billion laughs",
            text(format!("x-0: &a0 [{}]\n{laughs}{TAIL}", ["lol"; 9].join(","))),
            "more than 50000 keys",
        ),
        (
            "20,000 items aliased 2,000 times",
            text(format!(
                "x-0: &a [{}]\nx-1: [{}]{TAIL}",
                vec!["1"; 20_000].join(","),
                vec!["*a"; 2000].join(",")
            )),
            "more than 50000 keys",
        ),
        (
            "a long text aliased 20,000 times",
            text(format!("x-0: &a {}\nx-1: [{}]{TAIL}", "x".repeat(500_000), vec!["*a"; 20_000].join(","))),
            "more than 4194304 bytes of text",
        ),
        ("merges of merges", text(format!("x-0: &m0 {{a: 1}}\n{merges}{TAIL}")), "more than 50000 keys"),
        ("a wide map merged 2,000 times", text(format!("{wide_merges}{TAIL}")), "more than 50000 keys"),
        ("100,000 levels, flow", text("[".repeat(100_000)), "nested deeper than 32"),
        ("100,000 levels, flow maps", text("{a: ".repeat(100_000)), "nested deeper than 32"),
        ("100,000 levels, block", text("- ".repeat(100_000)), "nested deeper than 32"),
        (
            "1,400 levels, indented",
            text((0..1400).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
            "nested deeper than 32",
        ),
        ("levels through aliases", text(deep_aliases()), "nested deeper than 32"),
        ("an alias in its own anchor", text(format!("x-0: &a [*a]{TAIL}")), "this alias stands inside"),
        (
            "a matrix of 10,000",
            text(format!("tasks: {{t: {{image: a, matrix: {{a: {0}, b: {0}}}, command: [x]}}}}", list(100))),
            "this matrix has 10000 combinations",
        ),
        (
            "a matrix of 10^20",
            text(format!(
                "tasks: {{t: {{image: a, matrix: {{{}}}, command: [x]}}}}",
                (0..16).map(|n| format!("a{n}: {}", list(20))).collect::<Vec<_>>().join(", ")
            )),
            "this matrix has too many combinations",
        ),
        (
            "a matrix of 10,000 axes",
            text(format!(
                "tasks: {{t: {{image: a, matrix: {{{}}}, command: [x]}}}}",
                (0..10_000).map(|n| format!("a{n}: [1]")).collect::<Vec<_>>().join(", ")
            )),
            "a matrix has at most 16 axes",
        ),
        (
            "a script of 500,000 bytes in 256 variants",
            text(format!(
                "tasks: {{t: {{image: a, matrix: {{a: {0}, b: {0}}}, stages: [{{name: s, script: {1}}}]}}}}",
                list(16),
                "x".repeat(500_000)
            )),
            "the tasks, with all their variants, come to more than 16 MiB",
        ),
        (
            "defaults of 500,000 bytes for 200 tasks",
            text(format!(
                "defaults: {{image: a, stages: [{{name: s, script: {}}}]}}\ntasks: {{{}}}",
                "x".repeat(500_000),
                (0..200).map(|n| format!("t{n}: {{}}")).collect::<Vec<_>>().join(", ")
            )),
            "`defaults` and `env`, repeated for each task come to more than",
        ),
        (
            "a name replaced 60,000 times in 100 variants",
            text(format!(
                "tasks: {{t: {{image: a, matrix: {{a: {}}}, env: {{A: \"{}\"}}, command: [x]}}}}",
                format_args!(
                    "[{}]",
                    (0..10).map(|n| format!("{n}{}", "v".repeat(190))).collect::<Vec<_>>().join(",")
                ),
                "${matrix.a}".repeat(60_000)
            )),
            "the tasks, with every `${...}` replaced, come to more than 16 MiB",
        ),
        (
            "a glob of 1,000,000 alternatives",
            text(format!("branches: ['{}']{TAIL}", "{a,b}".repeat(200))),
            "ok",
        ),
    ]
}

fn list(length: usize) -> String {
    let items: Vec<String> = (0..length).map(|n| n.to_string()).collect();
    format!("[{}]", items.join(","))
}

fn deep_aliases() -> String {
    let levels: String = (1..40).map(|n| format!("x-{n}: &a{n} [*a{}]\n", n - 1)).collect();
    format!("x-0: &a0 [1]\n{levels}{TAIL}")
}

#[expect(clippy::too_many_lines, reason = "a table, not a procedure")]
fn large() -> Vec<Case> {
    let many =
        |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
    let full = |unit: &str| unit.repeat(FILE_BYTES_MAX / unit.len());
    let text = |text: String| text.into_bytes();
    vec![
        ("10 MiB", vec![b'a'; 10 << 20], "the file has 10485760 bytes"),
        ("1 MiB of keys", text((0..90_000).map(|n| format!("k{n:06}:\n")).collect()), "more than 50000 keys"),
        (
            "20,000 unknown keys",
            text(format!("{}{TAIL}", (0..20_000).map(|n| format!("k{n}:\n")).collect::<String>())),
            "the top level has no key",
        ),
        ("one key 50,000 times", text("image: a\n".repeat(50_000)), "`image` stands here a second time"),
        ("a text of 1,000,000 bytes", text(format!("x-0: {}{TAIL}", "x".repeat(1_000_000))), "ok"),
        ("a key of 1,000,000 bytes", text(format!("{}: 1{TAIL}", "x".repeat(1_000_000))), "not valid YAML"),
        (
            "a quoted key of 900,000 bytes",
            text(format!("? \"{}\"\n: 1{TAIL}", "x".repeat(900_000))),
            "the top level has no key",
        ),
        (
            "an image of 1,000,000 bytes",
            text(format!("command: [x]\nimage: {}", "x".repeat(1_000_000))),
            "this has more than 200 characters",
        ),
        (
            "a regular expression of 1,000 characters",
            text(format!("branches: ['{}.*']{TAIL}", "x/".repeat(500))),
            "`x/x/",
        ),
        (
            "a fraction of 1,000,000 digits",
            text(format!("env: {{A: 1.{}}}{TAIL}", "5".repeat(1_000_000))),
            "`1.5555",
        ),
        (
            "an axis of 1,000,000 characters",
            text(format!("env: {{A: '${{matrix.{}}}'}}{TAIL}", "a".repeat(1_000_000))),
            "`${matrix.aaa",
        ),
        ("a quote that never ends", text(format!("image: \"{}", "x ".repeat(400_000))), "not valid YAML"),
        ("a text of 500,000 lines", text(format!("x-0:\n{}", "  x\n".repeat(250_000))), "a task needs"),
        ("1 MiB of comments", text(full("# x\n")), "the file is empty"),
        ("1 MiB of blanks", text(full(" ")), "the file is empty"),
        ("1 MiB of dashes", text(full("-\n")), "more than 50000 keys"),
        ("1 MiB of question marks", text(full("? ")), "nested deeper"),
        ("1 MiB of documents", text(full("---\n")), "a second document"),
        (
            "1 MiB of anchors",
            text(format!("[{}", (0..100_000).map(|n| format!("&a{n} 1,")).collect::<String>())),
            "more than 50000 keys",
        ),
        ("1 MiB of tags", text(full("!a ")), "`!a` is a YAML tag"),
        ("1 MiB of directives", text(full("%A b\n")), "not valid YAML"),
        ("1 MiB of colons", text(full(":")), "not valid YAML"),
        (
            "20,000 needs",
            text(format!(
                "tasks: {{t: {{image: a, command: [x], needs: [{}]}}}}",
                many(20_000, &|n| format!("n{n}"))
            )),
            "there is no task `n0`",
        ),
        (
            "15,000 secrets",
            text(format!("image: a\ncommand: [x]\nsecrets: [{}]", many(15_000, &|n| format!("S{}", n / 2)))),
            "a second secret is given as variable `S0`",
        ),
        (
            "20,000 labels",
            text(format!("image: a\ncommand: [x]\nlabels: [{}]", many(20_000, &|n| format!("l{n}")))),
            "ok",
        ),
        (
            "15,000 variables",
            text(format!(
                "image: a\ncommand: [x]\nenv: {{{}}}",
                many(15_000, &|n| format!("V{n}: '${{branch}}'"))
            )),
            "ok",
        ),
        (
            "5,000 stages",
            text(format!("image: a\nstages: [{}]", many(5_000, &|n| format!("{{name: s{n}, script: x}}")))),
            "ok",
        ),
        (
            "201 tasks",
            text(format!("tasks: {{{}}}", many(201, &|n| format!("t{n}: {{image: a, command: [x]}}")))),
            "there are 201 tasks",
        ),
        (
            "1,024 variants in all",
            text(format!(
                "tasks: {{{}}}",
                many(4, &|n| format!(
                    "t{n}: {{image: a, command: [x], matrix: {{a: {0}, b: {0}}}}}",
                    list(16)
                ))
            )),
            "with all variants there are 1024 tasks",
        ),
        (
            "200 tasks that all need each other",
            text(format!(
                "tasks: {{{}}}",
                many(200, &|n| format!(
                    "t{n}: {{image: a, command: [x], needs: [{}]}}",
                    many(200, &|m| format!("t{m}"))
                ))
            )),
            "the task `t0` needs itself",
        ),
        (
            "100,000 names in a script",
            text(format!("image: a\nstages: [{{name: s, script: \"{}\"}}]", "${matrix.a}".repeat(80_000))),
            "ok",
        ),
        (
            "3,000 globs of 300 characters",
            text(format!("branches: [{}]{TAIL}", many(3_000, &|n| format!("'{n}{}'", "*a".repeat(100))))),
            "ok",
        ),
        (
            "5,000 conditions",
            text(format!(
                "image: a\nstages: [{{name: s, script: x, when: {{any: [{}]}}}}]",
                many(5_000, &|n| format!("{{branch: b{n}}}"))
            )),
            "ok",
        ),
    ]
}

fn encodings() -> Vec<Case> {
    let valid = "image: a:1\nstages: [{name: s, script: [x, y]}]\n";
    let mut latin = valid.replace('y', "\u{0}").into_bytes();
    latin.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 0xe4);
    vec![
        ("a NUL byte", valid.replace('y', "\u{0}").into_bytes(), "control character U+0000"),
        ("an escape", valid.replace('y', "\u{1b}[31m").into_bytes(), "control character U+001B"),
        ("Latin-1", latin, "the file is not UTF-8"),
        ("UTF-16", valid.encode_utf16().flat_map(u16::to_le_bytes).collect(), "control character U+0000"),
        ("a byte order mark", format!("\u{feff}{valid}").into_bytes(), "ok"),
        ("carriage returns", valid.replace('\n', "\r\n").into_bytes(), "ok"),
        (
            "text direction",
            valid.replace('y', "\u{202e}").replace("script", "scirpt").into_bytes(),
            "a stage has no key",
        ),
        ("nothing", Vec::new(), "the file is empty"),
    ]
}

/// Reads a file in every way there is and returns the first message, or `ok`.
fn read(bytes: &[u8]) -> String {
    drop(Job::parse("job.yml", bytes).map(|job| {
        let run = Execution { event: JobEvent::Manual, run_number: 1, env: BTreeMap::new() };
        drop(job.resolve(&BTreeMap::new(), &run));
    }));
    let context = Context {
        event: Event::Push { branch: "b".repeat(200) },
        commit: "c0ffee".into(),
        message: String::new(),
        changed: None,
        project: "acme/shop".into(),
        run_number: 1,
        env: BTreeMap::new(),
    };
    let outcome = Pipeline::parse("ocelot.yml", bytes).and_then(|pipeline| {
        drop(pipeline.explain(&context)?);
        pipeline.resolve(&context)
    });
    match outcome {
        Ok(Resolution::Run(_) | Resolution::NoRun { .. }) => "ok".to_owned(),
        Err(problems) => {
            assert!(problems.to_string().len() < 64 * 1024, "the messages themselves are bounded");
            problems.problems[0].message.clone()
        }
    }
}

/// Runs this program again for one case, under the limits.
fn child(bytes: &[u8], measure: bool) -> io::Result<String> {
    let script = format!(
        "ulimit -v {ADDRESS_SPACE_KIB} && ulimit -t {PROCESSOR_SECONDS} && ulimit -c 0 && exec \"$0\" \"$@\""
    );
    let program = std::env::current_exe()?;
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(script)
        .arg(program)
        .arg("--case")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if measure {
        command.arg("--measure");
    }
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that dies early closes its end; its status says so below.
        drop(stdin.write_all(bytes));
    }
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Ok(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}

/// Peak of resident memory and processor time of this process, from the kernel.
fn cost() -> io::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?");
    let schedstat = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: u64 = schedstat.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(format!("{:>6} ms {:>12}", nanoseconds / 1_000_000, peak.trim()))
}

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let mut out = io::stdout().lock();
    if has("--list") {
        if !has("--ignored") {
            writeln!(out, "hostile_files_are_refused_in_bounds: test")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if has("--case") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes)?;
        let message = if bytes == WASTE { waste() } else { read(&bytes) };
        if has("--measure") {
            write!(out, "{}  ", cost()?)?;
        }
        write!(out, "{message}")?;
        return Ok(ExitCode::SUCCESS);
    }
    if child(WASTE, false)? == "wasted" {
        writeln!(out, "the limits do not hold: a child could use twice the address space")?;
        return Ok(ExitCode::FAILURE);
    }
    let mut failed = 0;
    let cases = cases();
    for (name, bytes, expected) in &cases {
        let message = child(bytes, has("--measure"))?;
        if has("--measure") {
            writeln!(out, "{:>9} bytes  {message:.90}  <- {name}", bytes.len())?;
        } else if !message.starts_with(*expected) {
            writeln!(out, "{name}: expected \"{expected}\", got \"{message:.300}\"")?;
            failed += 1;
        }
    }
    writeln!(out, "hostile files: {} read, {failed} not as expected", cases.len())?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
