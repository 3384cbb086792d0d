//! The developer's page in a real browser: backtrace and timeline are in the DOM, without a script.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use foretrace_tests::command::run_with_input;
use foretrace_tests::server::Server;
use foretrace_tests::world::{Installed, built_programs};

#[test]
fn chromium_shows_the_backtrace_and_the_timeline() -> Result<()> {
    let world = Installed::new()?;
    let server = Server::start(&world.program("foretrace-server"), "127.0.0.1:0", &world.work("server"))?;
    world.configure(&format!("[Upload]\nUrl={}/reports\n", server.address))?;
    let id = world.crash(&mut Command::new(built_programs()?.join("till")))?;
    world.ask(&["consent", &id, "--grant", "trail"])?;
    world.ask(&["send", &id])?;
    let dom = read_dom(&world, &format!("{}/report/{id}", server.address))?;
    for expected in
        ["first_card_digit", "print_receipts", "no card", "card read", "paid", "SIGSEGV", "printer"]
    {
        ensure!(dom.contains(expected), "'{expected}' is not in the page:\n{dom}");
    }
    ensure!(dom.contains("<svg"), "no timeline in the page");
    ensure!(!dom.contains("<script"), "a script in the page");
    let problems = read_dom(&world, &server.address)?;
    ensure!(
        problems.contains("first_card_digit"),
        "the problem's signature is not on the first page:\n{problems}"
    );
    Ok(())
}

fn read_dom(world: &Installed, address: &str) -> Result<String> {
    let profile = tempfile::tempdir_in(world.work(""))?;
    let mut browser = Command::new("chromium");
    browser.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--dump-dom",
    ]);
    browser.arg(format!("--user-data-dir={}", profile.path().display())).arg(address);
    Ok(run_with_input(&mut browser, b"", Duration::from_secs(120))?.success()?.text())
}
