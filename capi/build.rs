//! Names the shared library for the loader: MAJOR.MINOR while 0.x, because a minor version may break callers then.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let part = |name: &str| std::env::var(format!("CARGO_PKG_VERSION_{name}")).unwrap_or_default();
    let target = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if target == "linux" {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcauserie.so.{}.{}", part("MAJOR"), part("MINOR"));
    }
}
