//! Lets the tests find zskt's libraries, where the SDK says that they lie.

fn main() {
    if let Ok(folders) = std::env::var("DEP_ZSKT_RPATH") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folders}");
    }
}
