//! The C library as its users have it: installed into a clean prefix, found by pkg-config and CMake, linked shared and
//! static, called from C, C++, Go and Python.
//!
//! A tool that is missing (valgrind, go) is passed over with a word, but not in CI.

#[path = "package/cpp.rs"]
mod cpp;
#[path = "package/go.rs"]
mod go;
#[path = "package/hostile.rs"]
mod hostile;
#[path = "package/packages.rs"]
mod packages;
#[path = "package/python.rs"]
mod python;
#[path = "package/services.rs"]
mod services;
#[path = "../../src/testing/skipped.rs"]
mod skipped;

use skipped::{left_out, skipped};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Runs a command to its good end; gives what it wrote.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; scripts/install.sh tests"));
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{out}\n{err}");
    out.into_owned()
}

fn there(tool: &str) -> bool {
    let found = Command::new("which").arg(tool).output().is_ok_and(|o| o.status.success());
    if !found {
        skipped(&format!("{tool} is missing; scripts/install.sh tests"));
    }
    found
}

struct Installed {
    folder: tempfile::TempDir,
}

impl Installed {
    fn prefix(&self) -> PathBuf {
        self.folder.path().join("prefix")
    }
    fn lib(&self) -> PathBuf {
        self.prefix().join("lib")
    }
    /// A fresh folder for one test.
    fn scratch(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }
    fn pkg_config(&self, flags: &[&str]) -> Vec<String> {
        let mut command = Command::new("pkg-config");
        let text = run(command.args(flags).arg("causerie").env("PKG_CONFIG_PATH", self.lib().join("pkgconfig")));
        text.split_whitespace().map(str::to_string).collect()
    }
    /// Compiles a program of one source against the shared library.
    fn compile(&self, compiler: &str, source: &str, flags: &[&str]) -> PathBuf {
        let source = root().join(source);
        let name =
            format!("{}-{}", source.file_stem().unwrap().to_string_lossy(), flags.join("").replace(['/', ' '], ""));
        let program = self.folder.path().join(name);
        let mut command = Command::new(compiler);
        command.args(["-g", "-O1", "-Wall", "-Wextra", "-Werror"]).args(flags).arg(&source);
        command.args(self.pkg_config(&["--cflags", "--libs"])).args(["-lpthread", "-o"]).arg(&program);
        run(&mut command);
        program
    }
    /// The Go tool in a folder of the repository.
    fn go(&self, folder: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(Path::new("go"));
        command.current_dir(root().join(folder)).args(arguments).env("PKG_CONFIG_PATH", self.lib().join("pkgconfig"));
        if let Some(model) = small_model() {
            command.env("CAUSERIE_TEST_MODEL", model);
        }
        // Go's cache of builds knows this, and not what pkg-config says: each prefix is built for.
        command.env("CGO_LDFLAGS", format!("-L{}", self.lib().display()));
        // No network, no proxy, no other toolchain.
        command.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        command
    }
    /// Runs a program that finds the shared library where it was installed.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", self.lib());
        command
    }
}

fn installed() -> &'static Installed {
    static INSTALLED: OnceLock<Installed> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let installed = Installed { folder: tempfile::tempdir().unwrap() };
        run(Command::new(root().join("packaging/install.sh")).env("PREFIX", installed.prefix()));
        installed
    })
}

/// The symbols that a file defines for others.
fn symbols(file: &Path, flags: &[&str]) -> Vec<String> {
    let text = run(Command::new("nm").args(flags).args(["--defined-only", "-g"]).arg(file));
    let mut names: Vec<String> =
        text.lines().filter_map(|l| l.split_whitespace().nth(2)).map(|n| n.split('@').next().unwrap().into()).collect();
    names.sort();
    names
}

#[test]
fn both_libraries_export_the_functions_of_the_header_and_nothing_else() {
    let lib = installed().lib();
    let header = std::fs::read_to_string(root().join("include/causerie.h")).unwrap();
    let shared = symbols(&lib.join("libcauserie.so"), &["-D"]);
    let archive = symbols(&lib.join("libcauserie.a"), &[]);
    assert_eq!(shared, archive);
    for name in &shared {
        assert!(name.starts_with("causerie_") && header.contains(&format!("{name}(")), "{name}");
    }
    let dynamic = run(Command::new("readelf").arg("-d").arg(lib.join("libcauserie.so")));
    assert!(dynamic.contains("[libcauserie.so.0.1]"), "{dynamic}");
    // Static libgomp cannot go into a shared library, and its barriers spin.
    assert!(!dynamic.contains("gomp") && !dynamic.contains("TEXTREL"), "{dynamic}");
}

#[test]
fn no_symbol_prototype_constant_or_struct_of_the_last_release_is_gone_or_changed() {
    let known = root().join("tests/abi/causerie.abi");
    let mut now = symbols(&installed().lib().join("libcauserie.so"), &["-D"]);
    now.extend(hostile::prototypes());
    now.push(run(&mut installed().command(&installed().compile("gcc", "tests/c/layout.c", &["-std=c11"]))));
    let now = now.join("\n");
    if std::env::var_os("CAUSERIE_BLESS").is_some() {
        std::fs::write(&known, &now).unwrap();
    }
    let then = std::fs::read_to_string(&known).unwrap();
    let abi = |text: &str| text.lines().find(|l| l.starts_with("abi ")).map(str::to_string);
    if abi(&then) != abi(&now) {
        return; // another number: callers refuse it, and nothing is promised
    }
    for line in then.lines() {
        assert!(
            now.lines().any(|l| l == line),
            "{line} of ABI {:?} is gone or changed: raise CAUSERIE_ABI",
            abi(&then)
        );
    }
    assert!(then == now, "new in the ABI: CAUSERIE_BLESS=1 writes tests/abi/causerie.abi anew");
}

#[test]
fn a_c_program_runs_the_loop_with_the_shared_library() {
    let here = installed();
    let program = here.compile("gcc", "examples/c/loop.c", &["-std=c11", "-Wpedantic"]);
    let out = run(here.command(&program).arg(here.scratch("c")));
    assert!(out.contains("evaluate: Recall@10") && out.contains("60 dialogues of the built-in teacher"), "{out}");
    assert!(here.folder.path().join("c/report.html").exists());
}

#[test]
fn a_c_program_links_statically_by_the_line_that_pkg_config_gives() {
    let here = installed();
    let libs = here.pkg_config(&["--static", "--libs"]);
    // The link line is a promise: no more than these.
    assert_eq!(libs[1..], ["-lcauserie", "-lstdc++", "-lm", "-lpthread", "-ldl"], "{libs:?}");
    let program = here.folder.path().join("static");
    let mut command = Command::new("gcc");
    command
        .arg(root().join("examples/c/loop.c"))
        .args(here.pkg_config(&["--cflags"]))
        .arg(here.lib().join("libcauserie.a"));
    run(command.args(&libs[2..]).arg("-o").arg(&program));
    let out = run(Command::new(&program).arg(here.scratch("static-run")));
    assert!(out.contains("evaluate: Recall@10"), "{out}");
}

#[test]
fn a_cmake_project_finds_the_package_shared_and_static() {
    let here = installed();
    let (source, build) = (here.scratch("cmake"), here.scratch("cmake-build"));
    let project = format!(
        "cmake_minimum_required(VERSION 3.18)\nproject(service C CXX)\nfind_package(causerie 0.1 CONFIG REQUIRED)\n\
         add_executable(shared {0}/examples/c/loop.c)\ntarget_link_libraries(shared PRIVATE causerie::causerie)\n\
         add_executable(archive {0}/examples/cpp/loop.cpp)\ntarget_compile_features(archive PRIVATE cxx_std_17)\n\
         target_link_libraries(archive PRIVATE causerie::static)\n",
        root().display()
    );
    std::fs::write(source.join("CMakeLists.txt"), project).unwrap();
    let prefix = format!("-DCMAKE_PREFIX_PATH={}", here.prefix().display());
    run(Command::new("cmake").arg("-S").arg(&source).arg("-B").arg(&build).arg(&prefix));
    run(Command::new("cmake").arg("--build").arg(&build));
    for name in ["shared", "archive"] {
        run(Command::new(build.join(name)).arg(here.scratch(&format!("cmake-{name}"))));
    }
    // A version that breaks callers is not taken.
    std::fs::write(
        source.join("CMakeLists.txt"),
        "cmake_minimum_required(VERSION 3.18)\nproject(x C)\nfind_package(causerie 0.2 CONFIG REQUIRED)\n",
    )
    .unwrap();
    let refused = Command::new("cmake")
        .arg("-S")
        .arg(&source)
        .arg("-B")
        .arg(here.scratch("cmake-2"))
        .arg(&prefix)
        .output()
        .unwrap();
    assert!(!refused.status.success());
}

#[test]
fn a_cpp_program_runs_the_loop_and_gets_what_its_callbacks_throw() {
    let here = installed();
    let program = here.compile("g++", "examples/cpp/loop.cpp", &["-std=c++17", "-Wpedantic"]);
    let out = run(here.command(&program).arg(here.scratch("cpp")));
    assert!(out.contains("from a callback") && out.contains("from a teacher"), "{out}");
}

#[test]
fn arrow_arrays_are_read_or_refused_and_released_once() {
    let here = installed();
    let program = here.compile("gcc", "tests/c/arrow.c", &["-std=gnu11"]);
    run(&mut here.command(&program));
    // The same under the sanitizers: what is read lies within what was given.
    let program = here.compile("gcc", "tests/c/arrow.c", &["-std=gnu11", "-fsanitize=address,undefined"]);
    run(here.command(&program).env("ASAN_OPTIONS", "detect_leaks=1"));
}

#[test]
fn threads_share_recommenders_and_a_cancel_ends_a_call() {
    let here = installed();
    let program = here.compile("gcc", "tests/c/threads.c", &["-std=gnu11"]);
    run(here.command(&program).arg(here.scratch("threads")));
}

/// A query that was changed while it was asked, settings set while they were read, a handle freed in use: heap corruption.
#[test]
fn a_handle_that_is_used_changed_and_freed_at_once_is_busy_or_closed_and_never_crashes() {
    let here = installed();
    let program = here.compile("gcc", "tests/c/users.c", &["-std=gnu11"]);
    run(here.command(&program).arg(here.scratch("users")));
    let program = here.compile("gcc", "tests/c/users.c", &["-std=gnu11", "-fsanitize=address,undefined"]);
    run(here.command(&program).arg(here.scratch("users-asan")).env("ASAN_OPTIONS", "detect_leaks=1"));
}

/// The language model of 260,000 parameters that some tests need; a word where it is missing, but not in CI.
fn small_model() -> Option<PathBuf> {
    let shared = std::env::var_os("CAUSERIE_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let model = shared.join("models/stories260K.gguf");
    let found = model.exists();
    if !found {
        skipped(&format!("{} is missing; point CAUSERIE_SHARED at the shared data", model.display()));
    }
    found.then_some(model)
}

#[test]
fn tokens_arrive_as_they_are_written() {
    let here = installed();
    let Some(model) = small_model() else { return };
    let program = here.compile("gcc", "tests/c/tokens.c", &["-std=gnu11"]);
    run(here.command(&program).arg(here.scratch("tokens")).arg(&model));
}

#[test]
fn what_llama_cpp_throws_is_an_error_of_the_call_shared_and_static() {
    let here = installed();
    let Some(model) = small_model() else { return };
    let program = here.compile("g++", "tests/c/scarce.cpp", &["-std=c++17"]);
    run(here.command(&program).arg(here.scratch("scarce")).arg(&model));
    let archive = here.folder.path().join("scarce-static");
    let mut command = Command::new("g++");
    command.args(["-std=c++17", "-O1"]).arg(root().join("tests/c/scarce.cpp")).args(here.pkg_config(&["--cflags"]));
    command.arg(here.lib().join("libcauserie.a")).args(["-lstdc++", "-lm", "-lpthread", "-ldl", "-o"]).arg(&archive);
    run(&mut command);
    run(Command::new(&archive).arg(here.scratch("scarce-archive")).arg(&model));
}

#[test]
fn exceptions_of_cpp_callbacks_come_out_of_the_call_and_handles_go_on() {
    let here = installed();
    let program = here.compile("g++", "tests/c/callbacks.cpp", &["-std=c++17"]);
    run(here.command(&program).arg(here.scratch("callbacks")).args(small_model()));
    let program = here.compile("g++", "tests/c/callbacks.cpp", &["-std=c++17", "-fsanitize=address,undefined"]);
    run(here.command(&program).arg(here.scratch("callbacks-asan")));
}

#[test]
fn queries_say_what_json_says_and_replies_outlive_what_answered() {
    let here = installed();
    let program = here.compile("gcc", "tests/c/query.c", &["-std=gnu11"]);
    run(here.command(&program).arg(here.scratch("query")));
    let program = here.compile("gcc", "tests/c/query.c", &["-std=gnu11", "-fsanitize=address,undefined"]);
    run(here.command(&program).arg(here.scratch("query-asan")).env("ASAN_OPTIONS", "detect_leaks=1"));
}

#[test]
fn selections_take_caps_mapped_rows_checkpoints_and_parts() {
    let here = installed();
    let program = here.compile("gcc", "tests/c/scale.c", &["-std=gnu11", "-fsanitize=address,undefined"]);
    run(here.command(&program).arg(here.scratch("scale")).env("ASAN_OPTIONS", "detect_leaks=1"));
}

#[test]
fn answers_come_with_reasons_and_a_recommender_says_what_it_holds() {
    let here = installed();
    let program = here.compile("gcc", "tests/c/explain.c", &["-std=gnu11"]);
    run(here.command(&program).arg(here.scratch("explain")));
}

#[test]
fn a_language_model_is_tuned_over_c_and_serves_with_live_items_and_adapters() {
    let here = installed();
    let Some(model) = small_model() else { return };
    let program = here.compile("gcc", "tests/c/student.c", &["-std=gnu11"]);
    run(here.command(&program).arg(here.scratch("student")).arg(&model));
}

#[test]
fn shards_batches_new_models_merges_and_sentences_are_there_over_every_language() {
    let here = installed();
    let Some(model) = small_model() else { return };
    let program = here.compile("g++", "tests/c/whole.cpp", &["-std=c++17"]);
    run(here.command(&program).arg(here.scratch("whole")).arg(&model));
    python::with_a_model(here, "whole", &model);
}

#[test]
fn a_cancel_at_any_report_of_any_stage_ends_it_soon_and_leaks_nothing() {
    let here = installed();
    let program = here.compile("gcc", "tests/c/cancels.c", &["-std=gnu11", "-fsanitize=address"]);
    run(here.command(&program).arg(here.scratch("cancels")).env("ASAN_OPTIONS", "detect_leaks=1"));
}

#[test]
fn a_processor_without_avx2_is_an_error_of_language_models_and_no_illegal_instruction() {
    if !there("qemu-x86_64") {
        return;
    }
    let here = installed();
    let Some(model) = small_model() else { return };
    let program = here.compile("gcc", "tests/c/floor.c", &["-std=gnu11"]);
    let mut command = Command::new("qemu-x86_64");
    command.args(["-cpu", "Nehalem", "-E"]).arg(format!("LD_LIBRARY_PATH={}", here.lib().display())).arg(&program);
    let out = run(command.arg(here.scratch("floor")).arg(&model));
    assert!(out.contains(env!("CARGO_PKG_VERSION")) && !out.contains("avx2"), "{out}");
}

#[test]
fn children_of_fork_work() {
    let here = installed();
    let program = here.compile("gcc", "tests/c/forks.c", &["-std=gnu11"]);
    run(here.command(&program).arg(here.scratch("forks")));
}

#[test]
fn fifty_cycles_leak_nothing_and_print_nothing() {
    let here = installed();
    let program = here.compile("gcc", "tests/c/cycles.c", &["-std=gnu11"]);
    run(here.command(&program).arg(here.scratch("cycles")));
    let program = here.compile("gcc", "tests/c/cycles.c", &["-std=gnu11", "-fsanitize=address"]);
    run(here.command(&program).arg(here.scratch("cycles-asan")).arg("4"));
}

#[test]
fn the_c_loop_is_clean_under_valgrind() {
    if !there("valgrind") {
        return;
    }
    let here = installed();
    let program = here.compile("gcc", "tests/c/cycles.c", &["-std=gnu11", "-DVALGRIND"]);
    let mut command = here.command(Path::new("valgrind"));
    command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    run(command.arg(program).arg(here.scratch("valgrind")).arg("1"));
}

#[test]
fn the_library_lives_beside_another_llama_cpp() {
    let here = installed();
    let model = small_model();
    let program = here.compile("gcc", "tests/c/beside.c", &["-std=gnu11"]);
    run(here.command(&program).arg(here.scratch("beside")).args(&model));
    let archive = here.folder.path().join("beside-static");
    let mut command = Command::new("gcc");
    command.arg(root().join("tests/c/beside.c")).args(here.pkg_config(&["--cflags"]));
    command.arg(here.lib().join("libcauserie.a")).args(["-lstdc++", "-lm", "-lpthread", "-ldl", "-o"]).arg(&archive);
    run(&mut command);
    run(Command::new(&archive).arg(here.scratch("beside-archive")).args(&model));
}
