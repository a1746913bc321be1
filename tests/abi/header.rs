//! `include/causerie.h` is what `src/ffi` generates, and compiles alone under every standard that callers use.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// In pipeline order, as the header shows them.
const SOURCES: [&str; 14] = [
    "error",
    "version",
    "config",
    "run",
    "arrow/mod",
    "dataset",
    "embeddings",
    "selection",
    "teacher",
    "dialogues",
    "model",
    "query",
    "recommender",
    "report",
];

fn generated() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in SOURCES {
        builder = builder.with_src(root().join("src/ffi").join(name).with_extension("rs"));
    }
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

/// The header as it is committed; where CAUSERIE_BLESS is set it is written anew first.
fn committed() -> String {
    static TEXT: OnceLock<String> = OnceLock::new();
    let read = || {
        let path = root().join("include/causerie.h");
        if std::env::var_os("CAUSERIE_BLESS").is_some() {
            std::fs::write(&path, generated()).unwrap();
        }
        std::fs::read_to_string(&path).unwrap()
    };
    TEXT.get_or_init(read).clone()
}

#[test]
fn the_header_is_what_the_sources_say() {
    let (there, new) = (committed(), generated());
    let differs = there.lines().zip(new.lines()).position(|(a, b)| a != b);
    assert!(
        there == new,
        "include/causerie.h is not what src/ffi generates (line {differs:?}); CAUSERIE_BLESS=1 cargo test --release -p \
         causerie-capi --test header writes it anew"
    );
}

#[test]
fn the_header_names_this_version_and_declares_every_function_once() {
    let text = committed();
    assert!(text.contains(&format!("#define CAUSERIE_VERSION \"{}\"", env!("CARGO_PKG_VERSION"))));
    let mut wrong = Vec::new();
    for name in SOURCES {
        let source = std::fs::read_to_string(root().join("src/ffi").join(name).with_extension("rs")).unwrap();
        for line in source.lines().filter(|l| l.contains("extern \"C\" fn causerie_")) {
            let function = line.split("fn ").nth(1).unwrap().split('(').next().unwrap();
            // Comments name functions without a bracket, or with arguments.
            let code = |l: &&str| !l.starts_with("//") && !l.starts_with('#');
            let declared = text.lines().filter(code).filter(|l| l.contains(&format!("{function}("))).count();
            if declared != 1 {
                wrong.push(format!("{function} is declared {declared} times"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_headers_compile_alone_under_every_standard_without_a_warning() {
    committed();
    let folder = tempfile::tempdir().unwrap();
    let include = root().join("include");
    for (header, compiler, extension, standards) in [
        ("causerie.h", "gcc", "c", &["c11", "c17", "c2x"][..]),
        ("causerie.h", "g++", "cpp", &["c++11", "c++17", "c++20"][..]),
        ("causerie.hpp", "g++", "cpp", &["c++17", "c++20", "c++23"][..]),
    ] {
        if !include.join(header).exists() {
            continue;
        }
        let source = folder.path().join(format!("alone.{extension}"));
        // Twice: the guard holds.
        std::fs::write(&source, format!("#include <{header}>\n#include <{header}>\nint main(void) {{ return 0; }}\n"))
            .unwrap();
        for standard in standards {
            let mut command = Command::new(compiler);
            command.args([&format!("-std={standard}"), "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]);
            command.args(["-fsyntax-only", "-I"]).arg(&include).arg(&source);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{header} {standard}:\n{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
