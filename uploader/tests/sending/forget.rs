//! `forget` where a copy is at a server: asked for with the token whose digest went with the report, and said what was
//! not reached.

use foretrace_report::ReportId;
use foretrace_report::bundle::{BundleReader, ERASURE, hex};
use sha2::{Digest, Sha256};

use crate::server::{Manner, Server, status};
use crate::world::World;

/// A report that was sent to `server` in our own dialect.
fn sent(server: &str) -> (World, ReportId) {
    let world = World::new(&format!("[Upload]\nUrl={server}\nProtocol=foretrace\n"));
    let id = world.painter();
    world.done(&["consent", &id.short(), "--grant", "trail"]);
    std::fs::write(world.file(id, "delivery.json"), r#"{"state":"sent","attempts":1,"doubtful":0}"#).unwrap();
    (world, id)
}

/// What the request was authorised with.
fn token(head: &str) -> &str {
    head.lines().find_map(|line| line.strip_prefix("authorization: bearer ")).expect("a token")
}

#[test]
fn the_copy_is_erased_with_the_token_whose_digest_went_with_it() {
    let server = Server::start([status(204, "", "")]);
    let (world, id) = sent(&server.url());
    let outgoing = std::fs::File::open(world.file(id, "outgoing.zip")).unwrap();
    let digest = BundleReader::open(outgoing, Default::default()).unwrap().part(ERASURE).unwrap();
    let said = world.done(&["forget", &id.short()]);
    assert!(said.text.contains("erased from this machine and at"), "{said:?}");
    let request = &server.requests()[0];
    assert!(
        request.head.starts_with("delete /") && request.head.contains(&format!("/{id} http")),
        "{}",
        request.head
    );
    assert!(request.body.is_empty());
    assert_eq!(hex(&Sha256::digest(token(&request.head))).as_bytes(), digest);
    assert!(!world.file(id, "bundle.zip").exists());
}

#[test]
fn what_cannot_be_reached_now_is_kept_for_another_try_unless_told_otherwise() {
    for manner in [status(503, "", ""), status(429, "", ""), Manner::ClosesEarly] {
        let server = Server::start([manner]);
        let (world, id) = sent(&server.url());
        let said = world.run(&["forget", &id.short()]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.text.contains("--here"), "{said:?}");
        assert!(world.file(id, "bundle.zip").exists());
        let before = server.requests().len();
        let said = world.done(&["forget", "--here", &id.short()]);
        assert!(said.text.contains("not reached") && !world.file(id, "bundle.zip").exists(), "{said:?}");
        assert_eq!(server.requests().len(), before, "--here asks nobody");
    }
}

#[test]
fn a_server_that_knows_no_erasure_is_named_and_the_report_is_gone_here() {
    let server = Server::start([status(404, "", "")]);
    let (world, id) = sent(&server.url());
    assert!(world.done(&["forget", &id.short()]).text.contains("answers 404"));
    assert!(!world.file(id, "bundle.zip").exists());

    let world = World::new("[Upload]\nUrl=http://127.0.0.1:9/submit\nProtocol=socorro\n");
    let id = world.painter();
    world.done(&["consent", &id.short(), "--grant", "trail"]);
    std::fs::write(world.file(id, "delivery.json"), r#"{"state":"maybe-sent","attempts":1,"doubtful":1}"#)
        .unwrap();
    let said = world.done(&["forget", &id.short()]);
    assert!(said.text.contains("socorro has no erasure"), "{said:?}");
}
