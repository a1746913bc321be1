//! Finds the built-in domains, the folders of `prompts/`, and compiles the one file of C++ that is ours: the `try` around the
//! calls of llama.cpp.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/llama/guarded.cpp");
    println!("cargo::rerun-if-changed=prompts");
    write_domains();
    #[cfg(feature = "llama")]
    cc::Build::new().cpp(true).std("c++17").file("src/llama/guarded.cpp").compile("causerie_guarded");
}

/// Writes the choice `Domain` and the files of each.
fn write_domains() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("prompts");
    let mut domains: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for domain in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
        let name = domain.file_name().into_string().unwrap();
        // What a desktop leaves in a folder.
        if name.starts_with('.') {
            continue;
        }
        let fit = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(|b| b.is_ascii_lowercase());
        assert!(fit && domain.path().is_dir(), "prompts/{name}: a folder is needed, its name in lower-case letters");
        let files = std::fs::read_dir(domain.path()).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "txt"));
        let named =
            files.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), path.to_str().unwrap().into()));
        domains.insert(name, named.collect());
    }
    let (mut choices, mut files) = (String::new(), String::new());
    for (name, texts) in &domains {
        let variant = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        writeln!(choices, "/// `prompts/{name}`.\n{variant} = {name:?},").unwrap();
        let texts: String = texts.iter().map(|(file, path)| format!("({file:?}, include_str!({path:?})),\n")).collect();
        writeln!(files, "Domain::{variant} => &[\n{texts}],").unwrap();
    }
    let choices = format!("choices! {{ /// A built-in set of prompts.\nDomain {{\n{choices}}} }}\n");
    let files = format!(
        "/// Name and text of each file of a domain.\nfn built_in(domain: Domain) -> &'static [(&'static str, &'static str)] \
         {{\nmatch domain {{\n{files}}}\n}}\n"
    );
    let out = std::env::var("OUT_DIR").unwrap();
    std::fs::write(Path::new(&out).join("domains.rs"), choices).unwrap();
    std::fs::write(Path::new(&out).join("prompts.rs"), files).unwrap();
}
