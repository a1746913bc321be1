//! Compiles the one file of C++ that is ours: the `try` around the calls of llama.cpp.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/llama/guarded.cpp");
    #[cfg(feature = "llama")]
    cc::Build::new().cpp(true).std("c++17").file("src/llama/guarded.cpp").compile("causerie_guarded");
}
