//! Java and Kotlin: Maven or Gradle, by their wrapper if there is one.

use super::{Artifact, Cache, Folder, Part, stage, version};

const JAVA: &str = "21";

pub(super) fn part(folder: &Folder<'_>) -> Option<Part> {
    maven(folder).or_else(|| gradle(folder))
}

fn maven(folder: &Folder<'_>) -> Option<Part> {
    let model = folder.text("pom.xml")?;
    let tags = ["maven.compiler.release", "java.version", "maven.compiler.target", "release"];
    let java = tags.iter().find_map(|tag| element(model, tag)).map_or(JAVA, major);
    let wrapper = folder.has("mvnw");
    let image = match wrapper {
        true => format!("eclipse-temurin:{java}"),
        false => format!("maven:3-eclipse-temurin-{java}"),
    };
    let mut part = folder.part("Java", "pom.xml", image);
    part.cache = Some(Cache {
        name: "m2",
        paths: vec![".m2".to_owned()],
        key: format!("maven-{java}"),
        key_files: vec!["**/pom.xml".to_owned()],
    });
    let run = if wrapper { "./mvnw" } else { "mvn" };
    part.stages.push(stage("verify", [format!("{run} -B -Dmaven.repo.local=.m2 verify")]));
    part.artifacts.push(reports(&["**/target/surefire-reports/*.xml"]));
    if model.contains("<distributionManagement>") || model.contains("<repositories>") {
        let remark = "pom.xml names repositories. If one wants a login: secrets: [{name: nexus, as: maven}]";
        part.remarks.push(remark.to_owned());
    }
    Some(part)
}

fn gradle(folder: &Folder<'_>) -> Option<Part> {
    let script =
        folder.first(&["build.gradle.kts", "build.gradle", "settings.gradle.kts", "settings.gradle"])?;
    let text = folder.text(script).unwrap_or_default();
    let java = text.split("JavaLanguageVersion.of(").nth(1).and_then(version).map_or(JAVA, major);
    let wrapper = folder.has("gradlew");
    let image = match wrapper {
        true => format!("eclipse-temurin:{java}"),
        false => format!("gradle:8-jdk{java}"),
    };
    let mut part = folder.part("Java", script, image);
    part.env = vec![("GRADLE_USER_HOME", ".gradle-home".to_owned())];
    part.cache = Some(Cache {
        name: "gradle",
        paths: vec![".gradle-home/caches".to_owned(), ".gradle-home/wrapper".to_owned()],
        key: format!("gradle-{java}"),
        key_files: vec!["**/*.gradle*".to_owned(), "**/gradle-wrapper.properties".to_owned()],
    });
    let run = if wrapper { "./gradlew" } else { "gradle" };
    part.stages.push(stage("build", [format!("{run} --no-daemon build")]));
    part.artifacts.push(reports(&["**/build/test-results/**/*.xml"]));
    Some(part)
}

fn reports(paths: &[&str]) -> Artifact {
    Artifact { name: "reports", paths: paths.iter().map(|&path| path.to_owned()).collect(), always: true }
}

/// `17` of `17`, `1.8` of `1.8`, but nothing of a property's name.
fn element<'a>(model: &'a str, tag: &str) -> Option<&'a str> {
    let text = model.split(&format!("<{tag}>")).nth(1)?.split('<').next()?.trim();
    version(text).filter(|_| !text.contains('$'))
}

/// `8` of `1.8`.
fn major(version: &str) -> &str {
    let mut parts = version.split('.');
    match (parts.next(), parts.next()) {
        (Some("1"), Some(old)) => old,
        (first, _) => first.unwrap_or(JAVA),
    }
}
