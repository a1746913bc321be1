//! The Python binding, as its users have it: its loop, what its boundary once let through, Ctrl-C, threads, types, pip.

use super::{Installed, installed, left_out, root, run, skipped, small_model};
use std::path::Path;
use std::process::Command;

/// Python with the package of this checkout and the installed library.
fn python(here: &Installed) -> Command {
    let mut command = here.command(Path::new("python3"));
    command.env("CAUSERIE_LIBRARY", here.lib().join("libcauserie.so")).env("PYTHONDONTWRITEBYTECODE", "1");
    let paths = [root().join("bindings/python"), root().join("tests/python")];
    command.env("PYTHONPATH", std::env::join_paths(paths).unwrap());
    command
}

/// Whether Python has these modules; a word where it has not. None is needed to build or use causerie: CI may lack them too.
fn has(modules: &str) -> bool {
    let output = Command::new("python3").args(["-c", &format!("import {modules}")]).output();
    let found = output.is_ok_and(|o| o.status.success());
    if !found {
        left_out(&format!("python3 has not all of {modules}"));
    }
    found
}

/// Runs `tests/python/{name}.py` in a folder of its own, to the words it ends with.
fn script(name: &str, ends: &str) {
    let here = installed();
    let mut command = python(here);
    command.arg(root().join(format!("tests/python/{name}.py"))).arg(here.scratch(&format!("{name}-python")));
    let out = run(&mut command);
    assert!(out.contains(ends), "{out}");
}

/// Runs `tests/python/{name}.py` in a folder of its own, with a GGUF.
pub fn with_a_model(here: &Installed, name: &str, model: &Path) {
    let mut command = python(here);
    command.arg(root().join(format!("tests/python/{name}.py"))).arg(here.scratch(&format!("{name}-python"))).arg(model);
    run(&mut command);
}

/// Runs a test script of the binding's own folder, where Python has `modules`.
fn own_script(name: &str, modules: &str, ends: &str) {
    if !has(modules) {
        return;
    }
    let mut command = python(installed());
    let out = run(command.arg(root().join("bindings/python/tests").join(name)));
    assert!(out.contains(ends), "{out}");
}

#[test]
fn python_runs_the_loop_with_and_without_numpy() {
    let here = installed();
    let mut command = python(here);
    let out = run(command.arg(root().join("examples/python/loop.py")).arg(here.scratch("python")));
    assert!(out.contains("Recall@10") && out.contains("(1500, 32)"), "{out}");
    // Where numpy is, the views are arrays over the library's memory.
    let test = "import causerie, numpy; e = causerie.Embeddings.of(numpy.eye(3, dtype='f4')); \
                v = e.values; assert v.shape == (3, 3) and not v.flags.owndata and v.dtype == 'f4'";
    if has("numpy") {
        run(python(here).args(["-c", test]));
        // And all is there without it.
        let mut command = python(here);
        command.args([
            "-c",
            "import sys; sys.modules['numpy'] = None; sys.argv = sys.argv[1:]; \
                             import runpy; runpy.run_path(sys.argv[0], run_name='__main__')",
        ]);
        let out = run(command.arg(root().join("tests/python/boundary.py")).arg(here.scratch("boundary-without-numpy")));
        assert!(out.contains("boundary ok"), "{out}");
    }
}

#[test]
fn the_loop_of_the_python_page_runs() {
    let here = installed();
    let (page, data) = (std::fs::read_to_string(root().join("docs/python.md")).unwrap(), here.scratch("python-page"));
    let program = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let simulated = "import causerie; causerie.simulate(causerie.Config(simulate_items=60, simulate_users=100, \
                     simulate_reviews=600, simulate_conversations=20), 'data')";
    let out = run(python(here).current_dir(&data).args(["-c", &format!("{simulated}\n{program}")]));
    assert!(out.contains("1. ") && out.contains("5. "), "{out}");
}

#[test]
fn what_broke_the_boundary_of_python_is_refused_told_or_safe() {
    script("boundary", "boundary ok");
}

#[test]
fn rows_of_python_programs_are_read_counted_or_refused_by_name() {
    script("records", "records ok");
}

#[test]
fn callbacks_of_python_may_say_raise_and_do_anything() {
    script("callbacks", "callbacks ok");
}

/// A call in C did not hear Ctrl-C before its end.
#[test]
fn ctrl_c_ends_long_calls_of_python_at_once() {
    script("interrupt", "interrupt ok");
}

#[test]
fn every_pair_of_methods_of_every_handle_runs_on_sixteen_threads_of_python() {
    script("matrix", "matrix ok");
}

#[test]
fn a_typed_program_and_the_package_itself_pass_mypy_strict() {
    if !has("numpy") {
        return;
    }
    script("typed", "settings, ");
    if !has("mypy") {
        return;
    }
    let cache = installed().scratch("mypy");
    let mut command = python(installed());
    command.current_dir(root()).args(["-m", "mypy", "--strict", "--config-file", "bindings/python/pyproject.toml"]);
    command.arg("--cache-dir").arg(cache).env("MYPYPATH", root().join("bindings/python"));
    run(command.args(["bindings/python/causerie", "bindings/python/backend.py", "tests/python/typed.py"]));
}

#[test]
fn a_library_of_another_number_is_refused_at_import_with_both_numbers() {
    let here = installed();
    let other = here.scratch("other-abi");
    let source = other.join("other.c");
    std::fs::write(
        &source,
        "unsigned causerie_abi(void) { return 999; }\nconst char *causerie_version(void) { return \"causerie/9.9.9 x\"; }\n",
    )
    .unwrap();
    run(Command::new("gcc").args(["-shared", "-fPIC", "-o"]).arg(other.join("other.so")).arg(&source));
    let import = |library: &Path| {
        let output = python(here).env("CAUSERIE_LIBRARY", library).args(["-c", "import causerie"]).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let refused = import(&other.join("other.so"));
    let number = run(python(here).args(["-c", "from causerie._library import ABI; print(ABI)"]));
    for words in ["ImportError", "ABI 999", "causerie/9.9.9", &format!("ABI {}", number.trim()), "pip install"] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let refused = import(Path::new("/nowhere/libcauserie.so"));
    assert!(
        refused.contains("ImportError") && refused.contains("CAUSERIE_LIBRARY (/nowhere/libcauserie.so)"),
        "{refused}"
    );
    let versions = "import causerie; assert causerie.version().startswith(f'causerie/{causerie.__version__} ')";
    run(python(here).args(["-c", versions]));
}

/// pip of a fresh environment on a folder or a file, without a network.
fn pip(venv: &Path, what: &Path, environment: &[(&str, &Path)]) -> (bool, String) {
    let mut command = Command::new(venv.join("bin/python"));
    command.args(["-m", "pip", "install", "--no-index", "--force-reinstall"]).arg(what);
    for name in ["PYTHONPATH", "LD_LIBRARY_PATH", "CAUSERIE_LIBRARY", "PKG_CONFIG_PATH"] {
        command.env_remove(name);
    }
    let output = command.envs(environment.iter().map(|(name, value)| (*name, *value))).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn pip_installs_the_folder_with_the_library_it_finds_or_builds_or_says_what_to_do() {
    let here = installed();
    let folder = here.scratch("pip");
    let venv = folder.join("venv");
    let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).output();
    if !made.is_ok_and(|o| o.status.success()) {
        return skipped("python3 -m venv with pip is missing; scripts/install.sh tests");
    }
    let loaded = || {
        let mut command = Command::new(venv.join("bin/python"));
        command.args(["-c", "import causerie; from causerie._native import lib; print(lib.file, causerie.version())"]);
        run(command
            .current_dir(&folder)
            .env_remove("PYTHONPATH")
            .env_remove("CAUSERIE_LIBRARY")
            .env_remove("LD_LIBRARY_PATH"))
    };
    // Away from the checkout nothing can be built.
    let away = folder.join("python");
    run(Command::new("cp").arg("-r").arg(root().join("bindings/python")).arg(&away));
    let (well, said) = pip(&venv, &away, &[("PKG_CONFIG_LIBDIR", &folder)]);
    assert!(well || said.contains("make install") && said.contains("Looked at"), "{said}");
    let (pkgconfig, lib) = (here.lib().join("pkgconfig"), here.lib());
    let library = lib.join("libcauserie.so");
    for (name, place) in [("CAUSERIE_LIBRARY", &library), ("PKG_CONFIG_PATH", &pkgconfig), ("LD_LIBRARY_PATH", &lib)] {
        let (well, said) = pip(&venv, &away, &[(name, place)]);
        assert!(well, "{name}: {said}");
        // It goes with the package: the variable need not be there tomorrow.
        assert!(loaded().contains("site-packages/causerie/libcauserie.so"), "{name}: {}", loaded());
    }
    let (well, said) = pip(&venv, &away, &[("CAUSERIE_LIBRARY", Path::new("/nowhere/libcauserie.so"))]);
    assert!(!well && said.contains("/nowhere/libcauserie.so"), "{said}");
    // In the checkout cargo builds it; here it is built already, which cargo sees.
    let (well, said) = pip(&venv, &root().join("bindings/python"), &[("PKG_CONFIG_LIBDIR", &folder)]);
    assert!(well, "{said}");
    assert!(loaded().contains(&format!("causerie/{}", env!("CARGO_PKG_VERSION"))), "{}", loaded());
}

#[test]
fn python_selects_in_parts_on_processes() {
    own_script("test_partition.py", "numpy", "partition ok");
}

#[test]
fn spark_selects_in_parts_what_processes_select() {
    // Neither is needed to build or use causerie: where they are missing, this is left out in CI too.
    if Command::new("java").arg("-version").output().is_ok_and(|o| o.status.success()) {
        own_script("test_spark.py", "numpy, pandas, pyarrow, pyspark", "spark ok");
    } else {
        left_out("java is missing, which Spark runs on");
    }
}

#[test]
fn tokens_of_a_language_model_arrive_in_python_as_they_are_written() {
    let Some(model) = small_model() else { return };
    with_a_model(installed(), "tokens", &model);
}
