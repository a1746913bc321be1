//! Where each function of the C API is in C++, Go and Python: docs/bindings.md is generated from the sources. A function that a
//! language lacks needs a reason here.

use regex::{Captures, Regex};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Functions that a language does not name, and why.
const REASONS: &[(&str, &str, &str)] = &[
    ("causerie_run_poll", "Go", "`WithProgress`"),
    ("causerie_run_reset", "Go", "each call has a run of its own"),
    ("causerie_select", "Go", "`Select`, by causerie_select_keeping"),
    ("causerie_select", "Python", "`Selection(…)`, by causerie_select_keeping"),
    ("causerie_recommend", "Go", "`ParseQuery`, then `Recommender.Ask`"),
    ("causerie_score", "Go", "`ParseQuery`, then `Recommender.Score`"),
    ("causerie_recommend", "Python", "`Query.parse`, then `Recommender.ask`"),
    ("causerie_score", "Python", "`Query.parse`, then `Recommender.score`"),
    ("causerie_reply_count", "Go", "`len(Reply.Items)`"),
    ("causerie_abi", "Python", "when it is imported"),
    ("causerie_check_version", "Python", "when it is imported"),
    ("causerie_reply_item", "Python", "`Reply.items`"),
    ("causerie_reply_title", "Python", "`Reply.items`"),
    ("causerie_reply_year", "Python", "`Reply.items`"),
    ("causerie_reply_evidence", "Python", "`Reply.items`"),
    ("causerie_reply_evidence_row", "Python", "`Reply.items`"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// A function of the header.
struct Function {
    name: String,
    /// Who may call it when, by rule 3 of the header.
    threads: &'static str,
}

/// The functions of the header in its order, by sections.
fn functions() -> Vec<(String, Vec<Function>)> {
    let header = std::fs::read_to_string(root().join("include/causerie.h")).unwrap();
    let (section, function) = (regex(r"^// ---- (.*?) -+$"), regex(r"\b(causerie_\w+)\("));
    let declared = header.split_once("// ---- Errors").unwrap();
    // A handle that is given, not one that is written.
    let alone = regex(
        r"(const )?causerie_(?:config|run|dataset|embeddings|selection|dialogues|model|query|recommender|reply|report|answer) \*\w",
    );
    let mut sections: Vec<(String, Vec<Function>)> = vec![("Errors".to_string(), Vec::new())];
    let mut prototype = String::new();
    for line in declared.1.lines() {
        if let Some(found) = section.captures(line) {
            sections.push((found[1].to_string(), Vec::new()));
        }
        if line.starts_with("//") {
            continue;
        }
        prototype += line;
        if !line.ends_with(';') {
            continue;
        }
        if let Some(found) = function.captures(&prototype) {
            let name = found[1].to_string();
            let arguments = prototype.split_once('(').unwrap().1;
            let threads = match name.ends_with("_free") {
                true => "any, at any time",
                false if alone.captures_iter(arguments).any(|handle| handle.get(1).is_none()) => "alone",
                false => "many",
            };
            sections.last_mut().unwrap().1.push(Function { name, threads });
        }
        prototype.clear();
    }
    sections
}

/// A function or method of a binding.
#[derive(Debug, Default)]
struct Member {
    /// As its users write it; none for what they cannot reach.
    shown: Option<String>,
    /// Its bare name: how others call it.
    name: String,
    body: String,
}

/// Cuts a source into members: `begins` gives a member for the line that begins one.
fn members(source: &str, mut begins: impl FnMut(&str) -> Option<Member>) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for line in source.lines() {
        match begins(line) {
            Some(member) => members.push(Member { body: format!("{line}\n"), ..member }),
            None => {
                if let Some(last) = members.last_mut() {
                    last.body += line;
                    last.body.push('\n');
                }
            }
        }
    }
    members
}

fn read(folder: &str, ending: &str, but: &[&str]) -> String {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let wanted = |path: &&PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.ends_with(ending) && !but.iter().any(|but| name.ends_with(but))
    };
    files.iter().filter(wanted).map(|path| std::fs::read_to_string(path).unwrap() + "\n").collect()
}

fn python() -> Vec<Member> {
    let (class, def) = (regex(r"^class (\w+)"), regex(r"^( *)(?:async )?def (\w+)\("));
    let package = std::fs::read_to_string(root().join("bindings/python/causerie/__init__.py")).unwrap();
    let all = package.split_once("__all__ = [").unwrap().1.split_once(']').unwrap().0.to_string();
    let given = |name: &str| all.contains(&format!("\"{name}\""));
    let mut inside = String::new();
    members(&read("bindings/python/causerie", ".py", &["_native.py", "spark.py", "partition.py"]), |line| {
        if let Some(found) = class.captures(line) {
            inside = found[1].to_string();
            // What stands in the class itself: what ends it.
            return Some(Member { shown: given(&inside).then(|| format!("`{inside}.close()`")), ..Member::default() });
        }
        let found = def.captures(line)?;
        let name = found[2].to_string();
        if found[1].len() > 4 {
            return None; // inside another function
        }
        if found[1].is_empty() {
            inside.clear();
        }
        let public = !name.starts_with('_');
        let shown = match (inside.as_str(), name.as_str()) {
            ("", _) => given(&name).then(|| format!("`{name}()`")),
            (class, _) if !given(class) => None,
            (class, "__init__") => Some(format!("`{class}(…)`")),
            (class, "__getitem__") => Some(format!("`{class}[i]`")),
            (class, "__setitem__") => Some(format!("`{class}[key] = …`")),
            (class, "__len__") => Some(format!("`len({class})`")),
            (class, _) => public.then(|| format!("`{class}.{name}`")),
        };
        Some(Member { shown, name, body: String::new() })
    })
}

fn go() -> Vec<Member> {
    let (func, other) =
        (regex(r"^func (?:\(\w+ \*?(\w+)(?:\[\w+\])?\) )?(\w+)(?:\[.*?\])?\("), regex(r"^(type|var|const) "));
    members(&read("bindings/go", ".go", &["_test.go"]), |line| {
        if other.is_match(line) {
            return Some(Member::default());
        }
        let found = func.captures(line)?;
        let (of, name) = (found.get(1).map_or("", |m| m.as_str()), found[2].to_string());
        let public = |name: &str| name.starts_with(|c: char| c.is_ascii_uppercase());
        let shown = match of {
            "" => public(&name).then(|| format!("`{name}`")),
            of => (public(&name) && public(of)).then(|| format!("`{of}.{name}`")),
        };
        // It runs when the program begins.
        let shown = if name == "init" { Some("when it is loaded".to_string()) } else { shown };
        Some(Member { shown, name, body: String::new() })
    })
}

fn cpp() -> Vec<Member> {
    let source = std::fs::read_to_string(root().join("include/causerie.hpp")).unwrap();
    let class = regex(r"^(?:class|struct) (\w+)");
    let free = regex(r"^(?:inline |template|static )?.*?\b(\w+)\(");
    let method = regex(r"^  (?:[\w\[:][\w:<>&*,\[\] ]*[ &*])?(~?\w+|operator\W+)\(");
    let (mut inside, mut private, mut detail) = (String::new(), false, false);
    members(&source, |line| {
        match line {
            "namespace detail {" => detail = true,
            "}  // namespace detail" => detail = false,
            " public:" => private = false,
            " private:" | " protected:" => private = true,
            "};" => {
                inside.clear();
                return Some(Member::default());
            }
            _ => {}
        }
        if let Some(found) = class.captures(line) {
            inside = found[1].to_string();
            private = line.starts_with("class");
            let shown = (!detail).then(|| format!("`~{inside}()`"));
            return Some(Member { shown, ..Member::default() });
        }
        if line.starts_with("  ") && !inside.is_empty() {
            let name = method.captures(line)?[1].to_string();
            if ["return", "if", "for", "while", "switch", "catch", "throw"].contains(&name.as_str()) {
                return None;
            }
            let shown = match name == inside {
                true => format!("`{name}(…)`"),
                false => format!("`{inside}::{name}`"),
            };
            return Some(Member { shown: (!private && !detail).then_some(shown), name, body: String::new() });
        }
        if line.starts_with("inline ") {
            let name = free.captures(line)?[1].to_string();
            return Some(Member { shown: (!detail).then(|| format!("`{name}`")), name, body: String::new() });
        }
        None
    })
}

/// Who of a binding's users' members leads to each C function, as `uses` finds it in a body: directly, or by members that
/// they cannot reach themselves.
fn leads(
    members: &[Member],
    uses: &Regex,
    name: impl Fn(&Captures<'_>) -> String,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut callers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut callers_of = |at: usize| {
        let find = || {
            let calls = regex(&format!(r"\b{}(?:\[[^\]]*\]|<[^>()]*>)?[({{,)]", regex::escape(&members[at].name)));
            members.iter().enumerate().filter(|(_, m)| calls.is_match(&m.body)).map(|(i, _)| i).collect()
        };
        callers.entry(at).or_insert_with(find).clone()
    };
    let mut leads: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        for found in uses.captures_iter(&member.body) {
            let function = name(&found);
            let shown = leads.entry(function).or_default();
            let (mut seen, mut open) = (BTreeSet::from([at]), vec![at]);
            while let Some(at) = open.pop() {
                if let Some(name) = &members[at].shown {
                    shown.insert(name.clone());
                } else if !members[at].name.is_empty() {
                    open.extend(callers_of(at).into_iter().filter(|i| seen.insert(*i)));
                }
            }
        }
    }
    leads
}

/// At most four ways, shortest first.
fn cell(ways: Option<&BTreeSet<String>>, reason: Option<&str>) -> String {
    let mut ways: Vec<&String> = ways.into_iter().flatten().collect();
    ways.sort_by_key(|way| (way.len(), way.as_str()));
    match (ways.len(), reason) {
        (0, Some(reason)) => reason.to_string(),
        (0, None) => String::new(),
        (1..=4, _) => ways.iter().map(|way| way.as_str()).collect::<Vec<_>>().join(", "),
        (n, _) => {
            format!("{}, and {} more", ways[..3].iter().map(|w| w.as_str()).collect::<Vec<_>>().join(", "), n - 3)
        }
    }
}

#[test]
fn every_function_is_in_every_language_or_says_why_not() {
    let c = |found: &Captures<'_>| format!("causerie_{}", &found[1]);
    let languages = [
        ("C++", leads(&cpp(), &regex(r"\bcauserie_(\w+)\b"), c)),
        ("Go", leads(&go(), &regex(r"\bC\.causerie_(\w+)\b"), c)),
        ("Python", leads(&python(), &regex(r"\blib\.(\w+)\b"), c)),
    ];
    let mut table = String::from(
        "# The functions in each language\n\nGenerated by `tests/abi/bindings.rs` from the header and the bindings; do not \
         edit (`CAUSERIE_BLESS=1 cargo test --release -p causerie-capi --test bindings`).\n\nThreads: *many* threads may \
         call it at once on the same handles; *alone*: while it runs no other call may use the handle that it changes, else one \
         of the two is refused as busy (`CAUSERIE_BUSY`; `busy_error`, `Busy`, `Error.code == BUSY`), and nothing was done. \
         Handles may be freed at any time: calls under way go on to their end.\n",
    );
    let mut gaps = Vec::new();
    let mut unused: Vec<&str> = REASONS.iter().map(|(function, ..)| *function).collect();
    for (section, functions) in functions() {
        table += &format!("\n## {section}\n\n| C | threads | C++ | Go | Python |\n|---|---|---|---|---|\n");
        for Function { name: function, threads } in functions {
            table += &format!("| `{function}` | {threads} |");
            for (language, leads) in &languages {
                let reason = REASONS.iter().find(|(f, l, _)| *f == function && l == language).map(|(_, _, why)| *why);
                let ways = leads.get(&function).filter(|ways| !ways.is_empty());
                if ways.is_none() && reason.is_none() {
                    gaps.push(format!("{function} in {language}"));
                }
                if ways.is_none() {
                    unused.retain(|unused| *unused != function);
                }
                table += &format!(" {} |", cell(ways, reason));
            }
            table.push('\n');
        }
    }
    let file = root().join("docs/bindings.md");
    if std::env::var_os("CAUSERIE_BLESS").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    assert!(gaps.is_empty(), "no way to {gaps:#?}: add it to the binding, or a reason to REASONS");
    assert!(unused.is_empty(), "these are there after all: {unused:?}");
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(there == table, "docs/bindings.md is not what the sources say; CAUSERIE_BLESS=1 writes it");
}
