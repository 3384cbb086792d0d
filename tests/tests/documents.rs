//! What the documents name is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use foretrace_tests::world::checkout;

/// The content of all files below `folder` that end so, but for what was built.
fn texts(folder: &Path, ending: &str, into: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && !name.starts_with('.') && name != "target" {
            texts(&path, ending, into)?;
        } else if kind.is_file() && name.ends_with(ending) {
            into.push_str(&fs::read_to_string(path)?);
        }
    }
    Ok(())
}

#[test]
fn every_test_that_a_document_names_exists() -> Result<()> {
    let (mut documents, mut code) = (String::new(), String::new());
    texts(checkout(), ".md", &mut documents)?;
    texts(checkout(), ".rs", &mut code)?;
    // A claim has more words than any other name.
    let is_claim = |word: &&str| {
        word.matches('_').count() >= 4
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let named: BTreeSet<&str> = documents.split('`').filter(is_claim).collect();
    ensure!(named.len() > 20, "{} names are too few to be all", named.len());
    let missing: Vec<&&str> = named.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    ensure!(missing.is_empty(), "{missing:?}");
    Ok(())
}
