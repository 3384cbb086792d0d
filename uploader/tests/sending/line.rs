//! The line to the server: certificates, proxies, addresses of the newer kind, and the limit on its use.

use std::time::{Duration, Instant};

use foretrace_report::receipt::DeliveryState;
use foretrace_tests::terminal::Terminal;

use crate::server::Server;
use crate::tls::{self, Authority, settings};
use crate::world::{Said, World, noise};

const FAR: &str = "https://crash.example.org/submit";

fn agreed(settings: &str) -> (World, String) {
    let world = World::new(settings);
    let id = world.painter().short();
    world.done(&["consent", &id, "--grant", "trail"]);
    (world, id)
}

fn send_with(world: &World, id: &str, variables: &[(&str, String)]) -> Said {
    let mut command = world.command(&["send", "--now", id]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    Said::from(command.envs(variables.iter().map(|(name, value)| (name, value))).output().unwrap())
}

#[test]
fn a_certificate_that_nobody_vouches_for_or_for_another_host_ends_it_before_anything_left() {
    let (right, other_host) = (Authority::of("IP:127.0.0.1"), Authority::of("DNS:crash.example.org"));
    let stranger = Authority::of("IP:127.0.0.1");
    for (of_server, trusted, words) in [
        (&right, None, "UnknownIssuer"),
        (&right, Some(stranger.file()), "invalid peer certificate"),
        (&other_host, Some(other_host.file()), "not valid for"),
    ] {
        let server = tls::Server::start(of_server);
        let url = format!("https://{}/submit", server.address);
        let (world, id) = agreed(&settings(&url, trusted.as_deref()));
        let said = send_with(&world, &id, &[]);
        assert_eq!(said.code, Some(1));
        assert!(said.text.contains("cannot reach 127.0.0.1: ") && said.text.contains(words), "{said:?}");
        let delivery = world.delivery(world.painter_id());
        assert_eq!((delivery.state, delivery.doubtful), (DeliveryState::Pending, 0));
        assert_eq!((server.connections(), server.requests().len()), (1, 0));
    }
}

#[test]
fn an_authority_of_the_settings_is_trusted_and_a_file_without_one_is_named() {
    let authority = Authority::of("IP:127.0.0.1");
    let server = tls::Server::start(&authority);
    let url = format!("https://{}/submit", server.address);
    let (world, id) = agreed(&settings(&url, Some("/etc/hostname".as_ref())));
    let said = send_with(&world, &id, &[]);
    assert!(said.text.contains("Certificates=/etc/hostname: "), "{said:?}");
    assert_eq!(server.connections(), 0);
    world.set(&settings(&url, Some(&authority.file())));
    let said = send_with(&world, &id, &[]);
    assert!(said.code == Some(0) && said.text.contains("bp-tls"), "{said:?}");
    assert!(server.requests()[0].head.starts_with("post /submit "), "{}", server.requests()[0].head);
}

#[test]
fn https_goes_through_the_proxy_in_a_tunnel_and_what_is_on_this_machine_does_not() {
    let authority = Authority::of("DNS:crash.example.org");
    let proxy = tls::Server::as_proxy(&authority);
    let through = format!("http://{}", proxy.address);
    let (world, id) = agreed(&settings(FAR, Some(&authority.file())));
    // Where nothing may go through it, a name that does not exist is all there is.
    let said =
        send_with(&world, &id, &[("HTTPS_PROXY", through.clone()), ("NO_PROXY", "crash.example.org".into())]);
    assert!(said.text.contains("cannot reach crash.example.org"), "{said:?}");
    assert_eq!(proxy.connections(), 0);
    let said = send_with(&world, &id, &[("HTTPS_PROXY", through.clone())]);
    assert!(said.code == Some(0) && said.text.contains("bp-tls"), "{said:?}");
    assert_eq!(proxy.tunnels(), ["connect crash.example.org:443 http/1.1"]);
    assert!(proxy.requests()[0].head.contains("host: crash.example.org\r\n"), "inside of the tunnel");

    let here = Server::start([]);
    let (world, id) = agreed(&settings(&here.url(), None));
    let everywhere = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"];
    let said = send_with(&world, &id, &everywhere.map(|name| (name, through.clone())));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!((here.connections(), proxy.connections()), (1, 1));
}

#[test]
fn a_proxy_that_refuses_is_named_as_the_trouble() {
    let proxy = Server::start([crate::server::status(407, "Proxy-Authenticate: Basic\r\n", "")]);
    let (world, id) = agreed(&settings(FAR, None));
    let said = send_with(&world, &id, &[("HTTPS_PROXY", format!("http://{}", proxy.address()))]);
    assert!(said.code == Some(1) && said.text.contains("proxy"), "{said:?}");
    let delivery = world.delivery(world.painter_id());
    assert_eq!((delivery.state, delivery.doubtful), (DeliveryState::Pending, 0), "nothing can have arrived");
}

#[test]
fn a_server_with_an_ipv6_address_gets_its_report() {
    let server = Server::start_on("[::1]:0", []);
    assert!(server.url().starts_with("http://[::1]:"), "{}", server.url());
    let (world, id) = agreed(&settings(&server.url(), None));
    assert_eq!(send_with(&world, &id, &[]).code, Some(0));
    let host = format!("host: {}\r\n", server.address());
    assert!(server.requests()[0].head.contains(&host), "{}", server.requests()[0].head);
}

#[test]
fn all_reports_together_keep_to_the_rate() {
    let server = Server::start([]);
    let world = World::new(&format!("{}Rate=200K\n", settings(&server.url(), None)));
    let memory = noise(200 << 10);
    for number in 0..2 {
        let id = world.numbered(number, "painter", &[("process/auxv", &memory)]);
        world.done(&["consent", &id.to_string(), "--grant", "memory"]);
    }
    let began = Instant::now();
    world.done(&["send", "--all"]);
    let took = began.elapsed();
    let bytes: usize = server.requests().iter().map(|request| request.body.len()).sum();
    assert!(bytes > 400 << 10, "{bytes}");
    // The last piece is not waited for.
    let least = Duration::from_secs_f64((bytes - 2 * (64 << 10)) as f64 / (200 << 10) as f64);
    assert!(took > least, "{took:?} for {bytes} bytes");
}

#[test]
fn a_terminal_shows_how_far_a_large_report_has_come() {
    let server = Server::start([]);
    let world = World::new(&format!("{}Rate=2M\n", settings(&server.url(), None)));
    let id = world.report(9, "painter", &[("process/auxv", &noise(3 << 20))]).short();
    world.done(&["consent", &id, "--grant", "memory"]);
    let mut terminal = Terminal::start(&world.command(&["send", &id])).unwrap();
    for shown in ["[####", " % of ", "sent as bp-default"] {
        terminal.wait_for(shown).unwrap();
    }
    assert!(terminal.end().unwrap().success());
}

#[test]
fn help_and_manual_say_how_the_line_is_set() {
    let world = World::new("");
    for arguments in [&["send", "--help"][..], &["man"]] {
        let said = world.done(arguments).text;
        for words in ["Rate=", "Certificates=", "Metered=", "HTTPS_PROXY", "NO_PROXY"] {
            assert!(said.contains(words), "{arguments:?}: {words}");
        }
    }
}
