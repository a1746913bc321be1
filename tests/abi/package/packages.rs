//! What `make package` makes, used as its users do: the .deb installed by dpkg into a root of its own, the tarball unpacked
//! elsewhere, the wheel in a virtual environment.

use super::{root, run, there};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The one file in `folder` that ends in `end`.
fn one(folder: &Path, end: &str) -> PathBuf {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let found: Vec<PathBuf> = names.filter(|p| p.to_string_lossy().ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// Compiles and runs the loop in C by a .pc file in `pkgconfig`, whose paths lie under `sysroot`.
fn runs(folder: &Path, name: &str, pkgconfig: &Path, sysroot: &str) {
    let flags = run(Command::new("pkg-config")
        .args(["--cflags", "--libs", "causerie"])
        .env("PKG_CONFIG_LIBDIR", pkgconfig)
        .env("PKG_CONFIG_SYSROOT_DIR", sysroot));
    let program = folder.join(name);
    let mut command = Command::new("gcc");
    command.arg(root().join("examples/c/loop.c")).args(flags.split_whitespace()).arg("-o").arg(&program);
    run(&mut command);
    let scratch = folder.join(format!("{name}-run"));
    std::fs::create_dir(&scratch).unwrap();
    let out = run(Command::new(&program).arg(&scratch).env("LD_LIBRARY_PATH", pkgconfig.parent().unwrap()));
    assert!(out.contains("evaluate: Recall@10"), "{out}");
}

#[test]
fn the_deb_the_tarball_and_the_wheel_install_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let dist = folder.join("dist");
    run(Command::new(root().join("packaging/package.sh")).env("DIST", &dist));

    let tree = folder.join("unpacked");
    std::fs::create_dir(&tree).unwrap();
    run(Command::new("tar").arg("-xzf").arg(one(&dist, ".tar.gz")).arg("-C").arg(&tree).arg("--strip-components=1"));
    assert!(tree.join("examples/cpp/service.cpp").exists() && tree.join("bindings/go/causerie.go").exists());
    runs(folder, "of-the-tarball", &tree.join("lib/pkgconfig"), "");

    if there("dpkg") {
        let (installed, deb) = (folder.join("root"), one(&dist, ".deb"));
        for part in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"] {
            std::fs::create_dir_all(installed.join(part)).unwrap();
        }
        std::fs::write(installed.join("var/lib/dpkg/status"), "").unwrap();
        let dpkg = |arguments: &[&str]| {
            let mut command = Command::new("dpkg");
            command.arg(format!("--root={}", installed.display())).arg("--log=/dev/null").args(arguments);
            command
        };
        // The root has no C library of its own to depend on.
        run(dpkg(&["--force-depends", "--force-not-root", "--install"]).arg(&deb));
        let files = run(&mut dpkg(&["--listfiles", "libcauserie-dev"]));
        let pc = files.lines().find(|f| f.ends_with("causerie.pc")).unwrap();
        let pkgconfig = installed.join(pc.trim_start_matches('/')).parent().unwrap().to_path_buf();
        runs(folder, "of-the-deb", &pkgconfig, &installed.display().to_string());
        run(&mut dpkg(&["--force-not-root", "--remove", "libcauserie-dev"]));
        assert!(!installed.join("usr/include/causerie.h").exists());
    }

    // By pip where it is (it reads names, tags and records); Debian keeps it in a package of its own, and without it the wheel
    // is put where pip would put it.
    let venv = folder.join("venv");
    run(Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(&venv));
    let wheel = one(&dist, ".whl");
    let python = venv.join("bin/python");
    let places = run(Command::new(&python).args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]));
    let pip = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.args(["-m", "pip"]).args(arguments);
        command
    };
    if pip(&["--version"]).output().is_ok_and(|o| o.status.success()) {
        run(pip(&["install", "--no-index", "--no-deps", "--target", places.trim()]).arg(&wheel));
    } else {
        run(Command::new(&python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(places.trim()));
    }
    let script = "import causerie; c = causerie.Config(select_budget=7); assert c['select.budget'] == '7'; print(causerie.version())";
    let out = run(Command::new(&python).args(["-c", script]).current_dir(folder));
    assert!(out.starts_with(&format!("causerie/{}", env!("CARGO_PKG_VERSION"))), "{out}");
    assert!(wheel.to_string_lossy().contains("-py3-none-manylinux_2_"), "{}", wheel.display());
}

#[test]
fn cargo_cinstall_gives_what_pkg_config_finds() {
    // It takes minutes to make, and nothing needs it: where it is missing, this is left out in CI too.
    if !Command::new("cargo-cinstall").arg("--version").output().is_ok_and(|o| o.status.success()) {
        return super::left_out("cargo-cinstall is missing; cargo install cargo-c");
    }
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("dest");
    let mut command = Command::new("cargo");
    // Unoptimised and without llama.cpp, which would be built once more for it: what is installed, and how it links, is the same.
    command.args([
        "cinstall",
        "-p",
        "causerie-capi",
        "--debug",
        "--no-default-features",
        "--prefix=/usr",
        "--libdir=/usr/lib",
    ]);
    command.arg("--destdir").arg(&dest).current_dir(root());
    // What cargo tells a test of itself would have crates built anew that look at it.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_") && name != "CARGO_TARGET_DIR") {
        command.env_remove(name);
    }
    run(&mut command);
    for file in
        ["usr/include/causerie.h", "usr/include/causerie.hpp", "usr/lib/libcauserie.a", "usr/lib/libcauserie.so.0.1"]
    {
        assert!(dest.join(file).exists(), "{file}");
    }
    let dynamic = run(Command::new("readelf").arg("-d").arg(dest.join("usr/lib/libcauserie.so")));
    assert!(dynamic.contains("[libcauserie.so.0.1]"), "{dynamic}");
    runs(folder.path(), "of-cargo-c", &dest.join("usr/lib/pkgconfig"), &dest.display().to_string());
}
