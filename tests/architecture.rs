//! The house's invariants (docs/architecture.md), each as a check over the source: its syntax, not its text.

#[path = "common/source.rs"]
mod source;

use proc_macro2::{TokenStream, TokenTree};
use source::Source;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use syn::visit::Visit;

fn source() -> &'static Source {
    // Syntax belongs to its thread; a test is one.
    thread_local!(static SOURCE: &'static Source = Box::leak(Box::new(Source::read())));
    let source = SOURCE.with(|source| *source);
    assert!(source.files.len() > 100, "the source was not found");
    source
}

/// Files that others name: (file, named file).
fn uses() -> &'static BTreeSet<(String, String)> {
    static USES: OnceLock<BTreeSet<(String, String)>> = OnceLock::new();
    let uses = USES.get_or_init(|| Source::read().uses());
    assert!(uses.len() > 200, "what files name was not found");
    uses
}

/// Rooms in pipeline order; a room may use those before it.
const ROOMS: [&str; 9] =
    ["dataset", "titles", "embed", "select", "retrieve", "synthesize", "tune", "recommend", "evaluate"];

/// What every room may use, and what uses no room.
const LEAVES: [&str; 13] = [
    "artifact",
    "config",
    "error",
    "gguf",
    "json",
    "llama",
    "map",
    "math",
    "os",
    "run",
    "tensors",
    "transformer",
    "unpack",
];

/// What uses every room, and is used by none.
const SHELL: [&str; 6] = ["pipeline", "serve", "ffi", "cli", "main", "lib"];

/// The room or leaf of a file: its folder, or its own name.
fn room(file: &str) -> &str {
    file.split_once('/').map_or_else(|| file.trim_end_matches(".rs"), |(folder, _)| folder)
}

#[test]
fn every_folder_of_the_source_has_its_place() {
    for file in source().files.keys() {
        let room = room(file);
        assert!(ROOMS.iter().chain(&LEAVES).chain(&SHELL).any(|r| *r == room), "src/{file}: a room without a place");
    }
}

#[test]
fn a_room_uses_leaves_and_earlier_rooms_only() {
    let place = |file: &str| ROOMS.iter().position(|r| *r == room(file));
    for (file, used) in uses() {
        let Some(own) = place(file) else { continue };
        let later = place(used).is_some_and(|other| other > own);
        assert!(!later && !SHELL.contains(&room(used)), "src/{file} uses src/{used}");
    }
}

#[test]
fn leaves_use_no_room() {
    for (file, used) in uses().iter().filter(|(file, _)| LEAVES.contains(&room(file))) {
        assert!(LEAVES.contains(&room(used)), "src/{file} uses src/{used}");
    }
}

#[test]
fn nothing_uses_the_shell_but_the_shell() {
    for (file, used) in uses() {
        let allowed = match room(used) {
            "ffi" => room(file) == "ffi",
            // The command serves; nothing else does.
            "serve" => ["serve", "cli"].contains(&room(file)),
            "cli" | "main" => ["cli", "main"].contains(&room(file)),
            _ => true,
        };
        assert!(allowed, "src/{file} uses src/{used}");
    }
}

#[test]
fn rooms_stand_in_no_circle() {
    let rooms: BTreeSet<(String, String)> = uses()
        .iter()
        .map(|(file, used)| (room(file).to_string(), room(used).to_string()))
        .filter(|(file, used)| file != used)
        .collect();
    assert_eq!(Source::circles(&rooms), Vec::<Vec<String>>::new());
}

#[test]
fn files_stand_in_no_circle() {
    let circles = Source::circles(uses());
    let shown: Vec<String> = circles
        .iter()
        .map(|circle| {
            let inside = uses().iter().filter(|(a, b)| circle.contains(a) && circle.contains(b));
            inside.map(|(a, b)| format!("{a} -> {b}")).collect::<Vec<_>>().join("\n")
        })
        .collect();
    assert!(shown.is_empty(), "circles of files:\n{}", shown.join("\n\n"));
}

/// The check sees what it is to check: every way of naming a module.
#[test]
fn every_way_of_naming_a_module_is_seen() {
    let of = |text: &str| {
        Source::of_files(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", text),
            ("b.rs", "pub mod c;"),
            ("b/c.rs", "pub struct X; pub fn f() {} pub const N: u8 = 1;"),
        ])
    };
    for text in [
        "use crate::b::c::X;",
        "use crate::{b::c::X};",
        "use crate::{\n    b::{\n        c::{X as Y, f},\n    },\n};",
        "use super::b::c::*;",
        "fn g() { crate::b::c::f() }",
        "fn g() { use crate::b; b::c::f() }",
        "use crate::b; fn g(x: &b::c::X) {}",
        "use crate::{self as root}; fn g() { root::b::c::f() }",
        "mod inner { use super::super::b::c::f; }",
        "mod inner { fn g() { super::super::b::c::f() } }",
        "fn g() { println!(\"{}\", crate::b::c::N) }",
        "fn g() { vec![vec![crate::b::c::N]] }",
        "impl From<crate::b::c::X> for u8 { fn from(_: crate::b::c::X) -> u8 { 1 } }",
        "pub type T = crate::b::c::X;",
        "pub use crate::b::c::X; fn g(x: &X) {}",
    ] {
        assert!(of(text).uses().contains(&("a.rs".into(), "b/c.rs".into())), "{text}: {:?}", of(text).uses());
    }
    for text in [
        "pub(crate) fn g() {}",
        "// use crate::b::c::X;",
        "#[cfg(test)] mod tests { use crate::b::c::X; }",
        "pub use crate::b::c::X;",
    ] {
        assert!(of(text).uses().is_empty(), "{text}: {:?}", of(text).uses());
    }
    // A name that a room hands on is its file's.
    let handed_on = Source::of_files(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::X; use crate::b::g;"),
        ("b.rs", "mod c; pub use c::X; pub use self::c::*;"),
        ("b/c.rs", "pub struct X; pub fn g() { super::super::a::h() }"),
    ]);
    assert_eq!(Source::circles(&handed_on.uses()), [["a.rs", "b/c.rs"]]);
}

/// Every word of a file's code, comments and strings left out.
fn words(tokens: TokenStream, out: &mut BTreeSet<String>) {
    for tree in tokens {
        match tree {
            TokenTree::Ident(ident) => {
                out.insert(ident.to_string());
            }
            TokenTree::Group(group) => words(group.stream(), out),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The words of each file, its unit tests left out.
fn all_words() -> impl Iterator<Item = (&'static str, BTreeSet<String>)> {
    source().files.iter().map(|(name, file)| {
        let mut found = BTreeSet::new();
        for item in file.items.iter().filter(|item| !source::for_tests(source::attributes_of(item))) {
            words(quote::ToTokens::to_token_stream(item), &mut found);
        }
        (name.as_str(), found)
    })
}

/// The compiler sees to the comments (`undocumented_unsafe_blocks`, `missing_safety_doc`); here is where such code may stand.
#[test]
fn unsafe_code_lives_in_llama_ffi_os_the_memory_map_and_the_bf16_kernel_alone() {
    let allowed = |file: &str| ["llama", "ffi", "map", "os"].contains(&room(file)) || file == "math/packed/bf16.rs";
    let with: Vec<&str> = all_words().filter(|(_, words)| words.contains("unsafe")).map(|(name, _)| name).collect();
    assert!(with.len() > 5, "unsafe code was not found where it is known to be");
    assert_eq!(with.iter().find(|file| !allowed(file)), None);
}

#[test]
fn only_the_http_teacher_connects_and_only_serve_listens() {
    let mut seen = [false; 2];
    for (file, words) in all_words() {
        let has = |names: &[&str]| names.iter().any(|n| words.contains(*n));
        let (connects, listens) = (file == "synthesize/http.rs", room(file) == "serve");
        assert!(connects || !has(&["ureq", "UdpSocket", "UnixStream", "TcpSocket", "UnixListener"]), "src/{file}");
        assert!(listens || !has(&["TcpListener", "TcpStream", "hyper", "tokio"]), "src/{file}");
        seen[0] |= connects && has(&["ureq"]);
        seen[1] |= listens && has(&["TcpListener"]);
    }
    assert_eq!(seen, [true, true], "what connects and listens was not found");
    // What listens is handed its streams: it opens none.
    for (name, file) in source().files.iter().filter(|(name, _)| room(name) == "serve") {
        let text = quote::ToTokens::to_token_stream(file).to_string();
        assert!(!text.contains("TcpStream :: connect"), "src/{name}");
    }
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/page.html")).unwrap();
    let page = page.replace("xmlns='http://www.w3.org/2000/svg'", "");
    for foreign in ["http:", "https:", "//cdn", "@import", "url("] {
        assert!(!page.contains(foreign), "the chat page names {foreign}");
    }
}

#[test]
fn only_the_llama_room_names_the_bindings() {
    let with: Vec<&str> = all_words().filter(|(_, w)| w.contains("llama_cpp_sys_2")).map(|(name, _)| name).collect();
    assert!(!with.is_empty() && with.iter().all(|file| room(file) == "llama"), "{with:?}");
}

#[test]
fn the_library_prints_nothing() {
    struct Prints(BTreeSet<String>);
    impl<'ast> Visit<'ast> for Prints {
        fn visit_item(&mut self, item: &'ast syn::Item) {
            if !source::for_tests(source::attributes_of(item)) {
                syn::visit::visit_item(self, item);
            }
        }
        fn visit_macro(&mut self, call: &'ast syn::Macro) {
            let name = call.path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
            if ["print", "println", "eprint", "eprintln", "dbg"].contains(&name.as_str()) {
                self.0.insert(name);
            }
            syn::visit::visit_macro(self, call);
        }
    }
    let mut command_prints = false;
    for (name, file) in &source().files {
        let mut prints = Prints(BTreeSet::new());
        prints.visit_file(file);
        let command = ["main", "cli"].contains(&room(name));
        command_prints |= command && !prints.0.is_empty();
        assert!(command || prints.0.is_empty(), "src/{name}: {:?}", prints.0);
    }
    assert!(command_prints, "the command prints, and it was not seen");
}

/// A closure that is not inlined into `vectorised` is compiled without AVX2: right, and several times slower.
#[test]
fn closures_for_vector_code_are_inlined() {
    struct Calls(Vec<bool>);
    impl<'ast> Visit<'ast> for Calls {
        fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
            if let syn::Expr::Path(path) = &*call.func
                && path.path.segments.last().is_some_and(|s| s.ident == "vectorised")
            {
                let inlined = |a: &syn::Attribute| {
                    a.path().is_ident("inline")
                        && matches!(&a.meta, syn::Meta::List(l) if l.tokens.to_string() == "always")
                };
                let argument = call.args.first();
                self.0.push(matches!(argument, Some(syn::Expr::Closure(c)) if c.attrs.iter().any(inlined)));
            }
            syn::visit::visit_expr_call(self, call);
        }
    }
    let mut calls = 0;
    for (name, file) in &source().files {
        let mut found = Calls(Vec::new());
        found.visit_file(file);
        assert!(found.0.iter().all(|inlined| *inlined), "src/{name}: a closure of `vectorised` is not inlined");
        calls += found.0.len();
    }
    assert!(calls > 10, "{calls} calls of `vectorised` found");
}

#[test]
fn every_dependency_is_justified() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let reasons = fs::read_to_string(root.join("docs/dependencies.md")).unwrap();
    for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
        for name in manifest[table].as_table().unwrap().keys() {
            assert!(reasons.contains(&format!("`{name}`")), "docs/dependencies.md says nothing of {name}");
        }
    }
}

/// Cargo.toml has the version; what cannot read it from there agrees with it.
#[test]
fn a_version_written_beside_cargos_is_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let version = env!("CARGO_PKG_VERSION");
    for (file, line) in [
        ("capi/Cargo.toml", format!("\nversion = \"{version}\"")),
        ("bindings/python/pyproject.toml", format!("\nversion = \"{version}\"")),
        ("cbindgen.toml", format!("#define CAUSERIE_VERSION \"{version}\"")),
        ("include/causerie.h", format!("#define CAUSERIE_VERSION \"{version}\"")),
    ] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains(&line), "{file} names another version than {version} of Cargo.toml");
    }
    let llama = fs::read_to_string(root.join("Cargo.lock")).unwrap();
    let locked = llama.split("name = \"llama-cpp-sys-2\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    assert_eq!(locked, Some(causerie::artifact::llama_version()));
}
