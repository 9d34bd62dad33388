//! Python: by uv, Poetry, or pip.

use super::{Cache, Folder, Part, Stage, shortened, stage, toml_text, version};

const PYTHON: &str = "3.13";

pub(super) fn part(folder: &Folder<'_>) -> Option<Part> {
    let told_by = folder.first(&["pyproject.toml", "requirements.txt", "setup.py"])?;
    let project = folder.text("pyproject.toml").unwrap_or_default();
    let wanted = folder.text(".python-version").and_then(version);
    let wanted = wanted.or_else(|| toml_text(project, "requires-python").and_then(version));
    let wanted = wanted.map_or_else(|| PYTHON.to_owned(), |wanted| shortened(wanted, 2));
    let wanted = if wanted.contains('.') { wanted } else { PYTHON.to_owned() };
    let mut part = folder.part("Python", told_by, format!("python:{wanted}"));
    let (install, run, key_file, cached) = installed(folder, project);
    part.env = vec![(cached, ".pip".to_owned())];
    part.cache = Some(Cache {
        name: "packages",
        paths: vec![".pip".to_owned()],
        key: format!("python-{wanted}"),
        key_files: vec![key_file.to_owned()],
    });
    // Each stage is a shell of its own; what is installed into the image stays.
    part.stages.push(stage("install", install));
    let requirements = folder.text("requirements.txt").unwrap_or_default();
    let names = |tool: &str| project.contains(tool) || requirements.contains(tool);
    if names("ruff") {
        part.stages.push(stage("lint", [format!("{run}ruff check .")]));
    }
    if names("mypy") {
        part.stages.push(stage("types", [format!("{run}mypy .")]));
    }
    let tested = folder.below().any(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.starts_with("test_") && name.ends_with(".py") || name == "conftest.py"
    });
    let pytest = names("pytest");
    if pytest {
        part.stages.push(stage("test", [format!("{run}pytest")]));
    } else {
        let script = vec![format!("{run}python -m unittest discover")];
        part.stages.push(Stage { name: "test", script, doubtful: !tested });
    }
    Some(part)
}

/// How packages are installed, what stands before each command, the lock file, and the variable for
/// the folder of downloads.
fn installed(
    folder: &Folder<'_>,
    project: &str,
) -> (Vec<&'static str>, &'static str, &'static str, &'static str) {
    if folder.has("uv.lock") {
        return (vec!["pip install uv", "uv sync --frozen"], "uv run ", "uv.lock", "UV_CACHE_DIR");
    }
    if folder.has("poetry.lock") {
        let install = vec!["pip install poetry", "poetry install --no-interaction"];
        return (install, "poetry run ", "poetry.lock", "POETRY_CACHE_DIR");
    }
    if folder.has("requirements.txt") {
        return (vec!["pip install -r requirements.txt"], "", "requirements.txt", "PIP_CACHE_DIR");
    }
    let extra = ["dev", "test"].into_iter().find(|extra| project.contains(&format!("\n{extra} = [")));
    let install = match extra {
        Some("dev") => "pip install -e '.[dev]'",
        Some(_) => "pip install -e '.[test]'",
        None => "pip install -e .",
    };
    let key_file = if project.is_empty() { "setup.py" } else { "pyproject.toml" };
    (vec![install], "", key_file, "PIP_CACHE_DIR")
}
