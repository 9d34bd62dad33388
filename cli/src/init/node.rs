//! Node: one package or workspaces, by whichever of the package managers the lock file is of.

use serde_json::Value;

use super::{Artifact, Cache, Folder, Part, shortened, stage, version};

/// Who manages the packages.
struct Manager {
    lock: Option<&'static str>,
    install: Vec<&'static str>,
    run: &'static str,
    /// Runs a script in every workspace that has it.
    run_all: &'static str,
    folder: &'static str,
    variable: &'static str,
}

/// Scripts that a build runs, in this order; the ones that are there are.
const SCRIPTS: [&str; 6] = ["lint", "typecheck", "type-check", "check", "test", "build"];
/// What a build leaves, where such a folder is ignored by name.
const MADE: [&str; 2] = ["dist/**", "build/**"];

pub(super) fn part(folder: &Folder<'_>) -> Option<Part> {
    let package: Value = serde_json::from_str(folder.text("package.json")?).ok()?;
    let manager = manager(folder, &package);
    let mut part = folder.part("Node", "package.json", image(folder, &package));
    part.env = vec![(manager.variable, manager.folder.to_owned())];
    part.cache = Some(Cache {
        name: "packages",
        paths: vec![manager.folder.to_owned()],
        key: part.image.replace([':', '/'], "-"),
        key_files: vec![manager.lock.unwrap_or("**/package.json").to_owned()],
    });
    let spread = package.get("workspaces").is_some() || folder.has("pnpm-workspace.yaml");
    let mut scripts = scripts(&package);
    let mut run = manager.run;
    if scripts.is_empty() && spread {
        scripts = of_workspaces(folder);
        run = manager.run_all;
    }
    let mut stages = vec![stage("install", manager.install.iter().copied())];
    let is_npm_all = run.contains("--workspaces");
    stages.extend(scripts.iter().map(|script| {
        let line = if is_npm_all { run.replacen("SCRIPT", script, 1) } else { format!("{run} {script}") };
        stage(script, [line])
    }));
    if stages.len() == 1 {
        part.remarks.push(
            "package.json has no script to run beside the installation: add stages for yours.".to_owned(),
        );
    }
    if scripts.contains(&"build") && run == manager.run {
        part.artifacts.push(Artifact {
            name: "site",
            paths: MADE.map(str::to_owned).to_vec(),
            always: false,
        });
    }
    if folder.text(".npmrc").is_some_and(|text| text.contains("registry") || text.contains("_auth")) {
        part.remarks
            .push(".npmrc names a registry. If it wants a login: secrets: [{name: npm, as: npm}]".to_owned());
    }
    part.stages = stages;
    Some(part)
}

fn image(folder: &Folder<'_>, package: &Value) -> String {
    if folder.first(&["bun.lock", "bun.lockb"]).is_some() {
        return "oven/bun:1".to_owned();
    }
    let named = folder.text(".nvmrc").or_else(|| folder.text(".node-version"));
    let engines = package.get("engines").and_then(|engines| engines.get("node")).and_then(Value::as_str);
    let wanted = named.and_then(version).or_else(|| engines.and_then(version));
    format!("node:{}", wanted.map_or_else(|| "22".to_owned(), |wanted| shortened(wanted, 1)))
}

fn manager(folder: &Folder<'_>, package: &Value) -> Manager {
    let pinned = package.get("packageManager").and_then(Value::as_str).unwrap_or_default();
    if let Some(lock) = folder.first(&["pnpm-lock.yaml"]) {
        return Manager {
            lock: Some(lock),
            install: vec!["corepack enable", "pnpm install --frozen-lockfile"],
            run: "pnpm run",
            run_all: "pnpm --recursive run",
            folder: ".pnpm-store",
            variable: "npm_config_store_dir",
        };
    }
    if let Some(lock) = folder.first(&["yarn.lock"]) {
        let newer = folder.has(".yarnrc.yml") || pinned.starts_with("yarn@") && !pinned.starts_with("yarn@1");
        let install = match newer {
            true => vec!["corepack enable", "yarn install --immutable"],
            false => vec!["yarn install --frozen-lockfile"],
        };
        let run_all = if newer { "yarn workspaces foreach --all run" } else { "yarn workspaces run" };
        let (folder, variable) = match newer {
            true => (".yarn-home", "YARN_GLOBAL_FOLDER"),
            false => (".yarn-cache", "YARN_CACHE_FOLDER"),
        };
        return Manager { lock: Some(lock), install, run: "yarn run", run_all, folder, variable };
    }
    if let Some(lock) = folder.first(&["bun.lock", "bun.lockb"]) {
        return Manager {
            lock: Some(lock),
            install: vec!["bun install --frozen-lockfile"],
            run: "bun run",
            run_all: "bun --filter '*' run",
            folder: ".bun-cache",
            variable: "BUN_INSTALL_CACHE_DIR",
        };
    }
    let lock = folder.first(&["package-lock.json", "npm-shrinkwrap.json"]);
    Manager {
        lock,
        install: vec![if lock.is_some() { "npm ci" } else { "npm install" }],
        run: "npm run",
        run_all: "npm run SCRIPT --workspaces --if-present",
        folder: ".npm",
        variable: "npm_config_cache",
    }
}

/// The scripts of a package that a build runs. The one that npm writes for a new package only fails.
fn scripts(package: &Value) -> Vec<&'static str> {
    let has = |name: &&&str| {
        let script = package.get("scripts").and_then(|scripts| scripts.get(**name)).and_then(Value::as_str);
        script.is_some_and(|script| !script.contains("no test specified"))
    };
    SCRIPTS.iter().filter(has).copied().collect()
}

fn of_workspaces(folder: &Folder<'_>) -> Vec<&'static str> {
    let packages = folder.below().filter(|path| path.ends_with("/package.json"));
    let parsed = packages.filter_map(|path| serde_json::from_str::<Value>(folder.text(path)?).ok());
    let all: Vec<&str> = parsed.flat_map(|package| scripts(&package)).collect();
    SCRIPTS.into_iter().filter(|script| all.contains(script)).collect()
}
