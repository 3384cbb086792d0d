//! What passes and what is refused, and what is then handed on.

use std::io::{Seek as _, Write as _};

use foretrace_report::Preset;
use foretrace_report::bundle::MINIDUMP;
use foretrace_report::receipt::CHUNK;

use super::samples::{agreed_to, consent, destination, file, id, outgoing};
use super::*;

fn check_report(
    consent: &Consent,
    report: ReportId,
    zip: &[u8],
    there: &Destination,
) -> Result<Agreed, Refusal> {
    check(consent, Phase::Report, report, file(zip), there, Timestamp::now())
}

/// 2.5 MiB that compression cannot make small.
fn noise() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(step).take(5 * CHUNK / 2).collect()
}

fn poured(load: Load) -> Result<Vec<u8>, Torn> {
    let mut all = Vec::new();
    match load {
        Load::Nothing => {}
        Load::Memory(bytes) => all = bytes.into(),
        Load::Stream(stream) => stream.pour(&mut |piece| {
            assert!(piece.len() <= CHUNK, "{}", piece.len());
            all.extend_from_slice(&piece);
            Ok(())
        })?,
    }
    Ok(all)
}

#[test]
fn the_agreed_bytes_pass_and_a_change_of_any_one_byte_is_refused() {
    let zip = outgoing(id(1), &[("trace/a/metadata", b"text"), (MINIDUMP, b"MDMP")]);
    let there = destination("https://x.example/");
    let consent = consent(issue(id(1), &there, Preset::ALL[4].classes(), &zip).unwrap());
    assert!(check_report(&consent, id(1), &zip, &there).is_ok());
    for at in 0..zip.len() {
        let mut changed = zip.clone();
        changed[at] ^= 1;
        assert!(matches!(check_report(&consent, id(1), &changed, &there), Err(Refusal::Changed)), "{at}");
    }
    let longer = [&zip[..], b"\0"].concat();
    assert!(matches!(check_report(&consent, id(1), &longer, &there), Err(Refusal::Changed)));
}

#[test]
fn another_report_another_server_and_another_answer_are_refused() {
    let zip = outgoing(id(1), &[]);
    let there = destination("https://x.example/");
    let granted =
        consent(issue(id(1), &there, ClassSet::EMPTY.with(foretrace_report::Class::Summary), &zip).unwrap());
    assert!(matches!(check_report(&granted, id(2), &zip, &there), Err(Refusal::OtherReport)));
    let elsewhere = destination("https://y.example/");
    assert!(matches!(check_report(&granted, id(1), &zip, &elsewhere), Err(Refusal::OtherDestination { .. })));
    let denied = Consent { answer: Answer::Denied, ..granted.clone() };
    assert!(matches!(check_report(&denied, id(1), &zip, &there), Err(Refusal::Denied)));
    let revoked = Consent { answer: Answer::Revoked, ..granted };
    assert!(matches!(check_report(&revoked, id(1), &zip, &there), Err(Refusal::Revoked)));
}

#[test]
fn a_receipt_for_less_than_the_body_holds_is_refused() {
    let zip = outgoing(id(1), &[(MINIDUMP, b"MDMP")]);
    let there = destination("https://x.example/");
    let receipt = issue(id(1), &there, Preset::USUAL.classes(), &zip).unwrap();
    assert!(matches!(
        check_report(&consent(receipt.clone()), id(1), &zip, &there),
        Err(Refusal::BeyondTheGrant)
    ));
    let mut fewer = receipt;
    fewer.body.pop();
    assert!(matches!(check_report(&consent(fewer), id(1), &zip, &there), Err(Refusal::OtherBody)));
}

#[test]
fn a_receipt_lists_a_digest_for_each_mebibyte() {
    let noise = noise();
    let zip = outgoing(id(1), &[(MINIDUMP, &noise)]);
    let receipt = issue(id(1), &destination("https://x.example/"), Preset::ALL[4].classes(), &zip).unwrap();
    let minidump = receipt.body.last().unwrap();
    assert_eq!((minidump.bytes, minidump.chunks.len()), (noise.len() as u64, 3));
    assert_eq!(minidump.chunks[2], hex(&Sha256::digest(&noise[2 * CHUNK..])));
}

#[test]
fn a_question_is_asked_only_with_a_receipt_of_its_own() {
    let zip = outgoing(id(1), &[(MINIDUMP, b"MDMP")]);
    let there = Destination { protocol: Protocol::Foretrace, ..destination("https://x.example/") };
    let mut granted = consent(issue(id(1), &there, Preset::ALL[5].classes(), &zip).unwrap());
    let asked =
        |consent: &Consent| check(consent, Phase::Question, id(1), file(&zip), &there, Timestamp::now());
    assert!(matches!(asked(&granted), Err(Refusal::NoQuestion)));
    granted.question = issue_question(id(1), &there, &zip).unwrap();
    let body = poured(asked(&granted).unwrap().post("https://x.example/question".into(), &[]).into_load());
    let question: wire::question::Question = serde_json::from_slice(&body.unwrap()).unwrap();
    assert_eq!(question.program, "a");
    // Neither stands in for the other.
    granted.question = Some(issue(id(1), &there, Preset::USUAL.classes(), &zip).unwrap());
    assert!(matches!(asked(&granted), Err(Refusal::OtherReport)));
}

#[test]
fn an_upload_is_gone_on_with_from_any_offset() {
    let zip = outgoing(id(1), &[(MINIDUMP, &noise())]);
    let there = Destination { protocol: Protocol::Foretrace, ..destination("https://x.example/") };
    let consent = consent(issue(id(1), &there, Preset::ALL[5].classes(), &zip).unwrap());
    let agreed = check_report(&consent, id(1), &zip, &there).unwrap();
    assert_eq!(agreed.length(), zip.len() as u64);
    for from in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, zip.len() - 1, zip.len()] {
        let request = agreed.append("https://x.example/1", from as u64);
        assert_eq!(request.length(), (zip.len() - from) as u64);
        assert!(poured(request.into_load()).unwrap() == zip[from..], "{from}");
    }
}

#[test]
fn bytes_that_change_after_the_check_do_not_leave() {
    for protocol in [Protocol::Foretrace, Protocol::Socorro, Protocol::Sentry] {
        let zip = outgoing(id(1), &[(MINIDUMP, &noise())]);
        let there = Destination { protocol, ..destination("https://x.example/") };
        let consent = consent(issue(id(1), &there, Preset::ALL[5].classes(), &zip).unwrap());
        let mut held = file(&zip);
        let same = held.try_clone().unwrap();
        let agreed = check(&consent, Phase::Report, id(1), same, &there, Timestamp::now()).unwrap();
        held.seek(std::io::SeekFrom::Start(3 * CHUNK as u64 / 2)).unwrap();
        held.write_all(b"other bytes").unwrap();
        let Load::Stream(stream) = agreed.post("https://x.example/".into(), &[]).into_load() else {
            panic!("too large to be held")
        };
        let mut left = Vec::new();
        let torn = stream.pour(&mut |piece| {
            left.extend_from_slice(&piece);
            Ok(())
        });
        assert!(matches!(torn, Err(Torn::Changed)), "{torn:?}");
        assert!(!left.windows(11).any(|window| window == b"other bytes"));
        if protocol == Protocol::Foretrace {
            assert!(left == zip[..CHUNK], "the unchanged chunk left, the changed one did not");
        }
    }
}

#[test]
fn an_answer_that_is_taken_back_on_the_way_stops_the_rest() {
    for protocol in [Protocol::Foretrace, Protocol::Socorro, Protocol::Sentry] {
        let zip = outgoing(id(1), &[(MINIDUMP, &noise())]);
        let there = Destination { protocol, ..destination("https://x.example/") };
        let consent = consent(issue(id(1), &there, Preset::ALL[5].classes(), &zip).unwrap());
        let mut named = tempfile::NamedTempFile::new().unwrap();
        named.write_all(&zip).unwrap();
        let held = named.reopen().unwrap();
        let agreed = check(&consent, Phase::Report, id(1), held, &there, Timestamp::now()).unwrap();
        agreed.stands().unwrap();
        let Load::Stream(stream) = agreed.post("https://x.example/".into(), &[]).into_load() else {
            panic!("too large to be held")
        };
        let (mut left, mut named) = (0, Some(named));
        let torn = stream.pour(&mut |piece| {
            left += piece.len();
            // Whoever takes the answer back removes the file.
            drop(named.take());
            Ok(())
        });
        assert!(matches!(torn, Err(Torn::Withdrawn)), "{protocol:?}: {torn:?}");
        assert!(left <= CHUNK + CHUNK / 2, "{protocol:?}: {left} bytes left");
        assert!(matches!(agreed.stands(), Err(Torn::Withdrawn)));
    }
}

#[test]
fn a_compressed_body_is_as_long_as_it_says_and_unpacks_to_its_parts() {
    let mut zip = std::io::Cursor::new(outgoing(id(1), &[(MINIDUMP, &noise())]));
    let agreed = agreed_to(Protocol::Socorro, "https://x.example/", zip.get_ref());
    let request = agreed.post("https://x.example/".into(), &[]);
    let length = request.length();
    let body = poured(request.into_load()).unwrap();
    assert_eq!(body.len() as u64, length);
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain).unwrap();
    let plan = wire::plan(Protocol::Socorro, &mut zip, "").unwrap();
    assert!(plain == wire::assemble(&plan, &mut zip).unwrap());
}
