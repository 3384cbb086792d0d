//! What recording looks like from Rust: `cargo run -p foretrace --example hello -- world`

use std::io::Read;

use foretrace::{Privacy, event, span};

fn greet(whom: &str) -> usize {
    let _span = span!(debug, "greet", whom: personal = whom);
    let letters = whom.chars().count();
    event!(info, "greeting", letters = letters, first = whom.chars().take(1).collect::<String>());
    println!("hello, {whom}");
    letters
}

fn main() {
    foretrace::panic_hook();
    let names: Vec<String> = std::env::args().skip(1).collect();
    foretrace::annotate("mode", if names.is_empty() { "anonymous" } else { "named" }, Privacy::Public);
    let letters: usize = names.iter().map(|name| greet(name)).sum();
    if letters == 0 {
        event!(warn, "nobody to greet", sad = true, password: secret = "hunter2");
    }
    event!(info, "done", greeted = names.len(), ratio = letters as f64 / names.len().max(1) as f64);
    // Until its input ends: `foretrace snapshot` can look at the trail meanwhile.
    let _ = std::io::stdin().read(&mut [0]);
}
