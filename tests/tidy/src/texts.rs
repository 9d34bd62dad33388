//! What documents and scripts must be like.

use crate::tree::{files, root};

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut dead = Vec::new();
    for document in files(".md") {
        let folder = root().join(&document.path).parent().map(std::path::Path::to_path_buf).unwrap();
        for target in document.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                dead.push(format!("{}: {target}", document.path));
            }
        }
    }
    assert!(dead.is_empty(), "dead links: {dead:#?}");
}

#[test]
fn nothing_names_a_folder_of_one_machine() {
    let homes = ["/home/", "/root/", "/work/"];
    let mut found = Vec::new();
    for ending in [".rs", ".md", ".toml", ".proto", ".yml", ".yaml", "tests/run", ".ci/run"] {
        for source in files(ending).iter().filter(|source| !source.path.starts_with("tests/tidy/")) {
            for (number, line) in source.text.lines().enumerate() {
                if homes.iter().any(|home| line.contains(home)) {
                    found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "paths of one machine: {found:#?}");
}
