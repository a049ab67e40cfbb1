//! Tells what is shared with the tests where the program is: they ask for it as cargo tells them.

fn main() {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/cmms-export");
    println!("cargo:rustc-env=CARGO_BIN_EXE_cmms-export={program}");
}
