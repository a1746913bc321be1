//! The house's invariants (docs/architecture.md), each as a check over the source text.

use std::fs;
use std::path::{Path, PathBuf};

/// Every .rs file below `folder`, with its path from src/.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    assert!(paths.len() > 20, "the source folder was not found");
    // Files that only the unit tests are built with may do what tests do.
    paths.retain(|p| {
        let name = p.file_name().unwrap_or_default().to_string_lossy();
        !(["tests.rs", "testing.rs"].contains(&&*name) || name == "mock.rs" || name.ends_with("_tests.rs"))
    });
    paths
        .into_iter()
        .map(|p| {
            let name = p.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            (name, fs::read_to_string(&p).unwrap())
        })
        .collect()
}

/// The lines that are code, not comments, with their numbers from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, l)| (i + 1, l)).filter(|(_, l)| !l.trim_start().starts_with("//"))
}

/// The part of a file before its unit tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

/// Rooms in pipeline order; a room may use those before it.
const ROOMS: [&str; 8] = ["dataset", "titles", "embed", "select", "synthesize", "tune", "recommend", "evaluate"];

/// True when `line` names the crate's module `room`: `crate::room::`, `crate::room;`, or `crate::{a, room::…}`.
fn names(line: &str, room: &str) -> bool {
    line.match_indices("crate::").any(|(at, _)| {
        let rest = &line[at + "crate::".len()..];
        rest.starts_with(&format!("{room}::")) || rest.starts_with(&format!("{room};"))
    })
}

#[test]
fn a_room_uses_leaves_and_earlier_rooms_only() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let Some(at) = ROOMS.iter().position(|r| name.starts_with(&format!("{r}/"))) else { continue };
        for (number, line) in code(without_tests(&text)) {
            for later in ROOMS[at + 1..].iter().chain(&["pipeline", "serve"]) {
                if names(line, later) {
                    wrong.push(format!("src/{name}:{number} uses {later}: {line}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn leaves_use_no_room() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let leaf = [
            "math/",
            "llama/",
            "transformer/",
            "error.rs",
            "run.rs",
            "config.rs",
            "artifact.rs",
            "artifact/",
            "os.rs",
            "gguf.rs",
            "gguf/",
            "map.rs",
        ];
        if !leaf.iter().any(|l| name.starts_with(l)) {
            continue;
        }
        for (number, line) in code(without_tests(&text)) {
            for room in ROOMS.iter().chain(&["pipeline", "serve"]) {
                if names(line, room) {
                    wrong.push(format!("src/{name}:{number} uses {room}: {line}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_lives_in_llama_ffi_the_memory_map_and_the_bf16_kernel_alone() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        if name.starts_with("llama/")
            || name.starts_with("ffi/")
            || ["map.rs", "os.rs", "math/packed/bf16.rs"].contains(&name.as_str())
        {
            continue;
        }
        for (number, line) in code(&text) {
            if line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').any(|word| word == "unsafe") {
                wrong.push(format!("src/{name}:{number}: {line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A closure that is not inlined into `vectorised` is compiled without AVX2: right, and several times slower.
#[test]
fn closures_for_vector_code_are_inlined() {
    let mut calls = 0;
    for (name, text) in sources() {
        let lines: Vec<(usize, &str)> = code(&text).collect();
        for (i, (number, line)) in lines.iter().enumerate() {
            let Some((_, after)) = line.split_once("vectorised(") else { continue };
            let next = lines.get(i + 1).map_or("", |(_, next)| next.trim());
            let argument = if after.trim().is_empty() { next } else { after.trim() };
            assert!(argument.starts_with("#[inline(always)]"), "src/{name}:{number}: {line}");
            calls += 1;
        }
    }
    assert!(calls > 10, "{calls} calls of `vectorised` found");
}

#[test]
fn nothing_outside_the_shell_names_it() {
    for (name, text) in sources() {
        if !name.starts_with("ffi/") {
            for (number, line) in code(&text) {
                assert!(!line.contains("ffi::") || line.contains("std::ffi::"), "src/{name}:{number}: {line}");
            }
        }
    }
}

#[test]
fn every_unsafe_block_says_what_it_relies_on() {
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate().filter(|(_, l)| l.contains("unsafe {") && !l.trim().starts_with("//"))
        {
            let before = &lines[i.saturating_sub(12)..=i];
            assert!(before.iter().any(|l| l.contains("SAFETY:")), "src/{name}:{}: {line}", i + 1);
        }
    }
}

#[test]
fn only_the_http_teacher_connects_and_only_serve_listens() {
    for (name, text) in sources() {
        if name == "synthesize/http.rs" {
            continue;
        }
        let serves = name.starts_with("serve/");
        for (number, line) in code(without_tests(&text)) {
            assert!(!line.contains("ureq") && !line.contains("UdpSocket"), "src/{name}:{number}: {line}");
            assert!(!line.contains("UnixStream") && !line.contains("TcpSocket"), "src/{name}:{number}: {line}");
            // What listens is handed its streams: it opens none.
            assert!(!line.contains("TcpStream::"), "src/{name}:{number}: {line}");
            let sockets = ["TcpListener", "TcpStream", "hyper", "tokio"];
            assert!(serves || !sockets.iter().any(|s| line.contains(s)), "src/{name}:{number}: {line}");
        }
    }
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/page.html")).unwrap();
    let page = page.replace("xmlns='http://www.w3.org/2000/svg'", "");
    for foreign in ["http:", "https:", "//cdn", "@import", "url("] {
        assert!(!page.contains(foreign), "the chat page names {foreign}");
    }
}

#[test]
fn serve_is_used_by_the_command_alone() {
    for (name, text) in sources() {
        if name.starts_with("serve/") || name.starts_with("cli/") || name == "lib.rs" {
            continue;
        }
        for (number, line) in code(without_tests(&text)) {
            assert!(!names(line, "serve"), "src/{name}:{number}: {line}");
        }
    }
}

#[test]
fn only_the_llama_room_names_the_bindings() {
    for (name, text) in sources() {
        if !name.starts_with("llama/") {
            for (number, line) in code(&text) {
                assert!(!line.contains("llama_cpp_sys_2"), "src/{name}:{number}: {line}");
            }
        }
    }
}

#[test]
fn the_library_prints_nothing() {
    for (name, text) in sources() {
        if name == "main.rs" || name.starts_with("cli/") {
            continue;
        }
        for (number, line) in code(without_tests(&text)) {
            for print in ["println!", "eprintln!", "print!(", "eprint!(", "dbg!("] {
                assert!(!line.contains(print), "src/{name}:{number}: {line}");
            }
        }
    }
}

#[test]
fn every_dependency_is_justified() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let reasons = fs::read_to_string(root.join("docs/dependencies.md")).unwrap();
    for table in ["dependencies", "dev-dependencies"] {
        for name in manifest[table].as_table().unwrap().keys() {
            assert!(reasons.contains(&format!("`{name}`")), "docs/dependencies.md says nothing of {name}");
        }
    }
}
