//! What is proposed for repositories of many kinds; every proposal is a file without a mistake.

use ocelot_spec::Pipeline;

use super::{Repository, propose};

/// Proposes for a repository with these files; those with a content are read.
fn proposed(files: &[(&str, &str)]) -> String {
    let repository = Repository {
        paths: files.iter().map(|(path, _)| (*path).to_owned()).collect(),
        texts: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect(),
    };
    let proposal = propose(&repository);
    let parsed = Pipeline::parse("ocelot.yml", proposal.text.as_bytes());
    assert!(parsed.is_ok(), "{}\n{}", parsed.unwrap_err(), proposal.text);
    // What is commented out must be right too, once a person takes the sign away.
    let proposed = proposal.text.replace("  # - ", "  - ").replace("  #   ", "    ");
    let parsed = Pipeline::parse("ocelot.yml", proposed.as_bytes());
    assert!(parsed.is_ok(), "{}\n{proposed}", parsed.unwrap_err());
    format!("found: {}\n{}", proposal.found.join(", "), own(&proposal.text))
}

/// The part of a proposal that is not the same for all.
fn own(text: &str) -> String {
    let fixed = ["# What the fleet", "# Check it", "# Every push", "# branches:"];
    let lines = text.lines().filter(|line| !fixed.iter().any(|beginning| line.starts_with(beginning)));
    lines.filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_whole_file_says_what_to_type_and_what_to_decide() {
    let repository = Repository::default();
    insta::assert_snapshot!(propose(&repository).text, @r#"
    # What the fleet does with each push.
    # Check it: ocelot validate   Run it here: ocelot local   Why something runs or not: ocelot explain

    # Every push to every branch, and every pull request, starts a run. To say which do:
    # branches: [main, "release/**"]

    # Nothing was found here that says how it is built. Choose an image, and say what to run in it.
    image: debian:bookworm
    stages:
      - name: test
        script: echo "say here how it is tested"
    "#);
}

#[test]
fn a_rust_crate() {
    insta::assert_snapshot!(proposed(&[
        ("Cargo.toml", "[package]\nname = \"shop\"\nrust-version = \"1.95\"\n"),
        ("Cargo.lock", ""),
        ("src/main.rs", ""),
    ]), @"
    found: Rust (Cargo.toml)
    # Rust, by Cargo.toml
    image: rust:1.95
    env:
      CARGO_TERM_COLOR: always
      CARGO_HOME: .cargo-home
    cache:
      - name: cargo
        paths: [.cargo-home/registry, target]
        key: rust-1.95
        key_files: [Cargo.lock]
    stages:
      # Nothing here says that this passes; take the `#` away if it should:
      # - name: lint
      #   script:
      #     - rustup component add rustfmt clippy
      #     - cargo fmt --check
      #     - cargo clippy --all-targets --locked -- -D warnings
      - name: test
        script: cargo test --locked
    ");
}

#[test]
fn a_rust_workspace_that_is_linted_elsewhere() {
    insta::assert_snapshot!(proposed(&[
        ("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n"),
        ("rust-toolchain.toml", "[toolchain]\nchannel = \"1.91.0\"\n"),
        ("a/Cargo.toml", "[package]\nname = \"a\"\n"),
        (".github/workflows/ci.yml", "run: cargo fmt --check && cargo clippy"),
    ]), @r#"
    found: Rust (Cargo.toml)
    #
    # Also here: .github/workflows/ci.yml. Look what it does beyond this, and move it.
    # Rust, by Cargo.toml
    image: rust:1.91.0
    env:
      CARGO_TERM_COLOR: always
      CARGO_HOME: .cargo-home
    cache:
      - name: cargo
        paths: [.cargo-home/registry, target]
        key: rust-1.91.0
        key_files: ["**/Cargo.toml"]
    stages:
      - name: lint
        script:
          - rustup component add rustfmt clippy
          - cargo fmt --check
          - cargo clippy --workspace --all-targets -- -D warnings
      - name: test
        script: cargo test --workspace
    "#);
}

#[test]
fn a_node_package_with_npm() {
    let package = r#"{"scripts": {"lint": "eslint .", "test": "jest", "build": "vite build", "start": "x"},
        "engines": {"node": ">=20.1"}}"#;
    insta::assert_snapshot!(proposed(&[
        ("package.json", package),
        ("package-lock.json", "{}"),
        (".npmrc", "//npm.acme.example/:_authToken=${TOKEN}"),
        ("Dockerfile", "FROM node"),
        ("compose.yaml", "services: {}"),
    ]), @r#"
    found: Node (package.json)
    #
    # compose.yaml starts services. Here they stand beside a task:
    #   services: {postgres: {image: "postgres:16", ready: {port: 5432}}}
    #
    # Dockerfile: a task that builds an image says `engine: true`, and needs an executor that permits it.
    # Node, by package.json
    # .npmrc names a registry. If it wants a login: secrets: [{name: npm, as: npm}]
    image: node:20
    env:
      npm_config_cache: .npm
    cache:
      - name: packages
        paths: [.npm]
        key: node-20
        key_files: [package-lock.json]
    stages:
      - name: install
        script: npm ci
      - name: lint
        script: npm run lint
      - name: test
        script: npm run test
      - name: build
        script: npm run build
    artifacts:
      - name: site
        paths: ["dist/**", "build/**"]
        optional: true
    "#);
}

#[test]
fn a_node_monorepo_with_pnpm_whose_packages_have_the_scripts() {
    insta::assert_snapshot!(proposed(&[
        ("package.json", r#"{"private": true}"#),
        ("pnpm-lock.yaml", ""),
        ("pnpm-workspace.yaml", ""),
        (".nvmrc", "v22.4.0\n"),
        ("packages/web/package.json", r#"{"scripts": {"build": "vite build"}}"#),
        ("packages/api/package.json", r#"{"scripts": {"test": "vitest"}}"#),
    ]), @"
    found: Node (package.json)
    # Node, by package.json
    image: node:22
    env:
      npm_config_store_dir: .pnpm-store
    cache:
      - name: packages
        paths: [.pnpm-store]
        key: node-22
        key_files: [pnpm-lock.yaml]
    stages:
      - name: install
        script:
          - corepack enable
          - pnpm install --frozen-lockfile
      - name: test
        script: pnpm --recursive run test
      - name: build
        script: pnpm --recursive run build
    ");
}

#[test]
fn node_with_yarn_old_and_new() {
    let package = r#"{"scripts": {"test": "echo \"Error: no test specified\" && exit 1"}}"#;
    let spread = r#"{"workspaces": ["a"], "packageManager": "yarn@4.1.0"}"#;
    let all = [
        proposed(&[("package.json", package), ("yarn.lock", "")]),
        proposed(&[
            ("package.json", spread),
            ("yarn.lock", ""),
            ("a/package.json", r#"{"scripts": {"test": "x"}}"#),
        ]),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    found: Node (package.json)
    # Node, by package.json
    # package.json has no script to run beside the installation: add stages for yours.
    image: node:22
    env:
      YARN_CACHE_FOLDER: .yarn-cache
    cache:
      - name: packages
        paths: [.yarn-cache]
        key: node-22
        key_files: [yarn.lock]
    stages:
      - name: install
        script: yarn install --frozen-lockfile

    found: Node (package.json)
    # Node, by package.json
    image: node:22
    env:
      YARN_GLOBAL_FOLDER: .yarn-home
    cache:
      - name: packages
        paths: [.yarn-home]
        key: node-22
        key_files: [yarn.lock]
    stages:
      - name: install
        script:
          - corepack enable
          - yarn install --immutable
      - name: test
        script: yarn workspaces foreach --all run test
    "#);
}

#[test]
fn node_with_bun_and_without_a_lock() {
    let all = [
        proposed(&[("package.json", r#"{"scripts": {"test": "bun test"}}"#), ("bun.lock", "")]),
        proposed(&[
            ("package.json", r#"{"workspaces": ["a"]}"#),
            ("a/package.json", r#"{"scripts": {"test": "x"}}"#),
        ]),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    found: Node (package.json)
    # Node, by package.json
    image: oven/bun:1
    env:
      BUN_INSTALL_CACHE_DIR: .bun-cache
    cache:
      - name: packages
        paths: [.bun-cache]
        key: oven-bun-1
        key_files: [bun.lock]
    stages:
      - name: install
        script: bun install --frozen-lockfile
      - name: test
        script: bun run test

    found: Node (package.json)
    # Node, by package.json
    image: node:22
    env:
      npm_config_cache: .npm
    cache:
      - name: packages
        paths: [.npm]
        key: node-22
        key_files: ["**/package.json"]
    stages:
      - name: install
        script: npm install
      - name: test
        script: npm run test --workspaces --if-present
    "#);
}

#[test]
fn a_go_module() {
    insta::assert_snapshot!(proposed(&[
        ("go.mod", "module example.com/shop\n\ngo 1.24.1\n"),
        ("go.sum", ""),
        (".golangci.yml", ""),
    ]), @r#"
    found: Go (go.mod)
    # Go, by go.mod
    # golangci-lint is set up here: give it a task of its own, in its image.
    image: golang:1.24
    cache:
      - name: go
        paths: [.go]
        key: go-1.24
        key_files: [go.sum]
    stages:
      - name: vet
        script:
          - "export GOMODCACHE=\"$PWD/.go/mod\" GOCACHE=\"$PWD/.go/build\""
          - go vet ./...
      - name: test
        script:
          - "export GOMODCACHE=\"$PWD/.go/mod\" GOCACHE=\"$PWD/.go/build\""
          - go test ./...
    "#);
}

#[test]
fn java_with_maven_and_with_its_wrapper() {
    let model = "<project><properties><java.version>17</java.version></properties><distributionManagement/></project>";
    let old =
        "<project><maven.compiler.target>1.8</maven.compiler.target><repositories></repositories></project>";
    let all = [
        proposed(&[("pom.xml", model)]),
        proposed(&[("pom.xml", old), ("mvnw", ""), (".mvn/wrapper/maven-wrapper.properties", "")]),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    found: Java (pom.xml)
    # Java, by pom.xml
    image: maven:3-eclipse-temurin-17
    cache:
      - name: m2
        paths: [.m2]
        key: maven-17
        key_files: ["**/pom.xml"]
    stages:
      - name: verify
        script: mvn -B -Dmaven.repo.local=.m2 verify
    artifacts:
      - name: reports
        paths: ["**/target/surefire-reports/*.xml"]
        when: always
        optional: true

    found: Java (pom.xml)
    # Java, by pom.xml
    # pom.xml names repositories. If one wants a login: secrets: [{name: nexus, as: maven}]
    image: eclipse-temurin:8
    cache:
      - name: m2
        paths: [.m2]
        key: maven-8
        key_files: ["**/pom.xml"]
    stages:
      - name: verify
        script: ./mvnw -B -Dmaven.repo.local=.m2 verify
    artifacts:
      - name: reports
        paths: ["**/target/surefire-reports/*.xml"]
        when: always
        optional: true
    "#);
}

#[test]
fn java_with_gradle() {
    insta::assert_snapshot!(proposed(&[
        ("build.gradle.kts", "java { toolchain { languageVersion = JavaLanguageVersion.of(21) } }"),
        ("gradlew", ""),
    ]), @r#"
    found: Java (build.gradle.kts)
    # Java, by build.gradle.kts
    image: eclipse-temurin:21
    env:
      GRADLE_USER_HOME: .gradle-home
    cache:
      - name: gradle
        paths: [.gradle-home/caches, .gradle-home/wrapper]
        key: gradle-21
        key_files: ["**/*.gradle*", "**/gradle-wrapper.properties"]
    stages:
      - name: build
        script: ./gradlew --no-daemon build
    artifacts:
      - name: reports
        paths: ["**/build/test-results/**/*.xml"]
        when: always
        optional: true
    "#);
}

#[test]
fn python_with_uv_and_with_poetry() {
    let all = [
        proposed(&[
            (
                "pyproject.toml",
                "[project]\nrequires-python = \">=3.11\"\n[tool.ruff]\n[tool.pytest.ini_options]\n[tool.mypy]\n",
            ),
            ("uv.lock", ""),
        ]),
        proposed(&[("pyproject.toml", "[tool.poetry]\n"), ("poetry.lock", ""), ("tests/test_a.py", "")]),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    found: Python (pyproject.toml)
    # Python, by pyproject.toml
    image: python:3.11
    env:
      UV_CACHE_DIR: .pip
    cache:
      - name: packages
        paths: [.pip]
        key: python-3.11
        key_files: [uv.lock]
    stages:
      - name: install
        script:
          - pip install uv
          - uv sync --frozen
      - name: lint
        script: uv run ruff check .
      - name: types
        script: uv run mypy .
      - name: test
        script: uv run pytest

    found: Python (pyproject.toml)
    # Python, by pyproject.toml
    image: python:3.13
    env:
      POETRY_CACHE_DIR: .pip
    cache:
      - name: packages
        paths: [.pip]
        key: python-3.13
        key_files: [poetry.lock]
    stages:
      - name: install
        script:
          - pip install poetry
          - poetry install --no-interaction
      - name: test
        script: poetry run python -m unittest discover
    "#);
}

#[test]
fn python_with_requirements_and_with_extras() {
    let all = [
        proposed(&[("requirements.txt", "django\npytest\n"), (".python-version", "3.12.4\n")]),
        proposed(&[("pyproject.toml", "[project]\n[project.optional-dependencies]\ndev = [\"pytest\"]\n")]),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    found: Python (requirements.txt)
    # Python, by requirements.txt
    image: python:3.12
    env:
      PIP_CACHE_DIR: .pip
    cache:
      - name: packages
        paths: [.pip]
        key: python-3.12
        key_files: [requirements.txt]
    stages:
      - name: install
        script: pip install -r requirements.txt
      - name: test
        script: pytest

    found: Python (pyproject.toml)
    # Python, by pyproject.toml
    image: python:3.13
    env:
      PIP_CACHE_DIR: .pip
    cache:
      - name: packages
        paths: [.pip]
        key: python-3.13
        key_files: [pyproject.toml]
    stages:
      - name: install
        script: "pip install -e '.[dev]'"
      - name: test
        script: pytest
    "#);
}

#[test]
fn a_makefile_alone() {
    let file =
        "CC := gcc\n.PHONY: test\nall: build\nbuild: main.o\n\tcc main.o\ntest lint: build\n\t./test\n";
    insta::assert_snapshot!(proposed(&[("Makefile", file), ("main.c", "")]), @"
    found: Make (Makefile)
    # Make, by Makefile
    # Which image has what the Makefile needs? This one has not even make.
    image: debian:bookworm
    stages:
      - name: prepare
        script:
          - apt-get update
          - apt-get install -y --no-install-recommends make
      - name: lint
        script: make lint
      - name: test
        script: make test
      - name: build
        script: make build
    ");
}

#[test]
fn several_kinds_in_folders_are_several_tasks() {
    insta::assert_snapshot!(proposed(&[
        ("server/go.mod", "module a\ngo 1.23\n"),
        ("web/package.json", r#"{"scripts": {"build": "vite build"}}"#),
        ("web/package-lock.json", ""),
        ("tools/web/pyproject.toml", "[project]\n"),
        ("examples/demo/Cargo.toml", "[package]\n"),
        (".gitlab-ci.yml", "test: {}"),
    ]), @r#"
    found: Go (server/go.mod), Node (web/package.json), Python (tools/web/pyproject.toml)
    #
    # Also here: .gitlab-ci.yml. Look what it does beyond this, and move it.
    tasks:
      server:
        # Go, by server/go.mod
        image: golang:1.23
        directory: server
        cache:
          - name: go
            paths: [server/.go]
            key: go-1.23
            key_files: [server/go.mod]
        stages:
          - name: vet
            script:
              - "export GOMODCACHE=\"$PWD/.go/mod\" GOCACHE=\"$PWD/.go/build\""
              - go vet ./...
          - name: test
            script:
              - "export GOMODCACHE=\"$PWD/.go/mod\" GOCACHE=\"$PWD/.go/build\""
              - go test ./...
      web:
        # Node, by web/package.json
        image: node:22
        directory: web
        env:
          npm_config_cache: .npm
        cache:
          - name: packages
            paths: [web/.npm]
            key: node-22
            key_files: [web/package-lock.json]
        stages:
          - name: install
            script: npm ci
          - name: build
            script: npm run build
        artifacts:
          - name: site
            paths: ["web/dist/**", "web/build/**"]
            optional: true
      web-2:
        # Python, by tools/web/pyproject.toml
        image: python:3.13
        directory: tools/web
        env:
          PIP_CACHE_DIR: .pip
        cache:
          - name: packages
            paths: [tools/web/.pip]
            key: python-3.13
            key_files: [tools/web/pyproject.toml]
        stages:
          - name: install
            script: pip install -e .
          # Nothing here says that this passes; take the `#` away if it should:
          # - name: test
          #   script: python -m unittest discover
    "#);
}

#[test]
fn hostile_names_of_files_stay_texts() {
    for name in ["a: b", "a\"b", "- x", "\u{1b}[2J", "a\nimage: evil", "true", "a #b", "*", "&a", "é"] {
        let path = format!("{name}/go.mod");
        proposed(&[(path.as_str(), "module a\n")]);
    }
}
